"""The objective bound to records: one home for values and derivatives.

Shapes: n records, d features, p = d + 1 with an intercept (its column of ones stands last) else d, K outputs.
Parameters ``w`` are (K, p) inside this package.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from certify.convex.losses import TargetError
from certify.convex.numbers import as_column, as_matrix, require_finite
from certify.convex.objective import Objective
from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import InputError

# A chunk and its absolute values fit the second-level cache: four products then cost one reading of the data.
_CHUNK_BYTES = 1_000_000


@dataclass(frozen=True, eq=False)
class Problem:
    """An objective bound to records.

    Attributes:
        objective: what is minimised.
        X: features without the column of ones, (n, d), float64 or float32 (converted exactly, in chunks).
        targets: prepared targets, (n,).
        weights: sample weights, (n,), at least 0.
        outputs: K.
    """

    objective: Objective
    X: AnyArray
    targets: AnyArray
    weights: FloatArray
    outputs: int

    @property
    def records(self) -> int:
        """n."""
        return len(self.X)

    @property
    def shape(self) -> tuple[int, int]:
        """(K, p), the shape of the parameters."""
        return self.outputs, self.X.shape[1] + int(self.objective.fit_intercept)

    @property
    def size(self) -> int:
        """K p, the number of parameters."""
        return self.shape[0] * self.shape[1]

    @cached_property
    def penalty(self) -> FloatArray:
        """Coefficient of each parameter's square, (p,)."""
        result = np.full(self.shape[1], self.objective.l2)
        if self.objective.fit_intercept and not self.objective.penalize_intercept:
            result[-1] = 0.0
        return result

    @property
    def chunk(self) -> int:
        """Records in a chunk: small enough to stay in cache, large enough for BLAS."""
        return max(64, min(self.records, _CHUNK_BYTES // (8 * max(1, self.shape[1]))))

    def chunks(self) -> Iterator[tuple[slice, FloatArray]]:
        """Rows of the design matrix, chunk by chunk, as float64 with the column of ones."""
        for start in range(0, self.records, self.chunk):
            rows = slice(start, min(start + self.chunk, self.records))
            block = np.asarray(self.X[rows], dtype=np.float64)
            if self.objective.fit_intercept:
                block = np.hstack([block, np.ones((len(block), 1))])
            yield rows, block

    def scores(self, w: FloatArray) -> FloatArray:
        """``X w'``, (n, K)."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.concatenate([block @ w.T for _, block in self.chunks()])

    def value(self, w: FloatArray) -> float:
        """F(w); infinite where the loss overflows."""
        with np.errstate(over="ignore", invalid="ignore"):
            losses = self.objective.loss_function.value(self.scores(w), self.targets)
            total = float(self.weights @ losses) + 0.5 * float(np.sum(self.penalty * w * w))
        return total if math.isfinite(total) else math.inf

    @np.errstate(over="ignore", invalid="ignore")
    def gradient(self, w: FloatArray) -> FloatArray:
        """The gradient of F, (K, p), without an error bound (:mod:`certify.convex.enclosure` has one)."""
        loss = self.objective.loss_function
        total = self.penalty * w
        for rows, block in self.chunks():
            slope = loss.gradient(block @ w.T, self.targets[rows])
            total += (self.weights[rows, None] * slope).T @ block
        return np.asarray(total)

    @np.errstate(over="ignore", invalid="ignore")
    def hessian(self, w: FloatArray) -> FloatArray:
        """The Hessian of F, (K p, K p), in the order of ``w.ravel()``."""
        loss, (outputs, width) = self.objective.loss_function, self.shape
        total = np.zeros((outputs, width, outputs, width))
        for rows, block in self.chunks():
            for j, k, curvature in loss.curvature_blocks(block @ w.T, self.targets[rows]):
                total[j, :, k, :] += (block.T * (self.weights[rows] * curvature)) @ block
        for j in range(outputs):
            total[j, :, j, :] += np.diag(self.penalty)
            for k in range(j):
                total[j, :, k, :] = total[k, :, j, :].T
        return total.reshape(self.size, self.size)

    @np.errstate(over="ignore", invalid="ignore")
    def hessian_product(self, w: FloatArray, direction: FloatArray) -> FloatArray:
        """The Hessian applied to a direction of shape (K, p), without forming it."""
        loss = self.objective.loss_function
        total = self.penalty * direction
        for rows, block in self.chunks():
            curved = loss.curvature_product(block @ w.T, self.targets[rows], block @ direction.T)
            total += (self.weights[rows, None] * curved).T @ block
        return np.asarray(total)


def bind(objective: Objective, X: Any, y: Any, outputs: int = 1, sample_weight: Any = None) -> Problem:
    """Bind an objective to records, checking everything once.

    Args:
        objective: what is minimised.
        X: features, (n, d).
        y: targets, (n,).
        outputs: K; 1 for every loss but softmax.
        sample_weight: (n,), at least 0; all 1 when absent.

    Raises:
        InputError: shapes that do not fit, entries that are not finite, targets outside the loss's domain.
    """
    matrix = as_matrix(X)
    for start in range(0, len(matrix), 65536):
        require_finite(matrix[start : start + 65536], "X", start)
    targets = as_column(y, "y", len(matrix))
    weights = np.ones(len(matrix)) if sample_weight is None else as_column(sample_weight, "sample_weight", len(matrix))
    if np.any(weights < 0) or not np.any(weights > 0):
        raise InputError(
            "sample weights must be at least 0 and not all 0",
            where="sample_weight",
            mend="drop the records instead",
        )
    try:
        prepared = objective.loss_function.prepare(targets, outputs)
    except TargetError as error:
        raise InputError(
            str(error), where="y", mend="check the loss in [objective] or the targets in the data"
        ) from None
    return Problem(objective, matrix, prepared, weights, outputs)
