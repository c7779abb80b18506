"""Tests by exchanging models, and corrections for many tests: their errors under the null, and answers by hand."""

import math
from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist

from certify.attacks.statistics import multiple, permutation
from certify.core.errors import InputError


def most(runs: int, alpha: float) -> float:
    return float(stats.binom.isf(1e-6, runs, alpha))


def by_hand(matrix: np.ndarray, first: np.ndarray) -> float:
    x, y = np.flatnonzero(first), np.flatnonzero(~first)
    across = np.mean([matrix[i, j] for i in x for j in y])
    own = [np.mean([matrix[i, j] for i in part for j in part if i != j]) for part in (x, y)]
    return float(2 * across - own[0] - own[1])


def test_the_energy_distance_by_hand_over_all_arrangements() -> None:
    points = np.random.default_rng(1).normal(size=(7, 3))
    points[:3] += 1.0
    matrix = cdist(points, points)
    first = np.arange(7) < 3
    found = permutation.energy_test(matrix, first)
    values = [by_hand(matrix, np.isin(np.arange(7), members)) for members in combinations(range(7), 3)]
    assert found.statistic == pytest.approx(by_hand(matrix, first))
    assert found.arrangements == 35
    assert found.p_value == pytest.approx(np.mean(np.array(values) >= found.statistic - 1e-9))
    kernel = permutation.kernel_test(-matrix, first)
    assert kernel.statistic == pytest.approx(found.statistic)
    assert kernel.p_value == found.p_value


@pytest.mark.parametrize("permutations", [19, 99, 9999])
def test_the_level_holds_for_any_number_of_permutations(permutations: int) -> None:
    generator, alarms, runs = np.random.default_rng(permutations), 0, 1000
    for k in range(runs):
        points = generator.standard_t(2, size=(9, 4))
        alarms += (
            permutation.energy_test(cdist(points, points), np.arange(9) < 4, min(permutations, 200), k).p_value <= 0.1
        )
    assert alarms <= most(runs, 0.1)


def test_a_mutant_without_the_observed_arrangement_is_caught() -> None:
    """Nine permutations: without the +1 a tenth of all null data, not none, has a p-value of 0."""
    generator, alarms, runs = np.random.default_rng(2), 0, 1000
    for k in range(runs):
        points = generator.normal(size=(12, 2))
        found = permutation.energy_test(cdist(points, points), np.arange(12) < 6, 9, k)
        alarms += (found.p_value * found.arrangements - 1) / (found.arrangements - 1) <= 0.02
        assert found.p_value >= 0.1
    assert alarms > most(runs, 0.02)


def test_shifted_models_are_seen() -> None:
    generator = np.random.default_rng(3)
    points = generator.normal(size=(24, 50))
    points[:12] += 0.5
    distances = cdist(points, points)
    assert permutation.energy_test(distances, np.arange(24) < 12, 999).p_value <= 0.01
    assert permutation.kernel_test(permutation.median_kernel(distances), np.arange(24) < 12, 999).p_value <= 0.01


def test_the_floor_is_reached_and_named() -> None:
    points = (
        np.concatenate([np.zeros((4, 1)), np.full((4, 1), 9.0)]) + np.random.default_rng(4).normal(size=(8, 1)) / 100
    )
    found = permutation.energy_test(cdist(points, points), np.arange(8) < 4)
    # the exchanged arrangement has the same statistic
    assert found.p_value == found.floor == pytest.approx(2 / math.comb(8, 4))


def test_equal_models_are_never_significant() -> None:
    assert permutation.energy_test(np.zeros((8, 8)), np.arange(8) < 4).p_value == 1.0


def test_conformal_p_values() -> None:
    assert permutation.conformal_p(5.0, np.arange(4.0)).p_value == 1 / 5
    assert permutation.conformal_p(2.0, np.arange(4.0)).p_value == 3 / 5
    assert permutation.conformal_p(9.0, np.arange(19.0)).floor == 0.05
    generator, alarms = np.random.default_rng(5), 0
    for _ in range(2000):
        values = generator.integers(0, 40, 20).astype(float)
        alarms += permutation.conformal_p(values[0], values[1:]).p_value <= 0.05
    assert alarms <= most(2000, 0.05)


def test_the_directional_test_is_a_t_test() -> None:
    generator, alarms, found = np.random.default_rng(6), 0, []
    g = generator.normal(size=5)
    for _ in range(1000):
        models = generator.normal(size=(7, 5))
        result = permutation.directional_test(models[0], models[1:], g)
        alarms += result.p_value <= 0.1
        found.append(result.p_value)
    assert alarms <= most(1000, 0.1)
    assert stats.kstest(found, "uniform").pvalue > 1e-4
    moved = permutation.directional_test(models[0] + 9 * g, models[1:], g, two_sided=False)
    assert moved.p_value < 0.01
    assert permutation.directional_test(models[0] - 9 * g, models[1:], g, two_sided=False).p_value > 0.9
    two = stats.ttest_ind(models[:1] @ g, models[1:] @ g)
    assert result.statistic == pytest.approx(two.statistic)
    assert result.p_value == pytest.approx(two.pvalue)


