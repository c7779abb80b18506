"""Training K models is training each; what is done is counted; what is not finite is refused."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from certify.core.errors import ConfigurationError, InputError
from certify.models.networks import Adam, Bench, Network, Recipe, Sgd, State, epochs
from certify.models.networks.losses import cross_entropy

RECIPES = {
    "sgd": Recipe("sgd", lr=0.1, epochs=3, batch_size=8, momentum=0.9, weight_decay=0.01, schedule="cosine"),
    "adam": Recipe("adam", lr=0.01, epochs=3, batch_size=8, schedule="steps", warmup=0.2),
    "adamw": Recipe("adamw", lr=0.01, epochs=2, batch_size=7, weight_decay=0.1),
}
RECORDS = [np.arange(30), np.arange(5, 50), np.arange(3)]


def build(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)).double()


def bench(models=3, **more):
    generator = torch.Generator().manual_seed(1)
    X = torch.randn(50, 6, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 3, (50,), generator=generator)
    return Bench(Network.of(build()), X, y, seeds=tuple(range(4, 4 + models)), **more)


def plainly(start, work, rows, recipe, seed):
    """The same training, written with torch.optim on one module."""
    module = copy.deepcopy(start).train()
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimiser]
    more = {"momentum": recipe.momentum} if recipe.optimiser == "sgd" else {}
    optimiser = kind(module.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, **more)
    batches = list(epochs([rows], batch_size=recipe.batch_size, count=recipe.epochs, seeds=[seed], name="train"))
    for place, batch in enumerate(batches):
        for group in optimiser.param_groups:
            group["lr"] = recipe.lr * recipe.factor(place / len(batches))
        optimiser.zero_grad()
        nn.functional.cross_entropy(module(work.X[batch.indices[0]]), work.y[batch.indices[0]]).backward()
        optimiser.step()
    return State.of(module)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_training_a_stack_is_training_each_by_torch(recipe):
    work, starts = bench(), [build(seed) for seed in range(3)]
    found = work.train(State.of(*starts), RECORDS, recipe)
    for k, rows in enumerate(RECORDS):
        expected = plainly(starts[k], work, rows, recipe, 4 + k)
        for name, value in {**expected.parameters, **expected.buffers}.items():
            own = found.parameters.get(name, found.buffers.get(name))[k]
            torch.testing.assert_close(own, value[0], rtol=1e-8, atol=1e-10)
    assert work.counts["gradients"] == recipe.epochs * sum(map(len, RECORDS))
    assert work.counts["steps"] == recipe.epochs * sum(-(-len(rows) // recipe.batch_size) for rows in RECORDS)


def test_mean_gradients_and_products_do_not_depend_on_the_batch():
    work, state = bench(), State.of(*(build(seed) for seed in range(3)))
    whole = work.mean_gradient(state, RECORDS)
    small = work.mean_gradient(state, RECORDS, batch_size=4)
    assert work.counts["gradients"] == 2 * sum(map(len, RECORDS))
    vector = whole.tensors
    for gauss_newton in (False, True):
        one, two = (
            work.mean_product(state, vector, RECORDS, gauss_newton=gauss_newton, batch_size=b) for b in (500, 4)
        )
        for name in one:
            torch.testing.assert_close(one[name], two[name], rtol=1e-10, atol=1e-12)
    for name in vector:
        torch.testing.assert_close(vector[name], small.tensors[name], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(whole.values, small.values)
    for k, rows in enumerate(RECORDS):
        loss = nn.functional.cross_entropy(build(k).eval()(work.X[rows]), work.y[rows])
        assert float(whole.values[k]) == pytest.approx(float(loss.detach()), rel=1e-12)


def test_outputs_come_in_the_order_asked_for():
    work, state = bench(), State.of(*(build(seed) for seed in range(3)))
    rows = [np.array([7, 3, 9, 1]), np.arange(20), np.array([4])]
    for k, found in enumerate(work.outputs_of(state, rows, batch_size=3)):
        torch.testing.assert_close(found, build(k).eval()(work.X[rows[k]]).detach(), rtol=1e-10, atol=1e-12)
    assert work.counts["forwards"] == 25


def test_nothing_to_read_gives_nothing():
    work, state = bench(), State.of(*(build(seed) for seed in range(3)))
    none = [np.array([], dtype=int)] * 3
    assert not any(bool(g.any()) for g in work.mean_gradient(state, none).tensors.values())
    assert not any(bool(g.any()) for g in work.mean_product(state, work.network.moving(state), none).values())
    assert [len(part) for part in work.outputs_of(state, none)] == [0, 0, 0]
    some = work.mean_gradient(state, [RECORDS[0], none[0], RECORDS[2]])
    assert not any(bool(g[1].any()) for g in some.tensors.values())


def test_a_step_can_be_clipped_for_each_model():
    work, state = bench(), State.of(*(build(seed) for seed in range(3)))
    gradient = work.mean_gradient(state, RECORDS)
    length = torch.stack([g.flatten(1).square().sum(1) for g in gradient.tensors.values()]).sum(0).sqrt()
    limit = float(length.median())
    optimiser = Sgd(1.0)
    after, _ = work.step(optimiser, state, gradient, optimiser.start(work.network.moving(state)), clip=limit)
    moved = (
        torch.stack([(after.parameters[n] - v).flatten(1).square().sum(1) for n, v in state.parameters.items()])
        .sum(0)
        .sqrt()
    )
    torch.testing.assert_close(moved, length.clamp(max=limit))


def test_what_is_not_finite_is_refused_with_the_step_and_the_model():
    work, state = bench(), State.of(*(build(seed) for seed in range(3)))
    optimiser = Adam(1e-3)
    memory = optimiser.start(work.network.moving(state))
    gradient = work.mean_gradient(state, RECORDS)
    state, memory = work.step(optimiser, state, gradient, memory)
    bad = gradient.with_tensors({n: g.clone() for n, g in gradient.tensors.items()})
    bad.tensors["0.weight"][1] = float("nan")
    with pytest.raises(InputError, match="training: the loss or a weight of model 1 is not finite after step 2"):
        work.step(optimiser, state, bad, memory)


def test_a_penalty_changes_the_gradient_before_the_step():
    work, state = bench(1), State.of(build())
    recipe = Recipe("sgd", lr=0.1, epochs=1, batch_size=50)
    still = work.train(state, RECORDS[:1], recipe, adapt=lambda gradient, _: gradient.scaled(0.0))
    assert all(torch.equal(still.parameters[n], v) for n, v in state.parameters.items())


@pytest.mark.parametrize(
    ("settings", "trouble"),
    [
        ({"lr": 0.0}, r"recipe\.lr: 0(\.0)? makes no sense"),
        ({"epochs": 0}, r"recipe\.epochs"),
        ({"optimiser": "lion"}, r"recipe\.optimiser: 'lion'"),
        ({"momentum": 0.9}, "adam has no momentum"),
        ({"warmup": 1.0}, r"recipe\.warmup"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(settings, trouble):
    with pytest.raises(ConfigurationError, match=trouble):
        Recipe(**settings)


def test_the_loss_of_the_bench_is_the_one_it_was_given():
    plain, doubled = bench(1), bench(1, loss=lambda z, y: 2 * cross_entropy(z, y))
    state = State.of(build())
    one, two = (w.mean_gradient(state, RECORDS[:1]) for w in (plain, doubled))
    torch.testing.assert_close(2 * one.values, two.values)
