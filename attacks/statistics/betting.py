"""Means of independent variables in [0, 1]: intervals by betting, proven for every sample size and every distribution.

Fix a candidate ``m`` for the mean. A gambler who stakes the share ``c`` of its wealth on "the mean is above m" multiplies its wealth
by ``1 - c + c x/m`` at each value x; on "below m" by ``1 - c + c (1-x)/(1-m)``. At the true mean of independent values the expected
wealth after n values is ``prod(1 - c + c mu_i/m) <= 1`` by the inequality of the means, **also where the values have different
means** and m is their average. So wealth of 1/alpha refutes m at level alpha (Markov); where the values have one mean, at whatever n
one stops (Ville). Averages of such wealths over shares c fixed beforehand are such wealths too, and stay so over both directions.

At m = the sample's mean every wealth is at most 1 by the same inequality, and each is convex in m: what is not refuted is an interval
around the sample's mean, whose ends a root finder approaches and then leaves outward. Source: Waudby-Smith and Ramdas 2024 (hedged capital); bets that
are constant and averaged, as here, need neither an order of the values nor equal means.
"""

import math

import numpy as np
from scipy.optimize import brentq

from certify.attacks.estimates import Estimate
from certify.core.arguments import as_number, shown
from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import ArgumentError, InputError
from certify.core.rounding import down, up

_GRID = 2048
_LOOKS = 4096  # a sequence does not know how long it will be; its stakes suit up to some thousand values


def log_slack(terms: int) -> float:
    """More than rounding can add to a sum of so many logarithms of wealth: it is taken off before a wealth refutes anything."""
    return 1e-9 + 1e-13 * terms


def stakes(n: int) -> tuple[FloatArray, FloatArray]:
    """Shares of the wealth to stake on n values, and the logs of their weights, which add up to one.

    1, a half, a quarter, ... to about ``sqrt(7/n)``, which suits a spread as large as the mean; the whole wealth, best at rates
    near 0 or 1 and wherever the spread is small, weighs 0.4, the others share the rest. Nothing here looks at the values.
    """
    count = max(1, math.ceil(math.log2(max(n, 1) / 7) / 2)) if n > 7 else 1
    weights = np.array([0.4] + [0.6 / count] * count)
    return 0.5 ** np.arange(count + 1.0), np.asarray(np.log(weights))


def log_wealth(ratios: FloatArray) -> float:
    """Log of the wealth after all values, averaged over :func:`stakes`; ``ratios`` are the values over what is to be refuted."""
    shares, log_weights = stakes(ratios.size)
    with np.errstate(divide="ignore"):
        each = np.log((1 - shares)[:, None] + shares[:, None] * ratios).sum(axis=1)
    return float(np.logaddexp.reduce(each + log_weights))


def as_values(values: AnyArray, where: str = "values") -> FloatArray:
    """One axis of numbers in [0, 1].

    Raises:
        InputError: none, not one axis, or outside.
    """
    found = np.asarray(values, dtype=float)
    if found.ndim != 1 or not found.size:
        raise InputError(f"shape {found.shape} is not (models,)", where=where, mend="give one number a model")
    if not ((found >= 0) & (found <= 1)).all():
        raise InputError(
            "a number lies outside [0, 1]", where=where, mend="give shares, or scale by a range fixed beforehand"
        )
    return found


def as_level(value: object, name: str = "confidence") -> float:
    """A number strictly between 0 and 1.

    Raises:
        ArgumentError: it is none.
    """
    level = as_number(value, name)
    if not 0 < level < 1:
        raise ArgumentError(
            f"must lie strictly between 0 and 1, not {shown(level)}", where=name, mend="correct the value"
        )
    return level


def _log_up(values: FloatArray, m: float) -> float:
    if m <= 0:
        return math.inf if values.any() else 0.0
    return log_wealth(values / m)


def _log_hedged(values: FloatArray, m: float) -> float:
    return float(np.logaddexp(_log_up(values, m), _log_up(1 - values, 1 - m))) - math.log(2)


def _end(wealth: "_Wealth", inside: float, outside: float, target: float) -> float:
    """A refuted point next to one that is not, between ``inside`` and ``outside``; ``outside`` where not even that is refuted."""
    if wealth(outside) < target:
        return outside
    if wealth(inside) >= target:
        return inside
    # cut off above, so that infinities do not mislead the root finder; what it finds is then moved outward until it is refuted
    found = brentq(lambda m: min(wealth(m) - target, 5.0), inside, outside, xtol=1e-13, rtol=1e-12)
    step = math.copysign(1e-13, outside - inside)
    while wealth(found) < target:
        found, step = found + step, 2 * step
        if (found - outside) * step >= 0:
            return outside
    return float(found)


