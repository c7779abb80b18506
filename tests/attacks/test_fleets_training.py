"""A fleet's models are those that ordinary torch would train, one by one."""

import copy

import numpy as np
import pytest
import torch
from small_networks import Convolutional, digits, perceptron
from torch import nn

from certify.attacks.fleets.blocks import Job, make_block
from certify.attacks.fleets.fleet import FleetPlan, FleetTask
from certify.attacks.fleets.fresh import seed_of
from certify.attacks.observations import Cell
from certify.core.streams import stream
from certify.models.networks import Recipe

RECIPES = {
    "adam": (Recipe("adam", lr=5e-3, epochs=4, batch_size=16), torch.optim.Adam, {}),
    "adamw": (
        Recipe("adamw", lr=5e-3, epochs=4, batch_size=16, weight_decay=0.1),
        torch.optim.AdamW,
        {"weight_decay": 0.1},
    ),
    "sgd": (
        Recipe("sgd", lr=0.1, epochs=4, batch_size=16, momentum=0.9, weight_decay=1e-3),
        torch.optim.SGD,
        {"momentum": 0.9, "weight_decay": 1e-3},
    ),
    "cosine": (Recipe("sgd", lr=0.1, epochs=4, batch_size=16, schedule="cosine", warmup=0.2), torch.optim.SGD, {}),
}


class Dropped(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 10))


class Normalised(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10))


def plain(build, recipe, optimiser, knobs, rows, seed, kind):
    """One model by autograd, ``torch.optim`` and a loop: nothing of ours but the order of the records and the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = build().to(kind).train()
    X, y = (torch.tensor(part) for part in digits())
    X = X.to(kind)
    stepper, steps = optimiser(module.parameters(), lr=recipe.lr, **knobs), -(-len(rows) // recipe.batch_size)
    for epoch in range(recipe.epochs):
        order = stream(seed, f"train/{epoch}").permutation(rows)
        for step in range(steps):
            part = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
            stepper.param_groups[0]["lr"] = recipe.lr * recipe.factor((epoch * steps + step) / (steps * recipe.epochs))
            stepper.zero_grad()
            nn.functional.cross_entropy(module(X[part]), y[part]).backward()
            stepper.step()
    return module


def uneven(models=5, records=120):
    """Rows with different numbers of records, so that last batches are padded and some models take more steps."""
    generator = np.random.default_rng(0)
    rows = np.zeros((models, records), dtype=np.int8)
    for model, row in enumerate(rows):
        row[generator.permutation(records)[: 50 + 9 * model]] = Cell.RETAIN
    return rows


def made(build, recipe, backend, kind, rows, **more):
    X, y = (part[: rows.shape[1]] for part in digits())
    task = FleetTask(lambda: build().to(kind), X, y)
    plan = FleetPlan(recipe, seed=3, keep_parameters=True, stored="float64", **more)
    found = make_block(task, Job(0, plan, None, ("original",), tuple(range(len(rows))), rows, backend))
    assert found.failure is None
    return found


def apart(state, model, module):
    """Largest difference to a module's tensors, relative to the largest entry of each."""
    theirs = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    own = {**state.parameters, **state.buffers}
    assert set(own) == set(theirs)
    return max(
        float(
            (own[n][model].double() - v.detach().double()).abs().max() / v.detach().double().abs().max().clamp(min=1e-3)
        )
        for n, v in theirs.items()
    )


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("backend", ["vmap", "loop"])
@pytest.mark.parametrize("build", [perceptron, Convolutional])
def test_a_fleet_is_a_loop_of_ordinary_torch(build, backend, name):
    recipe, optimiser, knobs = RECIPES[name]
    rows = uneven()
    found = made(build, recipe, backend, torch.float64, rows)
    for model, row in enumerate(rows):
        seed = seed_of(3, "original", model)
        module = plain(build, recipe, optimiser, knobs, np.flatnonzero(row), seed, torch.float64)
        assert apart(found.states["original"], model, module) < 1e-6


@pytest.mark.parametrize("backend", ["vmap", "loop"])
def test_in_single_precision_too(backend):
    recipe = Recipe("sgd", lr=0.05, epochs=4, batch_size=16)
    rows = np.ones((4, 100), dtype=np.int8)
    found = made(perceptron, recipe, backend, torch.float32, rows)
    for model in range(4):
        module = plain(
            perceptron, recipe, torch.optim.SGD, {}, np.arange(100), seed_of(3, "original", model), torch.float32
        )
        assert apart(found.states["original"], model, module) < 2e-6


def test_dropout_draws_for_each_model_by_itself():
    recipe = Recipe("sgd", lr=0.1, epochs=2, batch_size=16)
    rows = uneven(4)
    whole = made(Dropped, recipe, "vmap", torch.float64, rows).states["original"]
    X, y = (part[:120] for part in digits())
    task = FleetTask(lambda: Dropped().double(), X, y)
    plan = FleetPlan(recipe, seed=3, keep_parameters=True)
    last = make_block(task, Job(3, plan, None, ("original",), (3,), rows[3:], "vmap")).states["original"]
    for name, value in last.parameters.items():
        assert torch.equal(value[0], whole.parameters[name][3])
    assert len({whole.digest(model) for model in range(4)}) == 4


def test_a_lone_record_at_the_end_of_a_pass_is_normalised_by_the_running_statistics():
    rows = np.ones((3, 33), dtype=np.int8)
    found = made(Normalised, Recipe("sgd", lr=0.1, epochs=1, batch_size=16), "vmap", torch.float64, rows)
    assert bool(found.states["original"].is_finite().all())
    assert found.states["original"].buffers["1.num_batches_tracked"].tolist() == [2, 2, 2]


def test_the_callers_state_of_torch_is_as_it_was():
    before = torch.get_rng_state()
    with torch.no_grad():
        made(
            copy.deepcopy(Dropped),
            Recipe(epochs=1),
            "vmap",
            torch.float32,
            uneven(2),
            precision="tf32",
            deterministic=True,
        )
        assert not torch.is_grad_enabled()
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.are_deterministic_algorithms_enabled()
