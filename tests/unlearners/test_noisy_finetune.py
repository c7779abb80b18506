"""Noisy fine-tuning: fine-tuning and noise of the given size, and no claim."""

import numpy as np
import pytest
import torch
from small_networks import perceptron_task

from certify import unlearners
from certify.unlearners import Claim, Request


def weights(method, seed=0, rows=20):
    task = perceptron_task()
    state = method.forget(task, Request.at(task, np.arange(rows)), seed=seed).state
    return torch.cat([value.flatten() for value in state.parameters.values()])


def test_without_noise_it_is_fine_tuning_and_with_it_the_noise_adds_up():
    knobs = {"batch_size": 70, "epochs": 1, "lr": 1e-9, "momentum": 0.0}
    plain = weights(unlearners.get("fine-tune")(**knobs))
    still, noisy = (weights(unlearners.get("noisy-fine-tune")(noise=n, **knobs)) for n in (0.0, 0.01))
    assert torch.equal(plain, still)
    assert float((noisy - still).std()) == pytest.approx(0.01 * 2.0, rel=0.1)  # four steps
    assert abs(float((noisy - still).mean())) < 0.003


def test_models_of_a_fleet_draw_their_own_noise():
    task, method = perceptron_task(), unlearners.get("noisy-fine-tune")(epochs=2)
    requests = [Request.at(task, np.arange(5 + 90 * k)) for k in range(2)]
    together = method.forget_fleet(task, requests, seeds=[3, 4])
    for model, (request, result) in enumerate(zip(requests, together, strict=True)):
        alone = method.forget(task, request, seed=3 + model)
        for name, value in alone.state.parameters.items():
            assert torch.allclose(value, result.state.parameters[name], atol=1e-5)
        assert result.claim == Claim.NONE
    assert not torch.equal(weights(method, 0), weights(method, 1))
