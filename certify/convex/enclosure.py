"""Gradients and Hessian products with a proven bound on their own rounding error.

Plain float64 BLAS in any order of summation, with or without fused operations, obeys
``|fl(a.b) - a.b| <= gamma(k) |a|.|b|`` for vectors of length k, ``gamma(k) = k u / (1 - k u)``, ``u = 2^-53``
(Higham 2002, section 3). Errors of the scores are carried through the loss by its own interval bounds, and through
``X'`` by one product with ``|X|``. Records are summed in chunks, so that ``gamma`` grows with the chunk's length plus the
number of chunks instead of with n. The bound itself is computed in floating point and raised by more than its own error.
"""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from certify.convex.blocks import Block, absolute, row_norms, terms
from certify.convex.losses.base import TINY, UNIT
from certify.convex.problem import STRIPES, Problem
from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import AssumptionViolatedError
from certify.core.rows import is_sparse


def gamma(k: int) -> float:
    """``k u / (1 - k u)``, rounded up."""
    return k * UNIT / (1 - k * UNIT) * (1 + 4 * UNIT)


def norm_upper(array: AnyArray) -> float:
    """Upper bound on the Euclidean norm of all entries; infinite when one is not finite."""
    size = float(np.max(np.abs(array), initial=0.0))
    if not math.isfinite(size):
        return math.inf
    if size == 0:
        return 0.0
    scaled = np.asarray(array, dtype=np.float64).ravel() / size
    return size * math.sqrt(float(scaled @ scaled)) * (1 + gamma(scaled.size + 16)) + scaled.size * TINY


@dataclass(frozen=True, eq=False)
class Scores:
    """Computed scores (n, K) and a bound on their error, entry by entry."""

    value: FloatArray
    error: FloatArray


@dataclass(frozen=True, eq=False)
class Enclosed:
    """A computed array (K, p) and an upper bound on the Euclidean norm of its error.

    ``reach`` is of a product with the Hessian: the largest change of a record's scores along the direction.
    """

    value: FloatArray
    error: float
    reach: float = math.inf

    @property
    def norm(self) -> float:
        """Upper bound on the norm of the exact array."""
        return norm_upper(self.value) * (1 + 4 * UNIT) + self.error


def dot_error(size: Block, w: FloatArray) -> FloatArray:
    """Error of ``block @ w.T``, entry by entry, from ``size = |block|``."""
    length = terms(size)
    factor = gamma(length + 2) * (1 + gamma(length + 8))
    return np.asarray(factor * (size @ np.abs(w).T) + length * TINY)


@dataclass(frozen=True, eq=False)
class _Sum:
    """``V' X`` over some records with a bound on its error (rounding of the sum included, gamma chosen for all)."""

    value: FloatArray
    error: FloatArray
    reach: float = 0.0

    def __add__(self, other: "_Sum") -> "_Sum":
        return _Sum(self.value + other.value, self.error + other.error, max(self.reach, other.reach))


def _summand(problem: Problem, block: Block, size: Block, value: FloatArray, error: FloatArray, reach: float) -> _Sum:
    # rounding: products within the chunk, then one addition a chunk and one a stripe
    growth = gamma(problem.chunk + len(problem.ranges) + STRIPES + 4)
    total = np.asarray(value.T @ block)
    return _Sum(total, np.asarray((growth * np.abs(value) + error).T @ size), reach)


def _with_penalty(problem: Problem, total: _Sum, w: FloatArray) -> Enclosed:
    with np.errstate(over="ignore", invalid="ignore"):
        ridge = problem.penalty * w
        error = total.error + 4 * UNIT * (np.abs(total.value) + np.abs(ridge)) + (problem.records + 8) * TINY
        slack = 1 + 4 * gamma(problem.records + problem.shape[1] + 64)
        bound = norm_upper(error) * slack
        return Enclosed(total.value + ridge, bound if math.isfinite(bound) else math.inf, total.reach)


class _Buffers(threading.local):
    """One buffer a thread for the absolute values of a chunk, which then stays in cache for all four products."""

    array: FloatArray | None = None

    def absolute(self, block: Block, chunk: int) -> Block:
        if is_sparse(block):
            return absolute(block)
        if self.array is None:
            self.array = np.empty((chunk, block.shape[1]))
        return absolute(block, self.array)