class _Wealth:
    """Log wealth of a sample as a function of the candidate; a direction alone, or both."""

    def __init__(self, values: FloatArray, *, hedged: bool) -> None:
        self.values, self.hedged = values, hedged

    def __call__(self, m: float) -> float:
        return _log_hedged(self.values, m) if self.hedged else _log_up(self.values, m)


def mean_lower(values: AnyArray, alpha: float = 0.05) -> float:
    """A number that the mean of independent values in [0, 1] falls below with probability at most ``alpha``.

    Args:
        values: (n,) independent, each in [0, 1]; they may have different means, whose average is then bounded.
        alpha: allowed error, one-sided.

    Raises:
        InputError: values outside [0, 1], or none.
    """
    found = as_values(values)
    target = -math.log(as_level(alpha, "alpha")) + log_slack(found.size)
    return max(0.0, down(_end(_Wealth(found, hedged=False), float(found.mean()), 0.0, target)))


def mean_upper(values: AnyArray, alpha: float = 0.05) -> float:
    """The counterpart of :func:`mean_lower` from above."""
    return min(1.0, up(1 - mean_lower(1 - as_values(values), alpha)))


def mean_interval(values: AnyArray, confidence: float = 0.95) -> Estimate:
    """Two-sided interval of the mean of independent values in [0, 1]: hedged betting, both directions with half the wealth.

    Args:
        values: (n,) one number a model, or of whatever else is independent.
        confidence: two-sided.

    Raises:
        InputError: values outside [0, 1], or none.

    >>> found = mean_interval([0.50, 0.52, 0.49, 0.51, 0.50, 0.48, 0.53, 0.50] * 4)
    >>> found.lower < 0.50375 < found.upper
    True
    """
    found = as_values(values)
    target = -math.log1p(-as_level(confidence)) + log_slack(found.size)
    mean, wealth = min(1.0, float(found.mean())), _Wealth(found, hedged=True)
    low, high = _end(wealth, mean, 0.0, target), _end(wealth, mean, 1.0, target)
    method = "betting, over independent values"
    return Estimate(mean, max(0.0, down(low)), min(1.0, up(high)), confidence, method, found.size)


def empirical_bernstein(values: AnyArray, confidence: float = 0.95) -> Estimate:
    """The interval of Maurer and Pontil 2009, for comparison: ``mean +- sqrt(2 v log(4/a)/n) + 7 log(4/a)/(3(n-1))``.

    v the sample's variance, a = 1 - confidence (half of it on each side). Betting is never much wider and mostly much narrower.

    Raises:
        InputError: values outside [0, 1], or fewer than two.
    """
    found = as_values(values)
    if found.size < 2:
        raise InputError("one value has no variance", where="values", mend="give two or more")
    spread = math.log(4 / (1 - as_level(confidence)))
    half = math.sqrt(2 * found.var(ddof=1) * spread / found.size) + 7 * spread / (3 * (found.size - 1))
    mean = float(found.mean())
    ends = max(0.0, mean - half * (1 + 1e-12)), min(1.0, mean + half * (1 + 1e-12))
    return Estimate(mean, *ends, confidence, "empirical Bernstein, over independent values", found.size)


def mean_sequence(values: AnyArray, confidence: float = 0.95) -> tuple[FloatArray, FloatArray]:
    """Confidence sequence: with probability ``confidence`` the mean lies in *every* one of the n intervals.

    One may therefore stop at any n, for any reason, and use the interval of then. Values come in the order in which they were
    seen; each must have the same mean given those before it (models trained alike).

    Args:
        values: (n,) in [0, 1].
        confidence: two-sided, over all times together.

    Returns:
        Lower and upper ends, (n,) each: entry t holds after t + 1 values. Ends are rounded outward to a grid of 1/2048.

    Raises:
        InputError: values outside [0, 1], or none.
    """
    found = as_values(values)
    target = -math.log1p(-as_level(confidence)) + log_slack(found.size)
    shares, log_weights = stakes(_LOOKS)
    grid = np.linspace(0, 1, _GRID + 1)
    wealth = np.zeros((2, grid.size, shares.size))
    lower, upper = np.zeros(found.size), np.ones(found.size)
    for t, x in enumerate(found):
        with np.errstate(divide="ignore", invalid="ignore"):
            for side, (value, edge) in enumerate(((x, grid), (1 - x, 1 - grid))):
                ratio = np.where((edge == 0) & (value == 0), 1.0, value / edge)
                wealth[side] += np.log((1 - shares) + shares * ratio[:, None])
        kept = np.logaddexp.reduce(wealth + log_weights, axis=(0, 2)) - math.log(2) < target
        if not kept.any():  # the values contradict a common mean: the sequence has no interval any more
            lower[t:], upper[t:] = 1.0, 0.0
            break
        grid, wealth = grid[kept], wealth[:, kept]
        lower[t], upper[t] = max(0.0, grid[0] - 1 / _GRID), min(1.0, grid[-1] + 1 / _GRID)
    return lower, upper
