"""A true-positive rate at the false-positive rate that was asked for, from thresholds whose rates were measured."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import beta
from scipy.stats import t as student

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

    def shares(self, column: int = 0) -> FloatArray:
        """Share of each model's records that are flagged, of the models that have any."""
        there = self.total > 0
        return np.asarray(self.flagged[there, column] / self.total[there])

    def mean(self, column: int = 0) -> float:
        """Mean over models."""
        return float(self.shares(column).mean())

    def lower(self, error: float, column: int = 0) -> float:
        """Lower limit of the expected share, one-sided."""
        hits, total = int(self.flagged[:, column].sum()), int(self.total.sum())
        by_records = 0.0 if hits == 0 else float(beta.ppf(error, hits, total - hits + 1))
        return max(0.0, min(by_records, self.mean(column) - self._half(error, column)))

    def upper(self, error: float, column: int = 0) -> float:
        """Upper limit of the expected share, one-sided."""
        hits, total = int(self.flagged[:, column].sum()), int(self.total.sum())
        by_records = 1.0 if hits == total else float(beta.isf(error, hits + 1, total - hits))
        return min(1.0, max(by_records, self.mean(column) + self._half(error, column)))

    def _half(self, error: float, column: int) -> float:
        shares = self.shares(column)
        if len(shares) < 2:
            return 1.0
        return float(student.isf(error, len(shares) - 1) * shares.std(ddof=1) / np.sqrt(len(shares)))


def tallies(trials: Trials, thresholds: AnyArray) -> tuple[Tally, Tally]:
    """Positive and negative records with a score of at least each threshold, model by model."""
    positive = np.asarray(trials.positive).astype(bool)
    _, model = np.unique(trials.models, return_inverse=True)
    count = int(model.max()) + 1
    found = []
    for side in (positive, ~positive):
        hits = [np.bincount(model[side & (trials.scores >= one)], minlength=count) for one in np.asarray(thresholds)]
        found.append(Tally(np.stack(hits, axis=1), np.bincount(model[side], minlength=count)))
    return found[0], found[1]


def tpr_at(fpr: float, positive: Tally, negative: Tally, confidence: float) -> Estimate:
    """Interval of the TPR that an attack has at false-positive rate ``fpr``.

    Thresholds were set on other models to have ``fpr`` times :data:`LOOSER`, and have it only nearly here.

    Lower end: an attacker at the first threshold who flags less often by a coin keeps a share ``f / FPR`` of both rates, so
    ``TPR min(1, f / FPR)`` can be had at ``f``. TPR and FPR are bounded at half of the end's error each.

    Upper end: let j be the first threshold whose true FPR is ``f`` or more. TPR at ``f`` is at most TPR at j. What is reported is the
    upper limit of TPR at the first threshold whose FPR has a lower limit of at least ``f``. Looser thresholds flag all that stricter
    ones flag; so it is above TPR at j unless the lower limit of FPR fails at j - 1 or the upper limit of TPR fails at j: two events,
    with half of the end's error each.

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
    alarms = negative.upper(error)
    lower = positive.lower(error) * min(1.0, fpr / alarms)
    columns = range(positive.flagged.shape[1])
    sure = next((j for j in columns if negative.lower(error, j) >= fpr), None)
    upper = 1.0 if sure is None else positive.upper(error, sure)
    rate = negative.mean()
    value = positive.mean() * min(1.0, fpr / rate) if rate > 0 else positive.mean()
    return Estimate(
        value=float(np.clip(value, lower, upper)),
        lower=lower,
        upper=upper,
        confidence=confidence,
        method=METHOD,
        units=int((positive.total > 0).sum()),
    )