def enclose_gradient(problem: Problem, w: FloatArray) -> tuple[Enclosed, Scores]:
    """The gradient of F at ``w``, and the scores on the way, each with a bound on its error.

    Where F is not differentiable, a subgradient: the one of smallest norm as far as the L1 term goes.

    One pass over the data: two products with X and two with |X|.
    """
    loss = problem.objective.loss_function
    scores = Scores(np.empty((problem.records, problem.outputs)), np.empty((problem.records, problem.outputs)))

    def slopes(rows: slice, z: FloatArray, dz: FloatArray) -> tuple[FloatArray, FloatArray]:
        scores.value[rows], scores.error[rows] = z, dz
        y = problem.targets[rows]
        return loss.gradient(z, y), loss.gradient_error(z, dz, y)

    return minimum_norm(problem, w, enclose_slopes(problem, w, slopes)), scores


def enclose_slopes(
    problem: Problem, w: FloatArray, slopes: Callable[[slice, FloatArray, FloatArray], tuple[FloatArray, FloatArray]]
) -> Enclosed:
    """``X' (a o slopes) + l2 w`` with a bound on its error.

    Args:
        problem: objective and records.
        w: parameters (K, p).
        slopes: from the rows of a chunk, their computed scores (n, K) and a bound on the error of these, to slopes (n, K)
            and a bound on the error of these. Chunks may come in any order, and in parallel.
    """
    buffers = _Buffers()

    def part(rows: slice, block: Block) -> _Sum:
        size = buffers.absolute(block, problem.chunk)
        value, error = slopes(rows, block @ w.T, dot_error(size, w))
        a = problem.weights[rows, None]
        slope = a * value
        return _summand(problem, block, size, slope, a * error + 2 * UNIT * np.abs(slope) + TINY, 0.0)

    return _with_penalty(problem, problem.over_records(part), w)


def minimum_norm(problem: Problem, w: FloatArray, gradient: Enclosed) -> Enclosed:
    """From the gradient of F without its L1 term to the subgradient of smallest norm; the same without an L1 term.

    The map never increases a distance, so the error stays, and each entry is rounded once more.
    """
    if problem.objective.l1 == 0:
        return gradient
    value = problem.shrink(w, gradient.value)
    return Enclosed(value, gradient.error * (1 + 4 * UNIT) + 2 * UNIT * norm_upper(value) + value.size * TINY)


def enclose_hessian_product(problem: Problem, scores: Scores, direction: FloatArray) -> Enclosed:
    """The Hessian of F at the point of ``scores``, applied to ``direction`` (K, p), with a bound on the error.

    Its ``reach`` bounds ``||(x_i . direction_k)_k||`` over the records of positive weight.

    Raises:
        AssumptionViolatedError: the objective has an L1 term, hence no Hessian that a bound could rest on.
    """
    if problem.objective.l1 > 0:
        raise AssumptionViolatedError(
            "an objective with l1 > 0 has no Hessian",
            where="objective.l1",
            mend="certify by the duality gap (certify.convex.gap)",
        )
    loss, buffers = problem.objective.loss_function, _Buffers()

    def part(rows: slice, block: Block) -> _Sum:
        size = buffers.absolute(block, problem.chunk)
        u, du = block @ direction.T, dot_error(size, direction)
        z, dz = scores.value[rows], scores.error[rows]
        y, a = problem.targets[rows], problem.weights[rows, None]
        curved = a * loss.curvature_product(z, y, u)
        error = a * loss.curvature_product_error(z, dz, y, u, du) + 2 * UNIT * np.abs(curved) + TINY
        return _summand(problem, block, size, curved, error, _reach(u, du, a))

    return _with_penalty(problem, problem.over_records(part), direction)


def _reach(u: FloatArray, du: FloatArray, a: FloatArray) -> float:
    """Upper bound on the norm of any row of scores known within ``du``, where the weight is positive."""
    largest = (np.abs(u) + du)[a[:, 0] > 0]
    if largest.shape[1] == 1:
        value = float(np.max(largest, initial=0.0)) * (1 + 4 * UNIT)
    else:
        value = float(np.max(row_norms(largest), initial=0.0)) * (1 + gamma(largest.shape[1] + 16)) + TINY
    return value if math.isfinite(value) else math.inf


def max_row_norm(problem: Problem) -> float:
    """Upper bound on the largest Euclidean norm of a row with positive weight, the column of ones included."""

    def part(rows: slice, block: Block) -> _Largest:
        return _Largest(float(row_norms(block)[problem.weights[rows] > 0].max(initial=0.0)))

    return problem.over_records(part) * (1 + gamma(problem.shape[1] + 16)) + TINY


class _Largest(float):
    """A number whose sum with another is the larger of both."""

    def __add__(self, other: float) -> "_Largest":
        return _Largest(max(self, other))
