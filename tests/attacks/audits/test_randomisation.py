"""Exact p-values: below any level no more often than that under the null, whatever ties and dependence; small where there is a leak."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from certify.attacks.audits.randomisation import assignment_p_value, paired_p_value
from certify.attacks.observations import Trials
from certify.core.arrays import FloatArray

LEVELS = (0.01, 0.05, 0.2, 0.5)


def labelled(rng: np.random.Generator, scores: FloatArray, positives: int, lift: float = 0.0) -> Trials:
    """Scores (K, N) of models, of each of which some records are positive by chance; those are lifted."""
    models, records = scores.shape
    positive = np.stack([rng.permutation(records) < positives for _ in range(models)])
    rows, columns = np.indices(scores.shape)
    return Trials((scores + lift * positive).ravel(), positive.ravel(), rows.ravel(), columns.ravel())


def levels_hold(p_values: list[float]) -> None:
    """No level is undercut significantly more often than it says."""
    for level in LEVELS:
        hits = int(np.sum(np.array(p_values) <= level))
        assert stats.binomtest(hits, len(p_values), level, alternative="greater").pvalue > 1e-3, (level, hits)


SCORES: dict[str, Callable[[np.random.Generator], FloatArray]] = {
    "normal": lambda rng: rng.normal(size=(4, 30)),
    "one level a model": lambda rng: rng.normal(size=(4, 30)) + 5 * rng.normal(size=(4, 1)),
    "ties": lambda rng: rng.integers(0, 3, (4, 30)).astype(float),
    "heavy tails": lambda rng: rng.standard_cauchy((4, 30)),
    "hard records": lambda rng: rng.normal(size=(4, 30)) + np.linspace(-9, 9, 30),
    "one model": lambda rng: rng.normal(size=(1, 30)),
    "more records than classes of ranks": lambda rng: rng.normal(size=(2, 150)),
}


@pytest.mark.parametrize("kind", SCORES)
def test_labels_by_chance_are_called_a_leak_no_more_often_than_the_level(kind: str) -> None:
    rng = np.random.default_rng(list(SCORES).index(kind))
    found = [assignment_p_value(labelled(rng, SCORES[kind](rng), 8), seed=seed, draws=99) for seed in range(500)]
    levels_hold(found)
    if kind == "normal":  # and not much less often either: the p-value is not simply large
        assert np.mean(np.array(found) <= 0.2) > 0.15


def test_labels_p_value_is_one_where_scores_are_constant() -> None:
    assert assignment_p_value(labelled(np.random.default_rng(0), np.zeros((4, 30)), 8)) == 1.0


def test_labels_of_one_kind_alone_say_nothing() -> None:
    assert assignment_p_value(labelled(np.random.default_rng(0), np.random.default_rng(0).normal(size=(3, 9)), 9)) == 1


@pytest.mark.parametrize("lift", [1.0, -1.0])
def test_labels_that_show_are_found_on_both_sides(lift: float) -> None:
    rng = np.random.default_rng(5)
    assert assignment_p_value(labelled(rng, rng.normal(size=(8, 60)), 15, lift)) < 0.002


def test_labels_p_value_is_that_of_counting_all_assignments() -> None:
    rng = np.random.default_rng(3)
    scores = rng.normal(size=(1, 8))
    trials = labelled(rng, scores, 3, 0.7)
    from itertools import combinations

    ranks = stats.rankdata(trials.scores)
    gaps = np.array([np.mean(ranks[list(some)]) - 4.5 for some in combinations(range(8), 3)])
    own = ranks[np.asarray(trials.positive)].mean() - 4.5
    exact = np.mean(np.abs(gaps) >= abs(own) - 1e-9)
    assert assignment_p_value(trials, draws=20_000) == pytest.approx(exact, abs=0.012)


def test_shared_draws_do_not_depend_on_which_attack_asks_first() -> None:
    rng = np.random.default_rng(1)
    first, second = (labelled(rng, rng.normal(size=(3, 20)), 5) for _ in range(2))
    alone = assignment_p_value(second, seed=7)
    from certify.attacks.audits import randomisation

    randomisation._sums.cache_clear()
    assignment_p_value(first, seed=7)
    assert assignment_p_value(second, seed=7) == alone


PAIRS: dict[str, Callable[[np.random.Generator], FloatArray]] = {
    "normal": lambda rng: rng.normal(size=(2, 10)),
    "ties": lambda rng: rng.integers(0, 2, (2, 10)).astype(float),
    "few": lambda rng: rng.normal(size=(2, 3)),
    "many": lambda rng: rng.normal(size=(2, 40)),
    "heavy tails": lambda rng: rng.standard_cauchy((2, 12)),
    "without some": lambda rng: np.where(rng.random((2, 12)) < 0.2, np.nan, rng.normal(size=(2, 12))),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_twins_are_told_apart_no_more_often_than_the_level(kind: str) -> None:
    rng = np.random.default_rng(100 + list(PAIRS).index(kind))
    levels_hold([paired_p_value(*PAIRS[kind](rng), seed=seed, draws=499) for seed in range(1000)])


def test_twins_all_flips_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 9)) + np.array([[0.8], [0.0]])
    wanted = stats.permutation_test(
        (first, second), lambda a, b, axis: np.mean(a - b, axis=axis), permutation_type="samples", vectorized=True
    ).pvalue
    assert paired_p_value(first, second) == pytest.approx(wanted, rel=1e-12)
    assert paired_p_value(first, second, draws=511) == pytest.approx(wanted, abs=0.06)


def test_twins_that_are_the_same_say_nothing_and_others_are_found() -> None:
    assert paired_p_value(np.ones(5), np.ones(5)) == 1.0
    assert paired_p_value(np.full(3, np.nan), np.ones(3)) == 1.0
    rng = np.random.default_rng(2)
    for shift in (1.0, -1.0):
        assert paired_p_value(rng.normal(size=32) + shift, rng.normal(size=32)) < 0.01
