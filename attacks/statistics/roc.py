"""The ROC curve of an attack's scores, with ties right, and what can be said of it with confidence.

Curves and point estimates take any scores. Intervals take independent trials: one score a model. Where models give several scores each,
:func:`roc_of_trials` still draws the curve, refuses the intervals, and leaves them to statistics over models.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.stats import binom, norm

from certify.attacks.estimates import Estimate
from certify.attacks.observations import Trials
from certify.attacks.statistics.bands import epsilon_over_thresholds, lower_limits, upper_limits
from certify.attacks.statistics.counts import Counts, as_confidence, as_rate, highest_rate, lowest_rate
from certify.core.arguments import as_array, as_number, shown
from certify.core.arrays import AnyArray, FloatArray, IntArray
from certify.core.bounds import LowerBound
from certify.core.errors import ArgumentError, InputError
from certify.core.rounding import down


@dataclass(frozen=True, eq=False)
class Band:
    """Limits of both rates at every threshold of a :class:`Roc`; all four arrays hold together with ``confidence``.

    Attributes:
        fpr_lower: false-positive rate is at least this, by threshold.
        fpr_upper: at most this.
        tpr_lower: true-positive rate is at least this.
        tpr_upper: at most this.
        confidence: of the four together.
        kind: how they were made (:data:`certify.attacks.statistics.bands.KINDS`).
    """

    fpr_lower: FloatArray
    fpr_upper: FloatArray
    tpr_lower: FloatArray
    tpr_upper: FloatArray
    confidence: float
    kind: str


@dataclass(frozen=True, eq=False)
class Roc:
    """Counts at every threshold. A trial is called positive where its score is at least the threshold.

    Attributes:
        thresholds: falling: infinity, then every distinct score, (m,).
        hits: positives that are called so, (m,).
        alarms: negatives that are called positive, (m,).
        independent: whether the trials are independent of each other, which every interval needs.
    """

    thresholds: FloatArray
    hits: IntArray
    alarms: IntArray
    independent: bool = True

    @property
    def positives(self) -> int:
        """Trials of the first world."""
        return int(self.hits[-1])

    @property
    def negatives(self) -> int:
        """Trials of the second world."""
        return int(self.alarms[-1])

    @property
    def tpr(self) -> FloatArray:
        """Share of the positives that are called so, by threshold."""
        return self.hits / self.positives

    @property
    def fpr(self) -> FloatArray:
        """Share of the negatives that are called positive, by threshold."""
        return self.alarms / self.negatives

    @cached_property
    def auc(self) -> float:
        """Chance that a positive scores above a negative, ties counted half (Mann and Whitney)."""
        between = np.diff(self.alarms) * (self.hits[1:] + self.hits[:-1]).astype(float) / 2
        return float(between.sum()) / self.positives / self.negatives

    @property
    def advantage(self) -> float:
        """Largest TPR - FPR over the thresholds. Biased upward, because it is a maximum: see :meth:`advantage_interval`."""
        return float(np.max(self.tpr - self.fpr))

    def auc_interval(self, confidence: float = 0.95, method: str = "hoeffding") -> Estimate:
        """The AUC with an interval.

        ``hoeffding`` holds at every sample size and for every distribution (bounded differences, McDiarmid 1989): value plus or minus
        ``sqrt(log(2/error)(1/n1 + 1/n0)/2)``. ``delong`` is the usual large-sample interval (DeLong 1988, on the logit scale).

        Raises:
            ArgumentError: a method or a confidence that makes no sense.
            InputError: trials that are not independent; ``delong`` where the estimated variance is 0.
        """
        self._require_independent()
        error = 1 - as_confidence(confidence)
        if method == "hoeffding":
            margin = math.sqrt(math.log(2 / error) * (1 / self.positives + 1 / self.negatives) / 2)
            low, high = max(0.0, self.auc - margin), min(1.0, self.auc + margin)
            return self._estimate(self.auc, low, high, confidence, "bounded differences")
        if method != "delong":
            raise ArgumentError(f"there is no method {shown(method)}", where="method", mend="use hoeffding or delong")
        std = math.sqrt(self._auc_variance())
        if std == 0:
            raise InputError(
                "the variance of the AUC is estimated as 0",
                where="auc",
                mend="use the method hoeffding, or more trials",
            )
        centre, margin = math.log(self.auc / (1 - self.auc)), float(norm.isf(error / 2)) * std
        margin /= self.auc * (1 - self.auc)
        low, high = (1 / (1 + math.exp(-(centre + side * margin))) for side in (-1, 1))
        return self._estimate(self.auc, low, high, confidence, "DeLong, logit scale, large samples")

    def _auc_variance(self) -> float:
        new_hits, new_alarms = np.diff(self.hits), np.diff(self.alarms)
        below = 1 - (self.fpr[1:] + self.fpr[:-1]) / 2  # of a positive with this score: share of negatives below
        above = (self.tpr[1:] + self.tpr[:-1]) / 2
        parts = ((new_hits, below, self.positives), (new_alarms, above, self.negatives))
        if min(self.positives, self.negatives) < 2:
            return 0.0
        return sum(float(new @ (share - self.auc) ** 2) / (n - 1) / n for new, share, n in parts)

    def band(self, confidence: float = 0.95, kind: str = "equal-level") -> Band:
        """Limits of both rates at all thresholds at once, a quarter of the error to each of the four.

        Raises:
            ArgumentError: a kind or a confidence that makes no sense.
            InputError: trials that are not independent.
        """
        self._require_independent()
        error = down(1 - as_confidence(confidence)) / 4
        return Band(
            lower_limits(self.negatives, error, kind)[self.alarms],
            upper_limits(self.negatives, error, kind)[self.alarms],
            lower_limits(self.positives, error, kind)[self.hits],
            upper_limits(self.positives, error, kind)[self.hits],
            confidence,
            kind,
        )

    def advantage_interval(self, confidence: float = 0.95) -> Estimate:
        """The largest TPR - FPR over all thresholds, with limits from the band: its own maximisation is accounted for.

        Raises:
            ArgumentError: a confidence that makes no sense.
            InputError: trials that are not independent.
        """
        band = self.band(confidence)
        low = max(0.0, float(np.max(band.tpr_lower - band.fpr_upper)))
        high = float(np.max(band.tpr_upper - band.fpr_lower))
        return self._estimate(self.advantage, low, high, confidence, "band of equal local levels")

    def tpr_at_fpr(self, fpr: float, confidence: float = 0.95) -> Estimate:
        """The true-positive rate at a false-positive rate of at most ``fpr``, with exact limits.

        The value is the TPR at the lowest threshold whose share of false positives is at most ``fpr``: nothing is interpolated, so
        below one in n negatives it is the TPR with no false positive at all. The limits hold for the best TPR of any threshold whose *true* FPR is at
        most ``fpr``. The lower one takes a threshold whose FPR is at most ``fpr`` with an error of ``(1 - confidence)/4``, by the
        number of negatives above it (a sorted uniform number); the upper one a threshold whose FPR is at least ``fpr``; then
        Clopper and Pearson on the positives, which those thresholds do not depend on, with the same error. Without enough negatives
        (:func:`certify.attacks.statistics.ceiling.negatives_needed`) the lower limit is 0: nothing was measured there.

        Raises:
            ArgumentError: a rate or a confidence that makes no sense.
            InputError: trials that are not independent.
        """
        self._require_independent()
        rate, error = as_rate(fpr, "fpr"), down(1 - as_confidence(confidence)) / 4
        n, value = self.negatives, self._hits_with(math.floor(rate * self.negatives * (1 + 1e-12))) / self.positives
        # {s above the (k+1)-th negative} has an FPR of at most V_(k+1), and V_(k+1) > fpr has the chance P(Bin(n, fpr) <= k)
        counts = np.arange(n + 1)
        safe = int(np.searchsorted(binom.cdf(counts, n, rate), error, side="right")) - 1
        beyond = n + 1 - int(np.searchsorted(binom.sf(counts - 1, n, rate)[::-1], error, side="right"))
        low = lowest_rate(self._hits_with(safe), self.positives, error) if safe >= 0 else 0.0
        # {s at least the k-th negative} has an FPR of at least V_(k), and V_(k) < fpr has the chance P(Bin(n, fpr) >= k)
        high = 1.0
        if beyond <= n:
            reached = int(self.hits[np.searchsorted(self.alarms, beyond, side="left")])
            high = highest_rate(reached, self.positives, error)
        return self._estimate(value, low, high, confidence, f"exact, at a false-positive rate of {shown(rate)}")

    def _hits_with(self, alarms: int) -> int:
        """Hits at the lowest threshold that at most so many negatives reach."""
        return int(self.hits[np.searchsorted(self.alarms, alarms, side="right") - 1])

    def counts_at(self, threshold: float) -> Counts:
        """Counts where scores of at least ``threshold`` are called positive; the threshold has to be fixed beforehand.

        Raises:
            ArgumentError: a threshold that is no number.
        """
        least = as_number(threshold, "threshold")
        if math.isnan(least):
            raise ArgumentError("is not a number", where="threshold", mend="give the threshold that was fixed")
        here = max(0, int(np.searchsorted(-self.thresholds, -least, side="right")) - 1)
        return Counts(int(self.hits[here]), self.positives, int(self.alarms[here]), self.negatives)

    def epsilon_lower_bound(
        self, delta: float = 0.0, confidence: float = 0.95, kind: str = "equal-level"
    ) -> LowerBound:
        """The largest epsilon that any threshold refutes (:func:`certify.attacks.statistics.bands.epsilon_over_thresholds`).

        Raises:
            ArgumentError: a level or kind that makes no sense.
            InputError: trials that are not independent.
        """
        self._require_independent()
        return epsilon_over_thresholds(self.hits, self.positives, self.alarms, self.negatives, delta, confidence, kind)

    def _require_independent(self) -> None:
        if not self.independent:
            raise InputError(
                "models were looked at more than once, so that trials are not independent",
                where="trials",
                mend="take an interval over models, or one trial a model",
            )

    def _estimate(self, value: float, low: float, high: float, confidence: float, method: str) -> Estimate:
        return Estimate(value, low, high, confidence, f"{method}; independent trials", self.positives + self.negatives)


def roc(scores: FloatArray, members: AnyArray) -> Roc:
    """The curve of independent trials.

    Args:
        scores: the higher the more like the first world, (M,); infinite ones are scores too.
        members: whether a trial is of the first world, (M,).

    Raises:
        InputError: shapes that differ, a score that is no number, truths that are not yes or no, a world without trials.

    >>> curve = roc(np.array([3.0, 2.0, 2.0, 1.0]), np.array([True, True, False, False]))
    >>> curve.auc, curve.tpr.tolist(), curve.fpr.tolist()
    (0.875, [0.0, 0.5, 1.0, 1.0], [0.0, 0.0, 0.5, 1.0])
    """
    values, truth = as_array(scores, "scores"), as_array(members, "members")
    if values.ndim != 1 or values.shape != truth.shape:
        raise InputError(
            f"scores have shape {values.shape}, members {truth.shape}", where="scores", mend="give one of each a trial"
        )
    if values.dtype.kind not in "fiub" or np.isnan(values).any():
        raise InputError("a score is not a number", where="scores", mend="score every trial")
    if truth.dtype.kind not in "biuf" or not np.isin(truth, (0, 1)).all():
        raise InputError("truths are not yes or no", where="members", mend="give True or False (or 1 and 0) a trial")
    truth = truth.astype(bool)
    if truth.all() or not truth.any():
        raise InputError("one of the two worlds has no trial", where="members", mend="give trials of both worlds")
    order = np.argsort(-values.astype(float), kind="stable")
    falling, first = values.astype(float)[order], truth[order]
    last = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))  # the last trial of each distinct score
    hits, alarms = np.cumsum(first)[last], np.cumsum(~first)[last]
    return Roc(
        np.concatenate([[np.inf], falling[last]]),
        np.concatenate([[0], hits]).astype(np.int64),
        np.concatenate([[0], alarms]).astype(np.int64),
    )


def roc_of_trials(trials: Trials) -> Roc:
    """The curve of an attack's trials. Its intervals are refused where a model was looked at more than once.

    Raises:
        InputError: as :func:`roc`.
    """
    found = roc(trials.scores, trials.positive)
    return replace(found, independent=len(np.unique(trials.models)) == len(trials))
