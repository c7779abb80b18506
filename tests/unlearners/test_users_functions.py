"""What users hand in: forwards that work in place, odd parameters, functions that use any global generator or return anything."""

import random
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
from every_method import NAMES, RECIPE, fitting, forgotten, quick
from torch import nn

from certify.core.errors import ConfigurationError, InputError
from certify.models.networks import State
from certify.unlearners import NetworkTask, Request

every_method = pytest.mark.parametrize("name", NAMES)


class InPlace(nn.Module):
    """Halves what it is given, there."""

    def forward(self, x):
        return x.mul_(0.5)


class Aside(nn.Module):
    """Halves a copy."""

    def forward(self, x):
        return x * 0.5


def behind(task, kind):
    """The task's networks behind another first layer."""

    def put(model):
        return nn.Sequential(OrderedDict(first=kind(), **dict(model.named_children())))

    build = task.architecture
    return replace(task, model=put(task.model), initial=put(task.initial), architecture=lambda: put(build()))


@every_method
@pytest.mark.parametrize("statistics", [False, True])
def test_a_forward_that_works_in_place_changes_no_record_and_no_result(name, statistics):
    found = []
    for kind in (InPlace, Aside):
        task = behind(fitting(name, statistics=statistics), kind)
        given = torch.as_tensor(task.X).clone()
        requests = [Request.at(task, np.arange(4)), Request.at(task, np.arange(3, 12))]
        results = (
            [forgotten(quick(name), task, requests[0])] if name == "sisa" else quick(name).forget_fleet(task, requests)
        )
        assert torch.equal(torch.as_tensor(task.X), given)
        found.append([State.of(result.model).digest() for result in results])
    assert found[0] == found[1]


