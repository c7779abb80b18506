"""How much an audit could have seen, and how many models it would take to decide."""

import math

from scipy.stats import norm

from certify.attacks.estimates import Estimate

POWER = 0.8
"""Probability that is meant by "would have seen"."""

_MOST = 2**20


def spread(found: Estimate) -> float:
    """Standard error that an interval was made from, taken as normal."""
    return (found.upper - found.lower) / (2 * float(norm.isf((1 - found.confidence) / 2)))


def minimum_detectable(found: Estimate, limit: float, power: float = POWER) -> float:
    """Smallest true value whose interval would lie above ``limit`` with probability ``power``, the interval being as wide as here."""
    error = float(norm.isf((1 - found.confidence) / 2)) + float(norm.ppf(power))
    return min(1.0, limit + error * spread(found))


def models_to_settle(found: Estimate, limit: float, chance: float, power: float = POWER) -> int | None:
    """Shadow models, half of them references, with which the interval is expected to lie on one side of the limit.

    Either on the side where the estimate lies, or, where it lies on the limit, below it for a method at ``chance``: the interval shrinks
    with the root of the number of models. None where more than a million would be needed, as where the limit *is* chance.

    Args:
        found: an interval that holds the limit.
        limit: the limit.
        chance: the value of honest retraining.
        power: probability of settling.
    """
    gap = max(abs(found.value - limit), (limit - chance) if found.value <= limit else 0.0)
    if not gap > 0:
        return None
    error = float(norm.isf((1 - found.confidence) / 2)) + float(norm.ppf(power))
    models = 2 * max(found.units + 1, math.ceil(found.units * (error * spread(found) / gap) ** 2))
    return models if models <= _MOST else None
