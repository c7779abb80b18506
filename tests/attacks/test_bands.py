"""Bands over all thresholds: the local level is exact, ties do no harm, and a choice of threshold is paid for."""

import math

import numpy as np
import pytest
from scipy import stats

from certify.attacks.statistics.bands import (
    KNOWN,
    checked,
    crossing,
    dkw_margin,
    epsilon_over_thresholds,
    local_level,
    lower_limits,
    upper_limits,
)


@pytest.mark.parametrize("n", [1, 2, 7, 40, 300])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_a_line_through_the_origin_is_crossed_with_a_chance_known_in_closed_form(n: int, share: float) -> None:
    # Daniels 1945: P(some V_(k) < share k/n) = share
    ranks = np.arange(1, n + 1)
    assert crossing(n, ranks, share * ranks / n) == pytest.approx(share, abs=1e-8)


def test_two_numbers_by_hand() -> None:
    # V_(1) >= 0.1 and V_(2) >= 0.5: both above 0.1, less both in [0.1, 0.5)
    assert crossing(2, np.array([1, 2]), np.array([0.1, 0.5])) == pytest.approx(1 - (0.9**2 - 0.4**2), abs=1e-8)


@pytest.mark.parametrize("n", [60, 2000])
def test_the_local_level_by_simulation(n: int) -> None:
    error, runs = 0.05, 4000
    ranks = checked(n)
    limits = stats.beta.ppf(local_level(n, error), ranks, n - ranks + 1)
    draws = np.sort(np.random.default_rng(n).random((runs, n)), axis=1)[:, ranks - 1]
    crossed = int(np.sum((draws < limits).any(axis=1)))
    assert stats.binomtest(crossed, runs, error).pvalue > 1e-4


@pytest.mark.parametrize(("error", "n"), [(error, n) for error, known in KNOWN.items() for n in known if n <= 2000])
def test_kept_levels_are_what_is_computed(error: float, n: int) -> None:
    kept = local_level(n, error)
    assert kept == KNOWN[error][n] == local_level(n, (1 - (1 - 2 * error)) / 2)
    ranks = checked(n)
    assert error * (1 - 2e-3) < crossing(n, ranks, stats.beta.ppf(kept, ranks, n - ranks + 1)) <= error * (1 - 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(("error", "n"), [(error, n) for error, known in KNOWN.items() for n in known if n > 2000])
def test_kept_levels_of_many_trials_are_what_is_computed(error: float, n: int) -> None:
    ranks, kept = checked(n), KNOWN[error][n]
    assert error * (1 - 2e-3) < crossing(n, ranks, stats.beta.ppf(kept, ranks, n - ranks + 1)) <= error * (1 - 1e-9)


def test_at_low_rates_the_band_is_near_the_limit_of_one_threshold_and_dkw_is_not() -> None:
    n, error, alarms = 10_000, 0.025, 10
    band, one = upper_limits(n, error)[alarms], stats.beta.isf(error, alarms + 1, n - alarms)
    assert one == pytest.approx(0.0018, abs=1e-4)
    assert one < band < 0.0027
    assert upper_limits(n, error, "dkw")[alarms] == pytest.approx(0.001 + dkw_margin(n, error))
    assert upper_limits(n, error, "dkw")[alarms] > 5 * band


@pytest.mark.parametrize("kind", ["equal-level", "dkw"])
@pytest.mark.parametrize("n", [1, 2, 99, 777])
def test_limits_rise_and_stay_within_the_range_of_rates(n: int, kind: str) -> None:
    low, high = lower_limits(n, 0.05, kind), upper_limits(n, 0.05, kind)
    shares = np.arange(n + 1) / n
    assert low[0] == 0
    assert high[-1] == 1
    for limits in (low, high):
        assert (np.diff(limits) >= 0).all()
    assert (low <= shares).all()
    assert (high >= shares).all()


def survival(values: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts at least each of 0..9, and true chances of that, where values are geometric numbers cut at 9."""
    thresholds = np.arange(10)
    return (values[:, :, None] >= thresholds).sum(axis=1), 0.6**thresholds


@pytest.mark.parametrize("kind", ["equal-level", "dkw"])
def test_limits_hold_at_all_thresholds_at_once_with_heavy_ties(kind: str) -> None:
    n, error, runs = 50, 0.1, 2000
    draws = np.minimum(np.random.default_rng(3).geometric(0.4, (runs, n)) - 1, 9)
    counts, truth = survival(draws, n)
    for limits, wrong in (
        (lower_limits(n, error, kind), lambda limit: limit > truth),
        (upper_limits(n, error, kind), lambda limit: limit < truth),
    ):
        failed = int(wrong(limits[counts]).any(axis=1).sum())
        assert failed <= stats.binom.isf(1e-6, runs, error)


def test_limits_of_one_threshold_do_not_hold_at_all_of_them() -> None:
    """The control: the same simulation finds the commonest mistake."""
    n, error, runs = 300, 0.1, 1000
    draws = np.sort(np.random.default_rng(4).random((runs, n)), axis=1)
    ranks = np.arange(1, n + 1)
    pointwise = stats.beta.ppf(error, ranks, n - ranks + 1)
    assert np.sum((draws < pointwise).any(axis=1)) > stats.binom.isf(1e-6, runs, error)
    banded = lower_limits(n, error)[1:]
    assert np.sum((draws < banded).any(axis=1)) <= stats.binom.isf(1e-6, runs, error)


def test_nothing_is_refuted_where_no_trial_tells() -> None:
    assert epsilon_over_thresholds(np.array([0, 10]), 10, np.array([0, 10]), 10) == 0.0


def test_no_error_at_all() -> None:
    n = 200
    u = 1 - local_level(n, 0.025) ** (1 / n)
    found = epsilon_over_thresholds(np.array([0, n, n]), n, np.array([0, 0, n]), n, 1e-3)
    assert found == pytest.approx(math.log((1 - 1e-3 - u) / u), rel=1e-6)


def test_what_makes_no_sense_is_refused_in_one_line() -> None:
    for call, message in (
        (lambda: lower_limits(10, 0.1, "wide"), "kind: there is no band 'wide'"),
        (lambda: lower_limits(0, 0.1), "trials: there are 0 trials"),
        (lambda: lower_limits(10, 0.0), "error must lie strictly between 0 and 1"),
        (lambda: epsilon_over_thresholds(np.array([11]), 10, np.array([0]), 10), "counts do not fit together"),
        (lambda: epsilon_over_thresholds(np.array([1]), 10, np.array([0]), 10, kind="wide"), "no band"),
    ):
        with pytest.raises(Exception, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)
