"""Gradients and Hessian products with a proven bound on their own rounding error.

Plain float64 BLAS in any order of summation, with or without fused operations, obeys
``|fl(a.b) - a.b| <= gamma(k) |a|.|b|`` for vectors of length k, ``gamma(k) = k u / (1 - k u)``, ``u = 2^-53``
(Higham 2002, section 3). Errors of the scores are carried through the loss by its own interval bounds, and through
``X'`` by one product with ``|X|``. Records are summed in chunks, so that ``gamma`` grows with the chunk's length plus the
number of chunks instead of with n. The bound itself is computed in floating point and raised by more than its own error.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from certify.convex.losses.base import TINY, UNIT
from certify.convex.problem import Problem
from certify.core.arrays import AnyArray, FloatArray

_SAFE_SQUARE = 1e-270


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
    """A computed array (K, p) and an upper bound on the Euclidean norm of its error."""

    value: FloatArray
    error: float

    @property
    def norm(self) -> float:
        """Upper bound on the norm of the exact array."""
        return norm_upper(self.value) * (1 + 4 * UNIT) + self.error


def dot_error(size: FloatArray, w: FloatArray) -> FloatArray:
    """Error of ``block @ w.T``, entry by entry, from ``size = |block|``."""
    length = size.shape[1]
    factor = gamma(length + 2) * (1 + gamma(length + 8))
    return np.asarray(factor * (size @ np.abs(w).T) + length * TINY)


class _Sum:
    """Sum over chunks of ``V' X`` with a running bound on the error."""

    def __init__(self, problem: Problem) -> None:
        self._gamma = gamma(problem.chunk + -(-problem.records // problem.chunk) + 4)
        self.total = np.zeros(problem.shape)
        self.error = np.zeros(problem.shape)

    def add(self, block: FloatArray, size: FloatArray, value: FloatArray, error: FloatArray) -> None:
        self.total += value.T @ block
        self.error += (self._gamma * np.abs(value) + error).T @ size

    def with_penalty(self, problem: Problem, w: FloatArray) -> Enclosed:
        ridge = problem.penalty * w
        error = self.error + 4 * UNIT * (np.abs(self.total) + np.abs(ridge)) + (problem.records + 8) * TINY
        slack = 1 + 4 * gamma(problem.records + problem.shape[1] + 64)
        bound = norm_upper(error) * slack
        return Enclosed(self.total + ridge, bound if math.isfinite(bound) else math.inf)


def _sized_chunks(problem: Problem) -> Iterator[tuple[slice, FloatArray, FloatArray]]:
    """Chunks with their absolute values, in one buffer: a chunk stays in cache for all four products."""
    buffer = np.empty((problem.chunk, problem.shape[1]))
    for rows, block in problem.chunks():
        yield rows, block, np.abs(block, out=buffer[: len(block)])


def enclose_gradient(problem: Problem, w: FloatArray) -> tuple[Enclosed, Scores]:
    """The gradient of F at ``w``, and the scores on the way, each with a bound on its error.

    One pass over the data: two products with X and two with |X|.
    """
    loss, total = problem.objective.loss_function, _Sum(problem)
    scores = Scores(np.empty((problem.records, problem.outputs)), np.empty((problem.records, problem.outputs)))
    with np.errstate(over="ignore", invalid="ignore"):
        for rows, block, size in _sized_chunks(problem):
            z, dz = block @ w.T, dot_error(size, w)
            y, a = problem.targets[rows], problem.weights[rows, None]
            scores.value[rows], scores.error[rows] = z, dz
            slope = a * loss.gradient(z, y)
            error = a * loss.gradient_error(z, dz, y) + 2 * UNIT * np.abs(slope) + TINY
            total.add(block, size, slope, error)
        return total.with_penalty(problem, w), scores


def enclose_hessian_product(problem: Problem, scores: Scores, direction: FloatArray) -> Enclosed:
    """The Hessian of F at the point of ``scores``, applied to ``direction`` (K, p), with a bound on the error."""
    loss, total = problem.objective.loss_function, _Sum(problem)
    with np.errstate(over="ignore", invalid="ignore"):
        for rows, block, size in _sized_chunks(problem):
            u, du = block @ direction.T, dot_error(size, direction)
            z, dz = scores.value[rows], scores.error[rows]
            y, a = problem.targets[rows], problem.weights[rows, None]
            curved = a * loss.curvature_product(z, y, u)
            error = a * loss.curvature_product_error(z, dz, y, u, du) + 2 * UNIT * np.abs(curved) + TINY
            total.add(block, size, curved, error)
        return total.with_penalty(problem, direction)


def max_row_norm(problem: Problem) -> float:
    """Upper bound on the largest Euclidean norm of a row with positive weight, the column of ones included."""
    largest = 0.0
    for rows, block in problem.chunks():
        norms = row_norms(block)[problem.weights[rows] > 0]
        largest = max(largest, float(norms.max(initial=0.0)))
    return largest * (1 + gamma(problem.shape[1] + 16)) + TINY


@np.errstate(over="ignore", under="ignore")
def row_norms(block: FloatArray) -> FloatArray:
    """Row norms; by way of scaled rows only where squares overflow or lose digits to underflow."""
    squares = np.einsum("ij,ij->i", block, block)
    if np.all(np.isfinite(squares)) and float(squares.min(initial=1.0)) > _SAFE_SQUARE:
        return np.asarray(np.sqrt(squares))
    size = np.maximum(np.max(np.abs(block), axis=1, keepdims=True), TINY)
    return np.asarray(size[:, 0] * np.sqrt(np.sum((block / size) ** 2, axis=1)))
