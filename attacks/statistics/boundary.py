r"""The largest chance of a set of outcomes over all rates that an (epsilon, delta) guarantee allows, with a proof.

C is a set of outcomes (x1 of n1 hits, x0 of n0 alarms) that contains with an outcome every one with more hits or fewer alarms. So ``P(C)`` rises in
p1, falls in p0, and is largest on the two straight arms of the boundary of the guarantee's region,

    p1 = e^eps p0 + delta    and    1 - p0 = e^eps (1 - p1) + delta,

which meet at ``p0 = 1 - p1 = (1 - delta)/(1 + e^eps)``. Along an arm with parameter t let ``I = sum n_i (dp_i/dt)^2 / (p_i (1 - p_i))`` and ``g = P(C)``.
The first two derivatives of the likelihood over the likelihood have variances I and at most 2 I^2, so by Cauchy and Schwarz

    |(sqrt g)'| <= sqrt(I) / 2,    |g''| <= sqrt(2) I sqrt(g),

and on an interval of length h, with g at its ends at most G and I at most J (I is convex: the larger of its ends),

    g <= G + h^2/8 sqrt(2) J (sqrt(G) + h sqrt(J) / 4).

Where I is infinite, at the ends of the arms, monotonicity bounds g by its value at the interval's most favourable corner. Intervals are
halved until every one is below alpha. Nothing rests on a grid alone.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import betainc
from scipy.stats import binom

from certify.core.arrays import FloatArray, IntArray

_OUTSIDE = 1e-15
"""Probability that is left outside the summed window, at each end; added back."""
_ROUNDING = 1 + 1e-9
"""More than the relative error of a sum of probabilities."""
_MOST = 50_000
"""Intervals after which the search gives up and reports a weaker bound."""


@dataclass(frozen=True)
class Worlds:
    """The two worlds' numbers of trials, and delta.

    Attributes:
        positives: n1.
        negatives: n0.
        delta: of the guarantee.
    """

    positives: int
    negatives: int
    delta: float


def _reach(trials: int, rate: float, side: int) -> float:
    """What a binomial count leaves on that side with a chance below ``_OUTSIDE`` (Bernstein)."""
    nats, variance = -math.log(_OUTSIDE), trials * rate * (1 - rate)
    return trials * rate + side * (nats / 3 + math.sqrt(nats**2 / 9 + 2 * nats * variance))


def probability(least: IntArray, worlds: Worlds, p0: FloatArray, p1: FloatArray) -> FloatArray:
    """P(C) at rates ``(p0, p1)``, from above by less than 1e-8 of itself.

    Args:
        least: C, as the least hits that belong to it by number of alarms (n1 + 1: none), not falling, (n0 + 1,).
        worlds: numbers of trials.
        p0: rates of alarms, (m,).
        p1: rates of hits, (m,).
    """
    found, last = np.empty(p0.shape), int(np.searchsorted(least, worlds.positives + 1)) - 1
    together = max(16, 20_000 // worlds.negatives)
    for start in range(0, len(p0), together):
        part = slice(start, start + together)
        left = max(0, math.floor(_reach(worlds.negatives, float(p0[part].min()), -1)))
        right = min(last, math.ceil(_reach(worlds.negatives, float(p0[part].max()), 1)))
        alarms = np.arange(left, max(right, left - 1) + 1)
        needed = least[alarms].astype(float)
        # P(x1 >= m) = I_p1(m, n1 - m + 1)
        power = betainc(np.maximum(needed, 1.0), worlds.positives - needed + 1, p1[part, None])
        power = np.where(needed > 0, power, 1.0)
        found[part] = (binom.pmf(alarms, worlds.negatives, p0[part, None]) * power).sum(axis=1)
    return np.minimum(1.0, found * _ROUNDING + 2 * _OUTSIDE)


@dataclass(frozen=True)
class Arm:
    """One straight piece of the boundary, ``t`` from 0 to the meeting point.

    Attributes:
        worlds: numbers of trials, and delta.
        epsilon: of the guarantee.
        mirrored: the first arm is ``p0 = t, p1 = e^eps t + delta``; the second its mirror image, ``1 - p1 = t, 1 - p0 = e^eps t + delta``.
    """

    worlds: Worlds
    epsilon: float
    mirrored: bool

    @property
    def length(self) -> float:
        """The largest t."""
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
            found: FloatArray = own / (t * (1 - t)) + ratio**2 * other / (rate * (1 - rate))
        return found


def _between(arm: Arm, least: IntArray, low: FloatArray, high: FloatArray, ends: FloatArray) -> FloatArray:
    """An upper bound of g on each interval, from the larger value at its ends."""
    h, information = high - low, np.maximum(arm.information(low), arm.information(high))
    smooth = np.isfinite(information)
    bound = np.empty(len(h))
    J, G = information[smooth], ends[smooth]
    root = np.minimum(1.0, np.sqrt(G) + h[smooth] * np.sqrt(J) / 4)
    bound[smooth] = G + h[smooth] ** 2 / 8 * math.sqrt(2) * J * root
    if not smooth.all():
        bound[~smooth] = probability(least, arm.worlds, *arm.point(low[~smooth], high[~smooth]))
    return bound


def largest(arm: Arm, least: IntArray, alpha: float, tolerance: float) -> tuple[float, float, float]:
    """The largest g on an arm: a proven upper bound, a value that is reached, and the share of the arm where.

    Stops where the upper bound is at most ``alpha``, where a value above alpha is reached, or within ``tolerance`` of each other.
    """
    t = arm.length * np.sin(np.linspace(0, np.pi / 2, 49)) ** 2
    g = probability(least, arm.worlds, *arm.point(t))
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
        g = probability(least, arm.worlds, *arm.point(middle))
        if g.max() > best:
            best, where = float(g.max()), float(middle[g.argmax()])
        low, high = np.stack([low, middle], 1).ravel(), np.stack([middle, high], 1).ravel()
        left, right = np.stack([left, g], 1).ravel(), np.stack([g, right], 1).ravel()
