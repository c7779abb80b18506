"""Forgetting quality of the NeurIPS 2023 unlearning competition (Triantafillou et al. 2024, arXiv 2406.09073).

For each forgotten record the strongest of many threshold attacks between the unlearned and the retrained models' confidences is turned into an
epsilon, without an interval, and the epsilon into points: 1, 1/2, 1/4, ... by steps of 1/2. Its ideal is 1, and exactly retrained models, by as
many as it may be, score about 0.2: the maximum over thresholds is above zero by chance, and the rare tails where it sits do not fill up.
Use :func:`~certify.attacks.legacy.against.against_null` beside it.
"""

import math

import numpy as np

from certify.core.arrays import AnyArray, FloatArray, IntArray
from certify.core.errors import InputError

DELTA = 1e-5
CAP = 50.0
STEP = 0.5
REACH = 2.0
"""Intervals are as wide as the narrower of both samples, give or take this."""
PEAKED = 0.01
"""Ranges of the two samples in a smaller ratio than this get the cap at once."""


def forgetting_quality(unlearned: AnyArray, retrained: AnyArray) -> float:
    """The competition's forgetting score; published ideal 1.

    Args:
        unlearned: ``phi`` of the forgotten records under unlearned models, (K, N).
        retrained: the same under retrained models, (K, N).

    Raises:
        InputError: arrays that do not fit, or fewer than 4 models.
    """
    return float(points(epsilons(unlearned, retrained), len(np.asarray(unlearned))).mean())


def final_score(quality: float, retain: tuple[float, float], test: tuple[float, float]) -> float:
    """Forgetting quality times the ratios of accuracies, each (unlearned, retrained), on retained and test records."""
    return quality * (retain[0] / retain[1]) * (test[0] / test[1])


def points(epsilon: FloatArray, models: int) -> FloatArray:
    """``2^-(number of whole steps of 1/2 in epsilon)``, and 0 beyond the largest epsilon that so many models could show."""
    steps = np.floor(np.asarray(epsilon) / STEP)
    seen = (steps + 1) * STEP <= math.ceil(math.log(models - 1))
    return np.where(seen, 0.5**steps, 0.0)


def epsilons(unlearned: AnyArray, retrained: AnyArray) -> FloatArray:
    """The epsilon of each record, (N,), in [0, 50].

    The largest ``log((1 - delta - FPR) / FNR)`` or ``log((1 - delta - FNR) / FPR)``, delta = 1e-5, over one threshold (the set of the larger median is
    positive) and over intervals (the narrower set is positive). Thresholds at which one of both rates is zero do not count, unless
    both are: then it is the cap. Published code takes thresholds from a grid of a hundredth; here they are all that differ, so that
    no distance between confidences is too small.
    """
    one, two = np.asarray(unlearned, dtype=np.float64), np.asarray(retrained, dtype=np.float64)
    if one.ndim != 2 or one.shape != two.shape or len(one) < 4:
        raise InputError(
            f"confidences have shapes {one.shape} and {two.shape}",
            where="forgetting_quality",
            mend="give (models, records), as many unlearned as retrained models, four or more",
        )
    if not (np.isfinite(one).all() and np.isfinite(two).all()):
        raise InputError("a confidence is not finite", where="forgetting_quality", mend="compute phi from the logits")
    return np.array([_epsilon(one[:, n], two[:, n]) for n in range(one.shape[1])])


def _epsilon(one: FloatArray, two: FloatArray) -> float:
    ranges = np.ptp(one), np.ptp(two)
    if max(ranges) == 0:
        return 0.0 if one[0] == two[0] else CAP
    if min(ranges) / max(ranges) < PEAKED:
        return CAP
    larger, smaller = (two, one) if np.median(two) > np.median(one) else (one, two)
    narrow, wide = (two, one) if ranges[0] >= ranges[1] else (one, two)
    values = np.unique(np.concatenate([one, two]))
    above = len(larger) - _below(values, larger), len(smaller) - _below(values, smaller)
    inside = _intervals(values, narrow, wide, min(ranges))
    hits, alarms = np.concatenate([above[0], inside[0]]), np.concatenate([above[1], inside[1]])
    misses = len(one) - hits
    if np.any((alarms == 0) & (misses == 0)):
        return CAP
    kept = (alarms > 0) & (misses > 0)
    fpr, fnr = alarms[kept] / len(two), misses[kept] / len(one)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.fmax(np.log((1 - DELTA - fpr) / fnr), np.log((1 - DELTA - fnr) / fpr))
    found = found[~np.isnan(found)]
    return float(np.clip(found.max(), 0.0, CAP)) if found.size else CAP  # no threshold counts: nothing speaks for it


def _below(values: FloatArray, sample: FloatArray) -> IntArray:
    """Entries of the sample below each value."""
    return np.searchsorted(np.sort(sample), values, side="left")


def _intervals(values: FloatArray, narrow: FloatArray, wide: FloatArray, width: float) -> tuple[IntArray, IntArray]:
    """Entries of both samples inside every interval of a width allowed."""
    edges = np.concatenate([[-np.inf], values, [np.inf]])
    first, last = np.triu_indices(len(values))
    allowed = (values[last] - values[first] <= width + REACH) & (edges[last + 2] - edges[first] > width - REACH)
    first, last = first[allowed], last[allowed]
    below = [np.append(_below(values, sample), len(sample)) for sample in (narrow, wide)]
    return below[0][last + 1] - below[0][first], below[1][last + 1] - below[1][first]
