"""Every method keeps to one device: on a fake one here, on a GPU where there is one (``pytest -m gpu``)."""

from contextlib import contextmanager
from dataclasses import fields
from typing import Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch
from every_method import NAMES, changed, fitting, perceptron, quick, tiny
from fake_device import DEVICE, MixedDevicesError, fake_device

from certify import unlearners
from certify.core.errors import CertifyError
from certify.models.networks import State
from certify.models.networks.generators import seeded_generators
from certify.unlearners import Request
from certify.unlearners.networks.checkpoint import Checkpoint
from certify.unlearners.networks.shards import load, save


def requests(models):
    return [Request(np.arange(4 * k, 4 * k + 5)) for k in range(models)]


def fleet(name, task, models):
    results = quick(name).forget_fleet(task, requests(models), seeds=[5, 6, 7][:models])
    return [{**s.parameters, **s.buffers} for s in (State.of(result.model) for result in results)]


def test_the_fake_device_refuses_what_cuda_refuses():
    with fake_device():
        there, here = torch.ones(3, device=DEVICE), torch.ones(3)
        for wrong in (lambda: there + here, there.numpy, lambda: here[there.long()], lambda: torch.cat([there, here])):
            with pytest.raises(MixedDevicesError):
                wrong()
        for fine in (there + torch.tensor(1.0), there[here.long()], here.to(there.device), there * 2):
            assert fine.device == DEVICE
        assert there.cpu().numpy().sum() == 3
        second = torch.func.jvp(torch.func.grad(lambda w: (w**3).sum()), (there,), (2 * there,))[1]
        assert second.device == DEVICE
        assert second.tolist() == [12.0] * 3


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_mixed_with_tensors_of_the_cpu(name, monkeypatch):
    monkeypatch.setattr("certify.unlearners.networks.task.DEVICES", ("cpu", "cuda", "meta"))
    with fake_device():
        fleet(name, changed(fitting(name), device="meta"), 2)


def words(hint):
    """What a knob may say, where it has a few words."""
    return [word for part in (hint, *get_args(hint)) if get_origin(part) is Literal for word in get_args(part)]


def ways():
    """Each method under each other word of each of its knobs."""
    for name in NAMES:
        kind, hints = unlearners.get(name), get_type_hints(unlearners.get(name))
        for knob in fields(kind):
            others = [not knob.default] if isinstance(knob.default, bool) else words(hints[knob.name])
            for other in others:
                if other != knob.default:
                    yield pytest.param(
                        name, {knob.name: other}, id=f"{name}-{knob.name}-{other}", marks=pytest.mark.slow
                    )


MORE = [
    pytest.param(name, knobs, id=f"{name}-{'-'.join(map(str, knobs))}")
    for name, knobs in (
        ("ngd-minmax", {"curvature": "low-rank", "rank": 2}),
        ("ngd-minmax", {"first": "perturb", "bound": 1.0, "clip": 1.0}),
        ("ngd-minmax", {"curvature_records": 4, "refresh": 2}),
        ("influence", {"form": "newton", "curvature": "hessian", "damping": 5.0}),
        ("damped-newton", {"solver": "cg", "curvature": "gauss-newton"}),
        ("scrub", {"rewind": True}),
        ("gradient-ascent", {"bound": 0.5}),
        ("eu-k", {"parts": "hidden"}),
    )
]


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr("certify.unlearners.networks.task.DEVICES", ("cpu", "cuda", "meta"))
    with fake_device():
        yield


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(("name", "knobs"), [*ways(), *MORE])
def test_no_way_through_a_method_mixes_devices(name, knobs):
    task = changed(fitting(name, statistics=True), device="meta")
    try:
        quick(name, **knobs).forget_fleet(task, requests(3), seeds=[5, 6, 7])
    except CertifyError as error:
        refusal = str(error)
    else:
        refusal = ""
    assert "raised" not in refusal  # a method may refuse the knob, and nothing may break inside the model


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(
    "knobs", [{}, {"fit": "descent", "optimiser": "sgd"}, {"algorithm": "alternating", "labels": "soft"}]
)
def test_relabelling_a_head_by_its_theorem_mixes_nothing(knobs):
    task = tiny(loss="squared", trainable=("head.*",), device="meta", recipe=None)
    task = changed(task, initial=task.model)
    quick("muso", **knobs).forget_fleet(task, requests(2))


