"""Lower bounds on epsilon from the success of one attack."""

import math

from certify.core.arguments import as_whole, at_least, shown
from certify.core.bounds import LowerBound
from certify.core.errors import ArgumentError
from certify.core.rounding import down


def _counts(true_positives: object, positives: object, false_positives: object, negatives: object) -> tuple[int, ...]:
    """The four counts.

    Raises:
        ArgumentError: one is no whole number, or they do not fit together.
    """
    named = {
        "true_positives": true_positives,
        "positives": positives,
        "false_positives": false_positives,
        "negatives": negatives,
    }
    hits, first, alarms, second = (as_whole(value, name) for name, value in named.items())
    if not (0 <= hits <= first and first > 0 and 0 <= alarms <= second and second > 0):
        raise ArgumentError(
            "counts must satisfy 0 <= true_positives <= positives and 0 <= false_positives <= negatives, totals above 0",
            where="counts",
            mend="count the trials again",
        )
    return hits, first, alarms, second


def _levels(delta: object, confidence: object) -> tuple[float, float]:
    slack, level = at_least(delta, "delta"), at_least(confidence, "confidence")
    if not 0 <= slack < 1:
        raise ArgumentError(
            f"delta must be at least 0 and below 1, not {shown(slack)}", where="delta", mend="correct the value"
        )
    if not 0 < level < 1:
        raise ArgumentError(
            f"confidence must lie strictly between 0 and 1, not {shown(level)}",
            where="confidence",
            mend="correct the value",
        )
    return slack, level


def _lowest_rate(successes: int, trials: int, error: float) -> float:
    """Clopper-Pearson lower limit of a rate: below the truth except with probability ``error``."""
    from scipy.stats import beta

    return 0.0 if successes == 0 else float(beta.ppf(error, successes, trials - successes + 1))


def _log_ratio(numerator: float, denominator: float) -> float:
    return math.log(numerator / denominator) if numerator > denominator else 0.0


def epsilon_lower_bound(
    true_positives: int,
    positives: int,
    false_positives: int,
    negatives: int,
    delta: float = 0.0,
    confidence: float = 0.95,
) -> LowerBound:
    """The epsilon that a test's success refutes: no (epsilon, ``delta``) guarantee below it can hold.

    Under such a guarantee every test has ``TPR <= exp(epsilon) FPR + delta`` and ``TNR <= exp(epsilon) FNR + delta``
    (Kairouz, Oh, Viswanath 2015). TPR is bounded from below and FPR from above by exact Clopper-Pearson limits, each at half
    the allowed error, so the result holds with probability ``confidence`` over the draw of the trials. The test must have
    been fixed before these trials were looked at: a threshold chosen on them needs its own correction.

    Args:
        true_positives: trials of the first world that the test calls so, of ``positives`` independent ones.
        positives: trials in the first world.
        false_positives: trials of the second world that the test calls first, of ``negatives``.
        negatives: trials in the second world.
        delta: of the guarantee tested.
        confidence: of the bound.

    Raises:
        ArgumentError: counts or levels that make no sense (an InputError, and a ValueError).

    >>> print(epsilon_lower_bound(1000, 1000, 0, 1000))
    5.6
    """
    true_positives, positives, false_positives, negatives = _counts(
        true_positives, positives, false_positives, negatives
    )
    delta, confidence = _levels(delta, confidence)
    error = (1 - confidence) / 2
    tpr = _lowest_rate(true_positives, positives, error)
    tnr = _lowest_rate(negatives - false_positives, negatives, error)
    found = max(_log_ratio(tpr - delta, 1 - tnr), _log_ratio(tnr - delta, 1 - tpr))
    return LowerBound(max(0.0, down(found)))
