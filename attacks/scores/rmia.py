"""The robust membership inference attack (RMIA, Zarifzadeh, Liu, Shokri 2024): a record against the population, pair by pair."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from certify.attacks.scores.log_mean import LogMean, log_p
from certify.attacks.scores.references import Target, reference_values, require_references, target_values
from certify.core.arguments import as_number
from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import ArgumentError, InputError


@dataclass(frozen=True)
class Rmia:
    """RMIA's knobs.

    ``score(x) = share of z in the population with LR(x, z) >= gamma``, ``LR(x, z) = [p(x|theta) / p(x)] / [p(z|theta) / p(z)]``, where
    ``p`` is the chance that a model gives to the record's own class, ``1 / (1 + exp(-phi))``, and ``p(x)`` its mean over references.
    A score is a share of the population: false positive rates below one over its size cannot be told apart, their records tie at 1.

    Attributes:
        mode: ``online``: p(x) is the mean of both worlds' means. ``offline``: from the negative world alone,
            ``((1 + a) p_out + 1 - a) / 2``.
        gamma: how much likelier x has to be than z.
        a: offline, how much p_out says of p: 1 takes p_out itself; :func:`tuned_a` finds one.
    """

    mode: Literal["online", "offline"] = "online"
    gamma: float = 1.0
    a: float = 0.3
    signal: str = "phi"

    def __post_init__(self) -> None:
        if self.mode not in {"online", "offline"}:
            raise ArgumentError("is unknown", where="mode", mend="use online or offline")
        for knob in ("gamma", "a"):
            object.__setattr__(self, knob, as_number(getattr(self, knob), knob))
        if not 0 < self.gamma < np.inf:
            raise ArgumentError("must be positive", where="gamma", mend="1 is common")
        if not 0 <= self.a <= 1:
            raise ArgumentError("must be from 0 to 1", where="a", mend="0.3 is common for images; tuned_a finds one")

    @property
    def name(self) -> str:
        """``rmia``, with the mode where it is offline."""
        return "rmia" if self.mode == "online" else "rmia-offline"

    def least(self, views: int = 1) -> tuple[int, int]:  # noqa: ARG002
        """One reference in each world it reads."""
        return (1 if self.mode == "online" else 0), 1

    def fit(self, inside: FloatArray, outside: FloatArray) -> "_FittedRmia":
        """Sums of the references' probabilities, (K, N), NaN where a model is no reference."""
        if outside.ndim != 2:
            raise InputError("several views are not for RMIA", where="rmia", mend="give one, or average phi over them")
        online = self.mode == "online"
        return _FittedRmia(self, LogMean.of(inside) if online else None, LogMean.of(outside))


@dataclass(frozen=True, eq=False)
class _FittedRmia:
    attack: Rmia
    inner: LogMean | None
    outer: LogMean

    def score(self, target: Target) -> FloatArray:
        if target.population is None or not np.any(target.population):
            raise InputError(
                "no record is known to be unseen by the target, so there is no population to compare with",
                where="rmia",
                mend="keep some records out of each model",
            )
        ratio = log_p(target.values) - self._log_prior(target.row)
        them = np.asarray(target.population) & np.isfinite(ratio)
        pool, size = ratio[them], int(them.sum())
        beaten = _beaten(ratio, pool, self.attack.gamma)
        # a record of the population is compared with the others, not with itself
        own = them & (ratio - np.log(self.attack.gamma) >= ratio)
        shares = np.where(them, (beaten - own) / max(size - 1, 1), beaten / max(size, 1))
        return np.asarray(np.where(np.isnan(ratio), np.nan, shares))

    def _log_prior(self, row: int | None) -> FloatArray:
        inner = None if self.inner is None else self.inner.without(row)
        return _log_prior(inner, self.outer.without(row), self.attack.a)