class Temperature(nn.Module):
    """A parameter that is a single number, as temperatures are; one without a number; whole numbers; a complex buffer."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([2, 1, 3, 1]), requires_grad=False)
        self.temperature = nn.Parameter(torch.tensor(1.5))
        self.nothing = nn.Parameter(torch.empty(0))
        self.head = nn.Linear(4, 3)
        self.register_buffer("turns", torch.tensor([1 + 2j, 3 - 1j]))
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, x):
        return self.head(x * self.scale) * self.temperature


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.head(torch.tanh(self.b(torch.tanh(self.a(x)))))


def drawn(build, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def task_of(build, **more):
    X, y = np.random.default_rng(0).normal(size=(33, 4)), np.arange(33) % 3
    initial = drawn(build, 71)
    settings = {"held_out": (X[:9] + 0.5, y[:9]), "recipe": RECIPE, "architecture": build, "initial": initial, **more}
    return NetworkTask(drawn(build, 70), X, y, **settings)


@pytest.mark.parametrize("build", [Temperature, Tied])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "ct"])
def test_odd_parameters_are_carried_along_alone_and_in_a_fleet(name, build):
    task = task_of(build)
    request = Request.at(task, np.arange(7))
    results = [forgotten(quick(name), task, request)]
    if name not in {"sisa", "damped-newton", "pinv-newton"}:  # no fleet; steps along noise in single precision
        results += quick(name).forget_fleet(task, [request, Request.at(task, np.arange(0, 33, 3))])
        for key, value in results[0].state.parameters.items():
            torch.testing.assert_close(results[1].state.parameters[key], value, rtol=1e-4, atol=1e-4)
    for result in results:
        for part in result.model.members if name == "sisa" else [result.model]:
            if build is Tied:
                assert part.a.weight is part.b.weight
            else:
                assert part.scale.tolist() == [2, 1, 3, 1]
                assert part.turns.tolist() == [1 + 2j, 3 - 1j]
                assert part.temperature.shape == ()
        assert np.isfinite(result.evidence.moved)


def test_records_keep_their_digits_where_whole_numbers_are_the_first_parameter():
    task = task_of(Temperature)
    assert task.tensors(torch.device("cpu"))[0].dtype == torch.float32
    found = forgotten(quick("fine-tune"), task, Request.at(task, np.arange(7))).evidence.traces["retain"][0]
    rounded = replace(task, X=np.trunc(task.X))
    other = forgotten(quick("fine-tune"), rounded, Request.at(rounded, np.arange(7))).evidence.traces["retain"][0]
    assert abs(found - other) > 1e-3


class Complex(nn.Module):
    """A parameter of complex numbers."""

    def __init__(self):
        super().__init__()
        self.turn, self.head = nn.Parameter(torch.ones(4, dtype=torch.complex64)), nn.Linear(4, 3)

    def forward(self, x):
        return self.head((x * self.turn).real)


def test_complex_parameters_are_refused_by_name():
    with pytest.raises(InputError, match="model: the parameter turn holds complex numbers"):
        task_of(Complex)


def test_a_head_that_shares_its_weight_is_no_head_to_relabel_for():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.head = nn.Linear(4, 3, bias=False), nn.Linear(4, 3)
            self.head.weight = self.a.weight

        def forward(self, x):
            return self.head(x) + torch.tanh(self.a(x))

    task = task_of(Shared)
    with pytest.raises(ConfigurationError, match="the head 'head' shares its weight with another layer"):
        quick("muso").forget(task, Request.at(task, np.arange(7)))


@pytest.mark.parametrize("name", ["eu-k", "cf-k", "not", "fisher-forgetting"])
def test_a_network_of_one_layer_is_its_own_last_layer(name):
    task = task_of(lambda: nn.Linear(4, 3))
    result = quick(name).forget(task, Request.at(task, np.arange(7)))
    assert {change.name for change in result.evidence.tensors if change.changed} == {"weight", "bias"}
    if name == "fisher-forgetting":
        other = quick(name, head_factor=0.0).forget(task, Request.at(task, np.arange(7)))
        assert other.evidence.moved == 0


def everywhere():
    """Where the global generators stand, and the settings that a function may leave changed."""
    return (
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),  # noqa: NPY002
        random.getstate(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
    )


def by_other_generators():
    """A network drawn by NumPy's and Python's own generators; what it sets it leaves so."""
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    model = nn.Linear(4, 3).float()
    numbers = np.random.normal(size=(3, 4)) * random.uniform(0.5, 1.5)  # noqa: NPY002
    model.weight.copy_(torch.from_numpy(numbers))
    return model.requires_grad_()


@pytest.mark.parametrize("name", ["retrain", "eu-k", "bad-teacher", "sisa", "by a function"])
def test_functions_may_draw_from_any_generator_and_leave_none_changed(name):
    def train(X, y, _):
        X[:], y[:] = 0, 0  # they are the function's own
        return by_other_generators()

    own = name == "by a function"
    task = task_of(lambda: nn.Linear(4, 3), architecture=by_other_generators, train=train if own else None)
    before, X, y = everywhere(), task.X.copy(), task.y.copy()
    method, request = quick("retrain" if own else name), Request.at(task, np.arange(7))
    with torch.enable_grad():
        first, again, other = (State.of(method.forget(task, request, seed=seed).model).digest() for seed in (3, 3, 4))
    assert first == again
    assert first != other
    assert everywhere() == before
    assert np.array_equal(task.X, X)
    assert np.array_equal(task.y, y)


RETURNED = {
    "a wrapper": (lambda: nn.DataParallel(nn.Linear(4, 3)), "makes a model with other tensors than the original's"),
    "other numbers": (lambda: nn.Linear(4, 3).double(), "makes a model with other tensors than the original's"),
    "other shapes": (lambda: nn.Linear(4, 5), "makes a model with other tensors than the original's"),
    "weights": (lambda: nn.Linear(4, 3).state_dict(), r"the function returned an? \w+, not a torch module"),
    "a class": (lambda: nn.Linear, "the function returned a type, not a torch module"),
    "no parameters": (nn.Tanh, "the model has no parameters"),
}


@pytest.mark.parametrize("place", ["architecture", "train"])
@pytest.mark.parametrize(("build", "trouble"), RETURNED.values(), ids=RETURNED)
def test_whatever_a_function_returns_is_one_line(build, trouble, place):
    def train(*_):
        return build()

    task = task_of(lambda: nn.Linear(4, 3), **({"train": train} if place == "train" else {"architecture": build}))
    with pytest.raises((InputError, ConfigurationError), match=trouble) as error:
        quick("retrain").forget(task, Request.at(task, np.arange(7)))
    assert "\n" not in str(error.value)
