"""The records of a session: those of the data file that still count, and those corrected or added since."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from certify.convex.losses import TargetError
from certify.convex.objective import Objective
from certify.convex.problem import Problem, bind
from certify.core.arrays import AnyArray, FloatArray, IntArray
from certify.core.errors import InputError
from certify.core.stacked import joined
from certify.data.dataset import WHOLE_NUMBER, Dataset


@dataclass(frozen=True, eq=False)
class Later:
    """Records that were corrected or added: ids as text, X (m, d), y (m,), weight (m,)."""

    ids: tuple[str, ...]
    X: FloatArray
    y: FloatArray
    weight: FloatArray

    @classmethod
    def none(cls, features: int) -> "Later":
        """No such record."""
        return cls((), np.zeros((0, features)), np.zeros(0), np.zeros(0))

    def take(self, kept: AnyArray) -> "Later":
        """Those at a mask or at positions."""
        rows = np.arange(len(self.ids))[kept]
        return Later(tuple(self.ids[row] for row in rows.tolist()), self.X[rows], self.y[rows], self.weight[rows])

    def joined(self, other: "Later") -> "Later":
        """Both, one after the other."""
        pairs = ((self.X, other.X), (self.y, other.y), (self.weight, other.weight))
        return Later(self.ids + other.ids, *(np.concatenate(pair) for pair in pairs))


@dataclass(frozen=True, eq=False)
class DataFile:
    """What a session reads from its data file, once.

    Attributes:
        dataset: as read.
        ids: as text.
        bound: all of its records bound to the objective.
        labels: the distinct targets.
    """

    dataset: Dataset
    ids: tuple[str, ...]
    bound: Problem
    labels: FloatArray

    @classmethod
    def of(cls, objective: Objective, dataset: Dataset, outputs: int) -> "DataFile":
        """Check the records against the objective.

        Raises:
            InputError: records without ids, or that make no sense under the objective.
        """
        if dataset.numbered:
            raise InputError(
                "its records have no ids, and row numbers mean nothing in the next file",
                where=dataset.where,
                mend="give each record a stable id (the array ids, or data.columns.id)",
            )
        try:
            bound = bind(objective, dataset.X, dataset.y, outputs, dataset.sample_weight)
        except InputError as error:
            raise InputError(error.what, where=dataset.where, mend=error.mend) from None
        labels = np.unique(dataset.y).astype(np.float64)
        file = cls(dataset, tuple(map(str, dataset.ids.tolist())), bound, labels)
        _ = bound.norms  # worked out once: problems of the same records with other weights take them over
        return file

    @cached_property
    def positions(self) -> dict[str, int]:
        """Where each id stands."""
        return {identifier: position for position, identifier in enumerate(self.ids)}


@dataclass(frozen=True, eq=False)
class Records:
    """A state of the records. Positions count the data file's records first, then the later ones; X is never copied.

    Attributes:
        file: the data file.
        live: which of its records count as they stand there, (n,).
        later: records that came or were corrected since.
    """

    file: DataFile
    live: AnyArray
    later: Later

    @property
    def count(self) -> int:
        """Number of records that count."""
        return int(self.live.sum()) + len(self.later.ids)

    @cached_property
    def problem(self) -> Problem:
        """The objective on the records that count: those that do not have weight 0."""
        bound, later = self.file.bound, self.later
        weights = np.concatenate([np.where(self.live, bound.weights, 0.0), later.weight])
        if not later.ids:
            return bound.reweighted(weights)
        return bound.extended(later.X, self.prepared(later.y), weights)

    def prepared(self, y: FloatArray) -> AnyArray:
        """Targets (m,) as the loss wants them; the labels of the file decide what a label means."""
        loss, labels = self.file.bound.objective.loss_function, self.file.labels
        try:
            return loss.prepare(np.concatenate([labels, y]), self.file.bound.outputs)[len(labels) :]
        except TargetError as error:
            raise InputError(
                str(error), where="y", mend="give targets of the same kind as those of the training data"
            ) from None

    @cached_property
    def _later_positions(self) -> dict[str, int]:
        start = len(self.file.ids)
        return {identifier: start + row for row, identifier in enumerate(self.later.ids)}

    def position(self, identifier: str) -> int | None:
        """Where the record of an id stands, if it counts."""
        found = self._later_positions.get(identifier)
        if found is not None:
            return found
        found = self.file.positions.get(identifier)
        return found if found is not None and self.live[found] else None

    def part(self, positions: IntArray) -> Problem:
        """The records at some positions alone, bound to the objective."""
        whole = self.problem
        return replace(whole, X=whole.X[positions], targets=whole.targets[positions], weights=whole.weights[positions])

    def targets(self, positions: IntArray) -> FloatArray:
        """Targets of some records as they were given."""
        return np.concatenate([self.file.dataset.y, self.later.y]).astype(np.float64)[positions]

    def without(self, positions: IntArray) -> "Records":
        """All but the records at these positions."""
        start = len(self.file.ids)
        live, kept = self.live.copy(), np.ones(len(self.later.ids), dtype=bool)
        live[positions[positions < start]] = False
        kept[positions[positions >= start] - start] = False
        return Records(self.file, live, self.later.take(kept))

    def staying(self, positions: IntArray) -> AnyArray:
        """Mask of the positions that are still there when the records at these are left out: the file's stay, with weight 0."""
        start = len(self.file.ids)
        mask = np.ones(start + len(self.later.ids), dtype=bool)
        mask[positions[positions >= start]] = False
        return mask

    def joined(self, more: Later) -> "Records":
        """With more records."""
        return Records(self.file, self.live, self.later.joined(more))

    def tail(self, count: int) -> IntArray:
        """Positions of the last records that came."""
        end = len(self.file.ids) + len(self.later.ids)
        return np.arange(end - count, end)

    def retained(self) -> Dataset:
        """The records that count, as a data set."""
        return self._assembled(self.live)

    def written(self, *, with_deleted: bool) -> Dataset:
        """The records as a data file holds them: the file's, corrected in place of the old, then the added ones.

        Deleted ones stay only on demand: the gate wants to find them in the data to leave them out.
        """
        superseded = np.array([identifier in self._later_positions for identifier in self.file.ids], dtype=bool)
        return self._assembled(~superseded if with_deleted else self.live)

    def _assembled(self, kept: AnyArray) -> Dataset:
        dataset, later = self.file.dataset, self.later
        places = np.flatnonzero(kept)
        X = joined(dataset.X[places], later.X) if later.ids else dataset.X[places]
        y = np.concatenate([dataset.y[kept], later.y]) if later.ids else dataset.y[kept]
        weight: AnyArray | None = np.concatenate([self.file.bound.weights[kept], later.weight])
        if dataset.sample_weight is None and not np.any(weight != 1):
            weight = None
        ids = np.concatenate([dataset.ids[kept], as_ids(later.ids, dataset)]) if later.ids else dataset.ids[kept]
        return Dataset(X, y, ids, weight, dataset.where)


def all_of(file: DataFile) -> Records:
    """Every record of a data file, as it stands there."""
    return Records(file, np.ones(len(file.ids), dtype=bool), Later.none(int(file.dataset.X.shape[1])))


def as_ids(texts: Sequence[str], dataset: Dataset) -> AnyArray:
    """Ids of the kind that the data set has.

    Raises:
        InputError: the data set numbers its records and one of these is no whole number of 64 bits.
    """
    if dataset.ids.dtype.kind == "U":
        return np.array(texts, dtype=str)
    try:
        if all(WHOLE_NUMBER.fullmatch(text) for text in texts):
            return np.array([int(text) for text in texts], dtype=np.int64)
    except OverflowError:
        pass
    raise InputError(
        "an id is not a whole number, those of the training data are",
        where="ids",
        mend="give ids of the same kind",
    )
