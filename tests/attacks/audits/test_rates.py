"""Intervals of a rate over models: they cover, whatever hangs together within a model, and simple wrong ones do not."""

import numpy as np
import pytest
from scipy import stats

from certify.attacks.audits.rates import LOOSER, Tally, tallies, tpr_at
from certify.attacks.observations import Trials
from certify.attacks.statistics.means import thresholds_at

FPR, RUNS = 0.1, 300


def drawn(rng: np.random.Generator, models: int, records: int, shift: float, level: float) -> Trials:
    """Positives N(shift, 1) and negatives N(0, 1), each side of a model with a level of its own."""
    sides = [
        centre + level * rng.normal(size=(models, 1)) + rng.normal(size=(models, records)) for centre in (shift, 0.0)
    ]
    rows, columns = np.indices((models, records))
    return Trials(
        np.concatenate([side.ravel() for side in sides]),
        np.repeat([True, False], models * records),
        np.tile(rows.ravel(), 2),
        np.tile(columns.ravel(), 2),
    )


def true_rate(shift: float, level: float, fpr: float) -> float:
    """A model drawn at random, one of its records: normal with variance 1 + level^2 on both sides."""
    return float(stats.norm.sf(stats.norm.isf(fpr) - shift / np.sqrt(1 + level**2)))


@pytest.mark.parametrize(("models", "records"), [(8, 20), (24, 60)])
@pytest.mark.parametrize("level", [0.0, 0.5])
@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_both_ends_hold(models: int, records: int, level: float, shift: float) -> None:
    rng, truth = np.random.default_rng(7), true_rate(shift, level, FPR)
    missed = np.zeros(2)
    for _ in range(RUNS):
        reference, target = (drawn(rng, models, records, shift, level) for _ in range(2))
        found = tpr_at(FPR, *tallies(target, thresholds_at(reference, FPR * np.array(LOOSER))), 0.9)
        assert found.lower <= found.value <= found.upper
        missed += found.lower > truth, found.upper < truth
    for count in missed:
        assert stats.binomtest(int(count), RUNS, 0.05, alternative="greater").pvalue > 1e-3


def test_trials_taken_as_units_would_not_hold() -> None:
    """The mutant: Clopper-Pearson on all records of all models together, at a threshold that is exactly right."""
    rng, truth, missed = np.random.default_rng(8), true_rate(1.5, 0.8, FPR), 0
    threshold = stats.norm.isf(FPR) * np.sqrt(1 + 0.8**2)
    for _ in range(RUNS):
        positive, _ = tallies(drawn(rng, 24, 60, 1.5, 0.8), np.array([threshold]))
        hits, total = int(positive.flagged.sum()), int(positive.total.sum())
        low, high = stats.binomtest(hits, total).proportion_ci(0.9)
        missed += not low <= truth <= high
    assert stats.binomtest(missed, RUNS, 0.1, alternative="greater").pvalue < 1e-6


def test_tallies_count_what_reaches_each_threshold() -> None:
    rng = np.random.default_rng(0)
    trials = drawn(rng, 5, 11, 0.5, 0.3)
    thresholds = np.array([0.3, -np.inf, np.inf, 0.3, *trials.scores[:3]])
    for side, found in zip((True, False), tallies(trials, thresholds), strict=True):
        mine = np.asarray(trials.positive) == side
        for column, threshold in enumerate(thresholds):
            for model in range(5):
                wanted = np.sum(mine & (trials.models == model) & (trials.scores >= threshold))
                assert found.flagged[model, column] == wanted
        assert (found.total == 11).all()


@pytest.mark.parametrize(("hits", "total"), [(0, 20), (20, 20), (7, 20)])
def test_limits_are_at_least_clopper_and_pearsons(hits: int, total: int) -> None:
    same = Tally(np.full((4, 1), hits), np.full(4, total))
    low, high = stats.binomtest(4 * hits, 4 * total).proportion_ci(0.9)
    assert same.lower(0.05)[0] == pytest.approx(low)
    assert same.upper(0.05)[0] == pytest.approx(high)


def test_a_single_model_bounds_nothing() -> None:
    one = Tally(np.array([[3]]), np.array([10]))
    assert (one.lower(0.05)[0], one.upper(0.05)[0]) == (0.0, 1.0)


def test_the_upper_end_does_not_stop_at_a_threshold_whose_rate_only_looks_large_enough() -> None:
    """Shares that all models have alike have no spread: such a threshold among looser, less sure ones proves nothing."""
    total = np.full(8, 100)
    rates = np.array([[2] * 8, [12] * 8, [2, 30, 4, 25, 1, 30, 2, 26], [40] * 8]).T
    found = tpr_at(0.1, Tally(np.array([[10] * 8, [20] * 8, [60] * 8, [70] * 8]).T, total), Tally(rates, total), 0.95)
    assert found.upper >= 0.7
