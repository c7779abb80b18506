"""Two versions of one model, before and after a deletion: what both together say of who was deleted (game "two-version").

Chen et al. (2021) train a classifier on the outputs of shadow pairs (:mod:`certify.attacks.scores.pair_features`). Ours is a
likelihood ratio for each record: with ``a = phi(original)`` and ``d = phi(unlearned) - phi(original)``, the target's pair is compared with the
pairs of reference models that held the record and forgot it, and with those of models that never held it. The logarithm splits,

    log p_in(a, d) / p_out(a, d)  =  log p_in(a) / p_out(a)  +  log p_in(d | a) / p_out(d | a),

into what the original model alone gives away and what the update adds. An identity update adds nothing, and so scores 0 in the
second part; a retrained model adds a lot (the drop of phi), which is why publishing both versions leaks even after exact retraining.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from scipy.special import gammaln

from certify.attacks.scores.joint import JointMoments, JointPredictive
from certify.attacks.scores.references import (
    Target,
    reference_values,
    require_references,
    score_each,
    target_values,
)
from certify.attacks.scores.student import VARIANCES, Variance
from certify.core.arguments import as_number, shown
from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import ArgumentError, InputError

Part = Literal["both", "original", "update"]

_STILL = 1e-12
"""Changes of phi, relative to it, that are rounding."""


@dataclass(frozen=True)
class TwoVersion:
    """The two-version attack; to be played in ``GAMES["two-version"]``, whose worlds have two views, before and after.

    Each record's predictive distribution is the one of :class:`~certify.attacks.scores.joint.JointPredictive`, so that "both" is LiRA with
    ``views="joint"``, in coordinates in which two versions that hardly differ cost no digits.

    Attributes:
        part: of the log likelihood ratio: of both versions, of the original alone, or of the update given the original.
        variance: see :class:`~certify.attacks.scores.lira.Lira`.
        prior_df: likewise.
    """

    part: Part = "both"
    variance: Variance = "student"
    prior_df: float = 4.0
    signal: str = "phi"

    def __post_init__(self) -> None:
        for name, value, known in (("part", self.part, get_args(Part)), ("variance", self.variance, VARIANCES)):
            if value not in known:
                raise ArgumentError(f"{shown(value)} is unknown", where=name, mend=f"use one of {', '.join(known)}")
        if not 0 < as_number(self.prior_df, "prior_df") < np.inf:
            raise ArgumentError("must be positive", where="prior_df", mend="give a number of references, such as 4")

    @property
    def name(self) -> str:
        """``two-version``, with the part where it is one."""
        return "two-version" if self.part == "both" else f"two-version-{self.part}"

    def least(self, views: int = 2) -> tuple[int, int]:
        """A record's own covariance needs three references; the pooled one comes from all records."""
        del views
        return (3, 3) if self.variance == "record" else (1, 1)

    def fit(self, inside: FloatArray, outside: FloatArray) -> "_FittedTwoVersion":
        """Moments of the references.

        Args:
            inside: phi before and after of models that held the record and forgot it, (K, N, 2); NaN where a model is none.
            outside: the same of models that never held it.

        Raises:
            InputError: other shapes, or no record with two references, so that nothing tells the spread.
        """
        moments = []
        for name, values in (("inside", inside), ("outside", outside)):
            if values.ndim != 3 or values.shape[2] != 2:
                raise InputError(
                    f"{name} has shape {values.shape}, not (models, records, 2)",
                    where=self.name,
                    mend="give phi before and after the deletion, or play the game two-version",
                )
            moments.append(JointMoments.of(_turned(values)))
            if not (moments[-1].count > 1).any():
                raise InputError(
                    f"no record has 2 references in {name}, so nothing tells the spread",
                    where=self.name,
                    mend="give at least 2 reference models that saw the same record the same way",
                )
        return _FittedTwoVersion(self, inside, outside, moments[0], moments[1])


