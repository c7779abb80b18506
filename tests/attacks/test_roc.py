"""ROC curves of scores: ties, exact limits at low rates, honest thresholds."""

import math

import numpy as np
import pytest
from scipy import stats

from certify.attacks.observations import Trials
from certify.attacks.statistics.counts import Counts
from certify.attacks.statistics.halves import choose_threshold, counts_of_halves, split_halves
from certify.attacks.statistics.roc import roc, roc_of_trials
from certify.core.errors import InputError


def pair(seed: int, n1: int, n0: int, shift: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    scores = np.random.default_rng(seed).normal(size=n1 + n0)
    members = np.repeat([True, False], [n1, n0])
    return scores + shift * members, members


@pytest.mark.parametrize("digits", [0, 1, 8])
def test_the_area_is_the_share_of_pairs_in_order_with_ties_half(digits: int) -> None:
    scores, members = pair(0, 40, 70)
    scores = np.round(scores, digits)
    curve = roc(scores, members)
    differences = scores[members][:, None] - scores[~members]
    assert curve.auc == pytest.approx(np.mean((differences > 0) + 0.5 * (differences == 0)), abs=1e-12)
    mann_whitney = stats.mannwhitneyu(scores[members], scores[~members]).statistic
    assert curve.auc == pytest.approx(mann_whitney / 40 / 70, abs=1e-12)


def test_tied_scores_share_one_threshold() -> None:
    curve = roc(np.array([math.inf, math.inf, 1.0, 1.0, 1.0, -math.inf]), np.array([1, 0, 1, 1, 0, 0]))
    assert curve.thresholds.tolist() == [math.inf, math.inf, 1.0, -math.inf]
    assert curve.hits.tolist() == [0, 1, 3, 3]
    assert curve.alarms.tolist() == [0, 1, 2, 3]
    assert roc(np.zeros(5), np.array([1, 1, 0, 0, 0])).auc == 0.5
    assert roc(np.zeros(5), np.array([1, 1, 0, 0, 0])).advantage == 0


def test_counts_at_a_threshold_are_the_counts() -> None:
    scores, members = pair(1, 30, 30)
    scores = np.round(scores, 1)
    for threshold in (-9.0, 0.0, 0.5, 0.55, 9.0, math.inf, -math.inf):
        called = scores >= threshold
        expected = Counts(int((called & members).sum()), 30, int((called & ~members).sum()), 30)
        assert roc(scores, members).counts_at(threshold) == expected


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_limits_of_the_tpr_at_a_true_fpr_hold(rate: float) -> None:
    runs, wrong, truth = 1000, 0, stats.norm.sf(stats.norm.isf(rate) - 1)
    widths = []
    for seed in range(runs):
        found = roc(*pair(seed, 150, 300)).tpr_at_fpr(rate, 0.9)
        assert 0 <= found.lower <= found.value <= found.upper <= 1
        wrong += not found.lower <= truth <= found.upper
        widths.append(found.upper - found.lower)
    assert wrong <= stats.binom.isf(1e-6, runs, 0.1)
    assert np.mean(widths) < 0.45


def test_below_one_in_n_nothing_is_measured_and_nothing_interpolated() -> None:
    scores, members = pair(2, 400, 400, shift=2.0)
    curve = roc(scores, members)
    found = curve.tpr_at_fpr(1e-3)
    assert found.value == np.mean(scores[members] > scores[~members].max())
    assert found.lower == 0.0
    assert found.value == curve.tpr_at_fpr(1e-9).value == curve.tpr_at_fpr(1 / 401).value
    assert curve.tpr_at_fpr(1 / 400).value >= found.value
    assert roc(*pair(2, 400, 5000, shift=2.0)).tpr_at_fpr(1e-3).lower > 0.02


@pytest.mark.parametrize("method", ["hoeffding", "delong"])
def test_intervals_of_the_area_hold(method: str) -> None:
    runs, wrong, truth = 1000, 0, stats.norm.cdf(1 / math.sqrt(2))
    for seed in range(runs):
        found = roc(*pair(seed, 60, 90)).auc_interval(0.9, method)
        wrong += not found.lower <= truth <= found.upper
    assert wrong <= stats.binom.isf(1e-6, runs, 0.11)  # large samples are promised a hundredth less
    assert wrong == 0 or method == "delong"


def test_a_perfect_attack_has_an_interval_only_where_one_exists() -> None:
    curve = roc(np.arange(20.0), np.arange(20) > 9)
    assert curve.auc_interval().lower < 1 == curve.auc_interval().upper
    with pytest.raises(InputError, match="estimated as 0; use the method hoeffding"):
        curve.auc_interval(method="delong")


def test_the_advantage_is_not_biased_by_its_own_maximisation() -> None:
    runs, wrong, values = 1000, 0, []
    for seed in range(runs):
        found = roc(*pair(seed, 80, 80, shift=0.0)).advantage_interval(0.9)
        wrong += not found.lower <= 0 <= found.upper
        values.append(found.value)
        assert found.lower <= found.value <= found.upper
    assert wrong <= stats.binom.isf(1e-6, runs, 0.1)
    assert np.mean(values) > 0.05  # the value alone is never 0, which is why it needs an interval


def test_the_band_holds_everywhere_at_once() -> None:
    runs, wrong = 1000, 0
    for seed in range(runs):
        scores, members = pair(seed, 60, 60)
        curve = roc(scores, members)
        band, at = curve.band(0.9), curve.thresholds
        fpr, tpr = stats.norm.sf(at), stats.norm.sf(at - 1)
        wrong += bool(
            ((band.fpr_lower > fpr) | (band.fpr_upper < fpr) | (band.tpr_lower > tpr) | (band.tpr_upper < tpr)).any()
        )
    assert wrong <= stats.binom.isf(1e-6, runs, 0.1)
    assert wrong > 0.01 * runs


def test_models_that_were_looked_at_twice_give_a_curve_and_no_interval() -> None:
    scores, members = pair(5, 20, 20)
    once = Trials(scores, members, np.arange(40), np.zeros(40, dtype=int))
    twice = Trials(scores, members, np.arange(40) // 2, np.arange(40) % 2)
    assert roc_of_trials(once).auc_interval().units == 40
    curve = roc_of_trials(twice)
    assert curve.auc == roc(scores, members).auc
    for interval in (
        curve.auc_interval,
        curve.band,
        curve.advantage_interval,
        lambda: curve.tpr_at_fpr(0.1),
        curve.epsilon_lower_bound,
    ):
        with pytest.raises(InputError, match="interval over models"):
            interval()


def test_halves_are_disjoint_even_and_seeded() -> None:
    scores, members = pair(6, 31, 50)
    scores = np.arange(81.0)
    choose, measure = split_halves(scores, members, seed=1)
    assert sorted(np.concatenate([choose.scores, measure.scores])) == scores.tolist()
    assert choose.members.sum() == 15
    assert (~choose.members).sum() == 25
    assert np.array_equal(split_halves(scores, members, seed=1)[0].scores, choose.scores)
    assert not np.array_equal(split_halves(scores, members, seed=2)[0].scores, choose.scores)
    with pytest.raises(InputError, match="fewer than two trials"):
        split_halves(np.arange(3.0), np.array([1, 0, 0]), 0)


def test_the_threshold_is_chosen_where_the_bound_is_largest_and_measured_elsewhere() -> None:
    scores, members = pair(7, 400, 400, shift=1.5)
    choose, measure = split_halves(scores, members, 0)
    threshold = choose_threshold(choose)
    assert 0.5 < abs(threshold) < 4
    assert counts_of_halves(scores, members, 0) == roc(measure.scores, measure.members).counts_at(threshold)


@pytest.mark.parametrize(
    ("scores", "members", "message"),
    [
        (np.array([1.0, math.nan]), np.array([1, 0]), "score is not a number"),
        (np.array(["a", "b"]), np.array([1, 0]), "no array of numbers"),
        (np.array([1.0, 2.0]), np.array([1, 1]), "one of the two worlds has no trial"),
        (np.array([1.0, 2.0]), np.array([1, 2]), "truths are not yes or no"),
        (np.array([1.0, 2.0]), np.array([1, 0, 0]), "scores have shape"),
        (np.ones((2, 2)), np.ones((2, 2)), "scores have shape"),
    ],
)
def test_scores_that_make_no_sense_are_refused_in_one_line(
    scores: np.ndarray, members: np.ndarray, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        roc(scores, members)
    assert "\n" not in str(caught.value)
    curve = roc(*pair(0, 5, 5))
    for call, text in (
        (lambda: curve.tpr_at_fpr(0.0), "fpr must lie"),
        (lambda: curve.auc_interval(method="guess"), "use hoeffding or delong"),
        (lambda: curve.counts_at(math.nan), "is not a number"),
        (lambda: curve.band(1.0), "confidence must lie"),
    ):
        with pytest.raises(ValueError, match=text):
            call()
