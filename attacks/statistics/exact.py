r"""An exact test of an (epsilon, delta) guarantee from counts, and the lower bound on epsilon by its inversion.

``x1 ~ Bin(n1, p1)`` trials of the first world and ``x0 ~ Bin(n0, p0)`` of the second are called first. The guarantee says

    p1 <= e^eps p0 + delta    and    1 - p0 <= e^eps (1 - p1) + delta.                                     (region)

**Order.** Outcomes are put into one fixed order S, the more telling first, so that one test covers both inequalities and both
rates, and nothing of the error is divided among them (Barnard 1947; Buehler 1957). Let ``T(x; eps)`` be half the signed
likelihood-ratio statistic of the inequality that is violated more: the least ``n1 KL(x1/n1, p1) + n0 KL(x0/n0, p0)`` over the
inequality's boundary, 0 where neither is violated. It falls in eps. ``S(x)`` is the eps where it meets a slowly rising level
``c(eps)``. The level decides how tight the bound is, not whether it holds: it is near the level that gives the likelihood-ratio
test its size on the boundary.

**Bound.** ``q(x, eps) = sup over the region of P(S(Y) >= S(x))`` is a p-value of the guarantee and rises in eps, because regions are
nested; so ``inf {eps: q(x, eps) > alpha}`` exceeds the truth with probability at most alpha.

The supremum is computed with a proof, not on a grid: :mod:`certify.attacks.statistics.boundary`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri

from certify.attacks.statistics.boundary import Arm, Worlds, largest, probability
from certify.attacks.statistics.counts import Counts, as_confidence, as_delta
from certify.core.arguments import at_most, shown
from certify.core.arrays import FloatArray, IntArray
from certify.core.bounds import LowerBound, UpperBound
from certify.core.errors import ArgumentError
from certify.core.rounding import down, up

_ROUNDING = 1 + 1e-9
"""More than the relative error of T."""
_LARGEST = 40.0
"""No count below 2^53 refutes an epsilon above it."""


def _halved(holds: Callable[[float], bool], low: float, high: float, width: float) -> float:
    """The last point found true, from ``low``, which is taken to be, towards ``high``."""
    while high - low > width:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _divergence(found: FloatArray, rate: FloatArray) -> FloatArray:
    """KL(found, rate) of two coins."""
    with np.errstate(divide="ignore", invalid="ignore"):
        hit = np.where(found > 0, found * np.log(found / rate), 0.0)
        miss = np.where(found < 1, (1 - found) * np.log((1 - found) / (1 - rate)), 0.0)
    return hit + miss


def _violation(a1: FloatArray, n1: int, a0: FloatArray, n0: int, ratio: float, delta: float) -> FloatArray:
    """T for ``p1 <= ratio p0 + delta``, at observed rates ``a1``, ``a0``."""
    violated = a1 > ratio * a0 + delta
    low, high = np.where(violated, a0, 0.25), np.where(violated, (a1 - delta) / ratio, 0.5)
    for _ in range(32):  # the divergence is convex along the boundary and flat at its minimum: 32 halvings are plenty
        p0 = 0.5 * (low + high)
        p1 = ratio * p0 + delta
        with np.errstate(divide="ignore", invalid="ignore"):
            falls = n1 * ratio * (a1 - p1) / (p1 * (1 - p1)) > n0 * (p0 - a0) / (p0 * (1 - p0))
        low, high = np.where(falls, p0, low), np.where(falls, high, p0)
    p0 = np.where(violated, 0.5 * (low + high), 0.5)
    p1 = np.where(violated, ratio * p0 + delta, 0.5)
    return np.where(violated, n1 * _divergence(a1, p1) + n0 * _divergence(a0, p0), 0.0)


@dataclass(frozen=True)
class _Order(Worlds):
    """The order of the outcomes."""

    alpha: float

    def violation(self, hits: FloatArray, alarms: FloatArray, epsilon: float) -> FloatArray:
        """T(x; epsilon)."""
        ratio, n1, n0 = math.exp(epsilon), self.positives, self.negatives
        first = _violation(hits / n1, n1, alarms / n0, n0, ratio, self.delta)
        second = _violation((n0 - alarms) / n0, n0, (n1 - hits) / n1, n1, ratio, self.delta)
        return np.maximum(first, second)

    def least_hits(self, level: float, epsilon: float) -> IntArray:
        """For every number of alarms the least hits with ``T >= level``; one more than there are where none do."""
        alarms = np.arange(self.negatives + 1)
        low, high = np.full(alarms.shape, -1), np.full(alarms.shape, self.positives + 1)
        while (high - low > 1).any():
            middle = np.clip((low + high) // 2, 0, self.positives)
            far = self.violation(middle.astype(float), alarms.astype(float), epsilon) * _ROUNDING >= level
            far &= high - low > 1
            low, high = np.where(far | (high - low <= 1), low, middle), np.where(far, middle, high)
        return np.minimum.accumulate(high[::-1])[::-1]

    def level(self, epsilon: float) -> float:
        """Where T is cut: about the critical value of the likelihood-ratio test, found by computing its size at 50 to 5,000 trials."""
        uneven = abs(math.log(self.positives / self.negatives))
        deviations = max(0.5, -float(ndtri(self.alpha))) + 0.27 + 0.09 * (epsilon + min(uneven, 5.0))
        return 0.5 * deviations**2


def _ordered_before(counts: Counts, order: _Order) -> IntArray | None:
    """C as :meth:`_Order.least_hits`; ``None`` where the test did no better than chance allows at epsilon 0."""
    hits, alarms = np.array([float(counts.true_positives)]), np.array([float(counts.false_positives)])

    def violation(epsilon: float) -> float:
        return float(order.violation(hits, alarms, epsilon)[0])

    at_zero = violation(0.0)
    if at_zero <= 0:
        return None
    if at_zero <= order.level(0.0):
        return order.least_hits(at_zero, 0.0)
    score = _halved(lambda epsilon: violation(epsilon) >= order.level(epsilon), 0.0, _LARGEST, 1e-9)
    return order.least_hits(order.level(score), score)


@lru_cache(maxsize=4096)
def _lower_bound(counts: Counts, delta: float, confidence: float) -> float:
    alpha = down(1 - confidence)
    order = _Order(counts.positives, counts.negatives, delta, alpha)
    least = _ordered_before(counts, order)
    if least is None:
        return 0.0

    def reached(epsilon: float, mirrored: bool, shares: FloatArray) -> float:  # noqa: FBT001  # which of the two arms
        arm = Arm(order, epsilon, mirrored)
        return float(probability(least, order, *arm.point(arm.length * shares)).max())

    shares = np.sin(np.linspace(0, np.pi / 2, 33)[1:]) ** 2

    def excess(epsilon: float) -> float:
        return math.log(max(reached(epsilon, side, shares) for side in (False, True)) / alpha)

    if excess(0.0) >= 0:
        return 0.0
    epsilon = float(brentq(excess, 0.0, _LARGEST, xtol=1e-5))
    slack = 1e-4
    while epsilon > slack:
        found = [largest(Arm(order, epsilon - slack, side), least, alpha, 0.0) for side in (False, True)]
        if max(bound for bound, _, _ in found) <= alpha:
            return down(epsilon - slack)
        for side, (_, value, share) in zip((False, True), found, strict=True):
            if value > alpha:  # a point that was missed: no epsilon can be refuted at which it is above alpha
                point = np.array([share])
                epsilon = _halved(lambda e, s=side, p=point: reached(e, s, p) <= alpha, 0.0, epsilon - slack, 1e-6)  # type: ignore[misc]
                break
        else:
            slack *= 4
    return 0.0


def exact_lower_bound(counts: Counts, delta: float = 0.0, confidence: float = 0.95) -> LowerBound:
    """The largest epsilon found that the exact test refutes together with every smaller one.

    Usually well above the bound from two Clopper-Pearson limits, which divides the error between two rates that are never both at their
    limits. About a tenth of a second at 1,000 trials a world, seconds at 20,000; answers are kept.

    Args:
        counts: of independent trials of a test that was fixed before them.
        delta: of the guarantee.
        confidence: one minus the chance that the bound exceeds the truth.

    Raises:
        ArgumentError: a level that makes no sense.
    """
    return LowerBound(max(0.0, _lower_bound(counts, as_delta(delta), as_confidence(confidence))))


def exact_p_value(counts: Counts, epsilon: float, delta: float = 0.0, confidence: float = 0.95) -> UpperBound:
    """A p-value of the guarantee (``epsilon``, ``delta``): the largest chance, over all rates it allows, of counts as telling.

    Args:
        counts: of independent trials of a test that was fixed before them.
        epsilon: of the guarantee.
        delta: of the guarantee.
        confidence: near which the order of the outcomes is sharpest; the p-value is valid at every level.

    Raises:
        ArgumentError: an epsilon or a level that makes no sense.
    """
    claimed = at_most(epsilon, "epsilon")
    if not claimed >= 0:
        raise ArgumentError(
            f"epsilon must be at least 0, not {shown(claimed)}", where="epsilon", mend="correct the value"
        )
    order = _Order(counts.positives, counts.negatives, as_delta(delta), down(1 - as_confidence(confidence)))
    least = _ordered_before(counts, order)
    if least is None or claimed > _LARGEST:
        return UpperBound(1.0)
    return UpperBound(
        min(1.0, up(max(largest(Arm(order, claimed, side), least, 0.0, 1e-3)[0] for side in (False, True))))
    )