@dataclass(frozen=True, eq=False)
class _FittedTwoVersion:
    attack: TwoVersion
    inside: FloatArray
    outside: FloatArray
    inner: JointMoments
    outer: JointMoments

    def score(self, target: Target) -> FloatArray:
        point, worlds, densities = _turned(target.values), [], []
        for moments, values in ((self.inner, self.inside), (self.outer, self.outside)):
            left = moments if target.row is None else moments.without(_turned(values[target.row]))
            worlds.append(left)
            densities.append(_split(point, JointPredictive.of(left, self.attack.variance, self.attack.prior_df)))
        (one_in, two_in), (one_out, two_out) = densities
        original, update = one_in - one_out, np.where(_still(point, worlds), 0.0, two_in - two_out)
        return {"both": original + update, "original": original, "update": update}[self.attack.part]


def two_version(
    in_confidences: Any,
    out_confidences: Any,
    target_confidences: Any,
    *,
    part: Part = "both",
    variance: Variance = "student",
    prior_df: float = 4.0,
) -> FloatArray:
    """Scores of one or several target pairs, the higher the more like a record that was deleted.

    The target must not be among its own references: :func:`certify.attacks.scores.leave_one_out.trials` leaves it out by itself.
    Exchanging the references changes the sign of every score.

    Args:
        in_confidences: phi before and after of reference models that held the record and forgot it, (K, N, 2); NaN for none.
        out_confidences: the same of models that never held it.
        target_confidences: phi of the target before and after, (N, 2), or of T targets, (T, N, 2).
        part: see :class:`TwoVersion`.
        variance: see :class:`TwoVersion`.
        prior_df: see :class:`TwoVersion`.

    Returns:
        (N,) or (T, N).

    Raises:
        InputError: too few references of a record, shapes that do not fit, numbers not finite.
    """
    attack = TwoVersion(part, variance, prior_df)
    inside = reference_values(in_confidences, "in_confidences", "two-version")
    outside = reference_values(out_confidences, "out_confidences", "two-version")
    if inside.shape[1:] != outside.shape[1:]:
        raise InputError(
            f"in_confidences have shape {inside.shape}, out_confidences {outside.shape}",
            where="two-version",
            mend="give the same records in both",
        )
    fitted = attack.fit(inside, outside)
    targets = target_values(target_confidences, outside.shape[1:], "two-version")
    for values, least, name in zip((inside, outside), attack.least(), ("in", "out"), strict=True):
        require_references(values, least, f"{name}_confidences", "two-version")
    return score_each(fitted, targets, target_confidences)


def _turned(values: AnyArray) -> FloatArray:
    """(before, after) as (before, change)."""
    pair = np.asarray(values, dtype=np.float64)
    return np.stack([pair[..., 0], pair[..., 1] - pair[..., 0]], axis=-1)


def _split(point: FloatArray, world: JointPredictive) -> tuple[FloatArray, FloatArray]:
    """``log p(a)`` and ``log p(d | a)``, (N,) each, up to a constant that both worlds share.

    The marginal of a t is a t; its conditional is one with a degree of freedom more, wider the further a lies out.
    """
    gap = point - world.location
    aa, ad, dd = world.shape[:, 0, 0], world.shape[:, 0, 1], world.shape[:, 1, 1]
    slope = ad / aa
    left = np.maximum(dd - slope * ad, 1e-12 * dd)
    away, rest = gap[:, 0] ** 2 / aa, (gap[:, 1] - slope * gap[:, 0]) ** 2
    if world.df is None:
        return -0.5 * (np.log(aa) + away), -0.5 * (np.log(left) + rest / left)
    given = left * (world.df + away) / (world.df + 1)
    return _log_t(away, aa, world.df), _log_t(rest / given, given, world.df + 1)


def _log_t(squared: FloatArray, scale: FloatArray, df: FloatArray) -> FloatArray:
    """Log density of a Student t from the squared distance in units of its scale."""
    constant = gammaln((df + 1) / 2) - gammaln(df / 2) - 0.5 * np.log(df * np.pi * scale)
    return np.asarray(constant - (df + 1) / 2 * np.log1p(squared / df))


def _still(point: FloatArray, worlds: list[JointMoments]) -> AnyArray:
    """Records whose phi no update ever changed otherwise than the target's, (N,) of bool: its update says nothing."""
    near = _STILL * (1 + np.abs(point[:, 0]))
    still = np.ones(len(point), dtype=bool)
    for world in worlds:
        still &= (np.abs(point[:, 1] - world.mean[:, 1]) <= near) & (world.scatter[:, 1, 1] <= near**2)
    return still
