r"""Bands that hold at every threshold at once, so that a threshold may be chosen after the scores were seen.

Let ``V_(1) <= ... <= V_(n)`` be n sorted uniform numbers; ``V_(k)`` has the distribution Beta(k, n - k + 1). The band of equal local
levels takes the eta for which

    P(F_k(V_(k)) >= eta for all k checked) >= 1 - error,    F_k the distribution function of V_(k),

so that ``V_(k) >= F_k^-1(eta)`` for all k at once: every threshold gets the same share of the error, where Dvoretzky, Kiefer and Wolfowitz's
(:func:`dkw_margin`) spends nearly all of it in the middle. The probability is computed, not simulated: ``N(t) = #{V_i <= t}`` is a
Poisson process of rate n given ``N(1) = n``, a lower limit b_k is crossed where ``N(b_k) >= k``, and the chance of no crossing is a chain of
convolutions of positive numbers (the recursion of Noe 1972 in the form of Moscovich and Nadler 2017). What is cut off counts as crossed.

**Rates.** Scores ``s_i`` with any distribution, ties and atoms included, are ``Q(V_i)`` with ``s_i >= t`` exactly where ``V_i <= P(s >= t)``. If k
of n scores are at least t then ``V_(k) <= P(s >= t) < V_(k+1)``, where V_(0) = 0 and V_(n+1) = 1. Hence, at all thresholds at once, with
probability ``1 - error`` each,

    P(s >= t) >= F_k^-1(eta)    and    P(s >= t) <= 1 - F_(n-k)^-1(eta),

the second by the symmetry ``V_(k+1) ~ 1 - V_(n-k)``. Trials must be independent: scores of several records of one model are not.

Many trials: only some k are checked (all up to 50, then steps of a sixth of a standard deviation). Limits in between follow from the
nearest k below, which costs little because they move by less than their width.
"""

import math
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaln, xlogy
from scipy.stats import beta

from certify.attacks.statistics.counts import as_confidence, as_delta, as_rate
from certify.core.arguments import as_whole, shown
from certify.core.arrays import FloatArray, IntArray
from certify.core.bounds import LowerBound
from certify.core.errors import ArgumentError, InputError
from certify.core.rounding import down

KINDS = ("equal-level", "dkw")
"""Bands: equal local levels, or Dvoretzky, Kiefer and Wolfowitz for comparison."""

_CUT = 1e-17
"""Terms of a step's distribution below it are dropped, and count as crossings."""
_ROUNDING = 1e-9
"""More than the rounding error of a crossing probability."""

KNOWN = {
    0.025: {
        100: 1.093e-03,
        200: 8.481e-04,
        500: 6.392e-04,
        1_000: 5.410e-04,
        2_000: 4.653e-04,
        5_000: 3.901e-04,
        10_000: 3.463e-04,
        20_000: 3.103e-04,
        50_000: 2.718e-04,
        100_000: 2.479e-04,
    },
    0.0125: {
        100: 4.970e-04,
        200: 3.831e-04,
        500: 2.872e-04,
        1_000: 2.428e-04,
        2_000: 2.086e-04,
        5_000: 1.747e-04,
        10_000: 1.550e-04,
        20_000: 1.389e-04,
        50_000: 1.216e-04,
        100_000: 1.109e-04,
    },
}
"""Local levels by error and trials, rounded down, so that common ones need not be computed; the tests compute them again."""


def checked(trials: int) -> IntArray:
    """The k at which the band is checked."""
    found, k = [], 1.0
    while k <= trials:
        found.append(int(k))
        variance = k * max(trials - k, 1) / trials
        k = int(k) + (1 if min(k, trials - k) <= 50 else max(1, math.floor(math.sqrt(variance) / 6)))
    return np.array(found)


def _steps(mean: float) -> FloatArray:
    """Poisson probabilities from 0 up, as far as they matter."""
    last = int(mean + 12 * math.sqrt(mean) + 30)
    counts = np.arange(last + 1)
    chances = np.exp(xlogy(counts, mean) - mean - gammaln(counts + 1))
    return chances[: max(1, int(np.flatnonzero(chances > _CUT)[-1]) + 1)]


def crossing(trials: int, ranks: IntArray, limits: FloatArray) -> float:
    """The chance that some ``V_(k) < limit_k``, from above: of n sorted uniform numbers, one falls short of its lower limit.

    Args:
        trials: n.
        ranks: the k, rising, (m,).
        limits: their lower limits, not falling, in [0, 1), (m,).
    """
    chances, first, before = np.ones(1), 0, 0.0
    for rank, limit in zip(ranks.tolist(), limits.tolist(), strict=True):
        if limit > before:
            chances = np.convolve(chances, _steps(trials * (limit - before)))
            before = limit
        chances = chances[: max(0, rank - first)]  # N(limit) <= rank - 1
        if not len(chances):
            return 1.0
        small = int(np.argmax(chances > _CUT * 1e-3))  # leading counts that have become impossible in practice
        chances, first = chances[small:], first + small
    counts = first + np.arange(len(chances))
    missing, mean = trials - counts, trials * (1 - before)
    last = np.exp(xlogy(missing, mean) - mean - gammaln(missing + 1))
    whole = math.exp(trials * math.log(trials) - trials - math.lgamma(trials + 1))
    return min(1.0, max(0.0, 1 - float(chances @ last) / whole) + _ROUNDING)


