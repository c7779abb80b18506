"""Softmax cross-entropy, for K classes."""

import math
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from scipy.special import logsumexp, softmax

from certify.convex.losses.base import FUNCTION_ERROR, TINY, UNIT, Loss, LossConstants, TargetError
from certify.core.arrays import AnyArray, FloatArray


def class_numbers(y: AnyArray, outputs: int, name: str) -> AnyArray:
    """Targets as whole numbers 0..outputs-1.

    Raises:
        TargetError: a target is none of them.
    """
    values = np.asarray(y)
    if np.any(values != np.floor(values)) or np.any(values < 0) or np.any(values >= outputs):
        raise TargetError(f"labels must be whole numbers 0..{outputs - 1} for {name} with {outputs} classes")
    return values.astype(np.int64)


class Softmax(Loss):
    """``log(sum_k exp z_k) - z_y``. Constants hold for the Euclidean norm of the scores.

    With p = softmax(z): gradient p - onehot(y), norm at most sqrt 2; second derivative diag(p) - p p', largest
    eigenvalue at most 1/2; third derivative E[(u - Eu)^2 (v - Ev)], at most (max v - min v) E[(u - Eu)^2] in absolute
    value, hence R = sqrt 2 (a range of scores is at most sqrt 2 times their norm), and at most sqrt 6 / 9 in norm.
    """

    name: ClassVar[str] = "softmax"
    formula: ClassVar[str] = "log(sum_k exp z_k) - z_y"
    targets: ClassVar[str] = "K classes, 0..K-1"
    multi_output: ClassVar[bool] = True
    constants: ClassVar[LossConstants] = LossConstants(
        math.nextafter(math.sqrt(2), 2),
        0.5,
        math.nextafter(math.sqrt(6) / 9, 1),
        math.nextafter(math.sqrt(2), 2),
    )

    def prepare(self, y: AnyArray, outputs: int) -> AnyArray:
        """Targets as class numbers."""
        return class_numbers(y, outputs, self.name)

    def value(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """log-sum-exp minus the score of the record's class."""
        return np.asarray(logsumexp(z, axis=1) - z[np.arange(len(z)), y])

    def gradient(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """p - onehot(y)."""
        result = np.asarray(softmax(z, axis=1))
        result[np.arange(len(z)), y] -= 1
        return result

    def curvature_product(self, z: FloatArray, y: AnyArray, u: FloatArray) -> FloatArray:
        """p (u - p.u)."""
        del y
        p = softmax(z, axis=1)
        return np.asarray(p * (u - np.sum(p * u, axis=1, keepdims=True)))

    def curvature_blocks(self, z: FloatArray, y: AnyArray) -> Iterator[tuple[int, int, FloatArray]]:
        """diag(p) - p p'."""
        del y
        p = softmax(z, axis=1)
        for j in range(z.shape[1]):
            for k in range(j, z.shape[1]):
                yield j, k, p[:, j] * ((1.0 if j == k else 0.0) - p[:, k])

    def _probabilities(self, z: FloatArray, dz: FloatArray) -> tuple[FloatArray, FloatArray]:
        """p, and a bound on its error: each p_j changes by at most the factor exp(range of the change of scores)."""
        p = np.asarray(softmax(z, axis=1))
        relative = (np.max(z, axis=1, keepdims=True) - z + 2 * z.shape[1] + 20) * UNIT + FUNCTION_ERROR
        spread = 2 * np.max(dz, axis=1, keepdims=True)
        with np.errstate(over="ignore"):
            error = (p + TINY) * (np.expm1(spread) + 2 * relative * np.exp(spread)) * (1 + FUNCTION_ERROR) + TINY
        return p, np.minimum(error, 1.0)

    def gradient_error(self, z: FloatArray, dz: FloatArray, y: AnyArray) -> FloatArray:
        """The error of p, and one subtraction."""
        return self._probabilities(z, dz)[1] + 2 * UNIT * np.abs(self.gradient(z, y))

    def curvature_product_error(
        self, z: FloatArray, dz: FloatArray, y: AnyArray, u: FloatArray, du: FloatArray
    ) -> FloatArray:
        """Product rule through p (u - p.u), with the rounding of each operation."""
        del y
        p, dp = self._probabilities(z, dz)
        size = np.abs(u)
        mean = np.sum(p * size, axis=1, keepdims=True)
        mean_error = np.sum(dp * (size + du) + p * du, axis=1, keepdims=True) + (z.shape[1] + 4) * UNIT * mean
        changed = dp * (size + mean + du + mean_error) + p * (du + mean_error)
        return np.asarray(changed + 8 * UNIT * p * (size + mean) + TINY)

    def curvature_trace(self, z: FloatArray, dz: FloatArray, y: AnyArray) -> FloatArray:
        """Sum of p_j (1 - p_j) <= 1 - 1/K, whatever the scores."""
        del dz, y
        return np.full(len(z), 1.0)
