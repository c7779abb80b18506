"""A true-positive rate at the false-positive rate that was asked for, from thresholds whose rates were measured."""

from dataclasses import dataclass

import numpy as np
from scipy.special import betainccinv, betaincinv, stdtrit

from certify.attacks.estimates import Estimate
from certify.attacks.observations import Trials
from certify.core.arrays import AnyArray, FloatArray, IntArray

LOOSER = (1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0)
"""Nominal false-positive rates of the thresholds, as multiples of the one asked for; ascending, fixed before anything is looked at."""

METHOD = "Student's t over models, or Clopper-Pearson over records where that is wider; threshold set on other models"


@dataclass(frozen=True, eq=False)
class Tally:
    """Flagged records of each model.

    Attributes:
        flagged: (T, thresholds).
        total: records of the kind, (T,).
    """

    flagged: IntArray
    total: IntArray

    def shares(self) -> FloatArray:
        """Share of each model's records that are flagged, of the models that have any, (models, thresholds)."""
        there = self.total > 0
        return np.asarray(self.flagged[there] / self.total[there, None])

    def means(self) -> FloatArray:
        """Mean over models, (thresholds,)."""
        return np.asarray(self.shares().mean(axis=0))

    def lower(self, error: float) -> FloatArray:
        """Lower limits of the expected shares, one-sided, (thresholds,)."""
        hits, total = self.flagged.sum(axis=0), int(self.total.sum())
        by_records = np.where(hits == 0, 0.0, betaincinv(np.maximum(hits, 1), total - hits + 1, error))
        return np.asarray(np.maximum(0.0, np.minimum(by_records, self.means() - self._half(error))))

    def upper(self, error: float) -> FloatArray:
        """Upper limits of the expected shares, one-sided, (thresholds,)."""
        hits, total = self.flagged.sum(axis=0), int(self.total.sum())
        by_records = np.where(hits == total, 1.0, betainccinv(hits + 1, np.maximum(total - hits, 1), error))
        return np.asarray(np.minimum(1.0, np.maximum(by_records, self.means() + self._half(error))))

    def _half(self, error: float) -> FloatArray:
        shares = self.shares()
        if len(shares) < 2:
            return np.ones(shares.shape[1])
        return np.asarray(-stdtrit(len(shares) - 1, error) * shares.std(axis=0, ddof=1) / np.sqrt(len(shares)))


def tallies(trials: Trials, thresholds: AnyArray) -> tuple[Tally, Tally]:
    """Positive and negative records with a score of at least each threshold, model by model."""
    positive = np.asarray(trials.positive).astype(bool)
    names, model = np.unique(trials.models, return_inverse=True)
    order = np.argsort(thresholds, kind="stable")
    reached = np.searchsorted(np.asarray(thresholds)[order], trials.scores, side="right")
    width, found = len(order) + 1, []
    for side in (positive, ~positive):
        cells = np.bincount(model[side] * width + reached[side], minlength=len(names) * width).reshape(-1, width)
        # at least the i-th lowest threshold: i + 1 of them or more were reached
        hits = np.cumsum(cells[:, ::-1], axis=1)[:, -2::-1]
        flagged = np.empty_like(hits)
        flagged[:, order] = hits
        found.append(Tally(flagged, cells.sum(axis=1)))
    return found[0], found[1]


def tpr_at(fpr: float, positive: Tally, negative: Tally, confidence: float) -> Estimate:
    """Interval of the TPR that an attack has at false-positive rate ``fpr``.

    Thresholds were set on other models to have ``fpr`` times :data:`LOOSER`, and have it only nearly here.

    Lower end: an attacker at the first threshold who flags less often by a coin keeps a share ``f / FPR`` of both rates, so
    ``TPR min(1, f / FPR)`` can be had at ``f``. TPR and FPR are bounded at half of the end's error each.

    Upper end: let j be the first threshold whose true FPR is ``f`` or more. TPR at ``f`` is at most TPR at j. Let s be the first
    threshold from which on all have a lower limit of FPR of at least ``f``. What is reported is the largest upper limit of TPR up to s;
    so it is above TPR at j unless s comes before j, and then the lower limit of FPR fails at j - 1, or the upper limit of TPR fails at j:
    two events, with half of the end's error each.

    The limits of each rate are Student's over models, whose scores depend on each other only within a model, or Clopper and
    Pearson's over records where those are wider. They are approximate: a share that is rarely far from the others' can hide from a
    few models. An interval without that assumption (:mod:`certify.attacks.statistics.betting`) needs some ``log(1 / error) / fpr``
    models. What a gate fails by is therefore an exact p-value beside this interval, never the interval alone.

    Args:
        fpr: the rate asked for.
        positive: flagged positive records, a column a threshold, ascending.
        negative: flagged negative ones.
        confidence: of the interval, two-sided.

    Returns:
        The interval; its estimate is carried to ``fpr`` along the line from the origin.
    """
    error = (1 - confidence) / 4
    alarms, rate, share = negative.upper(error)[0], negative.means()[0], positive.means()[0]
    lower = float(positive.lower(error)[0] * min(1.0, fpr / alarms))
    short = np.flatnonzero(negative.lower(error) < fpr)
    sure = int(short[-1]) + 1 if short.size else 0  # this one and all looser ones have that rate
    upper = float(positive.upper(error)[: sure + 1].max()) if sure < len(negative.means()) else 1.0
    value = share * min(1.0, fpr / rate) if rate > 0 else share
    return Estimate(
        value=float(np.clip(value, lower, upper)),
        lower=lower,
        upper=upper,
        confidence=confidence,
        method=METHOD,
        units=int((positive.total > 0).sum()),
    )
