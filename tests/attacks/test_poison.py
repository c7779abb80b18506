"""Gaussian poison canaries: an exact null for any model, power on one that overfits, a bound on epsilon that holds."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import binom, kstest, norm
from torch import nn

from certify.attacks.scores.poison import (
    expected_tpr,
    linear_input_gradients,
    network_input_gradients,
    plant,
    poison_scores,
    poison_test,
    poison_tpr,
)
from certify.convex.objective import Objective
from certify.convex.problem import bind
from certify.convex.solve import newton_step
from certify.core.errors import ArgumentError
from certify.models.networks import Bench, Network, State
from certify.models.networks.losses import binary_cross_entropy


def ridge(X, y, l2=0.1):
    problem = bind(Objective("squared", l2), X, y)
    return -newton_step(problem, np.zeros(problem.shape), problem.gradient(np.zeros(problem.shape)))


def trained(seed, *, forget=False):
    """Scores and test of an overfitted ridge (d > n) whose 30 canaries were, or were not, left out in the end."""
    rng = np.random.default_rng(seed)
    X, y, rows = rng.normal(size=(80, 120)), rng.normal(size=80), np.arange(30)
    canaries = plant(X, rows, 0.5, seed=1000 + seed)
    keep = slice(30, None) if forget else slice(None)
    w = ridge(canaries.X[keep], y[keep])
    return poison_scores(canaries.noise, linear_input_gradients(Objective("squared", 0.1), w, X[rows], y[rows]))


def test_planting_adds_the_noise_and_nothing_else():
    X = np.arange(40.0).reshape(10, 2, 2)
    found = plant(X, [7, 2], 0.1, seed=5)
    np.testing.assert_allclose(found.X[[7, 2]], X[[7, 2]] + 0.1 * found.noise)
    others = np.delete(np.arange(10), [7, 2])
    assert np.array_equal(found.X[others], X[others])
    assert np.array_equal(found.noise, plant(X, [7, 2], 0.3, seed=5).noise)
    assert not np.array_equal(found.noise, plant(X, [7, 2], 0.1, seed=6).noise)
    assert plant(X.astype(np.float32), [1], 0.1, seed=1).X.dtype == np.float32


def test_scores_of_a_model_that_knows_nothing_are_standard_normal():
    """Any gradients do: here the same for all, of wild lengths, and along one coordinate."""
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(3000, 40)) * np.exp(5 * rng.normal(size=(3000, 1)))
    gradients[:1000], gradients[1000:2000] = np.eye(40)[0] * 1e-200, rng.normal(size=40)
    scores = poison_scores(plant(np.zeros((3000, 40)), np.arange(3000), 0.1, seed=2).noise, gradients)
    for part in np.split(scores, 3):
        assert kstest(part, "norm").pvalue > 1e-3
    assert np.mean(poison_tpr(scores, 0.01)) < binom.isf(1e-6, 3000, 0.01) / 3000


def test_exact_retraining_alarms_as_often_as_stated():
    runs = 1000
    scores = [trained(seed, forget=True) for seed in range(runs)]
    for alternative in ("two-sided", "remembers", "avoids"):
        p = np.array([poison_test(own, alternative=alternative).p_value for own in scores])
        assert kstest(p, "uniform").pvalue > 1e-3
        for level in (0.01, 0.05, 0.2):
            assert np.sum(p <= level) <= binom.isf(1e-4, runs, level)


def test_a_model_that_kept_its_canaries_is_found():
    found = [poison_test(trained(seed)) for seed in range(20)]
    assert all(test.p_value < 0.01 for test in found)
    assert all(test.statistic > 0 for test in found)
    assert np.median([test.epsilon for test in found]) > 5


def test_being_pushed_away_is_found_too():
    """Gradient ascent on the canaries until they are worse than never seen."""
    rng, rows, objective = np.random.default_rng(3), np.arange(30), Objective("squared", 0.1)
    X, y = rng.normal(size=(80, 120)), rng.normal(size=80)
    canaries = plant(X, rows, 0.5, seed=4)
    w = ridge(canaries.X, y)
    for _ in range(10):
        slope = canaries.X[rows] @ w[0] - y[rows]
        w = w + 0.01 * slope @ canaries.X[rows]
    scores = poison_scores(canaries.noise, linear_input_gradients(objective, w, X[rows], y[rows]))
    assert poison_test(scores).p_value < 1e-3
    assert poison_test(scores).statistic < 0
    assert poison_test(scores, alternative="remembers").p_value > 0.99  # a one-sided test calls it forgotten


def test_power_is_the_one_in_closed_form():
    rng, shift = np.random.default_rng(5), 1.5
    scores = shift + rng.normal(size=(50, 2000))
    for fpr in (0.1, 0.01):
        assert poison_tpr(scores, fpr).mean() == pytest.approx(expected_tpr(shift, fpr), abs=0.005)
    assert expected_tpr(0.0, 0.01) == pytest.approx(0.01)
    assert poison_tpr(scores, [0.1, 0.01]).shape == (50, 2)


def test_the_bound_on_epsilon_is_wrong_no_more_often_than_stated():
    """m canaries whose mean score the model shifts by a known mu: the set-level epsilon at delta is the Gaussian one."""
    from certify.privacy import gaussian

    rng, mu, delta, runs = np.random.default_rng(6), 2.0, 1e-2, 4000
    truth, wrong = gaussian.epsilon(mu, delta), 0
    for statistic in mu + rng.normal(size=runs):
        scores = np.full(16, statistic / 4)
        wrong += poison_test(scores, alternative="remembers", delta=delta).epsilon > truth
    assert wrong <= binom.isf(1e-6, runs, 0.05)
    never = [poison_test(np.full(16, s / 4)).epsilon > 0 for s in rng.normal(size=runs)]
    assert 0 < sum(never) <= binom.isf(1e-6, runs, 0.05)


def test_a_tiny_p_value_does_not_end_the_arithmetic():
    found = poison_test(np.full(100, 10.0))
    assert found.p_value == 0.0 or found.p_value < 1e-300
    assert found.epsilon == pytest.approx(-norm.logsf(100.0) - math.log(2) + math.log(0.05), rel=1e-9)
    assert found.epsilon > 4900


def test_canaries_without_gradient_are_left_out():
    scores = poison_scores(np.ones((4, 3)), np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, -1]]))
    assert scores.tolist() == [0, -1, -1, 1]
    found = poison_test(scores)
    assert (found.canaries, found.silent) == (3, 1)
    assert found.statistic == pytest.approx(-1 / math.sqrt(3))
    with pytest.raises(ArgumentError, match="every gradient is 0"):
        poison_test(np.zeros(4))


@pytest.mark.parametrize("intercept", [False, True])
def test_gradients_of_linear_models_are_the_derivatives(intercept):
    rng = np.random.default_rng(7)
    for loss, outputs, y in (
        ("logistic", 1, rng.integers(0, 2, 6)),
        ("softmax", 3, rng.integers(0, 3, 6)),
        ("squared", 1, rng.normal(size=6)),
    ):
        objective, X = Objective(loss, 1.0, fit_intercept=intercept), rng.normal(size=(6, 4))
        w = rng.normal(size=(outputs, 4 + intercept))

        def value(X, w=w, objective=objective, y=y, outputs=outputs):
            problem = bind(objective, X, y, outputs)
            return objective.loss_function.value(problem.scores(w), problem.targets)

        found, step = linear_input_gradients(objective, w, X, y), 1e-6
        for column in range(4):
            moved = step * np.eye(4)[column]
            np.testing.assert_allclose(
                found[:, column], (value(X + moved) - value(X - moved)) / (2 * step), rtol=1e-5, atol=1e-8
            )


def test_gradients_of_networks_are_those_of_the_linear_model_they_are():
    rng, rows = np.random.default_rng(8), np.array([4, 0, 3])
    X, y, w = rng.normal(size=(6, 5)), rng.integers(0, 2, 6), rng.normal(size=(2, 5))
    models = []
    for own in w:
        model = nn.Linear(5, 1, bias=False).double()
        with torch.no_grad():
            model.weight.copy_(torch.tensor(own[None]))
        models.append(model)
    bench = Bench(Network.of(models[0]), torch.tensor(X), torch.tensor(y), loss=binary_cross_entropy, seeds=(0, 1))
    found = network_input_gradients(bench, State.of(*models), rows, batch_size=2)
    for k in range(2):
        expected = linear_input_gradients(Objective("logistic", 1.0), w[k], X[rows], y[rows])
        np.testing.assert_allclose(found[k], expected, rtol=1e-10)
    assert poison_scores(rng.normal(size=(3, 5)), found).shape == (2, 3)


def test_what_makes_no_sense_is_refused():
    X = np.zeros((5, 2))
    with pytest.raises(ArgumentError, match="no floating-point"):
        plant(X.astype(int), [0], 1.0, seed=0)
    for rows in ([0, 0], [5], [-1], [], [0.5]):
        with pytest.raises(ArgumentError, match="positions"):
            plant(X, rows, 1.0, seed=0)
    with pytest.raises(ArgumentError, match="noise_std"):
        plant(X, [0], 0.0, seed=0)
    with pytest.raises(ArgumentError, match="one gradient a canary"):
        poison_scores(np.zeros((3, 2)), np.zeros((2, 2)))
    with pytest.raises(ArgumentError, match="not finite"):
        poison_scores(np.zeros((2, 2)), np.full((2, 2), np.nan))
    with pytest.raises(ArgumentError, match="choose two-sided"):
        poison_test(np.ones(3), alternative="both")
    with pytest.raises(ArgumentError, match="one model at a time"):
        poison_test(np.ones((2, 3)))
    with pytest.raises(ArgumentError, match="make no sense"):
        poison_test(np.ones(3), confidence=1.0)
    with pytest.raises(ArgumentError, match="outside"):
        poison_tpr(np.ones(3), 0.0)
