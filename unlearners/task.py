"""What an unlearner is asked to do."""

from collections.abc import Iterable, Sized
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from certify.convex.objective import Objective
from certify.convex.parameters import as_parameters
from certify.convex.problem import Problem, bind
from certify.core.arguments import require_type, shown
from certify.core.arrays import FloatArray, IntArray
from certify.core.errors import ArgumentError, InputError
from certify.data.dataset import Dataset
from certify.models.weights import LinearWeights


class Records(Protocol):
    """What names records: a dataset, or a task for networks."""

    def __len__(self) -> int: ...
    @property
    def where(self) -> str:
        """For messages."""

    def positions(self, ids: Iterable[object]) -> IntArray:
        """Positions by id, negative for an unknown one."""


@dataclass(frozen=True, eq=False)
class Request:
    """A request to forget some records.

    Attributes:
        forgotten: positions of the records in the dataset, unique, sorted.
        members: positions of the records the original was trained on, unique, sorted; None is all of them. After a first
            request, those it kept.
    """

    forgotten: IntArray
    members: IntArray | None = None

    def __post_init__(self) -> None:
        _require_positions(self.forgotten)
        if self.members is not None:
            _require_positions(self.members, "members")

    @classmethod
    def of(cls, dataset: Records, ids: Iterable[object]) -> "Request":
        """The request to forget the records with these ids.

        Raises:
            InputError: no id, one that is not in the data, one twice, or all records.
        """
        _require_records(dataset)
        positions = dataset.positions(_listed(ids))
        if np.any(positions < 0):
            raise InputError(
                f"{int(np.sum(positions < 0))} ids are not in {dataset.where}",
                where="request",
                mend="check the ids",
            )
        return cls.at(dataset, positions)

    @classmethod
    def at(cls, dataset: Sized, positions: IntArray, members: IntArray | None = None) -> "Request":
        """The request to forget the records at these positions, of all records or of the members; errors as for :meth:`of`."""
        _require_records(dataset)
        _require_positions(positions)
        if members is not None:
            _require_positions(members, "members")
        unique = np.unique(positions)
        total = len(dataset) if members is None else len(members)
        if not 0 < len(unique) < total:
            raise InputError(
                f"{len(unique)} of {total} records are to be forgotten",
                where="request",
                mend="forget at least one and keep at least one",
            )
        if len(unique) != len(positions) or unique[0] < 0 or unique[-1] >= len(dataset):
            raise InputError("positions repeat or lie outside the data", where="request", mend="list each record once")
        if members is None:
            return cls(unique)
        members = np.unique(members)
        if members[0] < 0 or members[-1] >= len(dataset) or np.setdiff1d(unique, members).size:
            raise InputError(
                "members lie outside the data, or a record to forget is no member",
                where="request",
                mend="a record that was forgotten before, or never trained on, cannot be forgotten",
            )
        return cls(unique, members)

    def then(self, dataset: Sized, positions: IntArray) -> "Request":
        """The next request after this one: what this one forgot is no member any more and is never read again."""
        _require_records(dataset)
        _require_positions(positions)
        members = np.arange(len(dataset)) if self.members is None else self.members
        return Request.at(dataset, positions, np.setdiff1d(members, self.forgotten))


def _require_records(dataset: object) -> None:
    """Whatever names its records by id will do: a dataset, or a task for networks."""
    if not callable(getattr(dataset, "positions", None)):
        raise ArgumentError(
            f"must be a Dataset, not {shown(dataset)}", where="dataset", mend="give the records as a certify Dataset"
        )


def _listed(ids: Iterable[object]) -> list[object]:
    """The ids one by one; a text is one id, not its letters."""
    mend = "give a list of ids: whole numbers or texts"
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable) or np.ndim(getattr(ids, "shape", ())) != 1:
        raise ArgumentError(f"must be a list of ids, not {shown(ids)}", where="ids", mend=mend)
    try:
        listed = list(ids)
    except TypeError:  # an array of no dimension
        raise ArgumentError(f"must be a list of ids, not {shown(ids)}", where="ids", mend=mend) from None
    for identifier in listed:
        require_type(identifier, (str, int, np.integer), "ids", mend)
    return listed


def _require_positions(positions: object, name: str = "positions") -> None:
    mend = "give a one-dimensional NumPy array of whole numbers"
    array = require_type(positions, np.ndarray, name, mend)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ArgumentError(f"is an array of {array.dtype} of shape {array.shape}", where=name, mend=mend)


@dataclass(frozen=True, eq=False)
class ConvexTask:
    """A linear model, its objective, and the records it was trained on.

    Attributes:
        objective: what training minimised.
        dataset: all training records, the forgotten ones included.
        original: the model before the deletion; methods that start from it need it.
    """

    objective: Objective
    dataset: Dataset
    original: LinearWeights | None = None

    def __post_init__(self) -> None:
        require_type(self.objective, Objective, "objective", "declare it: certify.Objective(loss, l2=...)")
        require_type(self.dataset, Dataset, "dataset", "give the records as a certify Dataset")
        if self.original is not None:
            require_type(self.original, LinearWeights, "original", "give its weights as LinearWeights(coef, intercept)")

    @property
    def outputs(self) -> int:
        """K: rows of the original's coefficients, or the number of classes in the data."""
        if not self.objective.loss_function.multi_output:
            return 1
        if self.original is not None:
            return int(np.atleast_2d(self.original.coef).shape[0])
        return int(np.max(self.dataset.y)) + 1

    def retained_problem(self, request: Request) -> Problem:
        """The objective on the retained records."""
        gone = request.forgotten
        if request.members is not None:
            kept = np.setdiff1d(request.members, gone)
            gone = np.setdiff1d(np.arange(len(self.dataset)), kept)
        retained = self.dataset.without(gone)
        return bind(self.objective, retained.X, retained.y, self.outputs, retained.sample_weight)

    def forgotten_problem(self, request: Request) -> Problem:
        """The objective on the forgotten records, its regulariser included; they may all have had weight 0."""
        gone = self.dataset.take(request.forgotten)
        if gone.sample_weight is not None and not np.any(gone.sample_weight):
            return bind(self.objective, gone.X, gone.y, self.outputs).reweighted(np.zeros(len(gone)))
        return bind(self.objective, gone.X, gone.y, self.outputs, gone.sample_weight)

    def original_parameters(self) -> FloatArray:
        """The original's parameters, (K, p).

        Raises:
            InputError: the task has no original model.
        """
        if self.original is None:
            raise InputError(
                "this method starts from the original model and none is given",
                where="release.original",
                mend="name it, or use --method retrain",
            )
        return as_parameters(self.objective, self.original.parts, self.dataset.X.shape[1])
