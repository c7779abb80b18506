"""Empirical epsilon without an interval: the largest log(TPR / FPR) or log(TNR / FNR) over all thresholds.

The published ideal is 0. Without any leak it is about 1, however many trials there are: the best threshold sits in the tail, where a handful
of trials decides, and more trials only move it further out. :mod:`certify.attacks.epsilon` and the bands of
:mod:`certify.attacks.statistics` bound epsilon; this is for tables beside published ones, with :func:`~certify.attacks.legacy.against.against_null`.
"""

import numpy as np

from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import InputError


def plug_in_epsilon(positives: AnyArray, negatives: AnyArray) -> float:
    """``max over t of log(TPR(t) / FPR(t)) and log(TNR(t) / FNR(t))``, thresholds where the divisor is 0 left out, at least 0.

    Args:
        positives: scores of the first world (unlearned models), any shape; models and records are pooled, as published.
        negatives: scores of the second.

    Raises:
        InputError: a world without scores, or a score that is not a number.
    """
    one, two = (np.sort(np.ravel(np.asarray(value, dtype=np.float64))) for value in (positives, negatives))
    if not one.size or not two.size or np.isnan(one).any() or np.isnan(two).any():
        raise InputError("scores are missing or not numbers", where="plug_in_epsilon", mend="score every trial")
    thresholds = np.concatenate([one, two])
    hits, alarms = (len(value) - np.searchsorted(value, thresholds, side="left") for value in (one, two))
    tpr, fpr = hits / len(one), alarms / len(two)
    return float(max(0.0, _largest(tpr, fpr), _largest(1 - fpr, 1 - tpr, at=hits < len(one))))


def _largest(rate: FloatArray, other: FloatArray, *, at: AnyArray | None = None) -> float:
    kept = other > 0 if at is None else at
    with np.errstate(divide="ignore"):
        return float(np.log(rate[kept] / other[kept]).max(initial=-np.inf))
