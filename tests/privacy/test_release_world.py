"""End to end: the best possible attacker on a release never beats what was certified, and does beat a false claim."""

import math
from typing import Any

import numpy as np
import pytest

from certify import Objective, attacks, bound_distance
from certify.convex.problem import bind
from certify.convex.solve import newton_step
from certify.privacy import gaussian

DRAWS, DELTA = 20_000, 1e-5
# a statement that fails once in a million runs even if the true epsilon is the certified one
CONFIDENCE = 1 - 1e-6


class World:
    """A small logistic problem: the weights before and after a deletion."""

    def __init__(self) -> None:
        generator = np.random.default_rng(20)
        self.objective = Objective("logistic", 1.0)
        self.X, self.y = generator.normal(size=(80, 3)), generator.integers(0, 2, 80)
        self.kept = slice(10, None)
        self.original = self.minimise(self.X, self.y, np.zeros((1, 3)))
        self.reference = self.minimise(self.X[self.kept], self.y[self.kept], self.original)
        retained = bind(self.objective, self.X[self.kept], self.y[self.kept])
        self.unlearned = self.original - newton_step(retained, self.original, retained.gradient(self.original))

    def minimise(self, X: np.ndarray, y: np.ndarray, w: np.ndarray) -> np.ndarray:
        problem = bind(self.objective, X, y)
        for _ in range(30):
            w = w - newton_step(problem, w, problem.gradient(w))
        assert np.linalg.norm(problem.gradient(w)) < 1e-12
        return w

    def distance(self, w: np.ndarray) -> float:
        return float(bound_distance(self.objective, self.X[self.kept], self.y[self.kept], w).distance)

    def attack(self, released: np.ndarray, noise_std: float, threshold: float, seed: int) -> float:
        """Epsilon proved by the optimal linear test between ``released`` + noise and the reference + noise."""
        generator = np.random.default_rng(seed)
        shift = (released - self.reference).ravel()
        direction = shift / np.linalg.norm(shift)
        scores = [
            (generator.normal(size=(DRAWS, 3)) * noise_std + w.ravel() - self.reference.ravel()) @ direction
            for w in (released, self.reference)
        ]
        # the threshold is fixed by the known means, before any draw is seen
        cut = threshold * noise_std + np.linalg.norm(shift) / 2
        hits, alarms = (int(np.sum(score > cut)) for score in scores)
        return float(attacks.epsilon_lower_bound(hits, DRAWS, alarms, DRAWS, DELTA, CONFIDENCE))


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("threshold", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("mu", [0.1, 0.5, 2.0, 4.0])
def test_the_best_attacker_does_not_beat_the_certificate(world: World, mu: float, threshold: float, seed: int) -> None:
    distance = world.distance(world.unlearned)
    noise_std = distance / mu
    certified = gaussian.epsilon(gaussian.ratio(distance, noise_std), DELTA)
    assert world.attack(world.unlearned, noise_std, threshold, seed) <= certified


def test_the_attack_has_teeth(world: World) -> None:
    # at mu = 4 the bound is not met by an attacker who sees nothing
    distance = world.distance(world.unlearned)
    found = max(world.attack(world.unlearned, distance / 4, threshold, 7) for threshold in (0.0, 1.0))
    assert found > 3


def test_control_the_original_weights_with_little_noise_are_caught(world: World) -> None:
    policy = gaussian.epsilon(1.0, DELTA)
    # noise that would suit the unlearned weights at mu = 1 is far too little for the untouched ones
    noise_std = world.distance(world.unlearned)
    found = world.attack(world.original, noise_std, 0.0, 3)
    assert found > policy
    assert math.isfinite(found)
    # and the certificate says so itself
    assert gaussian.epsilon(gaussian.ratio(world.distance(world.original), noise_std), DELTA) >= found


def test_control_a_distance_ten_times_too_small_is_caught(world: World) -> None:
    distance = world.distance(world.original)
    claimed = gaussian.epsilon(gaussian.ratio(distance / 10, distance / 5), DELTA)
    assert max(world.attack(world.original, distance / 5, cut, 11) for cut in (0.0, 1.0)) > claimed


def test_the_measured_power_is_the_trade_off_curve(world: World) -> None:
    # the attacker's true-positive rate at a fixed threshold, against Phi(mu + Phi^-1(fpr))
    generator, mu, fpr = np.random.default_rng(30), 1.3, 0.05
    draws = generator.normal(mu, 1, 400_000)
    from scipy.stats import norm

    rate: Any = np.mean(draws > norm.isf(fpr))
    assert rate == pytest.approx(gaussian.attacker_tpr(mu, fpr), abs=6 * math.sqrt(0.25 / 400_000))
