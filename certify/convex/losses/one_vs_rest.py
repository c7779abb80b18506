"""One-vs-rest: a two-class loss for each of K classes, the classes' heads released together."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from certify.convex.losses.base import UNIT, Loss, LossConstants, TwoClassLoss
from certify.convex.losses.softmax import class_numbers
from certify.core.arrays import AnyArray, FloatArray


@dataclass(frozen=True)
class OneVsRest(Loss):
    """The sum over classes k of a two-class loss of score z_k, with s = +1 for the records of class k and -1 for all others.

    Each score is a record of the two-class loss on its own: derivatives, their errors and the constants are that loss's
    (docs/theory.md, section 7: the same R holds jointly, in the Frobenius norm of the weights). The norm of the gradient is
    at most sqrt K times larger.

    Args:
        head: the two-class loss.
    """

    name: ClassVar[str] = "one-vs-rest"
    targets: ClassVar[str] = "K classes, 0..K-1"
    multi_output: ClassVar[bool] = True

    head: TwoClassLoss

    @property
    def formula(self) -> str:
        """The head's, summed over classes."""
        return f"sum_k {self.head.formula}"

    @property
    def constants(self) -> LossConstants:
        """The head's, score by score."""
        return self.head.constants

    def prepare(self, y: AnyArray, outputs: int) -> AnyArray:
        """Targets as class numbers."""
        return class_numbers(y, outputs, f"one-vs-rest {self.head.name}")

    @staticmethod
    def signs(y: AnyArray, outputs: int) -> FloatArray:
        """The heads' targets, (n, K): +1 at the record's class, -1 elsewhere."""
        return np.where(y[:, None] == np.arange(outputs), 1.0, -1.0)

    def _flat(self, z: FloatArray, y: AnyArray) -> AnyArray:
        return self.signs(y, z.shape[1]).ravel()

    def value(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """Sum over the heads."""
        return np.asarray(self.head.value(z.reshape(-1, 1), self._flat(z, y)).reshape(z.shape).sum(axis=1))

    def gradient(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """Derivative of each head."""
        return self.head.gradient(z.reshape(-1, 1), self._flat(z, y)).reshape(z.shape)

    def curvature_product(self, z: FloatArray, y: AnyArray, u: FloatArray) -> FloatArray:
        """l''(z_k) u_k."""
        return self.head.curvature_product(z.reshape(-1, 1), self._flat(z, y), u.reshape(-1, 1)).reshape(z.shape)

    def curvature_blocks(self, z: FloatArray, y: AnyArray) -> Iterator[tuple[int, int, FloatArray]]:
        """The diagonal; no two heads meet."""
        curvature = self.head.second(z, self.signs(y, z.shape[1]))
        for k in range(z.shape[1]):
            yield k, k, curvature[:, k]

    def gradient_error(self, z: FloatArray, dz: FloatArray, y: AnyArray) -> FloatArray:
        """The head's, score by score."""
        return self.head.gradient_error(z.reshape(-1, 1), dz.reshape(-1, 1), self._flat(z, y)).reshape(z.shape)

    def curvature_product_error(
        self, z: FloatArray, dz: FloatArray, y: AnyArray, u: FloatArray, du: FloatArray
    ) -> FloatArray:
        """The head's, score by score."""
        z_, dz_, u_, du_ = (part.reshape(-1, 1) for part in (z, dz, u, du))
        return self.head.curvature_product_error(z_, dz_, self._flat(z, y), u_, du_).reshape(z.shape)

    def curvature_trace(self, z: FloatArray, dz: FloatArray, y: AnyArray) -> FloatArray:
        """Sum over the heads, rounded up."""
        parts = self.head.curvature_trace(z.reshape(-1, 1), dz.reshape(-1, 1), self._flat(z, y)).reshape(z.shape)
        return np.asarray(parts.sum(axis=1) * (1 + 2 * z.shape[1] * UNIT))
