"""Bounds from scores under equal worlds and under worlds of known epsilon: no estimator errs more often than stated."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from certify.attacks import epsilon_lower_bound
from certify.attacks.epsilon import epsilon_from_scores
from certify.attacks.statistics.counts import Counts
from certify.attacks.statistics.exact import exact_lower_bound
from certify.attacks.statistics.gaussian import mu_lower_bound
from certify.attacks.statistics.roc import roc
from certify.core.errors import InputError

N, RUNS, CONFIDENCE = 40, 2000, 0.9
MEMBERS = np.repeat([True, False], N)

WORLDS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "normal": lambda g, n: g.normal(size=n),
    "t": lambda g, n: g.standard_t(2, n),
    "laplace": lambda g, n: g.laplace(size=n),
    "heavy ties": lambda g, n: g.integers(0, 4, n).astype(float),
    "constant": lambda _, n: np.zeros(n),
}


def preset(scores: np.ndarray, members: np.ndarray) -> Counts:
    return roc(scores, members).counts_at(1.0)


def uncorrected(scores: np.ndarray, members: np.ndarray) -> float:
    """The commonest mistake: the best threshold, each rate at the whole error."""
    curve = roc(scores, members)
    found = 0.0
    for error in (1 - CONFIDENCE,):
        hits, rejections, n1, n0 = curve.hits, curve.negatives - curve.alarms, curve.positives, curve.negatives
        tpr = np.where(hits > 0, stats.beta.ppf(error, np.maximum(hits, 1), n1 - hits + 1), 0.0)
        tnr = np.where(rejections > 0, stats.beta.ppf(error, np.maximum(rejections, 1), n0 - rejections + 1), 0.0)
        found = math.log(max(1.0, float(np.maximum(tpr / (1 - tnr), tnr / (1 - tpr)).max())))
    return found


ESTIMATORS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "bands": lambda s, m: epsilon_from_scores(s, m, 0.0, CONFIDENCE),
    "dkw": lambda s, m: roc(s, m).epsilon_lower_bound(0.0, CONFIDENCE, "dkw"),
    "split": lambda s, m: epsilon_from_scores(s, m, 0.0, CONFIDENCE, "split"),
    "fixed threshold, limits": lambda s, m: epsilon_lower_bound(*vars(preset(s, m)).values(), 0.0, CONFIDENCE),
    "fixed threshold, exact": lambda s, m: exact_lower_bound(preset(s, m), 0.0, CONFIDENCE),
    "fixed threshold, mu": lambda s, m: mu_lower_bound(preset(s, m), CONFIDENCE),
}
SLOW = {"split", "fixed threshold, exact"}


def alarms(estimator: Callable[[np.ndarray, np.ndarray], float], world: str, runs: int, epsilon: float = 0.0) -> int:
    generator = np.random.default_rng([len(world), runs])
    return sum(estimator(WORLDS[world](generator, 2 * N) + epsilon * MEMBERS, MEMBERS) > epsilon for _ in range(runs))


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in ESTIMATORS])
def test_equal_worlds_are_told_apart_no_more_often_than_stated(name: str, world: str) -> None:
    assert alarms(ESTIMATORS[name], world, RUNS) <= stats.binom.isf(1e-6, RUNS, 1 - CONFIDENCE)


@pytest.mark.parametrize("name", sorted(SLOW))
def test_equal_normal_worlds_are_told_apart_no_more_often_than_stated(name: str) -> None:
    assert alarms(ESTIMATORS[name], "normal", 150) <= stats.binom.isf(1e-6, 150, 1 - CONFIDENCE)


def test_an_uncorrected_choice_of_threshold_is_found_by_that_count() -> None:
    assert alarms(uncorrected, "normal", 1000) > stats.binom.isf(1e-6, 1000, 1 - CONFIDENCE)


@pytest.mark.parametrize("epsilon", [1.0, 2.0])
def test_a_laplace_pair_where_every_tail_threshold_sits_at_the_truth(epsilon: float) -> None:
    runs = 1000
    assert alarms(ESTIMATORS["bands"], "laplace", runs, epsilon) <= stats.binom.isf(1e-6, runs, 1 - CONFIDENCE)


def test_bands_are_tight_on_a_gaussian_pair() -> None:
    generator, members = np.random.default_rng(12), np.repeat([True, False], 500)
    found = [epsilon_from_scores(generator.normal(size=1000) + members, members, 1e-5) for _ in range(40)]
    assert np.mean(found) >= 1.0
    assert max(found) < 4.377


@pytest.mark.parametrize("name", ["bands", "fixed threshold, limits"])
def test_randomised_response(name: str) -> None:
    """Two outcomes, so that all scores are tied, and an epsilon known exactly."""
    epsilon, runs, wrong, found = 1.0, 1000, 0, []
    generator = np.random.default_rng(13)
    for _ in range(runs):
        honest = generator.random(2 * N) < math.exp(epsilon) / (1 + math.exp(epsilon))
        found.append(float(ESTIMATORS[name](np.where(honest, MEMBERS, ~MEMBERS).astype(float), MEMBERS)))
        wrong += found[-1] > epsilon
    assert wrong <= stats.binom.isf(1e-6, runs, 1 - CONFIDENCE)
    assert np.mean(found) > 0.1


def test_randomised_response_exactly() -> None:
    """The exact test by the sum over all counts: how often its bound exceeds the truth, without simulation."""
    epsilon, n = 1.0, 12
    p = math.exp(epsilon) / (1 + math.exp(epsilon))
    chances = stats.binom.pmf(np.arange(n + 1), n, p)
    wrong = sum(
        chances[hits] * chances[n - alarm]
        for hits in range(n + 1)
        for alarm in range(n + 1)
        if hits > alarm and exact_lower_bound(Counts(hits, n, alarm, n), 0.0, CONFIDENCE) > epsilon
    )
    assert 0.02 < wrong <= 1 - CONFIDENCE


def test_methods_that_nobody_knows_are_refused() -> None:
    with pytest.raises(ValueError, match="use one of bands, split"):
        epsilon_from_scores(np.arange(4.0), np.arange(4) < 2, method="best")
    with pytest.raises(InputError, match="one of the two worlds"):
        epsilon_from_scores(np.arange(4.0), np.ones(4))
