"""Blocks are kept, found again by what made them, and never taken for others."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fleet_parts import Deadly, Shrink, same, slow_train, small_fleet, tiny
from torch import nn

from certify.attacks.fleets import executors
from certify.attacks.fleets import store as stores
from certify.attacks.fleets.blocks import make_block
from certify.attacks.fleets.fingerprint import fingerprint
from certify.attacks.fleets.fleet import FleetTask, run_blocks, run_fleet
from certify.attacks.fleets.store import FleetStore
from certify.core.errors import ConfigurationError, InputError
from certify.models.networks import Recipe
from certify.models.networks.files import load_network

WIDTH = 8


def by_global() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))


@pytest.fixture
def counted(monkeypatch):
    """The models that were made, in order."""
    seen = []
    monkeypatch.setattr(executors, "make_block", lambda task, job: seen.extend(job.models) or make_block(task, job))
    return seen


def run(folder, unlearn=None, *, task=None, plan=None, assignment=None, **more):
    own_task, own_plan, own = small_fleet(4, **more)
    store = FleetStore(folder)
    return run_fleet(
        own_task if task is None else task,
        own_plan if plan is None else plan,
        own if assignment is None else assignment,
        Shrink() if unlearn is None else unlearn,
        store=store,
    )


def files(folder):
    return sorted(Path(folder).glob("*.safetensors"))


def test_what_is_there_is_not_made_again(tmp_path, counted):
    first = run(tmp_path)
    assert counted == [0, 1, 2, 3]
    assert same(run(tmp_path), first)
    assert counted == [0, 1, 2, 3]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_fleet_goes_on_bit_for_bit_where_it_was_left(tmp_path, counted):
    task, plan, assignment = small_fleet(4)
    plain = run_fleet(task, plan, assignment, Shrink())
    counted.clear()
    blocks = run_blocks(task, plan, assignment, Shrink(), store=tmp_path)
    next(blocks)
    blocks.close()
    assert len(files(tmp_path)) == 1
    assert same(run(tmp_path), plain)
    assert counted == [0, 1, 2, 3]


KILLED = """
import sys
sys.path.insert(0, {support!r})
from fleet_parts import Deadly, small_fleet
from certify.attacks.fleets.fleet import run_fleet

