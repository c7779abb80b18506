"""Gradients and Hessian products with a proven bound on their own rounding error.

Plain float64 BLAS in any order of summation, with or without fused operations, obeys
``|fl(a.b) - a.b| <= gamma(k) |a|.|b|`` for vectors of length k, ``gamma(k) = k u / (1 - k u)``, ``u = 2^-53``
(Higham 2002, section 3). Errors of the scores are carried through the loss by its own interval bounds, and through
``X'`` by one product with ``|X|``. Records are summed in chunks, so that ``gamma`` grows with the chunk's length plus the
number of chunks instead of with n. The bound itself is computed in floating point and raised by more than its own error.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from certify.convex.blocks import Block, absolute, row_norms, terms
from certify.convex.losses.base import TINY, UNIT, weighted
from certify.convex.problem import Problem
from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import AssumptionViolatedError
from certify.core.rows import is_sparse

_SPAN = 50_000

_SAFE_SQUARE = 1e-200


def gamma(k: int) -> float:
    """``k u / (1 - k u)``, rounded up."""
    return k * UNIT / (1 - k * UNIT) * (1 + 4 * UNIT)


def norm_upper(array: AnyArray) -> float:
    """Upper bound on the Euclidean norm of all entries; infinite when one is not finite."""
    entries = np.asarray(array, dtype=np.float64).ravel()
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        square = float(entries @ entries)
    if _SAFE_SQUARE < square < 1 / _SAFE_SQUARE:  # squares that underflowed are less than one rounding of the others
        return math.sqrt(square) * (1 + gamma(entries.size + 16)) + entries.size * TINY
    size = float(np.max(np.abs(array), initial=0.0))
    if not math.isfinite(size):
        return math.inf
    if size == 0:
        return 0.0
    scaled = entries / size
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


def spans(records: int) -> Iterator[slice]:
    """Ranges of records long enough for vectors of numbers about each, and short enough for memory."""
    for start in range(0, records, _SPAN):
        yield slice(start, min(start + _SPAN, records))


def summation(problem: Problem) -> float:
    """Relative error of a sum over the records: products within a chunk, then one addition a chunk."""
    return gamma(problem.chunk + len(problem.ranges) + 4)


@dataclass(frozen=True, eq=False)
class Sum:
    """``V' X`` over some records with a bound on its error (rounding of the sum included, gamma chosen for all)."""

    value: FloatArray
    error: FloatArray
    reach: float = 0.0

    def __add__(self, other: "Sum") -> "Sum":
        return Sum(self.value + other.value, self.error + other.error, max(self.reach, other.reach))


def with_penalty(problem: Problem, total: Sum, w: FloatArray) -> Enclosed:
    """``total + penalty w``; ``total.error`` is one bound an entry, (K, p), or one an output, (K, 1)."""
    with np.errstate(over="ignore", invalid="ignore"):
        ridge = problem.penalty * w
        added = 4 * UNIT * (norm_upper(total.value) + norm_upper(ridge)) + (problem.records + 8) * TINY * problem.size
        slack = 1 + 4 * gamma(problem.records + problem.shape[1] + 64)
        bound = (norm_upper(total.error) + added) * slack
        return Enclosed(total.value + ridge, bound if math.isfinite(bound) else math.inf, total.reach)


class _Rounding:
    """Rounding errors of the two products ``X w'`` and ``V' X``, entry by entry: two more products, with ``|X|``."""

    def __init__(self, problem: Problem, w: FloatArray) -> None:
        self._problem, self._w = problem, w
        self._growth = summation(problem)
        self._buffer: FloatArray | None = None

    def sizes(self, block: Block) -> Block:
        """``|X|``."""
        if is_sparse(block):
            return absolute(block)
        if self._buffer is None:  # one for all chunks: it stays in cache
            self._buffer = np.empty((self._problem.chunk, block.shape[1]))
        return absolute(block, self._buffer)

    def of_scores(self, sizes: Block) -> FloatArray:
        """Error of ``block @ w.T``, entry by entry."""
        return dot_error(sizes, self._w)

    def summand(self, block: Block, sizes: Block, value: FloatArray, error: FloatArray, reach: float = 0.0) -> Sum:
        """``value' X``, and the bound on its error per entry, (K, p)."""
        total = np.asarray(value.T @ block)
        return Sum(total, np.asarray((self._growth * np.abs(value) + error).T @ sizes), reach)


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
    problem: Problem,
    w: FloatArray,
    slopes: Callable[[slice, FloatArray, FloatArray], tuple[FloatArray, FloatArray]],
) -> Enclosed:
    """``X' (a o slopes) + l2 w`` with a bound on its error.

    Args:
        problem: objective and records.
        w: parameters (K, p).
        slopes: from the rows of a chunk, their computed scores (n, K) and a bound on the error of these, to slopes (n, K)
            and a bound on the error of these.
    """
    rounding = _Rounding(problem, w)

    def part(rows: slice, block: Block) -> Sum:
        sizes = rounding.sizes(block)
        value, error = slopes(rows, block @ w.T, rounding.of_scores(sizes))
        a = problem.weights[rows, None]
        slope = weighted(a, value)
        return rounding.summand(block, sizes, slope, weighted(a, error) + 2 * UNIT * np.abs(slope) + TINY)

    return with_penalty(problem, problem.over_records(part), w)


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
    require_smooth(problem)
    loss, rounding = problem.objective.loss_function, _Rounding(problem, direction)

    def part(rows: slice, block: Block) -> Sum:
        sizes = rounding.sizes(block)
        u, du = block @ direction.T, rounding.of_scores(sizes)
        z, dz = scores.value[rows], scores.error[rows]
        y, a = problem.targets[rows], problem.weights[rows, None]
        curved = weighted(a, loss.curvature_product(z, y, u))
        error = weighted(a, loss.curvature_product_error(z, dz, y, u, du)) + 2 * UNIT * np.abs(curved) + TINY
        return rounding.summand(block, sizes, curved, error, reach_of(u, du, a))

    return with_penalty(problem, problem.over_records(part), direction)


def require_smooth(problem: Problem) -> None:
    """Refuse a Hessian product where there is an L1 term.

    Raises:
        AssumptionViolatedError: the objective has an L1 term, hence no Hessian that a bound could rest on.
    """
    if problem.objective.l1 > 0:
        raise AssumptionViolatedError(
            "an objective with l1 > 0 has no Hessian",
            where="objective.l1",
            mend="certify by the duality gap (certify.convex.gap)",
        )


def reach_of(u: FloatArray, du: FloatArray, a: FloatArray) -> float:
    """Upper bound on the norm of any row of scores known within ``du``, where the weight is positive."""
    largest = (np.abs(u) + du)[a[:, 0] > 0]
    if largest.shape[1] == 1:
        value = float(np.max(largest, initial=0.0)) * (1 + 4 * UNIT)
    else:
        value = float(np.max(row_norms(largest), initial=0.0)) * (1 + gamma(largest.shape[1] + 16)) + TINY
    return value if math.isfinite(value) else math.inf


def max_row_norm(problem: Problem) -> float:
    """Upper bound on the largest Euclidean norm of a row with positive weight, the column of ones included."""
    return float(problem.norms[problem.weights > 0].max(initial=0.0)) + TINY
