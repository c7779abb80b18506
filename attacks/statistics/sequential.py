"""Stopping early on either side: two worlds seen pair by pair, valid however often one looks.

Each pair is one number of an unlearned model and the same number of a retrained one, made alike but for the method. Under the null
the two may be exchanged: given their distance |d|, the sign of ``d = unlearned - retrained`` is a fair coin, whatever the scores' law.
Betting on it multiplies the wealth by ``2/(1 + exp(-t d/s))``, s the median distance so far; an average over slopes t of both signs
needs no guess of how large the leak is. That the wealth ever reaches 1/alpha has probability at most alpha (Ville).
"""

import math
from bisect import insort
from dataclasses import dataclass

import numpy as np

from certify.attacks.statistics.betting import as_level, mean_sequence
from certify.core.arguments import as_number, as_whole, shown
from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import ArgumentError, InputError
from certify.core.verdict import Verdict

# For normal scores the best slope is the shift over one score's deviation; the two largest matter where a few pairs are enough.
_SLOPES: FloatArray = np.array([0.25, 0.7, 2.0, 20.0])
_SLACK = 1e-9


@dataclass(frozen=True)
class Stop:
    """Where a sequential audit stopped, and why.

    Attributes:
        verdict: FAIL (the worlds differ), PASS (the chance that one exceeds the other is within the tolerance of 1/2), or
            INCONCLUSIVE (pairs ran out).
        pairs: seen by then.
        log_wealth: largest so far; exp(-log_wealth) is an anytime-valid p-value.
        lower: of the chance that the unlearned model's number is the larger one (ties half), at the same confidence.
        upper: of it.
    """

    verdict: Verdict
    pairs: int
    log_wealth: float
    lower: float
    upper: float


def as_pairs(unlearned: AnyArray, retrained: AnyArray) -> FloatArray:
    """Differences within the pairs, (n,).

    Raises:
        InputError: not one axis of finite numbers in both, of one length.
    """
    first, second = np.asarray(unlearned, dtype=float), np.asarray(retrained, dtype=float)
    if first.ndim != 1 or first.shape != second.shape or not first.size:
        raise InputError(
            f"shapes {first.shape} and {second.shape} are no pairs", where="pairs", mend="give one number a model"
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise InputError("a number is not finite", where="pairs", mend="score every model")
    return np.asarray(first - second)


def _running_median(values: FloatArray) -> FloatArray:
    seen: list[float] = []
    found = np.empty(values.size)
    for t, value in enumerate(values):
        insort(seen, float(value))
        found[t] = (seen[t // 2] + seen[(t + 1) // 2]) / 2
    return found


def pair_wealth(unlearned: AnyArray, retrained: AnyArray) -> FloatArray:
    """Log wealth after each pair, (n,), whatever the law of the scores; two-sided.

    Args:
        unlearned: (n,) one number for each unlearned model, in the order in which they were made.
        retrained: (n,) of the retrained one beside it.
    """
    difference = as_pairs(unlearned, retrained)
    scale = _running_median(np.abs(difference))
    standard = np.divide(difference, scale, out=np.sign(difference) * 1e6, where=scale > 0)
    exponents = np.outer(np.concatenate([_SLOPES, -_SLOPES]), standard)
    steps = math.log(2) - np.logaddexp(0, -exponents)
    return np.asarray(np.logaddexp.reduce(np.cumsum(steps, axis=1), axis=0) - math.log(len(exponents)))


def gaussian_pair_wealth(unlearned: AnyArray, retrained: AnyArray, deviation: float, shift: float = 1.0) -> FloatArray:
    """Log wealth where the scores are *known* to be normal with this standard deviation in both worlds; two-sided.

    The likelihood ratio of ``d ~ N(m, 2 s^2)`` to ``N(0, 2 s^2)``, averaged over m ~ N(0, (shift s)^2):
    ``-log(1 + n shift^2/2)/2 + S^2 shift^2/(8 (1 + n shift^2/2))`` with S the sum of d/s. Faster than :func:`pair_wealth` where leaks are
    large; wrong where the scores are not normal, or the deviation was taken from these models.

    Args:
        unlearned: as in :func:`pair_wealth`.
        retrained: likewise.
        deviation: s, from other models.
        shift: expected size of a leak, in deviations.
    """
    s, width = as_number(deviation, "deviation"), as_number(shift, "shift")
    if not (s > 0 and width > 0 and math.isfinite(s) and math.isfinite(width)):
        raise ArgumentError(f"must be above 0, not {shown(min(s, width))}", where="deviation", mend="correct the value")
    total = np.cumsum(as_pairs(unlearned, retrained) / s)
    grown = 1 + np.arange(1, len(total) + 1) * width**2 / 2
    return np.asarray(total**2 * width**2 / (8 * grown) - np.log(grown) / 2)


def stop(
    unlearned: AnyArray,
    retrained: AnyArray,
    tolerance: float,
    alpha: float = 0.05,
    block: int = 8,
    log_wealth: FloatArray | None = None,
) -> Stop:
    """Look after each block of pairs, and stop as soon as either side is settled.

    FAIL where the wealth has reached 1/alpha: false with probability at most alpha if the worlds are the same. PASS where the
    confidence sequence of P(unlearned > retrained) lies within ``1/2 +- tolerance``: false with probability at most alpha if it
    does not. A pair later on changes nothing about either.

    Args:
        unlearned: (n,) numbers of the pairs made so far, in their order.
        retrained: (n,).
        tolerance: of the chance that one exceeds the other, above 0 and below 1/2.
        alpha: error allowed on each side.
        block: pairs between looks.
        log_wealth: (n,) of another bettor; :func:`pair_wealth` if not given.

    Raises:
        ArgumentError: a tolerance, level or block that makes no sense.
    """
    difference, level, every = as_pairs(unlearned, retrained), as_level(alpha, "alpha"), as_whole(block, "block")
    margin = as_number(tolerance, "tolerance")
    if not 0 < margin < 0.5 or every < 1:
        raise ArgumentError(
            f"must lie strictly between 0 and 1/2, not {shown(margin)}, and a block be 1 pair or more",
            where="tolerance",
            mend="correct the value",
        )
    wealth = pair_wealth(unlearned, retrained) if log_wealth is None else np.asarray(log_wealth, dtype=float)
    best = np.maximum.accumulate(wealth)
    lower, upper = mean_sequence((np.sign(difference) + 1) / 2, 1 - level)
    looks = [*range(every, len(difference), every), len(difference)]
    for t in looks:
        verdict = Verdict.INCONCLUSIVE
        if best[t - 1] >= -math.log(level) + _SLACK:
            verdict = Verdict.FAIL
        elif 0.5 - margin <= lower[t - 1] and upper[t - 1] <= 0.5 + margin:
            verdict = Verdict.PASS
        if verdict is not Verdict.INCONCLUSIVE or t == looks[-1]:
            break
    return Stop(verdict, t, float(best[t - 1]), float(lower[t - 1]), float(upper[t - 1]))
