"""Intervals for statistics without a proven one: models drawn again, with all their trials.

**Asymptotic**: the interval holds as the number of models grows, not for any one number. With few models, or for a quantile far in
the tail (a rate at 0.1 % of false positives), it is too narrow; where :mod:`certify.attacks.statistics.means` has a proven interval, take that.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy.special import ndtr, ndtri

from certify.attacks.estimates import Estimate
from certify.attacks.observations import Trials
from certify.attacks.statistics.betting import as_level
from certify.core.arguments import as_whole
from certify.core.arrays import AnyArray, FloatArray, IntArray
from certify.core.errors import ArgumentError, InputError
from certify.core.streams import stream

Statistic = Callable[[Trials], float]


def _drawn(trials: Trials, members: list[IntArray], chosen: IntArray) -> Trials:
    """The trials of the models drawn, each draw a model of its own."""
    parts = [members[k] for k in chosen]
    rows = np.concatenate(parts)
    names = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return Trials(trials.scores[rows], np.asarray(trials.positive)[rows], names, trials.records[rows])


def bootstrap_over_models(
    trials: Trials, statistic: Statistic, confidence: float = 0.95, replicates: int = 1000, seed: int = 0
) -> Estimate:
    """BCa bootstrap (Efron 1987) that draws models with replacement; records stay with their model.

    Bias and acceleration come from the replicates and from leaving out one model after another. Never draw trials: those of one
    model depend on each other, and an interval from them is too narrow by about the square root of their number.

    Args:
        trials: an attack's scores.
        statistic: of trials, to one number; called ``replicates`` plus K times.
        confidence: two-sided, asymptotic.
        replicates: 1000 or more for 95 %.
        seed: of the draws.

    Raises:
        InputError: fewer than two models, or a statistic that is not finite on what was drawn.
    """
    level, count = as_level(confidence), as_whole(replicates, "replicates")
    if count < 2 / (1 - level):
        raise ArgumentError(f"{count} are too few for {level:g}", where="replicates", mend="draw more")
    _, inverse = np.unique(trials.models, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(inverse))[:-1])
    K = len(members)
    if K < 2:
        raise InputError("one model cannot be drawn from", where="trials", mend="give more models")
    generator = stream(seed, "bootstrap over models")
    value = _finite(statistic(trials))
    drawn = np.array([_finite(statistic(_drawn(trials, members, generator.integers(0, K, K)))) for _ in range(count)])
    left = np.array([_finite(statistic(_drawn(trials, members, np.delete(np.arange(K), k)))) for k in range(K)])
    lower, upper = _bca(value, drawn, left, level)
    return Estimate(value, lower, upper, level, f"BCa bootstrap over models, {count} draws, asymptotic", K)


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise InputError(
            "is not finite on models drawn again", where="statistic", mend="give more models, or another statistic"
        )
    return float(value)


def _bca(value: float, drawn: FloatArray, left: FloatArray, level: float) -> tuple[float, float]:
    """Quantiles of the draws, moved by the bias and the acceleration."""
    # ties count half; kept off 0 and 1, where the correction has no meaning
    below = float(((drawn < value) + 0.5 * (drawn == value)).mean())
    bias = ndtri(min(max(below, 1 / len(drawn)), 1 - 1 / len(drawn)))
    deviation = left.mean() - left
    spread = float((deviation**2).sum())
    acceleration = float((deviation**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
    ends: AnyArray = bias + ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
    moved = ndtr(bias + ends / np.maximum(1 - acceleration * ends, 1e-6))
    lower, upper = np.quantile(drawn, moved)
    return float(lower), float(upper)
