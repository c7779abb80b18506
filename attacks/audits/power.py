"""How much an audit could have seen, and how many models it would take to see enough."""

from functools import cache

import numpy as np

from certify.attacks.statistics.betting import mean_lower, mean_upper
from certify.core.streams import stream

_RUNS = 40
_MOST = 2**14


@cache
def minimum_detectable(
    units: int, limit: float, strict: float, *, records: int = 50, power: float = 0.8
) -> float | None:
    """Smallest true rate that would have been called above ``limit`` with probability ``power``; None where not even 1 would.

    Simulated: shares of ``units`` models with ``records`` records each whose flags are independent. Real shares vary more, so this is
    the least that can be hoped for.
    """

    def seen(rate: float) -> bool:
        rng = stream(0, "power")
        error = (1 - strict) / 4
        shares = rng.binomial(records, rate, size=(_RUNS, units)) / records
        return bool(np.mean([float(mean_lower(row, error)) > limit for row in shares]) >= power)

    low, high = limit, 1.0
    if not seen(high):
        return None
    for _ in range(8):
        middle = (low + high) / 2
        low, high = (low, middle) if seen(middle) else (middle, high)
    return high


@cache
def targets_to_pass(
    fpr: float, limit: float, confidence: float, *, records: int = 50, power: float = 0.8
) -> int | None:
    """Target models with which honest retraining passes with probability ``power``; None where 16,384 are not enough.

    Simulated as for :func:`minimum_detectable`, at a true rate of ``1.25 fpr``: that of the threshold the upper end is read at.
    """
    error, targets = (1 - confidence) / 4, 8
    while targets <= _MOST:
        shares = stream(0, "needed").binomial(records, 1.25 * fpr, size=(_RUNS, targets)) / records
        if np.mean([float(mean_upper(row, error)) <= limit for row in shares]) >= power:
            return targets
        targets *= 2
    return None
