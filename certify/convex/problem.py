"""The objective bound to records: one home for values and derivatives.

Shapes: n records, d features, p = d + 1 with an intercept (its column of ones stands last) else d, K outputs.
Parameters ``w`` are (K, p) inside this package.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, TypeVar

import numpy as np

from certify.convex.blocks import Block, as_block, row_norms, weighted_gram
from certify.convex.losses import TargetError
from certify.convex.losses.base import TINY, weighted
from certify.convex.numbers import as_column, as_matrix, require_finite
from certify.convex.objective import Objective
from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import InputError
from certify.core.rows import Rows, blocks, stored_entries
from certify.core.stacked import Stacked

Summand = TypeVar("Summand", bound=Any)

# Small enough to stay in cache, so that all products with a chunk cost one reading of the data; large enough that the
# linear algebra library puts all cores to work on each, and that the interpreter's share does not show.
_CHUNK_BYTES = 4_000_000


class ScoreFunction(Protocol):
    """What the solvers need of a loss: a convex function of the scores and its derivatives."""

    def value(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """Value of each record, (n,)."""
        ...

    def gradient(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """Derivative in the scores, (n, K)."""
        ...

    def curvature_product(self, z: FloatArray, y: AnyArray, u: FloatArray) -> FloatArray:
        """Second derivative applied to ``u``, (n, K)."""
        ...

    def curvature_blocks(self, z: FloatArray, y: AnyArray) -> Iterator[tuple[int, int, FloatArray]]:
        """Entries (j, k, weights (n,)) of the second derivative with j <= k."""
        ...


@dataclass(frozen=True, eq=False)
class Problem:
    """An objective bound to records.

    Attributes:
        objective: what is minimised.
        X: features without the column of ones, (n, d), float64 or float32 (converted exactly, in chunks): an array, a
            sparse CSR array, or anything that yields rows as one of them (:mod:`certify.core.rows`).
        targets: prepared targets, (n,).
        weights: sample weights, (n,), at least 0.
        outputs: K.
    """

    objective: Objective
    X: Rows
    targets: AnyArray
    weights: FloatArray
    outputs: int

    @property
    def records(self) -> int:
        """n."""
        return int(self.X.shape[0])

    @property
    def shape(self) -> tuple[int, int]:
        """(K, p), the shape of the parameters."""
        return self.outputs, int(self.X.shape[1]) + int(self.objective.fit_intercept)

    @property
    def size(self) -> int:
        """K p, the number of parameters."""
        return self.shape[0] * self.shape[1]

    @cached_property
    def penalty(self) -> FloatArray:
        """Coefficient of each parameter's square, (p,)."""
        return self._penalised(self.objective.l2)

    @cached_property
    def lasso(self) -> FloatArray:
        """Coefficient of each parameter's absolute value, (p,)."""
        return self._penalised(self.objective.l1)

    def _penalised(self, coefficient: float) -> FloatArray:
        result = np.full(self.shape[1], coefficient)
        if self.objective.fit_intercept and not self.objective.penalize_intercept:
            result[-1] = 0.0
        return result

    @property
    def loss(self) -> ScoreFunction:
        """The loss as a function of the scores."""
        return self.objective.loss_function

    @cached_property
    def chunk(self) -> int:
        """Records in a chunk, see ``_CHUNK_BYTES``."""
        stored = stored_entries(self.X)
        if stored is None:
            return max(64, min(self.records, _CHUNK_BYTES // (8 * max(1, self.shape[1]))))
        # every chunk adds to a dense (K, p) array: it must hold several times as many entries
        entries = max(_CHUNK_BYTES // 16, 4 * self.size)
        return max(64, min(self.records, entries // max(1, stored // max(1, self.records))))

    @cached_property
    def ranges(self) -> list[slice]:
        """Consecutive slices of records, one a chunk."""
        return [slice(start, min(start + self.chunk, self.records)) for start in range(0, self.records, self.chunk)]

    def block(self, rows: slice) -> Block:
        """Rows of the design matrix as float64, with the column of ones."""
        return as_block(self.X[rows], intercept=self.objective.fit_intercept)

    def chunks(self) -> Iterator[tuple[slice, Block]]:
        """The design matrix chunk by chunk."""
        for rows in self.ranges:
            yield rows, self.block(rows)

    def over_records(self, part: Callable[[slice, Block], Summand]) -> Summand:
        """Sum of ``part`` over the chunks; overflow is silent in it, infinities say it."""
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            first, *rest = self.ranges
            total = part(first, self.block(first))
            for rows in rest:
                total = total + part(rows, self.block(rows))
        return total

    @cached_property
    def norms(self) -> FloatArray:
        """Upper bounds on the Euclidean norms of the rows, the column of ones included, (n,)."""
        result = np.empty(self.records)

        def part(rows: slice, block: Block) -> int:
            result[rows] = row_norms(block)
            return 0

        self.over_records(part)
        with np.errstate(over="ignore"):
            return result * (1 + (self.shape[1] + 24) * 2.0**-52) + TINY

    def reweighted(self, weights: FloatArray) -> "Problem":
        """The same records with other sample weights (0 leaves a record out); row norms already known stay so."""
        other = replace(self, weights=weights)
        if "norms" in vars(self):
            vars(other)["norms"] = self.norms
        return other

    def extended(self, X: AnyArray, targets: AnyArray, weights: FloatArray) -> "Problem":
        """With more records below: features (m, d) and prepared targets (m,) of these, weights (n + m,) of all. Norms already known stay so."""
        both = replace(self, X=Stacked(self.X, X), targets=np.concatenate([self.targets, targets]), weights=weights)
        if "norms" in vars(self):
            below = replace(self, X=as_block(X, intercept=False), targets=targets, weights=weights[self.records :])
            vars(both)["norms"] = np.concatenate([self.norms, below.norms])
        return both

    def scores(self, w: FloatArray) -> FloatArray:
        """``X w'``, (n, K)."""
        result = np.empty((self.records, self.outputs))

        def part(rows: slice, block: Block) -> int:
            result[rows] = block @ w.T
            return 0

        self.over_records(part)
        return result

    def value(self, w: FloatArray) -> float:
        """F(w); infinite where the loss overflows."""
        with np.errstate(over="ignore", invalid="ignore"):
            total = float(np.sum(weighted(self.weights, self.loss.value(self.scores(w), self.targets))))
            total += 0.5 * float(np.sum(self.penalty * w * w))
            total += float(np.sum(self.lasso * np.abs(w))) if self.objective.l1 else 0.0
        return total if math.isfinite(total) else math.inf

    def gradient(self, w: FloatArray) -> FloatArray:
        """The gradient of F, (K, p), without an error bound (:mod:`certify.convex.enclosure` has one).

        With an L1 term, the subgradient of smallest norm: zero at the minimiser and nowhere else.
        """
        return self.shrink(w, self.smooth_gradient(w))

    def shrink(self, w: FloatArray, gradient: FloatArray) -> FloatArray:
        """The smallest element of ``gradient + l1 d||w||_1``, coordinate by coordinate, (K, p)."""
        if self.objective.l1 == 0:
            return gradient
        at_zero = np.copysign(np.maximum(np.abs(gradient) - self.lasso, 0.0), gradient)
        return np.where(w == 0, at_zero, gradient + self.lasso * np.sign(w))

    def smooth_gradient(self, w: FloatArray) -> FloatArray:
        """The gradient of F without its L1 term."""
        loss = self.loss

        def part(rows: slice, block: Block) -> FloatArray:
            slope = loss.gradient(block @ w.T, self.targets[rows])
            return np.asarray(weighted(self.weights[rows, None], slope).T @ block)

        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(self.penalty * w + self.over_records(part))

    @np.errstate(over="ignore", invalid="ignore")
    def hessian(self, w: FloatArray) -> FloatArray:
        """The Hessian of F without its L1 term, (K p, K p), in the order of ``w.ravel()``."""
        loss, (outputs, width) = self.loss, self.shape
        total = np.zeros((outputs, width, outputs, width))
        for rows, block in self.chunks():
            for j, k, curvature in loss.curvature_blocks(block @ w.T, self.targets[rows]):
                total[j, :, k, :] += weighted_gram(block, weighted(self.weights[rows], curvature))
        for j in range(outputs):
            total[j, :, j, :] += np.diag(self.penalty)
            for k in range(j):
                total[j, :, k, :] = total[k, :, j, :].T
        return total.reshape(self.size, self.size)

    def hessian_product(self, w: FloatArray, direction: FloatArray) -> FloatArray:
        """The Hessian applied to a direction of shape (K, p), without forming it."""
        loss = self.loss

        def part(rows: slice, block: Block) -> FloatArray:
            curved = loss.curvature_product(block @ w.T, self.targets[rows], block @ direction.T)
            return np.asarray(weighted(self.weights[rows, None], curved).T @ block)

        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(self.penalty * direction + self.over_records(part))


def bind(objective: Objective, X: Any, y: Any, outputs: int = 1, sample_weight: Any = None) -> Problem:
    """Bind an objective to records, checking everything once.

    Args:
        objective: what is minimised.
        X: features, (n, d).
        y: targets, (n,).
        outputs: K; 1 for every loss but softmax and one-vs-rest.
        sample_weight: (n,), at least 0; all 1 when absent.

    Raises:
        InputError: shapes that do not fit, entries that are not finite, targets outside the loss's domain.
    """
    matrix = as_matrix(X)
    records = int(matrix.shape[0])
    for rows in blocks(matrix):
        require_finite(matrix[rows], "X", rows.start)
    targets = as_column(y, "y", records)
    weights = np.ones(records) if sample_weight is None else as_column(sample_weight, "sample_weight", records)
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
