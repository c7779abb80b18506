"""A fleet larger than memory: block by block, the same models, no more of them alive than fit."""

import ctypes
import gc
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fleet_parts import Shrink, small_fleet
from torch import nn

from certify.attacks.fleets import memory
from certify.attacks.fleets.executors import processes
from certify.attacks.fleets.fleet import run_blocks, run_fleet
from certify.attacks.fleets.store import FleetStore
from certify.attacks.observations import Observations
from certify.models.networks import Recipe

MODELS, HIDDEN = 32, 2048
WEIGHTS = 4 * (64 * HIDDEN + HIDDEN + HIDDEN * 10 + 10)  # bytes of one model
SHORT = Recipe("sgd", lr=0.1, momentum=0.9, epochs=1, batch_size=16)


def large() -> nn.Module:
    """64-2048-10: 0.6 MB of weights."""
    return nn.Sequential(nn.Linear(64, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 10))


def fleet(backend, **more):
    models = more.pop("models", MODELS)
    return small_fleet(models, 32, build=large, recipe=SHORT, block=None, backend=backend, stored="float64", **more)


def peak(work):
    """What a piece of work returns, and how many bytes the process grew by at most while it ran."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what earlier tests freed is given back, or it would hide growth
    status = Path("/proc/self/status")
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak back to what is resident now

    def read(name):
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith(name))

    before = read("VmRSS")
    found = work()
    return found, read("VmHWM") - before


@pytest.fixture
def limited(monkeypatch):
    def set_free(count):
        monkeypatch.setattr(memory, "free_memory", lambda: count)

    return set_free


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system does not tell the peak")
@pytest.mark.parametrize(("backend", "keep"), [("vmap", False), ("loop", True)])
def test_it_streams_block_by_block_and_is_the_same(limited, tmp_path, backend, keep):
    more = {"keep_parameters": keep}
    stores = [FleetStore(tmp_path / name) if keep else None for name in ("whole", "parts")]
    run_fleet(*fleet(backend, models=3), Shrink())  # what torch takes once and for all
    free = 100 * WEIGHTS
    limited(free)  # blocks are planned for half of it: the unlearner, and whatever is done once, take of the other half
    parts, small = peak(lambda: run_fleet(*fleet(backend, **more), Shrink(), store=stores[1]))
    limited(1 << 34)
    whole, much = peak(lambda: run_fleet(*fleet(backend, **more), Shrink(), store=stores[0]))
    assert small < free < 0.8 * much  # the unlimited run shows what the limit spares
    for world, found in whole.worlds.items():
        for name, values in found.items():
            assert (parts.get(world, name) == values).all(), (world, name)
    if keep:  # from the store, every weight to the last bit
        files = [sorted(path.read_bytes() for path in store.folder.rglob("weights/*/*/*")) for store in stores]
        assert len(files[0]) == 4 * MODELS
        assert files[0] == files[1]


def alive(models):
    """Trained models of that size that are anywhere in the process."""
    tensors = [one for one in gc.get_objects() if type(one) is torch.Tensor and one.dim() == 3]
    found = {one.untyped_storage().data_ptr(): len(one) for one in tensors if one.shape[1:] == (HIDDEN, 64)}
    assert found
    return sum(found.values()) <= models


@pytest.mark.parametrize("executor", [False, True])
def test_kept_blocks_are_read_one_at_a_time(tmp_path, monkeypatch, executor):
    """What the advice to read the blocks of a large fleet one by one rests on."""
    task, plan, assignment = small_fleet(8, block=1)
    store = FleetStore(tmp_path)
    whole = run_fleet(task, plan, assignment, Shrink(), store=store)
    blocks = sorted(store.folder.glob("*.safetensors"))
    assert len(blocks) == 8
    seen, load = [], FleetStore.load

    def watched(self, job, name):
        found = load(self, job, name)
        if found is not None:
            seen.append(weakref.ref(found))
        return found

    monkeypatch.setattr(FleetStore, "load", watched)
    parts, most = [], 0
    with processes(1) if executor else _Nothing() as pool:
        for part in run_blocks(task, plan, assignment, Shrink(), store=store, executor=pool):
            parts.append(part.pick(slice(0, None)))
            most = max(most, sum(one() is not None for one in seen))
    assert len(seen) >= 8
    assert most <= 2
    again = Observations.join(parts)
    assert (again.get("unlearned") == whole.get("unlearned")).all()


class _Nothing:
    def __enter__(self):
        return None

    def __exit__(self, *_):
        return None


def test_weights_of_a_block_that_is_kept_are_let_go(tmp_path):
    """While a block is made, the weights of the one before lie in the store alone."""
    task, plan, assignment = small_fleet(
        4,
        32,
        build=large,
        recipe=SHORT,
        block=1,
        backend="loop",
        keep_parameters=True,
        worlds=("original", "unlearned"),
    )
    counts = []

    def counting(block):
        counts.append(alive(3))
        return Shrink()(block)

    run_fleet(replace(task, identity="counting"), plan, assignment, counting, store=tmp_path)
    assert counts == [True] * 4
