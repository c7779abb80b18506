"""What an unlearner is asked to do."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from certify.convex.objective import Objective
from certify.convex.parameters import as_parameters
from certify.convex.problem import Problem, bind
from certify.core.arrays import FloatArray, IntArray
from certify.core.errors import InputError
from certify.data.dataset import Dataset
from certify.models.weights import LinearWeights


@dataclass(frozen=True, eq=False)
class Request:
    """A request to forget some records.

    Attributes:
        forgotten: positions of the records in the dataset, unique, sorted.
    """

    forgotten: IntArray

    @classmethod
    def of(cls, dataset: Dataset, ids: Iterable[object]) -> "Request":
        """The request to forget the records with these ids.

        Raises:
            InputError: no id, one that is not in the data, one twice, or all records.
        """
        positions = dataset.positions(ids)
        if np.any(positions < 0):
            raise InputError(
                f"{int(np.sum(positions < 0))} ids are not in {dataset.where}",
                where="request",
                mend="check the ids",
            )
        return cls.at(dataset, positions)

    @classmethod
    def at(cls, dataset: Dataset, positions: IntArray) -> "Request":
        """The request to forget the records at these positions; errors as for :meth:`of`."""
        unique = np.unique(positions)
        if not 0 < len(unique) < len(dataset):
            raise InputError(
                f"{len(unique)} of {len(dataset)} records are to be forgotten",
                where="request",
                mend="forget at least one and keep at least one",
            )
        if len(unique) != len(positions) or unique[0] < 0 or unique[-1] >= len(dataset):
            raise InputError("positions repeat or lie outside the data", where="request", mend="list each record once")
        return cls(unique)


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
        retained = self.dataset.without(request.forgotten)
        return bind(self.objective, retained.X, retained.y, self.outputs, retained.sample_weight)

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
