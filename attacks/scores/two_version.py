"""Two versions of one model, before and after a deletion: what both together say of who was deleted (game "two-version").

Chen et al. (2021) train a classifier on the outputs of shadow pairs (:mod:`certify.attacks.scores.pair_features`). Ours is a
likelihood ratio for each record: with ``a = phi(original)`` and ``d = phi(unlearned) - phi(original)``, the pair (a, d) of the target is compared with the pairs
of reference models that held the record and forgot it, and with those that never held it. The logarithm splits,

    log p_in(a, d) / p_out(a, d)  =  log p_in(a) / p_out(a)  +  log p_in(d | a) / p_out(d | a),

into what the original model alone gives away and what the update adds. An identity update adds nothing, and so scores 0 in the
second part; a retrained model adds a lot (the drop of phi), which is why publishing both versions leaks even after exact retraining.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy.special import gammaln

from certify.attacks.observations import Cell, Observations, Trials
from certify.core.arguments import as_number, shown
from certify.core.arrays import AnyArray, FloatArray, IntArray
from certify.core.errors import ArgumentError, InputError

Family = Literal["student", "normal"]

_FLOOR = 1e-9
"""Least variance, as a part of the pooled one: reference models that all say the same prove no infinite density."""
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class PairScores:
    """Log likelihood ratios, (T, N); NaN where a record has too few references.

    Attributes:
        original: from the original model alone.
        update: what the update adds, given the original model.
    """

    original: FloatArray
    update: FloatArray

    @property
    def joint(self) -> FloatArray:
        """From both versions: the two-version attack."""
        return self.original + self.update


@dataclass(frozen=True, eq=False)
class _World:
    """Counts, means and centred sums of products of (a, d) for each record, all (N,)."""

    count: FloatArray
    a: FloatArray
    d: FloatArray
    aa: FloatArray
    ad: FloatArray
    dd: FloatArray

    @classmethod
    def of(cls, a: FloatArray, d: FloatArray, have: AnyArray) -> "_World":
        count = have.sum(axis=0).astype(np.float64)
        safe = np.maximum(count, 1)
        means = [np.where(have, values, 0.0).sum(axis=0) / safe for values in (a, d)]
        ca, cd = (np.where(have, values - mean, 0.0) for values, mean in zip((a, d), means, strict=True))
        return cls(count, *means, *(np.einsum("kn,kn->n", x, y) for x, y in ((ca, ca), (ca, cd), (cd, cd))))

    def without(self, a: FloatArray, d: FloatArray, had: AnyArray) -> "_World":
        """The same without one model that had the records ``had``, (N,)."""
        left = self.count - had
        safe = np.maximum(left, 1)
        a, d = np.where(had, a, self.a), np.where(had, d, self.d)
        ma, md = self.a - (a - self.a) / safe, self.d - (d - self.d) / safe
        return _World(
            left,
            ma,
            md,
            np.maximum(self.aa - (a - self.a) * (a - ma), 0.0),
            self.ad - (a - self.a) * (d - md),
            np.maximum(self.dd - (d - self.d) * (d - md), 0.0),
        )

    def pooled(self) -> FloatArray:
        """Variances and covariance within records, over all of them: (aa, ad, dd)."""
        freedom = np.maximum(self.count - 1, 0).sum()
        return np.array([self.aa.sum(), self.ad.sum(), self.dd.sum()]) / max(freedom, 1.0)


def pair_scores(
    original: AnyArray,
    unlearned: AnyArray,
    inside: tuple[AnyArray, AnyArray],
    outside: tuple[AnyArray, AnyArray],
    *,
    family: Family = "student",
    prior: float = 4.0,
) -> PairScores:
    """The likelihood ratio of each record's pair, from references that are given apart.

    Each record's predictive distribution is bivariate: mean of its n references, scale matrix ``((n-1) S + prior S_pool)
    / (n-1+prior)`` with the within-record covariance ``S_pool`` over all records; a Student t with ``n-1+prior`` degrees of freedom
    and the scale times ``1 + 1/n`` (the posterior predictive of a normal-inverse-Wishart prior), or a normal. It matters most with
    few references. Exchanging ``inside`` and ``outside`` changes the sign of every score.

    Args:
        original: phi of the target models before the deletion, (T, N), or (N,) for one.
        unlearned: phi of the same models after it.
        inside: phi (original, unlearned) of reference pairs that held and forgot the record, (K, N) each, NaN for no reference.
        outside: the same of reference pairs that never held it.
        family: of the predictive distributions.
        prior: how many models the pooled covariance counts for; 0 for each record by itself.

    Raises:
        ArgumentError: shapes that do not fit, infinite phi, or no record with enough references.
    """
    _check_family(family, prior)
    a, d = _pair(original, unlearned, "targets")
    if np.isnan(a).any() or np.isnan(d).any():
        raise ArgumentError("phi of a target is not a number", where="two-version.targets", mend="score it again")
    worlds = []
    for name, pair in (("inside", inside), ("outside", outside)):
        own, change = _pair(*pair, name)
        if own.shape[1] != a.shape[1]:
            raise ArgumentError(
                f"{own.shape[1]} records of references, {a.shape[1]} of targets",
                where=f"two-version.{name}",
                mend="give one column a record in both",
            )
        worlds.append(_World.of(own, change, np.isfinite(own) & np.isfinite(change)))
    found = [_ratio(a[k], d[k], worlds[0], worlds[1], family, prior) for k in range(len(a))]
    scores = PairScores(np.stack([one for one, _ in found]), np.stack([two for _, two in found]))
    if np.isnan(scores.original).all():
        raise _too_few()
    return scores


@dataclass(frozen=True, eq=False)
class PairTrials:
    """The same trials under three scores: both versions, the original alone, the update given the original."""

    joint: Trials
    original: Trials
    update: Trials


def two_version(
    observations: Observations, *, world: str = "unlearned", family: Family = "student", prior: float = 4.0
) -> PairTrials:
    """The two-version attack on every model of a fleet, with all the others as its references.

    Positive: the record was held and forgotten (FORGET). Negative: it was never there (OUT).

    Args:
        observations: worlds "original" and ``world``.
        world: what is published after the deletion: "unlearned"; "retrained" shows what exact retraining leaks, "original" is the
            identity update, which adds nothing.
        family: see :func:`pair_scores`.
        prior: likewise.

    Raises:
        ArgumentError: no record has enough references on both sides.
        InputError: a world was not observed.
    """
    _check_family(family, prior)
    a, later = observations.get("original"), observations.get(world)
    a, d = np.asarray(a, dtype=np.float64), np.asarray(later, dtype=np.float64) - a
    forgot, never = observations.assignment == Cell.FORGET, observations.assignment == Cell.OUT
    inside, outside = _World.of(a, d, forgot), _World.of(a, d, never)
    parts: list[tuple[FloatArray, FloatArray, AnyArray, IntArray, IntArray]] = []
    for k in range(observations.models):
        own_in, own_out = inside.without(a[k], d[k], forgot[k]), outside.without(a[k], d[k], never[k])
        single, update = _ratio(a[k], d[k], own_in, own_out, family, prior)
        columns = np.flatnonzero((forgot[k] | never[k]) & ~np.isnan(single))
        parts.append((single[columns], update[columns], forgot[k][columns], np.full(len(columns), k), columns))
    single, update, truth, models, records = (np.concatenate(column) for column in zip(*parts, strict=True))
    if not len(single):
        raise _too_few()
    return PairTrials(*(Trials(scores, truth, models, records) for scores in (single + update, single, update)))


def _ratio(
    a: FloatArray, d: FloatArray, inside: _World, outside: _World, family: Family, prior: float
) -> tuple[FloatArray, FloatArray]:
    """Both parts of the log likelihood ratio of one model's records, (N,) each."""
    pools = inside.pooled(), outside.pooled()
    least_a = _FLOOR * max(pools[0][0], pools[1][0]) + _TINY
    least_d = _FLOOR * max(pools[0][2], pools[1][2]) + _TINY
    (one_in, two_in), (one_out, two_out) = (
        _densities(a, d, world, pool, family, prior, least_a, least_d)
        for world, pool in zip((inside, outside), pools, strict=True)
    )
    near = _TINY * (1 + np.abs(a))
    still = (np.abs(d - inside.d) <= near) & (np.abs(d - outside.d) <= near)
    still &= (inside.dd <= near**2) & (outside.dd <= near**2)  # nothing ever moved: an update that says nothing
    update = np.where(still & ~np.isnan(one_in - one_out), 0.0, two_in - two_out)
    return one_in - one_out, update


