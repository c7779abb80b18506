"""The exact test of a guarantee: never wrong more often than stated, at any rates, and sharper than two separate limits."""

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from scipy import optimize, stats

from certify.attacks import epsilon_lower_bound
from certify.attacks.statistics.boundary import Arm, Worlds, largest, probability
from certify.attacks.statistics.ceiling import epsilon_ceiling
from certify.attacks.statistics.counts import Counts, highest_rate, lowest_rate
from certify.attacks.statistics.exact import exact_lower_bound, exact_p_value
from certify.core.bounds import LowerBound, UpperBound

POSITIVES, NEGATIVES, ALPHA = 7, 8, 0.1
Bound = Callable[[int, int, int, int, float, float], float]


def exact(hits: int, positives: int, alarms: int, negatives: int, delta: float, confidence: float) -> float:
    return float(exact_lower_bound(Counts(hits, positives, alarms, negatives), delta, confidence))


def separate(hits: int, positives: int, alarms: int, negatives: int, delta: float, confidence: float) -> float:
    return float(epsilon_lower_bound(hits, positives, alarms, negatives, delta, confidence))


def half_the_correction(
    hits: int, positives: int, alarms: int, negatives: int, delta: float, confidence: float
) -> float:
    """The mistake of taking a one-sided error for a two-sided one."""
    return exact(hits, positives, alarms, negatives, delta, 1 - 2 * (1 - confidence))


def swapped(hits: int, positives: int, alarms: int, negatives: int, delta: float, confidence: float) -> float:
    """The mistake of calling the second world the first."""
    return exact(alarms, negatives, hits, positives, delta, confidence)


def wrong_tail(hits: int, positives: int, alarms: int, negatives: int, delta: float, confidence: float) -> float:
    """The mistake of taking the upper limit of the TPR and the lower one of the FPR."""
    error = (1 - confidence) / 2
    tpr, fpr = highest_rate(hits, positives, error), lowest_rate(alarms, negatives, error)
    return max(0.0, math.log(max(tpr - delta, 1e-9) / max(fpr, 1e-9)))


@cache
def table(bound: Bound, delta: float) -> np.ndarray:
    return np.array(
        [
            [bound(hits, POSITIVES, alarms, NEGATIVES, delta, 1 - ALPHA) for alarms in range(NEGATIVES + 1)]
            for hits in range(POSITIVES + 1)
        ]
    )


def worst_error(bound: Bound, delta: float) -> float:
    """The largest chance, over a grid of rates, that the bound exceeds the epsilon that the rates allow: summed, not simulated."""
    found, worst = table(bound, delta), 0.0
    rates = np.concatenate([[0.0, 1.0, 1e-3, 0.999], np.linspace(0.02, 0.98, 49)])
    for p0 in rates:
        second = stats.binom.pmf(np.arange(NEGATIVES + 1), NEGATIVES, p0)
        for p1 in rates:
            ratios = [(a - delta) / b if b else math.inf for a, b in ((p1, p0), (1 - p0, 1 - p1)) if a > delta]
            allowed = max(0.0, *(math.log(ratio) if ratio < math.inf else math.inf for ratio in ratios), 0.0)
            first = stats.binom.pmf(np.arange(POSITIVES + 1), POSITIVES, p1)
            worst = max(worst, float(first @ (found > allowed) @ second))
    return worst


@pytest.mark.parametrize("delta", [0.0, 0.05])
@pytest.mark.parametrize("bound", [exact, separate])
def test_at_no_rates_does_the_bound_exceed_the_truth_more_often_than_stated(bound: Bound, delta: float) -> None:
    assert worst_error(bound, delta) <= ALPHA


def test_the_error_is_used_up() -> None:
    assert worst_error(exact, 0.0) > 0.75 * ALPHA


@pytest.mark.parametrize("mutant", [half_the_correction, swapped, wrong_tail])
def test_common_mistakes_are_found_by_that_sum(mutant: Bound) -> None:
    assert worst_error(mutant, 0.0) > ALPHA


def test_the_exact_test_is_the_sharper_one_nearly_everywhere() -> None:
    better = table(exact, 0.0) - table(separate, 0.0)
    assert better.min() > -0.05
    assert np.mean(better[table(separate, 0.0) > 0] > 0) > 0.95


@pytest.mark.parametrize(
    ("n", "hits", "alarms", "published"),
    [
        (100, 40, 1, 2.115),
        (500, 60, 4, 1.773),
        (500, 150, 10, 2.098),
        (1000, 100, 5, 2.156),
        (1000, 30, 0, 2.508),
        (1000, 700, 200, 1.117),
    ],
)
def test_known_counts(n: int, hits: int, alarms: int, published: float) -> None:
    """Inversions of the likelihood-ratio test by a grid; ours orders the outcomes once, and proves the supremum."""
    found = exact_lower_bound(Counts(hits, n, alarms, n), 1e-5)
    assert isinstance(found, LowerBound)
    assert published - 0.002 < found < published + 0.03
    assert found > epsilon_lower_bound(hits, n, alarms, n, 1e-5)


def test_no_error_at_all_has_a_closed_form() -> None:
    for n in (1, 7, 100, 3000):
        assert exact_lower_bound(Counts(n, n, 0, n), 1e-4) == pytest.approx(
            epsilon_ceiling(n, 1e-4, method="exact"), abs=2e-4
        )
        assert exact_lower_bound(Counts(n, n, 0, n), 1e-4) <= epsilon_ceiling(n, 1e-4, method="exact")