def test_holm_and_benjamini_hochberg_by_hand() -> None:
    p = np.array([0.01, 0.04, 0.03, 0.5])
    assert multiple.holm(p) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert multiple.benjamini_hochberg(p) == pytest.approx([0.04, 0.16 / 3, 0.16 / 3, 0.5])


def test_both_agree_with_statsmodels() -> None:
    from statsmodels.stats.multitest import multipletests

    p = np.random.default_rng(9).choice([0.0, 1e-3, 0.02, 0.3, 1.0], 40)
    assert multiple.holm(p) == pytest.approx(multipletests(p, method="holm")[1], rel=1e-12)
    assert multiple.benjamini_hochberg(p) == pytest.approx(multipletests(p, method="fdr_bh")[1], rel=1e-12)


def test_errors_of_many_tests() -> None:
    """Twenty tests of one common cause and noise, fifteen of them null."""
    generator, family, discoveries, runs = np.random.default_rng(7), 0, 0.0, 1000
    for _ in range(runs):
        scores = 0.7 * generator.normal() + 0.71 * generator.normal(size=20) + np.where(np.arange(20) < 5, 3.0, 0.0)
        p = stats.norm.sf(scores)
        family += bool((multiple.holm(p)[5:] <= 0.1).any())
        chosen = multiple.benjamini_hochberg(p) <= 0.1
        discoveries += chosen[5:].sum() / max(1, chosen.sum())
    assert family <= most(runs, 0.1)
    assert discoveries / runs <= 0.1
    uncorrected = stats.norm.sf(generator.normal(size=(200, 20))).min(axis=1) <= 0.1
    assert uncorrected.sum() > most(200, 0.1)


def test_e_values_under_any_dependence() -> None:
    """One common likelihood ratio and its reverse: as dependent as can be."""
    generator, alarms, false, runs = np.random.default_rng(8), 0, 0.0, 1000
    for _ in range(runs):
        z = generator.normal()
        log_e = np.array([z * m - m * m / 2 for m in (-2, -1, 1, 2)] * 5)
        alarms += multiple.average_e(log_e) >= math.log(10)
        false += bool(multiple.e_benjamini_hochberg(log_e, 0.1).any())
    assert alarms <= most(runs, 0.1)
    assert false <= most(runs, 0.1)


def test_e_values_by_hand() -> None:
    assert multiple.average_e(np.log([20.0, 1.0, 0.0 + 1e-300])) == pytest.approx(math.log(7))
    assert multiple.average_e(np.array([-np.inf, math.log(4)])) == pytest.approx(math.log(2))
    log_e = np.log([100.0, 45.0, 1.0, 25.0])
    assert multiple.e_benjamini_hochberg(log_e, 0.05).tolist() == [True, True, False, False]
    assert multiple.e_benjamini_hochberg(np.log([100.0, 45.0, 1.0, 27.0]), 0.05).tolist() == [True, True, False, True]
    assert multiple.p_of_log_e(math.log(20)) == pytest.approx(0.05)
    assert multiple.p_of_log_e(-3.0) == 1.0
    # the integral of the e-value over [0, 1] is one: substituted p = u^4, whose integrand is smooth
    u = (np.arange(2000) + 0.5) / 2000
    e = np.array([math.exp(multiple.log_e_of_p(float(one) ** 4)) for one in u])
    assert (e * 4 * u**3).mean() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(
    "call",
    [
        lambda: permutation.energy_test(np.zeros((3, 4)), np.array([1, 0, 0])),
        lambda: permutation.energy_test(np.triu(np.ones((4, 4)), 1), np.array([1, 1, 0, 0])),
        lambda: permutation.energy_test(np.zeros((4, 4)), np.array([1, 0, 0, 0])),
        lambda: permutation.energy_test(np.zeros((4, 4)), np.array([1, 1, 1, 1])),
        lambda: permutation.energy_test(np.zeros((4, 4)), np.array([1, 1, 0])),
        lambda: permutation.conformal_p(1.0, np.array([])),
        lambda: permutation.directional_test(np.zeros(2), np.zeros((3, 2)), np.ones(2)),
        lambda: permutation.directional_test(np.zeros(2), np.zeros((1, 2)), np.ones(2)),
        lambda: multiple.holm([0.1, 1.5]),
        lambda: multiple.average_e([math.inf]),
    ],
)
def test_what_makes_no_sense_is_refused(call: object) -> None:
    with pytest.raises(InputError):
        call()  # type: ignore[operator]
