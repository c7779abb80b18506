"""A Hessian that is kept from earlier, with a proven bound on its error: what changed since is known record by record.

Let ``M = P + sum_i m_i x_i x_i'`` with P the penalty and m_i stored numbers: the curvatures of the records that count, at the point where each was
looked at. A record that leaves takes ``m_i x_i x_i'`` with it, one that comes brings its own. Its product with a vector costs p^2 operations
instead of n p, and :mod:`certify.convex.defect` bounds what separates M from the Hessian of today by the curvatures alone (docs/theory.md, theorem 5b).
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from certify.convex.blocks import Block, as_block, weighted_gram
from certify.convex.enclosure import Enclosed, gamma, norm_upper
from certify.convex.losses.base import TINY, UNIT, ScalarLoss, weighted
from certify.convex.problem import Problem
from certify.core.arrays import AnyArray, FloatArray
from certify.core.rows import is_sparse

_APART = 32
"""Changed rows that are kept apart before they are worked into the matrix."""


@dataclass(frozen=True, eq=False)
class KeptHessian:
    """M, of one score a record. Holds data of records that left, as a factor does.

    Attributes:
        matrix: M up to the changes kept apart, as computed, (p, p).
        rows: rows that left or came since, the column of ones included, (k, p).
        shares: their m_i, negative where they left, (k,).
        weights: m_i of each record that the problem holds, 0 for those that left, (n,).
        error: upper bound on the spectral norm of ``matrix + rows' diag(shares) rows - M``, as far as the first two were rounded.
        size: upper bound on the Frobenius norm of ``matrix``.
        apart: upper bound on ``sum |shares_i| ||rows_i||^2``.
        lengths: upper bound on ``sum (1 + |shares_i|) ||rows_i||``.
    """

    matrix: FloatArray
    rows: FloatArray
    shares: FloatArray
    weights: FloatArray
    error: float
    size: float
    apart: float = 0.0
    lengths: float = 0.0

    @staticmethod
    def fits(problem: Problem) -> bool:
        """Whether there is one to keep: one score a record, a curvature that changes slowly, every parameter penalised."""
        loss, objective = problem.objective.loss_function, problem.objective
        return (
            isinstance(loss, ScalarLoss)
            and problem.outputs == 1
            and objective.smooth
            and float(problem.penalty.min()) > 0
        )

    @classmethod
    @np.errstate(over="ignore", invalid="ignore", under="ignore")
    def of(cls, problem: Problem, w: FloatArray) -> "KeptHessian | None":
        """The Hessian at w (1, p); None where it does not fit (:meth:`fits`), and where it is not finite."""
        weights = curvatures(problem, w) if cls.fits(problem) else None
        if weights is None:
            return None

        def part(rows: slice, block: Block) -> FloatArray:
            return weighted_gram(block, weights[rows])

        matrix = np.asarray(problem.over_records(part)) + np.diag(problem.penalty)
        counted = weights > 0
        norms = problem.norms[counted]
        total = float(np.sum((weights[counted] * norms) * norms))
        # one multiplication by the weight, a sum within the chunk, one addition a chunk, the penalty
        error = gamma(problem.chunk + len(problem.ranges) + 8) * (total + float(problem.penalty.max()))
        error += TINY * problem.size * float(np.sum(1 + norms))
        error *= 1 + 4 * gamma(problem.records + 64)
        size = norm_upper(matrix)
        if not math.isfinite(error + size):
            return None
        return cls(matrix, np.zeros((0, problem.size)), np.zeros(0), weights, error, size)

    def without(self, places: AnyArray, left: Problem, stay: AnyArray | None = None) -> "KeptHessian | None":
        """M after records left; None where a place is named twice.

        Args:
            places: where they stood, (k,).
            left: the records themselves, in that order.
            stay: mask of the positions that the following problem still has; all when absent.
        """
        if len(np.unique(places)) < len(places):
            return None
        weights = self.weights.copy()
        shares = -weights[places]
        weights[places] = 0.0
        return self._changed(left, shares, weights if stay is None else weights[stay])

    def joined(self, came: Problem, w: FloatArray) -> "KeptHessian | None":
        """M after records came, at the end of the problem, with their curvature at w."""
        shares = curvatures(came, w)
        return None if shares is None else self._changed(came, shares, np.concatenate([self.weights, shares]))

    @np.errstate(over="ignore", invalid="ignore", under="ignore")
    def _changed(self, part: Problem, shares: FloatArray, weights: FloatArray) -> "KeptHessian | None":
        rows = dense_rows(part)
        norms = part.norms
        raised = 1 + 4 * gamma(len(norms) + 16)
        apart = (self.apart + float(np.sum(np.abs(shares) * norms * norms)) * raised) * (1 + 4 * UNIT)
        apart += len(norms) * TINY * (1 + float(norms.max(initial=0.0)))
        lengths = (self.lengths + float(np.sum((1 + np.abs(shares)) * norms)) * raised) * (1 + 4 * UNIT)
        if not math.isfinite(apart + lengths):
            return None
        following = replace(
            self,
            rows=np.concatenate([self.rows, rows]),
            shares=np.concatenate([self.shares, shares]),
            weights=weights,
            apart=apart,
            lengths=lengths,
        )
        return following.gathered() if len(following.rows) > _APART else following

    def gathered(self) -> "KeptHessian | None":
        """The same M with the changes worked into the matrix; None where that is not finite."""
        matrix = self.matrix + (self.rows.T * self.shares) @ self.rows
        count, width = self.rows.shape
        error = self.error + gamma(count + 8) * self.apart + 4 * UNIT * (self.size + self.apart)
        error = (error + TINY * width * (count + self.lengths)) * (1 + 16 * UNIT)
        size = norm_upper(matrix)
        if not math.isfinite(error + size):
            return None
        nothing = np.zeros((0, width))
        return KeptHessian(matrix, nothing, np.zeros(0), self.weights, error, size)

    def product(self, z: FloatArray) -> Enclosed:
        """``M z`` for z (1, p), with a bound on its error."""
        count, width = self.rows.shape
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            value = self.matrix @ z[0] + (self.shares * (self.rows @ z[0])) @ self.rows
            growth = gamma(width + 8) * self.size + gamma(width + count + 16) * self.apart + self.error
            error = growth * norm_upper(z) + TINY * width * (width + count + self.lengths)
            error *= 1 + 32 * UNIT
        return Enclosed(value[None, :], error if math.isfinite(error) else math.inf)


def curvatures(problem: Problem, w: FloatArray) -> FloatArray | None:
    """``a_i l''(x_i . w)`` as computed, (n,); None for losses of several scores, and where one overflows."""
    loss = problem.objective.loss_function
    if not isinstance(loss, ScalarLoss):
        return None
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        found = weighted(problem.weights, loss.second(problem.scores(w), problem.targets[:, None])[:, 0])
    return found if np.all(np.isfinite(found)) else None


def dense_rows(problem: Problem) -> FloatArray:
    """All rows of a small problem, the column of ones included, (n, p)."""
    block = as_block(problem.X[:], intercept=problem.objective.fit_intercept)
    return np.asarray(block.toarray() if is_sparse(block) else block)
