"""What an attack is given: reference values of each record in two worlds, and a target to score."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from certify.attacks.scores.phi import to_numpy
from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import InputError


@dataclass(frozen=True, eq=False)
class Target:
    """One model to be attacked.

    Attributes:
        values: what it says of each record, (N[, A]), finite.
        population: records it was never given, (N,) of bool: the non-members an attacker compares with; None where not known.
        row: its row among the references, to be left out of them; None where it is not among them.
    """

    values: FloatArray
    population: AnyArray | None = None
    row: int | None = None


class Fitted(Protocol):
    """An attack that has seen its references."""

    def score(self, target: Target) -> FloatArray:
        """Score of each record, (N,), the higher the more like the positive world; records with too few references get any number."""
        ...


class Attack(Protocol):
    """An attack on models seen through records: a frozen dataclass of knobs.

    Attributes:
        name: as reports call it.
        signal: which of :data:`certify.attacks.observations.SIGNALS` it reads.
    """

    @property
    def name(self) -> str:  # noqa: D102
        ...

    @property
    def signal(self) -> str:  # noqa: D102
        ...

    def least(self, views: int = 1) -> tuple[int, int]:
        """References a record needs in the positive and in the negative world, apart from the target itself."""
        ...

    def fit(self, inside: FloatArray, outside: FloatArray) -> Fitted:
        """Look at reference values of both worlds, (K, N[, A]); NaN where a model is no reference for a record."""
        ...


def reference_values(values: Any, name: str, where: str) -> FloatArray:
    """References as float64, (K, N) or (K, N, A).

    Raises:
        InputError: another number of axes, or an infinite entry.
    """
    array = to_numpy(values, f"{where}: {name}").astype(np.float64, copy=False)
    if array.ndim not in {2, 3} or not array.size:
        raise InputError(
            f"{name} has shape {array.shape}, not (models, records) or (models, records, views)",
            where=where,
            mend="give one row a reference model, NaN where it is no reference for a record",
        )
    if np.isinf(array).any():
        raise InputError(f"{name} holds infinite numbers", where=where, mend="compute phi from the logits")
    return array


def target_values(values: Any, shape: tuple[int, ...], where: str) -> FloatArray:
    """Targets as float64, (T, N[, A]), from that or from one target (N[, A]).

    Args:
        values: what was given.
        shape: of the references, without the models.
        where: for messages.

    Raises:
        InputError: a shape that does not fit, or a number that is not finite.
    """
    array = to_numpy(values, f"{where}: target_confidences").astype(np.float64, copy=False)
    if array.shape != shape and array.shape[1:] != shape:
        raise InputError(
            f"target_confidences has shape {array.shape}, the references {shape} a model",
            where=where,
            mend="give the same records and views as the references",
        )
    if not np.isfinite(array).all():
        raise InputError("target_confidences holds numbers that are not finite", where=where, mend="score every record")
    return array.reshape(-1, *shape)


def require_references(values: FloatArray, least: int, name: str, where: str) -> None:
    """Each record has at least ``least`` references.

    Raises:
        InputError: some have fewer; says how many, and how many are needed.
    """
    there = ~(np.isnan(values) if values.ndim == 2 else np.isnan(values).any(axis=2))
    count = there.sum(axis=0)
    few = int(np.count_nonzero(count < least))
    if few:
        raise InputError(
            f"{few} of {count.size} records have too few references in {name}: {int(count.min())} where {least} "
            f"{'is' if least == 1 else 'are'} needed",
            where=where,
            mend="add reference models, or leave those records out",
        )


def score_each(fitted: Fitted, targets: FloatArray, given: Any) -> FloatArray:
    """Scores of targets (T, N[, A]), none of them a reference: (T, N), or (N,) where one was ``given`` without an axis for it."""
    scores = np.stack([fitted.score(Target(values)) for values in targets])
    return scores if np.ndim(given) == targets.ndim else scores[0]
