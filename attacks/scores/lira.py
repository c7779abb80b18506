"""The likelihood-ratio attack (LiRA, Carlini et al. 2022), with variances that few reference models allow."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from certify.attacks.scores.joint import JointMoments, JointPredictive
from certify.attacks.scores.references import (
    Target,
    reference_values,
    require_references,
    score_each,
    target_values,
)
from certify.attacks.scores.student import VARIANCES, Moments, Predictive, Variance
from certify.core.arguments import as_number, shown
from certify.core.arrays import FloatArray
from certify.core.errors import ArgumentError, InputError

Mode = Literal["online", "offline", "offline-density"]
Views = Literal["mean", "joint"]


@dataclass(frozen=True)
class Lira:
    """LiRA's knobs. On models that were unlearned it is U-LiRA.

    Attributes:
        mode: ``online``: log density in the positive world minus that in the negative one. ``offline``: ``-log P(phi >= phi*)`` in the
            negative world, the paper's one-sided score (as minus the logarithm of a p-value, which orders records the same and does
            not saturate). ``offline-density``: minus the log density in the negative world, large on both sides, as in
            the paper's public script.
        variance: ``student``, the default: right for few references, the same as ``record`` for many. ``record``: a Gaussian with each
            record's own variance, as published; for 64 references or more. ``pooled``: a Gaussian with one variance within records.
        prior_df: how many references the pooled variance counts for under ``student``.
        views: of records seen in several views: ``mean`` of the scores of views, or ``joint`` distribution of the views.
    """

    mode: Mode = "online"
    variance: Variance = "student"
    prior_df: float = 4.0
    views: Views = "mean"
    signal: str = "phi"

    def __post_init__(self) -> None:
        for name, value, known in (
            ("mode", self.mode, get_args(Mode)),
            ("variance", self.variance, VARIANCES),
            ("views", self.views, get_args(Views)),
        ):
            if value not in known:
                raise ArgumentError(f"{shown(value)} is unknown", where=name, mend=f"use one of {', '.join(known)}")
        object.__setattr__(self, "prior_df", as_number(self.prior_df, "prior_df"))
        if not 0 < self.prior_df < np.inf:
            raise ArgumentError("must be positive", where="prior_df", mend="give a number of references, such as 4")
        if self.views == "joint" and self.mode == "offline":
            raise ArgumentError(
                "several views at once have no one-sided tail", where="mode", mend="use offline-density, or views mean"
            )

    @property
    def name(self) -> str:
        """``lira``, with the mode where it is another one."""
        return "lira" if self.mode == "online" else f"lira-{self.mode}"

    def least(self, views: int = 1) -> tuple[int, int]:
        """A record's own variance needs one reference more than there are numbers at once; the pooled one comes from all records."""
        one = 1 if self.variance != "record" else 1 + (views if self.views == "joint" else 1)
        return (one if self.mode == "online" else 0), one

    def fit(self, inside: FloatArray, outside: FloatArray) -> "_FittedLira":
        """Moments of the references.

        Args:
            inside: values in the positive world, (K, N[, A]), NaN where a model is no reference; not read offline.
            outside: the same in the negative world.

        Raises:
            InputError: no record has two references, so that nothing tells the spread.
        """
        kind = JointMoments if self.views == "joint" and outside.ndim == 3 else Moments
        fitted: list[Moments | JointMoments | None] = []
        for name, values in (("inside", inside), ("outside", outside)):
            if name == "inside" and self.mode != "online":
                fitted.append(None)
                continue
            moments = kind.of(values)
            if not (moments.count > 1).any():
                raise InputError(
                    f"no record has 2 references in {name}, so nothing tells the spread",
                    where=self.name,
                    mend="give at least 2 reference models that saw the same record the same way",
                )
            fitted.append(moments)
        return _FittedLira(self, inside, outside, fitted[0], fitted[1])


@dataclass(frozen=True, eq=False)
class _FittedLira:
    attack: Lira
    inside: FloatArray
    outside: FloatArray
    inner: Moments | JointMoments | None
    outer: Moments | JointMoments | None

    def score(self, target: Target) -> FloatArray:
        outer = self._predictive(self.outer, self.outside, target.row)
        if self.attack.mode == "offline":
            assert isinstance(outer, Predictive)  # joint views have no offline mode
            scores = -outer.log_upper(target.values)
        else:
            scores = -outer.log_density(target.values)
            if self.attack.mode == "online":
                scores += self._predictive(self.inner, self.inside, target.row).log_density(target.values)
        return np.asarray(scores.mean(axis=-1) if scores.ndim == 2 else scores)

    def _predictive(
        self, moments: Moments | JointMoments | None, values: FloatArray, row: int | None
    ) -> Predictive | JointPredictive:
        assert moments is not None
        left = moments if row is None else moments.leaving_out(row, values)
        knobs = self.attack.variance, self.attack.prior_df
        return Predictive.of(left, *knobs) if isinstance(left, Moments) else JointPredictive.of(left, *knobs)


def lira(
    in_confidences: Any,
    out_confidences: Any,
    target_confidences: Any,
    *,
    mode: Mode = "online",
    variance: Variance = "student",
    prior_df: float = 4.0,
    views: Views = "mean",
) -> FloatArray:
    """LiRA scores of one or several target models, the higher the more like a member.

    The target must not be among its own references: :func:`certify.attacks.scores.leave_one_out.trials` leaves it out by itself.

    Args:
        in_confidences: phi of reference models that were given the record, (K, N) or (K, N, A) for A views; NaN where a
            model was not. None for the offline modes.
        out_confidences: phi of reference models that were not, (K', N[, A]), NaN where they were.
        target_confidences: phi of the target, (N[, A]), or of T targets, (T, N[, A]).
        mode: see :class:`Lira`.
        variance: see :class:`Lira`.
        prior_df: see :class:`Lira`.
        views: see :class:`Lira`.

    Returns:
        (N,) or (T, N).

    Raises:
        InputError: too few references of a record (says how many are needed), shapes that do not fit, numbers not finite.

    >>> lira([[2.0], [3.0], [4.0]], [[-1.0], [0.0], [1.0]], [3.0]).round(3).tolist()
    [2.638]
    """
    attack = Lira(mode, variance, prior_df, views)
    outside = reference_values(out_confidences, "out_confidences", "lira")
    if in_confidences is None and mode == "online":
        raise InputError("in_confidences are missing", where="lira", mend="give them, or use mode offline")
    inside = outside if in_confidences is None else reference_values(in_confidences, "in_confidences", "lira")
    if inside.shape[1:] != outside.shape[1:]:
        raise InputError(
            f"in_confidences have shape {inside.shape}, out_confidences {outside.shape}",
            where="lira",
            mend="give the same records and views in both",
        )
    targets = target_values(target_confidences, outside.shape[1:], "lira")
    needed = attack.least(outside.shape[2] if outside.ndim == 3 else 1)
    require_references(inside, needed[0], "in_confidences", "lira")
    require_references(outside, needed[1], "out_confidences", "lira")
    return score_each(attack.fit(inside, outside), targets, target_confidences)