def rmia(
    in_confidences: Any,
    out_confidences: Any,
    target_confidences: Any,
    population_confidences: Any,
    population_target: Any,
    *,
    gamma: float = 1.0,
    a: float | None = None,
) -> FloatArray:
    """RMIA scores of one or several target models, the higher the more like a member; their order over the population is of no matter.

    Args:
        in_confidences: phi of reference models that were given the record, (K, N), NaN where a model was not; None for the offline attack.
        out_confidences: phi of reference models that were not, (K', N), NaN where they were.
        target_confidences: phi of the target, (N,), or of T targets, (T, N).
        population_confidences: phi of reference models on records of the population that were not given to them, (K'', Z), NaN
            where one was. All of them are averaged.
        population_target: phi of the target on the population, which it was not given either, (Z,) or (T, Z).
        gamma: see :class:`Rmia`.
        a: for the offline attack, see :class:`Rmia`; 0.3 when not given.

    Returns:
        Shares from 0 to 1, (N,) or (T, N).

    Raises:
        InputError: a record without reference, an empty population, shapes that do not fit, ``a`` beside in_confidences.

    >>> rmia(None, [[0.0, 0.0]], [2.0, -2.0], [[0.0, 0.0]], [1.0, -1.0], a=1.0).tolist()
    [1.0, 0.0]
    """
    if in_confidences is not None and a is not None:
        raise InputError("a is for the offline attack", where="rmia", mend="leave out a, or in_confidences")
    attack = Rmia("offline" if in_confidences is None else "online", gamma, 0.3 if a is None else a)
    outside = reference_values(out_confidences, "out_confidences", "rmia")
    crowd = reference_values(population_confidences, "population_confidences", "rmia")
    inside = outside if in_confidences is None else reference_values(in_confidences, "in_confidences", "rmia")
    if inside.shape[1:] != outside.shape[1:] or outside.ndim != 2 or crowd.ndim != 2:
        raise InputError(
            f"in, out and population have shapes {inside.shape}, {outside.shape} and {crowd.shape}",
            where="rmia",
            mend="give (models, records) each, the first two of the same records",
        )
    targets = target_values(target_confidences, outside.shape[1:], "rmia")
    their = target_values(population_target, crowd.shape[1:], "rmia")
    if len(their) != len(targets):
        raise InputError(
            f"{len(targets)} targets, {len(their)} rows of population_target",
            where="rmia",
            mend="give one row a target in both",
        )
    require_references(inside, 1, "in_confidences", "rmia")
    require_references(outside, 1, "out_confidences", "rmia")
    require_references(crowd, 1, "population_confidences", "rmia")
    online = attack.mode == "online"
    inner = LogMean.of(inside).without(None) if online else None
    prior = _log_prior(inner, LogMean.of(outside).without(None), attack.a)
    mean = LogMean.of(crowd).without(None)
    crowd_prior = mean if online else _log_prior(None, mean, attack.a)
    scores = np.stack(
        [
            _beaten(log_p(x) - prior, log_p(z) - crowd_prior, attack.gamma) / crowd.shape[1]
            for x, z in zip(targets, their, strict=True)
        ]
    )
    return scores if np.ndim(target_confidences) == 2 else scores[0]


def tuned_a(
    confidences: Any, members: Any, population_confidences: Any, *, gamma: float = 1.0, grid: int = 11
) -> float:
    """The ``a`` of the offline attack that works best against reference models, whose members are known.

    Each reference in turn is attacked with the others; the mean area under the ROC curve decides, the smallest a of equals.

    Args:
        confidences: phi of reference models, (K, N).
        members: whether a model was given the record, (K, N) of bool.
        population_confidences: phi of the same models on records none of them was given, (K, Z).
        gamma: see :class:`Rmia`.
        grid: how many values from 0 to 1 are tried.

    Raises:
        InputError: fewer than two models, or none that has members and non-members the others can be compared on.
    """
    values = reference_values(confidences, "confidences", "tuned_a")
    crowd = reference_values(population_confidences, "population_confidences", "tuned_a")
    given = np.asarray(members, dtype=bool)
    if values.shape != given.shape or values.ndim != 2 or len(values) < 2 or len(crowd) != len(values):
        raise InputError(
            f"shapes {values.shape}, {given.shape} and {crowd.shape} are not two or more models each",
            where="tuned_a",
            mend="give one row a reference model, the same models in all three",
        )
    outer, mean, tried = LogMean.of(np.where(given, np.nan, values)), LogMean.of(crowd), np.linspace(0, 1, grid)
    areas = np.zeros((0, grid))
    for row in range(len(values)):
        left = outer.count - ~given[row] > 0
        if not (left & given[row]).any() or not (left & ~given[row]).any():
            continue
        own, their = outer.without(row)[left], mean.without(row)
        found = [
            _area(
                _beaten(
                    log_p(values[row, left]) - _log_prior(None, own, a),
                    log_p(crowd[row]) - _log_prior(None, their, a),
                    gamma,
                ),
                given[row, left],
            )
            for a in tried
        ]
        areas = np.vstack([areas, found])
    if not len(areas):
        raise InputError(
            "no reference model has members and non-members with other references",
            where="tuned_a",
            mend="give more reference models, trained on random halves",
        )
    return float(tried[areas.mean(axis=0).argmax()])


def _log_prior(inner: FloatArray | None, outer: FloatArray, a: float) -> FloatArray:
    """Online the mean of both, offline ``((1 + a) p_out + (1 - a)) / 2``; equal terms keep their last bit."""
    if inner is None and a == 1.0:
        return outer
    other, weight = (np.zeros_like(outer), (1 + a) / 2) if inner is None else (inner, 0.5)
    top = np.maximum(outer, other)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(top + np.log(weight * np.exp(outer - top) + (1 - weight) * np.exp(other - top)))


def _beaten(ratio: FloatArray, pool: FloatArray, gamma: float) -> FloatArray:
    """How many z of the pool have ``ratio_z <= ratio_x / gamma``: by sorting, so that no matrix of pairs is held."""
    order = np.argsort(ratio)  # looking up in order is several times faster than anyhow
    result = np.empty(len(ratio))
    result[order] = np.searchsorted(np.sort(pool), ratio[order] - np.log(gamma), side="right")
    return result


def _area(scores: FloatArray, positive: AnyArray) -> float:
    """Area under the ROC curve, ties counted half."""
    from scipy.stats import rankdata

    ranks, hits = rankdata(scores), int(positive.sum())
    return float((ranks[positive].sum() - hits * (hits + 1) / 2) / (hits * (len(scores) - hits)))
