"""The epsilon that an attack refutes: valid at the stated confidence, and not vacuous."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from certify.attacks import epsilon_lower_bound
from certify.core.bounds import LowerBound
from certify.privacy import gaussian

counts = st.integers(1, 3000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))


@pytest.mark.parametrize("delta", [0.0, 1e-3, 0.05])
@pytest.mark.parametrize("mu", [0.0, 0.5, 1.5])
@pytest.mark.parametrize("threshold", [-0.5, 0.5, 1.5])
def test_the_bound_exceeds_the_truth_no_more_often_than_stated(mu: float, threshold: float, delta: float) -> None:
    """Simulated attacks on a Gaussian mechanism whose epsilon at ``delta`` is known exactly."""
    generator, runs, trials, confidence = (
        np.random.default_rng([int(10 * mu), int(10 * threshold) + 50]),
        2000,
        300,
        0.9,
    )
    truth = gaussian.epsilon(mu, delta) if delta else math.inf
    # the test's own exact epsilon: the strictest truth that its two rates allow, at any delta
    tpr, fpr = stats.norm.sf(threshold - mu), stats.norm.sf(threshold)
    allowed = max(math.log(max(tpr - delta, 1e-300) / fpr), math.log(max(1 - fpr - delta, 1e-300) / (1 - tpr)), 0.0)
    assert allowed <= truth + 1e-9
    hits, alarms = generator.binomial(trials, tpr, runs), generator.binomial(trials, fpr, runs)
    wrong = sum(
        epsilon_lower_bound(int(hit), trials, int(alarm), trials, delta, confidence) > allowed
        for hit, alarm in zip(hits, alarms, strict=True)
    )
    # a fair bound is wrong in at most 10 % of the runs: fail only where that has a chance below 1e-7
    assert wrong <= stats.binom.isf(1e-7, runs, 1 - confidence)


def test_the_confidence_is_used_up_and_not_wasted() -> None:
    # a bound that never errs would be valid too, and useless: with equal worlds it errs now and then at 50 %
    generator, wrong = np.random.default_rng(5), 0
    for hit, alarm in generator.binomial(200, 0.5, (1000, 2)):
        wrong += epsilon_lower_bound(int(hit), 200, int(alarm), 200, 0.0, 0.5) > 0
    assert 20 < wrong < 600


def test_known_answer_of_a_perfect_attack() -> None:
    # n of n and 0 of n: both limits are error^(1/n), error = 0.025
    low = 0.025 ** (1 / 1000)
    assert epsilon_lower_bound(1000, 1000, 0, 1000) == pytest.approx(math.log(low / (1 - low)), rel=1e-9)


def test_known_answer_by_clopper_pearson() -> None:
    tpr = stats.binomtest(95, 100).proportion_ci(0.95, "exact").low
    fpr = stats.binomtest(2, 100).proportion_ci(0.95, "exact").high
    fnr = stats.binomtest(5, 100).proportion_ci(0.95, "exact").high
    tnr = stats.binomtest(98, 100).proportion_ci(0.95, "exact").low
    expected = max(math.log((tpr - 1e-5) / fpr), math.log((tnr - 1e-5) / fnr))
    assert epsilon_lower_bound(95, 100, 2, 100, 1e-5) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("hits", "alarms"), [(0, 0), (0, 100), (50, 50), (10, 90), (100, 100)])
def test_an_attack_that_does_not_work_refutes_nothing(hits: int, alarms: int) -> None:
    assert epsilon_lower_bound(hits, 100, alarms, 100) == 0.0


@given(first=counts, second=counts, delta=st.sampled_from([0.0, 1e-5, 0.1]))
def test_swapping_the_worlds_changes_nothing(first: tuple[int, int], second: tuple[int, int], delta: float) -> None:
    (hits, positives), (alarms, negatives) = first, second
    found = epsilon_lower_bound(hits, positives, alarms, negatives, delta)
    swapped = epsilon_lower_bound(negatives - alarms, negatives, positives - hits, positives, delta)
    assert found == swapped


@given(first=counts, second=counts, levels=st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99)))
def test_more_confidence_means_a_smaller_bound(
    first: tuple[int, int], second: tuple[int, int], levels: tuple[float, float]
) -> None:
    low, high = sorted(levels)
    assert epsilon_lower_bound(*first, *second, 0.0, high) <= epsilon_lower_bound(*first, *second, 0.0, low) + 1e-9


@given(first=counts, second=counts, deltas=st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)))
def test_a_larger_delta_means_a_smaller_bound(
    first: tuple[int, int], second: tuple[int, int], deltas: tuple[float, float]
) -> None:
    low, high = sorted(deltas)
    assert epsilon_lower_bound(*first, *second, high) <= epsilon_lower_bound(*first, *second, low)


@given(first=counts, second=counts)
def test_the_bound_is_a_finite_lower_bound_below_the_plug_in_estimate(
    first: tuple[int, int], second: tuple[int, int]
) -> None:
    found = epsilon_lower_bound(*first, *second)
    assert isinstance(found, LowerBound)
    assert 0 <= found < math.inf
    tpr, fpr = first[0] / first[1], second[0] / second[1]
    plug_in = [math.log(a / b) if a > b > 0 else math.inf * (a > b) for a, b in ((tpr, fpr), (1 - fpr, 1 - tpr))]
    assert found <= max(0.0, *(value for value in plug_in if not math.isnan(value)), 0.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 10, 0, 10), "counts"),
        ((11, 10, 0, 10), "counts"),
        ((0, 0, 0, 10), "counts"),
        ((1, 10, 11, 10), "counts"),
        ((1, 10, -1, 10), "counts"),
        ((1, 10, 0, 0), "counts"),
        ((1, 10, 1, 10, -0.1), "delta"),
        ((1, 10, 1, 10, 1.0), "delta"),
        ((1, 10, 1, 10, math.nan), "delta"),
        ((1, 10, 1, 10, 0.0, 0.0), "confidence"),
        ((1, 10, 1, 10, 0.0, 1.0), "confidence"),
        ((1, 10, 1, 10, 0.0, math.nan), "confidence"),
    ],
)
def test_counts_and_levels_that_make_no_sense_are_refused(arguments: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        epsilon_lower_bound(*arguments)  # type: ignore[arg-type]