run_fleet(*small_fleet(6, worlds=("unlearned", "retrained")), Deadly(5, {mark!r}), store={folder!r})
"""


def test_a_killed_process_is_taken_up(tmp_path, counted):
    support, mark = Path(__file__).parents[1] / "support", str(tmp_path / "mark")
    code = KILLED.format(support=str(support), mark=mark, folder=str(tmp_path / "store"))
    first = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert first.returncode == -9
    assert len(files(tmp_path / "store")) == 2
    fleet = small_fleet(6, worlds=("unlearned", "retrained"))
    plain = run_fleet(*fleet, Shrink())
    counted.clear()
    assert same(run_fleet(*fleet, Deadly(5, mark), store=tmp_path / "store"), plain)
    assert counted == [4, 5]


def variants():
    """Everything that makes a fleet, changed one thing at a time."""
    task, _, assignment = small_fleet(4)
    moved = task.X.copy()
    moved[70, 3] += 1e-3
    relabelled = task.y.copy()
    relabelled[70] = (relabelled[70] + 1) % 10
    swapped = assignment.copy()
    swapped[0] = np.roll(swapped[0], 1)
    return {
        "data": {"task": FleetTask(tiny, moved, task.y)},
        "labels": {"task": FleetTask(tiny, task.X, relabelled)},
        "rows": {"assignment": swapped},
        "architecture": {"build": lambda: nn.Sequential(nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 10))},
        "recipe": {"recipe": Recipe("adam", lr=6e-3, epochs=2, batch_size=16)},
        "seed": {"seed": 1},
        "precision": {"precision": "bf16"},
        "backend": {"backend": "loop"},
        "signals": {"signals": ("phi",)},
        "stored": {"stored": "float64"},
        "coupled": {"coupled": True},
        "knob": {"unlearn": Shrink(0.8)},
        "unlearner": {"unlearn": lambda block: block.originals},
        "worlds": {"worlds": ("original", "unlearned")},
        "identity": {"identity": "weights of March"},
        "train": {"train": slow_train},
    }


@pytest.mark.parametrize("name", sorted(variants()))
def test_another_fleet_is_never_taken_for_this_one(tmp_path, name):
    first = run(tmp_path)
    changed = variants()[name]
    kept = len(files(tmp_path))
    found = run(tmp_path, **changed)
    assert len(files(tmp_path)) - kept >= 1
    assert same(found, run(tmp_path / "other", **changed))
    assert same(run(tmp_path), first)


def test_a_damaged_file_is_named_and_made_again(tmp_path):
    first = run(tmp_path)
    path = files(tmp_path)[0]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    for damage in (bytes(content), content[:200], b"", b"\xff" * 64):
        path.write_bytes(damage)
        with pytest.warns(UserWarning, match=rf"{path.name}: is damaged; block \d \(models \d to \d\) is made again"):
            assert same(run(tmp_path), first)
    assert same(run(tmp_path), first)


def test_another_blocks_file_under_this_name_is_not_taken(tmp_path):
    first = run(tmp_path)
    one, two = files(tmp_path)
    one.write_bytes(two.read_bytes())
    with pytest.warns(UserWarning, match="is another block's"):
        assert same(run(tmp_path), first)


@pytest.mark.parametrize("part", ["torch", "certify", "format"])
def test_a_file_of_another_version_is_named_and_made_again(tmp_path, monkeypatch, part):
    now = stores.versions()
    with monkeypatch.context() as patch:
        patch.setattr(stores, "versions", lambda: {**now, part: "before"})
        run(tmp_path)
    told = []
    task, plan, assignment = small_fleet(4)
    run_fleet(task, plan, assignment, Shrink(), store=FleetStore(tmp_path, told.append))
    assert len(told) == 2
    assert all(f"was made by another version of {part}" in line for line in told)
    told.clear()
    run_fleet(task, plan, assignment, Shrink(), store=FleetStore(tmp_path, told.append))
    assert told == []


def test_weights_are_kept_as_files_of_one_model_each(tmp_path):
    task, plan, assignment = small_fleet(4, keep_parameters=True)
    store = FleetStore(tmp_path)
    found = run_fleet(task, plan, assignment, Shrink(), store=store)
    assert {world: sorted(paths) for world, paths in store.weights.items()} == {
        world: [0, 1, 2, 3] for world in found.worlds
    }
    module, _ = load_network(store.weights["unlearned"][3], tiny())
    with torch.no_grad():
        outputs = module(torch.tensor(task.X)).double()
    own = torch.tensor(task.y)[:, None]
    phi = outputs.gather(1, own)[:, 0] - outputs.scatter(1, own, -torch.inf).logsumexp(dim=1)
    np.testing.assert_allclose(found.get("unlearned")[3], phi, rtol=1e-4, atol=1e-4)
    again = FleetStore(tmp_path)
    assert same(run_fleet(task, plan, assignment, Shrink(), store=again), found)
    assert again.weights == store.weights
    store.weights["retrained"][0].write_bytes(b"other")
    with pytest.warns(UserWarning, match="missing or changed"):
        assert same(run_fleet(task, plan, assignment, Shrink(), store=FleetStore(tmp_path)), found)


def test_what_was_chosen_is_kept(tmp_path, monkeypatch):
    """A trial that would come out otherwise does not change a fleet that is taken up."""
    task, plan, assignment = small_fleet(4, backend="auto", block=None)
    first = run_fleet(task, plan, assignment, Shrink(), store=tmp_path)
    monkeypatch.setattr("certify.attacks.fleets.fleet.survey", None)
    assert same(run_fleet(task, plan, assignment, Shrink(), store=tmp_path), first)


def test_a_store_that_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made a folder"):
        FleetStore(tmp_path / "file")


def test_code_is_told_apart_by_what_it_does():
    def closing_over(width):
        return lambda: nn.Linear(64, width)

    assert fingerprint(closing_over(3), "it") == fingerprint(closing_over(3), "it")
    assert fingerprint(closing_over(3), "it") != fingerprint(closing_over(4), "it")
    assert fingerprint(Shrink(0.5), "it") != fingerprint(Shrink(0.6), "it")
    assert (
        fingerprint(by_global, "it") != fingerprint(tiny, "it") or by_global.__code__.co_code == tiny.__code__.co_code
    )


def test_globals_that_code_reads_are_part_of_it(monkeypatch):
    def build():
        return nn.Linear(64, WIDTH)

    before = fingerprint(build, "it")
    monkeypatch.setitem(build.__globals__, "WIDTH", 9)
    assert fingerprint(build, "it") != before


def test_helpers_that_code_calls_are_part_of_it(tmp_path, monkeypatch):
    def version(body):
        folder = tmp_path / body
        folder.mkdir()
        (folder / "own_helper.py").write_text(f"def width():\n    return {body}\n")
        (folder / "own_model.py").write_text("import own_helper\n\ndef build():\n    return own_helper.width()\n")
        monkeypatch.syspath_prepend(str(folder))
        for name in ("own_helper", "own_model"):
            sys.modules.pop(name, None)
        import own_model  # type: ignore[import-not-found]

        return fingerprint(own_model.build, "it")

    assert version("3") != version("4")
    for name in ("own_helper", "own_model"):
        sys.modules.pop(name, None)


def test_what_cannot_be_read_is_refused_or_stood_for():
    generator = torch.Generator()

    def build():
        return generator

    with pytest.raises(ConfigurationError, match="cannot tell whether it has changed since: it holds a Generator"):
        fingerprint(build, "it")
    assert fingerprint(build, "it", "one") != fingerprint(build, "it", "two")
