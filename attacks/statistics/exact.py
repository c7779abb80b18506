r"""An exact test of an (epsilon, delta) guarantee from counts, and the lower bound on epsilon by its inversion.

``x1 ~ Bin(n1, p1)`` trials of the first world and ``x0 ~ Bin(n0, p0)`` of the second are called first. The guarantee says

    p1 <= e^eps p0 + delta    and    1 - p0 <= e^eps (1 - p1) + delta.                                     (region)

**Order.** Outcomes are put into one fixed order S, the more telling first, so that one test covers both inequalities and both
rates, and nothing of the error is divided among them (Barnard 1947; Buehler 1957). Let ``T(x; eps)`` be half the signed
likelihood-ratio statistic of the inequality that is violated more: the least ``n1 KL(x1/n1, p1) + n0 KL(x0/n0, p0)`` over the
inequality's boundary, 0 where neither is violated. It falls in eps. ``S(x)`` is the eps where it meets a slowly rising level
:func:`_level`. The level decides how tight the bound is, not whether it holds: it is near the level that gives the likelihood-ratio
test its size on the boundary.

**Bound.** ``q(x, eps) = sup over the region of P(S(Y) >= S(x))`` is a p-value of the guarantee and rises in eps, because regions are
nested; so ``inf {eps: q(x, eps) > alpha}`` exceeds the truth with probability at most alpha.

**Supremum, proven.** ``C = {S >= S(x)}`` contains with an outcome every one with more hits or fewer alarms (T rises in x1 and falls in
x0), so that ``P(C)`` rises in p1, falls in p0, and is largest on the two straight arms of the boundary, which meet at
``p0 = 1 - p1 = (1 - delta) / (1 + e^eps)``. Along an arm with parameter t let ``I = sum n_i (dp_i/dt)^2 / (p_i (1 - p_i))`` and ``g = P(C)``.
The first two derivatives of the likelihood over the likelihood have variances I and at most 2 I^2, so by Cauchy and Schwarz

    |(sqrt g)'| <= sqrt(I) / 2,    |g''| <= sqrt(2) I sqrt(g),

and on an interval of length h, with g at its ends at most G and I at most J (I is convex: the larger of its ends),

    g <= G + h^2/8 sqrt(2) J (sqrt(G) + h sqrt(J) / 4).

Where I is infinite, at the ends of the arms, monotonicity bounds g by its value at the interval's most favourable corner. Intervals are
halved until every one is below alpha. Nothing rests on a grid alone.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import betainc, ndtri
from scipy.stats import binom

from certify.attacks.statistics.counts import Counts, as_confidence, as_delta
from certify.core.arguments import at_most, shown
from certify.core.arrays import FloatArray, IntArray
from certify.core.bounds import LowerBound, UpperBound
from certify.core.errors import ArgumentError
from certify.core.rounding import down, up

_OUTSIDE = 1e-15
"""Probability that is left outside the summed window, at each end; added back."""
_ROUNDING = 1 + 1e-9
"""More than the relative error of a sum of probabilities, and of T."""
_LARGEST = 40.0
"""No count below 2^53 refutes an epsilon above it."""
_MOST = 50_000
"""Intervals after which the search gives up and reports a weaker bound."""


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
class _Worlds:
    """What does not change while epsilon is looked for."""

    positives: int
    negatives: int
    delta: float
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


def _level(worlds: _Worlds, epsilon: float) -> float:
    """Where T is cut: about the critical value of the likelihood-ratio test, found by computing its size at 50 to 5,000 trials."""
    uneven = abs(math.log(worlds.positives / worlds.negatives))
    deviations = max(0.5, -float(ndtri(worlds.alpha))) + 0.27 + 0.09 * (epsilon + min(uneven, 5.0))
    return 0.5 * deviations**2


def _probability(least: IntArray, worlds: _Worlds, p0: FloatArray, p1: FloatArray) -> FloatArray:
    """P(C) at rates ``(p0, p1)``, from above by less than 1e-8 of itself."""
    found, last = np.empty(p0.shape), int(np.searchsorted(least, worlds.positives + 1)) - 1
    for start in range(0, len(p0), 16):
        part = slice(start, start + 16)
        left = max(0, int(binom.ppf(_OUTSIDE, worlds.negatives, p0[part].min())) - 1)
        right = min(last, int(binom.isf(_OUTSIDE, worlds.negatives, p0[part].max())) + 1)
        alarms = np.arange(left, max(right, left - 1) + 1)
        needed = least[alarms].astype(float)
        # P(x1 >= m) = I_p1(m, n1 - m + 1)
        power = betainc(np.maximum(needed, 1.0), worlds.positives - needed + 1, p1[part, None])
        power = np.where(needed > 0, power, 1.0)
        found[part] = (binom.pmf(alarms, worlds.negatives, p0[part, None]) * power).sum(axis=1)
    return np.minimum(1.0, found * _ROUNDING + 2 * _OUTSIDE)


@dataclass(frozen=True)
class _Arm:
    """One straight piece of the boundary, ``t`` from 0 to the meeting point.

    The first arm is ``p0 = t, p1 = e^eps t + delta``; the second its mirror image, ``1 - p1 = t, 1 - p0 = e^eps t + delta``.
    """

    worlds: _Worlds
    epsilon: float
    mirrored: bool

    @property
    def length(self) -> float:
        return (1 - self.worlds.delta) / (1 + math.exp(self.epsilon))

    def point(self, t: FloatArray, further: FloatArray | None = None) -> tuple[FloatArray, FloatArray]:
        """``(p0, p1)`` at t; with ``further``, the corner of the interval where P(C) cannot be below its largest value."""
        other = np.minimum(1.0, math.exp(self.epsilon) * (t if further is None else further) + self.worlds.delta)
        return (1 - other, 1 - t) if self.mirrored else (t, other)

    def information(self, t: FloatArray) -> FloatArray:
        """I(t), infinite at an end where a rate is 0 or 1."""
        ratio = math.exp(self.epsilon)
        own, other = self.worlds.negatives, self.worlds.positives
        own, other = (other, own) if self.mirrored else (own, other)
        rate = np.minimum(1.0, ratio * t + self.worlds.delta)
        with np.errstate(divide="ignore"):
            return own / (t * (1 - t)) + ratio**2 * other / (rate * (1 - rate))


def _between(arm: _Arm, least: IntArray, low: FloatArray, high: FloatArray, ends: FloatArray) -> FloatArray:
    """An upper bound of g on each interval, from the larger value at its ends."""
    h, information = high - low, np.maximum(arm.information(low), arm.information(high))
    smooth = np.isfinite(information)
    bound = np.empty(len(h))
    J, G = information[smooth], ends[smooth]
    root = np.minimum(1.0, np.sqrt(G) + h[smooth] * np.sqrt(J) / 4)
    bound[smooth] = G + h[smooth] ** 2 / 8 * math.sqrt(2) * J * root
    if not smooth.all():
        bound[~smooth] = _probability(least, arm.worlds, *arm.point(low[~smooth], high[~smooth]))
    return bound


def _largest(arm: _Arm, least: IntArray, alpha: float, tolerance: float) -> tuple[float, float, float]:
    """The largest g on an arm: a proven upper bound, a value that is reached, and the share of the arm where.

    Stops where the upper bound is at most ``alpha``, where a value above alpha is reached, or within ``tolerance`` of each other.
    """
    t = arm.length * np.sin(np.linspace(0, np.pi / 2, 49)) ** 2
    g = _probability(least, arm.worlds, *arm.point(t))
    low, high, left, right = t[:-1], t[1:], g[:-1], g[1:]
    best, where, settled = float(g.max()), float(t[g.argmax()]), 0.0
    while True:
        bound = _between(arm, least, low, high, np.maximum(left, right))
        goal = max(alpha, best * (1 + tolerance))
        done = bound <= goal
        settled = max(settled, float(bound[done].max(initial=0.0)))
        if done.all() or best > alpha > 0 or len(low) > _MOST:
            return max(settled, float(bound.max())), best, where / arm.length
        low, high, left, right = low[~done], high[~done], left[~done], right[~done]
        middle = 0.5 * (low + high)
        g = _probability(least, arm.worlds, *arm.point(middle))
        if g.max() > best:
            best, where = float(g.max()), float(middle[g.argmax()])
        low, high = np.stack([low, middle], 1).ravel(), np.stack([middle, high], 1).ravel()
        left, right = np.stack([left, g], 1).ravel(), np.stack([g, right], 1).ravel()


def _ordered_before(counts: Counts, worlds: _Worlds) -> IntArray | None:
    """C as :meth:`_Worlds.least_hits`; ``None`` where the test did no better than chance allows at epsilon 0."""
    hits, alarms = np.array([float(counts.true_positives)]), np.array([float(counts.false_positives)])

    def violation(epsilon: float) -> float:
        return float(worlds.violation(hits, alarms, epsilon)[0])

    at_zero = violation(0.0)
    if at_zero <= 0:
        return None
    if at_zero <= _level(worlds, 0.0):
        return worlds.least_hits(at_zero, 0.0)
    score = _halved(lambda epsilon: violation(epsilon) >= _level(worlds, epsilon), 0.0, _LARGEST, 1e-9)
    return worlds.least_hits(_level(worlds, score), score)


@lru_cache(maxsize=4096)
def _lower_bound(counts: Counts, delta: float, confidence: float) -> float:
    alpha = down(1 - confidence)
    worlds = _Worlds(counts.positives, counts.negatives, delta, alpha)
    least = _ordered_before(counts, worlds)
    if least is None:
        return 0.0

    def reached(epsilon: float, mirrored: bool, shares: FloatArray) -> float:  # noqa: FBT001  # which of the two arms
        arm = _Arm(worlds, epsilon, mirrored)
        return float(_probability(least, worlds, *arm.point(arm.length * shares)).max())

    shares = np.sin(np.linspace(0, np.pi / 2, 33)[1:]) ** 2
    epsilon = _halved(lambda e: max(reached(e, side, shares) for side in (False, True)) <= alpha, 0.0, _LARGEST, 1e-5)
    slack = 1e-4
    while epsilon > slack:
        found = [_largest(_Arm(worlds, epsilon - slack, side), least, alpha, 0.0) for side in (False, True)]
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
    worlds = _Worlds(counts.positives, counts.negatives, as_delta(delta), down(1 - as_confidence(confidence)))
    least = _ordered_before(counts, worlds)
    if least is None or claimed > _LARGEST:
        return UpperBound(1.0)
    return UpperBound(
        min(1.0, up(max(_largest(_Arm(worlds, claimed, side), least, 0.0, 1e-3)[0] for side in (False, True))))
    )