class StopsError(Exception):
    """Stands for a kill signal."""


class Stopping(Checkpoint):
    def save(self, content):
        super().save(content)
        raise StopsError


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_taken_up_on_the_device_it_was_on(name, tmp_path):
    task, path = changed(fitting(name), device="meta"), tmp_path / "run.checkpoint"
    try:
        quick(name).forget_fleet(task, requests(2), checkpoint=Stopping(path, interval=0.0))
    except StopsError:
        quick(name).forget_fleet(task, requests(2), checkpoint=Checkpoint(path))


@pytest.mark.usefixtures("fake")
def test_an_ensemble_forgets_again_on_its_device(tmp_path):
    sisa = quick("sisa", shards=2, slices=2)
    task = changed(fitting("sisa"), device="meta")
    ready = sisa.prepare(task, seed=1)
    first = sisa.forget(ready, Request.at(ready, np.arange(3)))
    digest = save(tmp_path / "sisa.safetensors", first.state)
    state = load(tmp_path / "sisa.safetensors", task, digest)
    sisa.forget(state, Request.at(state, np.array([7])))


@pytest.mark.usefixtures("fake")
def test_what_else_a_fleet_is_given_goes_to_its_device():
    task = changed(fitting("retrain"), device="meta", train=lambda *_: perceptron())
    quick("retrain").forget_fleet(task, requests(2))
    plain = changed(fitting("fine-tune"), device="meta")
    starts = State.of(plain.model).repeat(2)
    quick("fine-tune").forget_fleet(plain, requests(2), starts=starts, trajectory=True)
    quick("fine-tune").forget_fleet(plain, requests(3), at_once=2)


class Gpus:
    """Two of them, as far as their generators go."""

    def __init__(self, monkeypatch, *, used=True):
        self.states, self.current = {0: "first", 1: "second"}, 0
        stand_ins = {
            "is_initialized": lambda: used,
            "device_count": lambda: 2,
            "current_device": lambda: self.current,
            "get_rng_state": lambda device: self.states[device],
            "set_rng_state": lambda state, device: self.states.update({device: state}),
            "manual_seed": lambda seed: self.states.update({self.current: seed}),
            "device": self.entered,
        }
        for name, value in stand_ins.items():
            monkeypatch.setattr(torch.cuda, name, value)

    @contextmanager
    def entered(self, gpu):
        before, self.current = self.current, gpu
        yield
        self.current = before


@pytest.mark.parametrize(
    ("device", "inside"),
    [
        (None, {0: 7, 1: 7}),
        (torch.device("cuda:1"), {0: "first", 1: 7}),
        (torch.device("cuda"), {0: 7, 1: "second"}),
        (torch.device("cpu"), {0: "first", 1: "second"}),
    ],
)
def test_the_generators_of_gpus_are_seeded_and_given_back(monkeypatch, device, inside):
    gpus, cpu = Gpus(monkeypatch), torch.get_rng_state()
    with seeded_generators(7, device):
        assert gpus.states == inside
    assert gpus.states == {0: "first", 1: "second"}
    assert torch.equal(cpu, torch.get_rng_state())


def test_gpus_that_nobody_uses_are_not_woken(monkeypatch):
    gpus = Gpus(monkeypatch, used=False)
    with seeded_generators(7):
        assert gpus.states == {0: "first", 1: "second"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")
@pytest.mark.parametrize("models", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_a_gpu_ends_where_the_cpu_ends(name, models):
    """In double precision, where the order of sums is all that differs."""
    task = fitting(name, torch.float64)
    for cpu, gpu in zip(fleet(name, task, models), fleet(name, changed(task, device="cuda"), models), strict=True):
        for key, value in cpu.items():
            torch.testing.assert_close(gpu[key].cpu(), value, rtol=1e-5, atol=1e-6)