@lru_cache(maxsize=256)
def local_level(trials: int, error: float) -> float:
    """eta: the share of the error that each threshold gets, from below, to four digits.

    Args:
        trials: n, of one world.
        error: chance that the band fails somewhere, one-sided.

    Raises:
        ArgumentError: no trials, or an error outside (0, 1).
    """
    trials, error = as_whole(trials, "trials"), as_rate(error, "error")
    if trials < 1:
        raise ArgumentError(f"there are {shown(trials)} trials", where="trials", mend="give at least one")
    for level, known in KNOWN.items():
        if trials in known and math.isclose(error, level, rel_tol=1e-9):  # 1 - 0.95 is not quite 0.05
            return known[trials]
    ranks = checked(trials)

    def excess(log_level: float) -> float:
        limits: FloatArray = np.asarray(beta.ppf(math.exp(log_level), ranks, trials - ranks + 1))
        return math.log(crossing(trials, ranks, limits) / error)

    if len(ranks) == 1:
        return down(error * (1 - 1e-6))
    # all of the error at one rank is too much; Bonferroni over all ranks is too little
    level = float(brentq(excess, math.log(error / len(ranks) / 2), math.log(error), xtol=1e-5))
    while excess(level) > 0:
        level -= 2e-5
    return math.exp(level)


@lru_cache(maxsize=64)
def _limits(trials: int, error: float, kind: str) -> FloatArray:
    """Lower limits of ``P(s >= t)`` by the number of scores that are at least t, (trials + 1,)."""
    counts = np.arange(trials + 1)
    if kind == "dkw":
        found = np.maximum(0.0, counts / trials - dkw_margin(trials, error))
    else:
        ranks = checked(trials)
        at_ranks = beta.ppf(local_level(trials, error), ranks, trials - ranks + 1)
        found = np.concatenate([[0.0], at_ranks])[np.searchsorted(ranks, counts, side="right")]
    found.flags.writeable = False
    return found


def dkw_margin(trials: int, error: float) -> float:
    """How far an empirical distribution function strays to one side, except with probability ``error``: ``sqrt(log(1/error)/(2n))``.

    Massart 1990, for errors of at most 1/2.
    """
    return math.sqrt(math.log(1 / min(error, 0.5)) / (2 * trials))


def lower_limits(trials: int, error: float, kind: str = "equal-level") -> FloatArray:
    """What ``P(s >= t)`` is at least, at all t at once, where k of the scores are at least t; by k, (trials + 1,).

    Args:
        trials: n, independent.
        error: chance that a limit fails at some t, one-sided.
        kind: one of :data:`KINDS`.

    Raises:
        ArgumentError: a kind nobody knows, no trials, or an error outside (0, 1).
    """
    if kind not in KINDS:
        raise ArgumentError(f"there is no band {shown(kind)}", where="kind", mend=f"use one of {', '.join(KINDS)}")
    trials = as_whole(trials, "trials")
    if trials < 1:
        raise ArgumentError(f"there are {shown(trials)} trials", where="trials", mend="give at least one")
    return _limits(trials, as_rate(error, "error"), kind)


def upper_limits(trials: int, error: float, kind: str = "equal-level") -> FloatArray:
    """What ``P(s >= t)`` is at most, as :func:`lower_limits`."""
    return 1 - lower_limits(trials, error, kind)[::-1]


def epsilon_over_thresholds(
    hits: IntArray,
    positives: int,
    alarms: IntArray,
    negatives: int,
    delta: float = 0.0,
    confidence: float = 0.95,
    kind: str = "equal-level",
) -> LowerBound:
    """The largest epsilon that any threshold refutes; valid although the threshold is chosen from the same scores.

    One lower limit for all true-positive rates and one for all true-negative rates, each at half the error, serve both inequalities of
    the guarantee (``TPR <= e^eps FPR + delta``, ``TNR <= e^eps FNR + delta``) at every threshold.

    Args:
        hits: scores of the first world that are at least the threshold, by threshold.
        positives: scores of the first world.
        alarms: those of the second world, by threshold.
        negatives: scores of the second world.
        delta: of the guarantee.
        confidence: one minus the chance that the bound exceeds the truth.
        kind: one of :data:`KINDS`.

    Raises:
        ArgumentError: a level or kind that makes no sense.
        InputError: counts that do not fit together.
    """
    delta, error = as_delta(delta), down(1 - as_confidence(confidence)) / 2
    first, second = np.asarray(hits), np.asarray(alarms)
    if first.shape != second.shape or ((first < 0) | (first > positives) | (second < 0) | (second > negatives)).any():
        raise InputError("counts do not fit together", where="counts", mend="count the trials again")
    tpr = lower_limits(positives, error, kind)[first]
    tnr = lower_limits(negatives, error, kind)[negatives - second]
    ratio = np.maximum((tpr - delta) / (1 - tnr), (tnr - delta) / (1 - tpr))
    return LowerBound(max(0.0, down(math.log(max(1.0, float(ratio.max(initial=1.0)))))))