def test_exchanging_the_worlds_changes_nothing() -> None:
    assert exact(30, 50, 4, 80, 1e-3, 0.95) == pytest.approx(exact(76, 80, 20, 50, 1e-3, 0.95), abs=1e-6)


@pytest.mark.parametrize(("hits", "alarms"), [(0, 0), (0, 40), (20, 20), (5, 30), (40, 40)])
def test_an_attack_that_does_not_work_refutes_nothing(hits: int, alarms: int) -> None:
    assert exact_lower_bound(Counts(hits, 40, alarms, 40)) == 0.0
    assert exact_p_value(Counts(hits, 40, alarms, 40), 0.0) == 1.0


def test_p_value_and_bound_agree() -> None:
    counts = Counts(35, 60, 8, 70)
    bound = float(exact_lower_bound(counts, 1e-3))
    assert isinstance(exact_p_value(counts, bound, 1e-3), UpperBound)
    assert exact_p_value(counts, bound - 0.01, 1e-3) < 0.05 < exact_p_value(counts, bound + 0.01, 1e-3)


def violation(hits: int, alarms: int, n1: int, n0: int, epsilon: float, delta: float) -> float:
    """T by a general minimiser: the inequality violated more, in nats."""
    found = []
    for a, n, b, m in ((hits, n1, alarms, n0), (n0 - alarms, n0, n1 - hits, n1)):
        if a / n <= math.exp(epsilon) * b / m + delta:
            found.append(0.0)
            continue

        def loss(p: float, a: int = a, n: int = n, b: int = b, m: int = m) -> float:
            q = math.exp(epsilon) * p + delta
            free = stats.binom.logpmf(a, n, a / n) + stats.binom.logpmf(b, m, b / m)
            return float(free - stats.binom.logpmf(a, n, q) - stats.binom.logpmf(b, m, p))

        low, high = b / m, (a / n - delta) / math.exp(epsilon)
        result = optimize.minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-12})
        found.append(float(result.fun))
    return max(found)


def test_the_p_value_is_the_supremum_over_the_region() -> None:
    """By an independent search: T by a general minimiser, its set of outcomes by enumeration, its supremum on a dense grid."""
    n1, n0, delta, claim = 14, 11, 0.02, 0.7
    counts = Counts(11, n1, 2, n0)
    at_zero = violation(11, 2, n1, n0, 0.0, delta)
    # an outcome that asymptotics call weak is ordered by T at epsilon 0 alone, so that its set can be written down here
    confidence = 0.995
    members = np.array(
        [[violation(h, a, n1, n0, 0.0, delta) >= at_zero - 1e-9 for a in range(n0 + 1)] for h in range(n1 + 1)]
    )
    p0 = np.linspace(0, 1, 20001)
    p1 = np.clip(np.minimum(math.exp(claim) * p0 + delta, 1 - (1 - delta - p0) / math.exp(claim)), 0, 1)
    first = stats.binom.pmf(np.arange(n1 + 1)[:, None], n1, p1)
    second = stats.binom.pmf(np.arange(n0 + 1)[:, None], n0, p0)
    supremum = float(np.max(np.sum(first * (members @ second), axis=0)))
    found = exact_p_value(counts, claim, delta, confidence)
    assert supremum * (1 - 1e-9) <= found <= supremum * 1.002


@pytest.mark.parametrize("seed", range(6))
def test_the_supremum_is_proven_for_any_staircase(seed: int) -> None:
    generator = np.random.default_rng(seed)
    n1, n0, delta, epsilon = (
        int(generator.integers(1, 60)),
        int(generator.integers(1, 60)),
        float(generator.choice([0.0, 1e-3, 0.1])),
        float(generator.uniform(0, 3)),
    )
    least = np.sort(generator.integers(1, n1 + 2, n0 + 1))
    least[0] = min(least[0], n1)
    for mirrored in (False, True):
        arm = Arm(Worlds(n1, n0, delta), epsilon, mirrored)
        upper, reached, share = largest(arm, least, 0.0, 1e-3)
        dense = probability(least, arm.worlds, *arm.point(np.linspace(0, arm.length, 4001)))
        assert dense.max() <= upper <= dense.max() * 1.002 + 1e-9
        assert reached == pytest.approx(dense.max(), rel=2e-3)
        assert probability(least, arm.worlds, *arm.point(np.array([share * arm.length])))[0] == pytest.approx(reached)


def test_a_grid_alone_would_miss_the_supremum() -> None:
    """One step of a staircase among many trials peaks within a narrow range of rates: the proof finds it, a coarse grid does not."""
    least = np.full(2001, 2001)
    least[:101] = 900  # at least 900 hits beside at most 100 alarms of 2,000
    arm = Arm(Worlds(2000, 2000, 0.0), math.log(9.0), mirrored=False)
    coarse = probability(least, arm.worlds, *arm.point(np.linspace(0, arm.length, 9)))
    dense = probability(least, arm.worlds, *arm.point(np.linspace(0, arm.length, 4001)))
    found = largest(arm, least, 0.0, 1e-3)[0]
    assert found >= dense.max() > 1.3 * coarse.max()
    assert found <= 1.003 * dense.max()


def test_methods_are_offered_and_others_refused() -> None:
    assert epsilon_lower_bound(40, 100, 1, 100, 1e-5, method="exact") == exact_lower_bound(
        Counts(40, 100, 1, 100), 1e-5
    )
    with pytest.raises(ValueError, match="use one of clopper-pearson, exact"):
        epsilon_lower_bound(40, 100, 1, 100, method="guess")
    with pytest.raises(ValueError, match="epsilon must be at least 0"):
        exact_p_value(Counts(1, 2, 1, 2), math.nan)
