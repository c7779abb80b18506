"""A test bed: a tiny task with a request, and the ways in which the checks vary it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from certify.core.arrays import AnyArray, FloatArray, IntArray
from certify.unlearners.evidence import Budget
from certify.unlearners.interface import Kind, Result, Unlearner
from certify.unlearners.task import Request

Numbers = dict[str, AnyArray]
"""The tensors of a model by name."""

Which = Literal["retain", "forget", "held-out"]


@dataclass(frozen=True, eq=False)
class Bed(ABC):
    """A tiny task and a request.

    Attributes:
        name: for messages; two beds of one name are the same.
        task: what the method is given.
        request: what it is to forget.
    """

    name: str
    task: Any
    request: Request

    kind: Kind

    has_statistics = False
    quadratic = False

    def run(self, method: Unlearner, seed: int, budget: Budget | None) -> Result:
        """Run the method on a copy of the task, so that a method that changes its input spoils nothing here."""
        return method.forget(self.copied().task, self.request, budget, seed)

    def retained(self) -> IntArray:
        """Positions of the records that are kept."""
        members = np.arange(len(self.records)) if self.request.members is None else self.request.members
        return np.setdiff1d(members, self.request.forgotten)

    def prepared(self, method: Unlearner, seed: int) -> "Bed":
        """The same, made ready by a method that trains a model of its own before it can forget; else itself."""
        del method, seed
        return self

    @property
    @abstractmethod
    def records(self) -> AnyArray:
        """Inputs of all training records."""

    @property
    @abstractmethod
    def named(self) -> Any:
        """What names the records: a dataset, or the task."""

    @abstractmethod
    def copied(self) -> "Bed":
        """The same with its own memory."""

    @abstractmethod
    def forgetting(self, request: Request, name: str) -> "Bed":
        """The same with another request."""

    @abstractmethod
    def spoiled(self, rows: IntArray) -> "Bed":
        """The same original, and other contents in these records."""

    @abstractmethod
    def spoiled_original(self) -> "Bed":
        """The same records, and other numbers in the original."""

    @abstractmethod
    def permuted(self, order: IntArray) -> "Bed":
        """The same records in another order."""

    @abstractmethod
    def after(self, first: Result, then: Request, *, through_disk: bool = False) -> "Bed":
        """The next request, from the result of the first one, kept in memory or written to bytes and read again."""

    @abstractmethod
    def start(self) -> Numbers:
        """The original's numbers."""

    @abstractmethod
    def numbers(self, result: Result) -> Numbers:
        """The result's numbers."""

    @abstractmethod
    def shipped(self, result: Result) -> Numbers:
        """The numbers in the model that the result ships."""

    @abstractmethod
    def losses(self, result: Result | None, which: Which) -> FloatArray:
        """Losses of records under the result, or under the original."""


def difference(left: Numbers, right: Numbers) -> float:
    """Largest absolute difference; infinity where names or shapes differ, or where one is NaN and the other is not."""
    if {n: v.shape for n, v in left.items()} != {n: v.shape for n, v in right.items()}:
        return float("inf")
    worst = 0.0
    for name, value in left.items():
        one, two = value.astype(np.float64), right[name].astype(np.float64)
        gap = np.where(one == two, 0.0, np.abs(one - two))
        worst = max(worst, float(np.max(np.nan_to_num(gap, nan=np.inf, posinf=np.inf), initial=0.0)))
    return worst


def namesakes(numbers: Numbers, name: str, shape: tuple[int, ...] | None = None) -> list[AnyArray]:
    """Tensors called ``name``, of this shape where one is given; in an ensemble, also those of which a member's is called so."""
    return [
        value
        for other, value in numbers.items()
        if (other == name or other.endswith(f".{name}") or name.endswith(f".{other}")) and shape in {None, value.shape}
    ]


def size(numbers: Mapping[str, AnyArray]) -> float:
    """Largest absolute number, at least 1: differences are judged against it."""
    return max([1.0, *(float(np.max(np.abs(v.astype(np.float64)), initial=0.0)) for v in numbers.values())])


def same(left: Numbers, right: Numbers, tolerance: float = 0.0) -> bool:
    """Whether no number differs, or by at most ``tolerance`` times the largest."""
    return difference(left, right) <= tolerance * size(left)
