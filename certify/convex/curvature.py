"""The shape of anisotropic noise: the curvature at w = 0 on the retained records, and its Cholesky factor.

With M the Hessian of the objective at ``w = 0``, noise of covariance ``noise_std^2 M^-1`` is large where the objective is flat and small
where it is steep. M has to be the same matrix in the released world and in the reference world: it is a function of the retained
records and of the objective, never of the weights or of the forgotten records. Any positive definite matrix would do, so
``sum_i a_i c_i x_i x_i'`` (``c_i`` the second derivative of the loss at score 0) is computed from features rounded to so few bits that every
product and every partial sum is a whole number of at most 2^53: float64 then adds exactly, and M is the same to the last bit in
whichever order, chunks or threads the records are added (docs/theory.md, 11).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import solve_triangular

from certify.convex.enclosure import dot_error, gamma, norm_upper
from certify.convex.problem import Problem
from certify.convex.solve import DENSE_LIMIT
from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import AssumptionViolatedError, ConfigurationError
from certify.core.rows import is_sparse

_CHUNK_ENTRIES = 250_000

_LIFTS = (0.0, 2.0**-40, 2.0**-30, 2.0**-20)
"""Multiples of the diagonal added where Cholesky fails: any positive definite matrix is a valid shape."""


@dataclass(frozen=True, eq=False)
class NoiseShape:
    """The factor R of ``M = R R'``: M is *defined* by R as stored, so no rounding error stands between them.

    Attributes:
        factor: R, (K p, K p), lower triangular with a positive diagonal, in the order of ``w.ravel()``.
    """

    factor: FloatArray

    def coordinates(self, w: FloatArray) -> FloatArray:
        """``q = R' w``, (K p,), of parameters (K, p); its error is at most :meth:`coordinates_error`."""
        return np.asarray(w.ravel() @ self.factor)

    def coordinates_error(self, w: FloatArray) -> float:
        """Upper bound on the Euclidean norm of the rounding error of :meth:`coordinates`."""
        return norm_upper(dot_error(np.abs(w.reshape(1, -1)), self.factor.T))

    def parameters(self, coordinates: FloatArray, shape: tuple[int, int]) -> FloatArray:
        """``R'^-1 q`` as parameters of a shape (K, p): post-processing of q, whose rounding costs no privacy."""
        solved: FloatArray = np.asarray(solve_triangular(self.factor, coordinates, lower=True, trans="T"), np.float64)
        return solved.reshape(shape)

    @cached_property
    def norm(self) -> float:
        """Upper bound on the spectral norm of R."""
        size = np.abs(self.factor)
        between = float(np.max(size.sum(axis=0))) * float(np.max(size.sum(axis=1)))  # ||R||^2 <= ||R||_1 ||R||_inf
        return min(norm_upper(self.factor), math.sqrt(between) * (1 + gamma(len(size) + 16)))


def curvature_shape(problem: Problem) -> NoiseShape:
    """The shape of the noise for a problem, from its retained records and objective alone.

    Raises:
        ConfigurationError: more than ``DENSE_LIMIT`` parameters.
        AssumptionViolatedError: the curvature at w = 0 is not finite or not positive definite.
    """
    if problem.size > DENSE_LIMIT:
        raise ConfigurationError(
            f"'curvature' takes at most {DENSE_LIMIT:,} parameters, and the model has {problem.size:,}",
            where="policy.noise_shape",
            mend="use noise_shape = 'isotropic'",
        )
    with np.errstate(over="ignore", invalid="ignore"):
        gram = _exact_gram(problem, np.sqrt(problem.weights * _curvatures(problem)))
        matrix = np.kron(_coupling(problem), gram)
    diagonal = np.diag_indices(len(matrix))
    matrix[diagonal] += np.tile(np.maximum(problem.penalty, 0.0), problem.outputs)
    for lift in _LIFTS:
        lifted = np.array(matrix, dtype=np.float64)
        lifted[diagonal] *= 1 + lift
        factor = _cholesky(lifted)
        if factor is not None:
            return NoiseShape(factor)
    raise AssumptionViolatedError(
        "the curvature of the objective at w = 0 is not finite or not positive definite",
        where="policy.noise_shape",
        mend="scale the features, penalise the intercept, or use noise_shape = 'isotropic'",
    )


def chunk_length(problem: Problem) -> int:
    """Records in one of :func:`dense_chunks`."""
    return max(64, _CHUNK_ENTRIES // problem.shape[1])


def dense_chunks(problem: Problem) -> Iterator[tuple[slice, FloatArray]]:
    """Rows of the design matrix in chunks, as arrays even where the features are sparse."""
    step = chunk_length(problem)
    for start in range(0, problem.records, step):
        rows = slice(start, min(start + step, problem.records))
        block = problem.block(rows)
        yield rows, np.asarray(block.toarray() if is_sparse(block) else block)


def _curvatures(problem: Problem) -> FloatArray:
    """Second derivative of each record's loss at score 0, (n,), at least 0; 1 for softmax (:func:`_coupling`).

    At score 0 the margin of a two-class loss is 0 for either class: the heads of one-vs-rest share one curvature.
    """
    if problem.objective.loss == "softmax":
        return np.ones(problem.records)
    zero = np.zeros((problem.records, problem.outputs))
    _, _, values = next(problem.objective.loss_function.curvature_blocks(zero, problem.targets))
    return np.maximum(values, 0.0)


def _coupling(problem: Problem) -> FloatArray:
    """Second derivative of softmax at equal scores, ``diag(p) - p p'`` with ``p_k = 1/K``; I for heads that do not meet."""
    outputs = problem.outputs
    return (np.eye(outputs) - 1 / outputs) / outputs if problem.objective.loss == "softmax" else np.eye(outputs)


def _exact_gram(problem: Problem, root: AnyArray) -> FloatArray:
    """``V' V`` for ``V = diag(root) X`` rounded to whole multiples of a power of two, column by column; without rounding error.

    The multiple is such that all products and sums stay below 2^53. It depends on the records as a set: those of weight 0 do not
    count, so a forgotten record may be masked or cut out.
    """
    active = int(np.count_nonzero(problem.weights > 0))
    bits = (53 - active.bit_length()) // 2  # active * (2^bits)^2 <= 2^53
    largest = np.zeros(problem.shape[1])
    for rows, block in dense_chunks(problem):
        np.maximum(largest, np.max(np.abs(block * root[rows, None]), axis=0), out=largest)
    exponent = np.frexp(largest)[1].astype(np.int64)
    total = np.zeros((len(largest), len(largest)))
    for rows, block in dense_chunks(problem):
        whole = np.rint(np.ldexp(block * root[rows, None], bits - exponent))
        total += whole.T @ whole
    return np.asarray(np.ldexp(total, exponent[:, None] + exponent[None, :] - 2 * bits))


def _cholesky(matrix: FloatArray) -> FloatArray | None:
    """The lower factor, or None where there is none in float64."""
    if not np.all(np.isfinite(matrix)):
        return None
    try:
        factor = np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return None
    usable = np.all(np.isfinite(factor)) and np.all(np.diag(factor) > 0)
    return np.asarray(np.tril(factor)) if usable else None
