"""What audits look at: which records each of K models was given, and what each model says of each record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from certify.core.arguments import as_array
from certify.core.arrays import AnyArray, FloatArray, IntArray
from certify.core.errors import InputError

WORLDS = ("original", "unlearned", "retrained", "again")
"""``original``: trained on retained and forgotten records. ``unlearned``: that model after the method. ``retrained``: trained on
the retained records alone. ``again``: retrained with another seed, so that retrained models can be compared with each other."""

SIGNALS = ("phi", "entropy", "modified-entropy", "correct")
"""``phi``: ``log p_y - log(1 - p_y)``, the one every attack needs. ``entropy`` and ``modified-entropy`` in nats. ``correct``: 1 or 0."""


class Cell(IntEnum):
    """What a model was given of a record."""

    OUT = 0
    """Never: neither before nor after."""
    RETAIN = 1
    """Trained on, and not asked to be forgotten."""
    FORGET = 2
    """Trained on, and to be forgotten."""


@dataclass(frozen=True, eq=False)
class Observations:
    """K models seen through N records.

    Attributes:
        assignment: :class:`Cell` of each model and record, (K, N). Rows of models are independent draws, or all the same where
            the models differ in their random seeds alone.
        worlds: by name (:data:`WORLDS`), then by signal (:data:`SIGNALS`), arrays (K, N): what model k of that world says of
            record n. Row k of every world belongs to the same draw of records.
        ids: names of the records, (N,).

    Raises:
        InputError: shapes that differ, an entry that is no cell, a number that is not finite, a world or signal nobody knows,
            an id that repeats.
    """

    assignment: IntArray
    worlds: Mapping[str, Mapping[str, FloatArray]]
    ids: AnyArray = field(default_factory=lambda: np.arange(0))

    def __post_init__(self) -> None:
        assignment = as_array(self.assignment, "observations: assignment")
        if assignment.ndim != 2 or not assignment.size:
            raise _wrong(
                f"assignment has shape {assignment.shape}, not (models, records)",
                "give one row a model, one column a record",
            )
        if not np.isin(assignment, [int(cell) for cell in Cell]).all():
            raise _wrong("assignment holds other values than 0, 1 and 2", "use 0 for out, 1 for retain, 2 for forget")
        try:
            ids = np.asarray(self.ids)
        except (TypeError, ValueError, OverflowError):
            raise _wrong("ids are no array", "give one id a record") from None
        if ids.dtype.kind not in "iuUS" and ids.size:
            raise _wrong(f"ids have type {ids.dtype}", "use whole numbers or texts")
        ids = ids if ids.size else np.arange(assignment.shape[1])
        if ids.shape != (assignment.shape[1],) or len(np.unique(ids)) != len(ids):
            raise _wrong(
                f"{ids.size} ids do not name {assignment.shape[1]} records once each", "give one id a record, each once"
            )
        object.__setattr__(self, "assignment", assignment.astype(np.int8))
        object.__setattr__(self, "ids", ids)
        worlds = {
            world: {name: self._signal(world, name, a) for name, a in found.items()}
            for world, found in self.worlds.items()
        }
        object.__setattr__(self, "worlds", worlds)

    def _signal(self, world: str, name: str, array: AnyArray) -> FloatArray:
        where = f"{world}.{name}"
        if world not in WORLDS or name not in SIGNALS:
            raise _wrong(f"{where!r} is unknown", f"worlds are {', '.join(WORLDS)}; signals are {', '.join(SIGNALS)}")
        values = as_array(array, f"observations: {where}")
        if values.shape != self.assignment.shape:
            raise _wrong(
                f"{where} has shape {values.shape}, the assignment {self.assignment.shape}",
                "give one row a model and one column a record in both",
            )
        if not np.isfinite(values).all():
            raise _wrong(
                f"{where} holds numbers that are not finite",
                "compute phi from the logits, as z_y - logsumexp of the others (certify.attacks.phi does)",
            )
        return values

    @property
    def models(self) -> int:
        """K."""
        return int(self.assignment.shape[0])

    @property
    def records(self) -> int:
        """N."""
        return int(self.assignment.shape[1])

    def has(self, world: str, signal: str = "phi") -> bool:
        """Whether this was observed."""
        return signal in self.worlds.get(world, {})

    def get(self, world: str, signal: str = "phi") -> FloatArray:
        """The signal of a world, (K, N).

        Raises:
            InputError: it was not observed.
        """
        if not self.has(world, signal):
            raise _wrong(
                f"{world}.{signal} was not observed", f"observe it, or leave out the attack that needs it ({world})"
            )
        return self.worlds[world][signal]

    def pick(self, models: Sequence[int] | IntArray | slice) -> "Observations":
        """Some of the models."""
        chosen = {world: {name: a[models] for name, a in found.items()} for world, found in self.worlds.items()}
        return Observations(self.assignment[models], chosen, self.ids)

    @classmethod
    def join(cls, parts: Sequence["Observations"]) -> "Observations":
        """Blocks of models one after the other, of the same records.

        Raises:
            InputError: blocks of other records, or with other signals.
        """
        first = parts[0]
        names = {(world, name) for world, found in first.worlds.items() for name in found}
        for part in parts[1:]:
            own = {(world, name) for world, found in part.worlds.items() for name in found}
            if own != names or not np.array_equal(part.ids, first.ids):
                raise _wrong("blocks differ in their records or signals", "join blocks of one fleet")
        worlds = {
            world: {name: np.concatenate([part.worlds[world][name] for part in parts]) for name in found}
            for world, found in first.worlds.items()
        }
        return cls(np.concatenate([part.assignment for part in parts]), worlds, first.ids)


@dataclass(frozen=True, eq=False)
class Trials:
    """An attack's scores, each with the truth: what statistics are computed from.

    Scores of one model are not independent of each other; models are. Statistics must treat the model as the unit.

    Attributes:
        scores: (M,), the higher the more like the positive world.
        positive: (M,) truth.
        models: (M,) which model was looked at.
        records: (M,) which record.
    """

    scores: FloatArray
    positive: AnyArray
    models: IntArray
    records: IntArray

    def __post_init__(self) -> None:
        shapes = {np.shape(value) for value in (self.scores, self.positive, self.models, self.records)}
        if len(shapes) != 1 or np.ndim(self.scores) != 1:
            raise InputError(
                f"arrays have shapes {sorted(shapes)}",
                where="trials",
                mend="give one entry a trial in each of the four",
            )
        if np.isnan(self.scores).any():
            raise InputError("a score is not a number", where="trials", mend="score every trial")

    def __len__(self) -> int:
        return len(self.scores)


def _wrong(what: str, mend: str) -> InputError:
    return InputError(what, where="observations", mend=mend)