def _densities(
    a: FloatArray,
    d: FloatArray,
    world: _World,
    pool: FloatArray,
    family: Family,
    prior: float,
    least_a: float,
    least_d: float,
) -> tuple[FloatArray, FloatArray]:
    """``log p(a)`` and ``log p(d | a)``, (N,) each, NaN for records with too few references."""
    freedom = world.count - 1 + prior
    enough = (world.count >= 1) & (freedom > 0)
    freedom = np.where(enough, freedom, np.nan)
    student = family == "student"
    widen = (1 + 1 / np.maximum(world.count, 1)) if student else 1.0
    aa, ad, dd = (
        (own + prior * shared) / freedom * widen
        for own, shared in zip((world.aa, world.ad, world.dd), pool, strict=True)
    )
    aa = np.maximum(aa, least_a)
    slope = ad / aa
    left = np.maximum(dd - slope * ad, least_d)
    away = (a - world.a) ** 2 / aa
    expected = world.d + slope * (a - world.a)
    if not student:
        return -0.5 * (np.log(aa) + away), -0.5 * (np.log(left) + (d - expected) ** 2 / left)
    given = left * (freedom + away) / (freedom + 1)  # the conditional of a bivariate t is a t with one more degree
    return _log_t(away, aa, freedom), _log_t((d - expected) ** 2 / given, given, freedom + 1)


def _log_t(squared: FloatArray, scale: FloatArray, freedom: FloatArray) -> FloatArray:
    """Log density of a Student t from the squared distance in units of its scale."""
    constant = gammaln((freedom + 1) / 2) - gammaln(freedom / 2) - 0.5 * np.log(freedom * np.pi * scale)
    return np.asarray(constant - (freedom + 1) / 2 * np.log1p(squared / freedom))


def _pair(before: AnyArray, after: AnyArray, name: str) -> tuple[FloatArray, FloatArray]:
    a, b = (np.atleast_2d(np.asarray(values, dtype=np.float64)) for values in (before, after))
    if a.shape != b.shape or a.ndim != 2 or np.isinf(a).any() or np.isinf(b).any():
        raise ArgumentError(
            f"phi has shapes {a.shape} and {b.shape}, or is infinite",
            where=f"two-version.{name}",
            mend="give finite phi (models, records) of both versions, NaN for no reference",
        )
    return a, b - a


def _check_family(family: str, prior: float) -> None:
    if family not in get_args(Family):
        raise ArgumentError(f"unknown family {shown(family)}", where="family", mend="choose student or normal")
    if not 0 <= as_number(prior, "prior") < np.inf:
        raise ArgumentError(f"prior must be at least 0, not {shown(prior)}", where="prior", mend="4 is a good choice")


def _too_few() -> InputError:
    return ArgumentError(
        "no record has references on both sides",
        where="two-version",
        mend="train more models: each record needs one that forgot it and one that never held it, beside the target",
    )
