"""The optimisers are those of torch.optim, model by model; models that rest and masked weights do not move by a bit."""

import pytest
import torch
from torch import nn

from certify.models.networks import Adam, Recipe, Sgd
from certify.models.networks.recipe import optimiser_of

CASES = {
    "sgd": (Sgd(0.1), torch.optim.SGD, {"lr": 0.1}),
    "sgd-decay": (Sgd(0.1, 0.05), torch.optim.SGD, {"lr": 0.1, "weight_decay": 0.05}),
    "sgd-momentum": (
        Sgd(0.1, 0.05, momentum=0.9),
        torch.optim.SGD,
        {"lr": 0.1, "weight_decay": 0.05, "momentum": 0.9},
    ),
    "sgd-nesterov": (
        Sgd(0.1, 0.05, momentum=0.9, nesterov=True),
        torch.optim.SGD,
        {"lr": 0.1, "weight_decay": 0.05, "momentum": 0.9, "nesterov": True},
    ),
    "adam": (Adam(0.1), torch.optim.Adam, {"lr": 0.1}),
    "adam-decay": (Adam(0.1, 0.05), torch.optim.Adam, {"lr": 0.1, "weight_decay": 0.05}),
    "adam-other-moments": (
        Adam(0.1, beta1=0.5, beta2=0.9, eps=1e-3),
        torch.optim.Adam,
        {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3},
    ),
    "adamw": (Adam(0.1, 0.05, decoupled=True), torch.optim.AdamW, {"lr": 0.1, "weight_decay": 0.05}),
}
MODELS, STEPS = 3, 7


def draw(seed=0):
    """Parameters of three models and gradients of seven steps."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"weight": (MODELS, 4, 3), "bias": (MODELS, 4), "scalar": (MODELS,)}
    return [
        {n: torch.randn(s, generator=generator, dtype=torch.float64) for n, s in shapes.items()}
        for _ in range(STEPS + 1)
    ]


@pytest.mark.parametrize(("ours", "theirs", "settings"), CASES.values(), ids=CASES)
def test_each_model_takes_torchs_steps_and_rests_when_it_is_told(ours, theirs, settings):
    parameters, *gradients = draw()
    references = [{n: nn.Parameter(v[k].clone()) for n, v in parameters.items()} for k in range(MODELS)]
    optimisers = [theirs(list(reference.values()), **settings) for reference in references]
    memory = ours.start(parameters)
    for step, gradient in enumerate(gradients):
        active = torch.tensor([True, step % 2 == 0, step < 3])
        before, kept = parameters, memory
        parameters, memory = ours.step(parameters, gradient, memory, active=active)
        for k in range(MODELS):
            if active[k]:
                for name, value in references[k].items():
                    value.grad = gradient[name][k].clone()
                optimisers[k].step()
            else:
                assert all(torch.equal(before[n][k], parameters[n][k]) for n in parameters)
                slots = [(kept.slots[s][n][k], memory.slots[s][n][k]) for s in memory.slots for n in parameters]
                assert all(torch.equal(old, new) for old, new in slots)
            for name, value in references[k].items():
                torch.testing.assert_close(parameters[name][k], value.detach(), rtol=1e-12, atol=1e-14)
    assert memory.steps.tolist() == [7, 4, 3]


@pytest.mark.parametrize("ours", [case[0] for case in CASES.values()], ids=CASES)
def test_masked_weights_stay_and_the_others_move_as_without_a_mask(ours):
    parameters, *gradients = draw()
    mask = {n: torch.rand(v.shape, generator=torch.Generator().manual_seed(1)) < 0.5 for n, v in parameters.items()}
    held = free = parameters
    one, two = ours.start(parameters), ours.start(parameters)
    for gradient in gradients:
        held, one = ours.step(held, gradient, one, mask=mask)
        free, two = ours.step(free, gradient, two)
    for name, value in parameters.items():
        assert torch.equal(held[name][~mask[name]], value[~mask[name]])
        assert torch.equal(held[name][mask[name]], free[name][mask[name]])


@pytest.mark.parametrize("ours", [case[0] for case in CASES.values()], ids=CASES)
def test_a_factor_multiplies_the_step_size_of_each_model(ours):
    from dataclasses import replace

    parameters, gradient, *_ = draw()
    factors = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)
    found, _ = ours.step(parameters, gradient, ours.start(parameters), factor=factors)
    for k, factor in enumerate(factors.tolist()):
        alone = replace(ours, lr=ours.lr * factor)
        expected, _ = alone.step(parameters, gradient, alone.start(parameters))
        for name in parameters:
            torch.testing.assert_close(found[name][k], expected[name][k], rtol=1e-12, atol=1e-14)
    assert all(torch.equal(found[n][2], parameters[n][2]) for n in parameters)


def test_parameters_without_a_gradient_stay_and_the_inputs_are_not_written_to():
    parameters, gradient, *_ = draw()
    before = {n: v.clone() for n, v in parameters.items()}
    optimiser = Adam(0.1)
    found, _ = optimiser.step(parameters, {"bias": gradient["bias"]}, optimiser.start({"bias": parameters["bias"]}))
    assert found["weight"] is parameters["weight"]
    assert not torch.equal(found["bias"], parameters["bias"])
    assert all(torch.equal(before[n], v) for n, v in parameters.items())


def test_optimisers_have_names():
    assert optimiser_of("sgd", lr=0.1, momentum=0.5, weight_decay=0.2) == Sgd(0.1, 0.2, 0.5)
    assert optimiser_of("adam", lr=0.1, weight_decay=0.2) == Adam(0.1, 0.2)
    assert optimiser_of("adamw", lr=0.1, weight_decay=0.2) == Adam(0.1, 0.2, decoupled=True)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "steps"])
def test_schedules_are_what_they_say(schedule):
    recipe = Recipe(schedule=schedule)
    expected = {"constant": [1, 1, 1, 1], "cosine": [1, 0.5, 0.0954915, 0.0244717], "steps": [1, 1, 0.1, 0.01]}[
        schedule
    ]
    found = [recipe.factor(done) for done in (0, 0.5, 0.8, 0.9)]
    assert found == pytest.approx(expected, abs=1e-6)


def test_a_warm_up_grows_to_the_full_step():
    recipe = Recipe(warmup=0.2)
    found = [recipe.factor(done) for done in (0, 0.05, 0.1, 0.19, 0.2, 0.9)]
    assert 0 < found[0] < 0.02
    assert found[:4] == sorted(found[:4])
    assert found[3] < 1
    assert found[4:] == [1, 1]
