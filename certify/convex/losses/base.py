"""What a loss has to provide: values, derivatives, constants that hold, and the rounding error of each derivative.

Shapes: ``n`` records, ``K`` outputs (1 but for softmax and one-vs-rest). Scores ``z`` are (n, K), the rows of ``X @ w.T``.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from certify.core.arrays import AnyArray, FloatArray

UNIT = 2.0**-53
"""Unit roundoff of float64."""

FUNCTION_ERROR = 16 * UNIT
"""Relative error granted to exp, expit, tanh and hypot. Libraries promise 1 to 4 ulp; tests compare with 60 digits."""

TINY = 1e-300
"""Covers every underflow in one elementwise operation."""


def weighted(a: FloatArray, values: FloatArray) -> FloatArray:
    """``a_i values_i``; 0 for records of weight 0, whatever became of their scores: those of a record that left may overflow."""
    return np.where(a > 0, a * values, 0.0)


@dataclass(frozen=True)
class LossConstants:
    """Suprema over all scores and targets; infinite where there is none.

    Attributes:
        lipschitz: sup |l'|.
        smoothness: sup l''.
        hessian_lipschitz: sup |l'''|.
        self_concordance: smallest R with |l'''| <= R l'' (Bach 2010; generalised self-concordance).
    """

    lipschitz: float
    smoothness: float
    hessian_lipschitz: float
    self_concordance: float


class TargetError(ValueError):
    """Targets that the loss is not defined for; the text says what and how to mend."""


class Loss(ABC):
    """A convex loss of one record as a function of its scores."""

    name: ClassVar[str]
    targets: ClassVar[str]
    multi_output: ClassVar[bool] = False
    smoothing_is: ClassVar[str | None] = None
    """What the objective's ``smoothing`` means to this loss; None where it has none."""

    @property
    @abstractmethod
    def formula(self) -> str:
        """The loss in one line of text; a class variable, except where it depends on ``smoothing``."""

    @property
    @abstractmethod
    def constants(self) -> LossConstants:
        """Constants that hold for all scores and targets; likewise."""

    @abstractmethod
    def prepare(self, y: AnyArray, outputs: int) -> AnyArray:
        """Targets in the form the other methods take.

        Raises:
            TargetError: a target is outside the loss's domain.
        """

    @abstractmethod
    def value(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """Loss of each record, (n,)."""

    @abstractmethod
    def gradient(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """Derivative in the scores, (n, K)."""

    @abstractmethod
    def curvature_product(self, z: FloatArray, y: AnyArray, u: FloatArray) -> FloatArray:
        """Second derivative in the scores, applied to ``u``: (n, K)."""

    @abstractmethod
    def curvature_blocks(self, z: FloatArray, y: AnyArray) -> Iterator[tuple[int, int, FloatArray]]:
        """Entries (j, k, weights (n,)) of the second derivative with j <= k."""

    @abstractmethod
    def gradient_error(self, z: FloatArray, dz: FloatArray, y: AnyArray) -> FloatArray:
        """Bound on |computed gradient at ``z`` - exact gradient at any score within ``dz``|, (n, K)."""

    @abstractmethod
    def curvature_product_error(
        self, z: FloatArray, dz: FloatArray, y: AnyArray, u: FloatArray, du: FloatArray
    ) -> FloatArray:
        """The same for :meth:`curvature_product`, with ``u`` known within ``du``."""

    @abstractmethod
    def curvature_trace(self, z: FloatArray, dz: FloatArray, y: AnyArray) -> FloatArray:
        """Upper bound on the trace of the second derivative at any score within ``dz``, (n,)."""


class ScalarLoss(Loss):
    """A loss of one score: subclasses give the derivatives and their suprema over an interval."""

    @abstractmethod
    def first(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """l'(z), elementwise on (n, 1)."""

    @abstractmethod
    def second(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """l''(z)."""

    @abstractmethod
    def first_rounding(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """Bound on the rounding error of :meth:`first` at ``z``."""

    @abstractmethod
    def second_rounding(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """Bound on the rounding error of :meth:`second` at ``z``."""

    def first_rounding_of(self, value: FloatArray, z: FloatArray, y: AnyArray) -> FloatArray:
        """:meth:`first_rounding` where :meth:`first` is known already: ``value``."""
        del value
        return self.first_rounding(z, y)

    def second_rounding_of(self, value: FloatArray, z: FloatArray, y: AnyArray) -> FloatArray:
        """:meth:`second_rounding` where :meth:`second` is known already: ``value``."""
        del value
        return self.second_rounding(z, y)

    @abstractmethod
    def second_sup(self, z: FloatArray, dz: FloatArray, y: AnyArray) -> FloatArray:
        """Upper bound on l'' over [z - dz, z + dz]."""

    @abstractmethod
    def third_sup(self, z: FloatArray, dz: FloatArray, y: AnyArray) -> FloatArray:
        """Upper bound on |l'''| over [z - dz, z + dz]."""

    def gradient(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """Derivative in the score."""
        return self.first(z, y[:, None])

    def curvature_product(self, z: FloatArray, y: AnyArray, u: FloatArray) -> FloatArray:
        """l''(z) u."""
        return self.second(z, y[:, None]) * u

    def curvature_blocks(self, z: FloatArray, y: AnyArray) -> Iterator[tuple[int, int, FloatArray]]:
        """The one entry l''(z)."""
        yield 0, 0, self.second(z, y[:, None])[:, 0]

    def gradient_error(self, z: FloatArray, dz: FloatArray, y: AnyArray) -> FloatArray:
        """Mean value theorem over the interval, plus the rounding of l' itself."""
        column = y[:, None]
        return self.second_sup(z, dz, column) * dz + self.first_rounding(z, column)

    @np.errstate(invalid="ignore")
    def curvature_product_error(
        self, z: FloatArray, dz: FloatArray, y: AnyArray, u: FloatArray, du: FloatArray
    ) -> FloatArray:
        """Product rule with the error of l'' and of ``u``, plus one rounded multiplication."""
        column = y[:, None]
        largest = self.second_sup(z, dz, column)
        # l'' is never negative: where it jumps (third_sup infinite, and undefined times a dz of 0) it still changes by no
        # more than its supremum
        changed = np.fmin(self.third_sup(z, dz, column) * dz, largest) + self.second_rounding(z, column)
        return changed * np.abs(u) + largest * du + 2 * UNIT * (largest + changed) * np.abs(u) + TINY

    def curvature_trace(self, z: FloatArray, dz: FloatArray, y: AnyArray) -> FloatArray:
        """l'' has one entry: its supremum over the interval."""
        return self.second_sup(z, dz, y[:, None])[:, 0]


class TwoClassLoss(ScalarLoss):
    """A loss of the margin ``s z``; its prepared targets are the signs s, -1.0 or +1.0."""

    targets: ClassVar[str] = "two classes, {0, 1} or {-1, +1}"

    def prepare(self, y: AnyArray, outputs: int) -> AnyArray:
        """Targets as signs -1.0 and +1.0."""
        del outputs
        seen = set(np.unique(y).tolist())
        if not (seen <= {0, 1} or seen <= {-1, 1}):
            raise TargetError(
                f"labels must be {{0, 1}} or {{-1, +1}} for the {self.name} loss; use softmax or one_vs_rest for more classes"
            )
        return np.where(np.asarray(y) == 1, 1.0, -1.0)


def real_targets(y: AnyArray) -> FloatArray:
    """Targets as float64."""
    return np.asarray(y, dtype=np.float64)
