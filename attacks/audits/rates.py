"""A true-positive rate at the false-positive rate that was asked for, from thresholds whose rates were measured."""

import numpy as np

from certify.attacks.estimates import Estimate
from certify.attacks.statistics.betting import mean_lower, mean_upper
from certify.core.arrays import FloatArray
from certify.core.rounding import down

LOOSER = (1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0)
"""Nominal false-positive rates of the thresholds, as multiples of the one asked for; ascending, fixed before anything is looked at."""


def tpr_at(fpr: float, positive: FloatArray, negative: FloatArray, confidence: float) -> Estimate:
    """Interval of the TPR that an attack has at false-positive rate ``fpr``, over models.

    Thresholds were set on other models to have ``fpr`` times :data:`LOOSER`, and have it only nearly here.

    Lower end: an attacker at the first threshold who flags less often by a coin keeps a share ``f / FPR`` of both rates, so
    ``TPR min(1, f / FPR)`` can be had at ``f``. TPR and FPR are bounded at half of the end's error each.

    Upper end: let j be the first threshold whose true FPR is ``f`` or more. TPR at ``f`` is at most TPR at j. What is reported is the
    upper limit of TPR at the first threshold whose FPR has a lower limit of at least ``f``. Looser thresholds flag all that stricter
    ones flag, and the limits grow with the values; so it is above TPR at j unless the lower limit of FPR fails at j - 1 or the upper
    limit of TPR fails at j: two events, with half of the end's error each, however many thresholds there are.

    Args:
        fpr: the rate asked for.
        positive: share of each model's positive records flagged, (T, thresholds), NaN where it has none; columns ascend.
        negative: the same of its negative records.
        confidence: of the interval, two-sided.

    Returns:
        The interval; its estimate is carried to ``fpr`` along the line from the origin.
    """
    positive, negative = positive[~np.isnan(positive[:, 0])], negative[~np.isnan(negative[:, 0])]
    error = (1 - confidence) / 4
    alarms = float(mean_upper(negative[:, 0], error))
    lower = down(down(float(mean_lower(positive[:, 0], error)) * min(1.0, fpr / alarms)))
    columns = range(positive.shape[1])
    sure = next((j for j in columns if float(mean_lower(negative[:, j], error)) >= fpr), None)
    upper = 1.0 if sure is None else float(mean_upper(positive[:, sure], error))
    mean, rate = float(positive[:, 0].mean()), float(negative[:, 0].mean())
    value = mean * min(1.0, fpr / rate) if rate > 0 else mean
    return Estimate(
        value=float(np.clip(value, max(0.0, lower), upper)),
        lower=max(0.0, lower),
        upper=upper,
        confidence=confidence,
        method="betting, over models; threshold set on other models",
        units=len(positive),
    )
