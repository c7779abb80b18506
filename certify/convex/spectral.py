"""Proven upper bounds on what the rows of a problem add up to: norms, their powers, the largest singular value.

Power iteration approaches the largest singular value from below and is no upper bound; it is not used here.
"""

import math

import numpy as np

from certify.convex.blocks import Block, row_norms, weighted_gram
from certify.convex.enclosure import gamma
from certify.convex.losses.base import TINY, UNIT
from certify.convex.problem import Problem
from certify.core.arrays import FloatArray
from certify.core.bounds import UpperBound

CHOLESKY_LIMIT = 1000
"""Columns up to which the largest singular value is worth a Gram matrix and a Cholesky factor."""

_SMALLEST_NORM = 1e-60
"""Row norms are raised to this, so that no power of them underflows to something smaller than the truth."""


@np.errstate(over="ignore", invalid="ignore")
def power_sum(problem: Problem, power: int) -> UpperBound:
    """Upper bound on ``sum_i a_i ||x_i||^power``, a_i the sample weights, the column of ones included in x_i."""

    def part(rows: slice, block: Block) -> float:
        norms = np.maximum(row_norms(block) * (1 + gamma(problem.shape[1] + 16)), _SMALLEST_NORM)
        summands = np.array(problem.weights[rows])
        for _ in range(power):
            summands *= norms
        return float(np.sum(summands)) + len(summands) * TINY

    return UpperBound(_finite(problem.over_records(part) * (1 + gamma(problem.records + 4 * power + 64))))


@np.errstate(over="ignore", invalid="ignore")
def largest_singular_value(problem: Problem) -> UpperBound:
    """Upper bound on the spectral norm of ``A^(1/2) X``, A the diagonal matrix of the sample weights.

    The Frobenius norm always; up to ``CHOLESKY_LIMIT`` columns also the verified bound of :func:`_verified_eigenvalue`,
    and the smaller of both.
    """
    squares = float(power_sum(problem, 2))
    if problem.shape[1] <= CHOLESKY_LIMIT and math.isfinite(squares):
        squares = min(squares, _verified_eigenvalue(problem, squares))
    return UpperBound(_finite(math.sqrt(squares) * (1 + 4 * UNIT)))


def _verified_eigenvalue(problem: Problem, squares: float) -> float:
    """Upper bound on the largest eigenvalue of ``K = X' A X``; ``squares`` is at least its trace.

    The computed K errs by at most ``gamma(b + n/b + 3) sum_i a_i |x_i| |x_i|'``, a matrix of norm at most gamma times
    ``squares``. If Cholesky of ``M = s I - K`` completes then ``lambda_min(M) >= -phi/(1 - phi) tr M``,
    ``phi = gamma(p + 1)``, hence ``lambda_max(K) <= s + phi/(1 - phi) tr M`` (Rump 2006).
    """
    gram = _gram(problem)
    if not np.all(np.isfinite(gram)):
        return math.inf
    size = len(gram)
    error = gamma(problem.chunk + len(problem.ranges) + 8) * squares + problem.records * size * TINY
    phi, guess = gamma(size + 1), max(float(np.linalg.eigvalsh(gram)[-1]), TINY)
    for part in (1 + 1e-9, 1 + 1e-6, 1.001, 1.1, 2.0):
        shift = guess * part
        shifted = shift * np.eye(size) - gram
        try:
            np.linalg.cholesky(shifted)
        except np.linalg.LinAlgError:
            continue
        lost = phi / (1 - phi) * float(np.trace(np.abs(shifted)))
        lost += 2 * UNIT * (shift + float(np.max(np.diag(gram)))) + size * TINY
        return (shift + 2 * lost + error) * (1 + gamma(size + 16))
    return math.inf


def _gram(problem: Problem) -> FloatArray:
    """``X' A X``, symmetric."""
    total = np.zeros((problem.shape[1], problem.shape[1]))
    for rows, block in problem.chunks():
        total += weighted_gram(block, problem.weights[rows])
    return np.asarray(np.tril(total) + np.tril(total, -1).T)


def _finite(value: float) -> float:
    """Overflow met a zero on the way: nothing is known."""
    return math.inf if math.isnan(value) else value
