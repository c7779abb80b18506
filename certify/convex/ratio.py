"""A verified ratio kappa with ``H(w) >= kappa M``: how much of the noise's curvature the Hessian at w still has."""

import math

import numpy as np
from scipy.linalg import eigh, solve_triangular

from certify.convex.blocks import row_norms
from certify.convex.curvature import NoiseShape, chunk_length, dense_chunks
from certify.convex.enclosure import dot_error, gamma, norm_upper
from certify.convex.losses.base import TINY, UNIT
from certify.convex.problem import Problem
from certify.core.arrays import AnyArray, FloatArray

_PARTS = (1 - 1e-9, 1 - 1e-6, 0.999, 0.9, 0.5, 0.1)


@np.errstate(over="ignore", invalid="ignore")
def enclose_hessian(problem: Problem, w: FloatArray, scale: FloatArray) -> tuple[FloatArray, float]:
    """``S H(w) S`` for ``S = diag(scale)``, (K p, K p), and an upper bound on the spectral norm of its error.

    With ``D_i`` a bound (K, K) on the error of the second derivative of record i's loss, its rounding in the sum included, the error
    of block (j, k) is at most ``sum_i D_i[j, k] |S_j x_i| |S_k x_i|'`` entry by entry: a matrix of norm at most
    ``sum_i ||D_i||_F max_j ||S_j x_i||^2``.

    Args:
        problem: objective and records.
        w: parameters, (K, p).
        scale: powers of two, (K, p): multiplying by them is exact.
    """
    outputs, width = problem.shape
    total, error = np.zeros((outputs, width, outputs, width)), 0.0
    count = gamma(chunk_length(problem) + -(-problem.records // chunk_length(problem)) + 8)
    for rows, block in dense_chunks(problem):
        z, dz = block @ w.T, dot_error(np.abs(block), w)
        scaled, weights = [block * part for part in scale], problem.weights[rows]
        for j, k, curvature in problem.objective.loss_function.curvature_blocks(z, problem.targets[rows]):
            total[j, :, k, :] += (scaled[j].T * (weights * curvature)) @ scaled[k]
        wrong, size = _curvature_error(problem, z, dz, problem.targets[rows])
        norms = np.max([row_norms(part) for part in scaled], axis=0) * (1 + gamma(width + 16)) + TINY
        error += float(np.sum(weights * (wrong + count * (size + wrong)) * norms * norms))
        error += TINY * problem.size * float(np.sum(1 + norms * norms))  # products that underflowed
    for j in range(outputs):
        total[j, :, j, :] += np.diag(problem.penalty * scale[j] * scale[j])
        for k in range(j):
            total[j, :, k, :] = total[k, :, j, :].T
    matrix = total.reshape(problem.size, problem.size)
    error = error * (1 + 4 * gamma(problem.records + width + 64)) + 4 * UNIT * float(np.max(np.abs(np.diag(matrix))))
    return np.tril(matrix) + np.tril(matrix, -1).T, error


def _curvature_error(problem: Problem, z: FloatArray, dz: FloatArray, y: AnyArray) -> tuple[FloatArray, FloatArray]:
    """Frobenius norms, record by record, of the error of the second derivative in the scores, and of that derivative itself.

    Its columns are its products with the unit vectors, whose error each loss bounds.
    """
    loss, wrong, size = problem.objective.loss_function, np.zeros(len(z)), np.zeros(len(z))
    for column in range(problem.outputs):
        unit = np.zeros_like(z)
        unit[:, column] = 1.0
        wrong += np.sum(loss.curvature_product_error(z, dz, y, unit, np.zeros_like(z)) ** 2, axis=1)
        size += np.sum(loss.curvature_product(z, y, unit) ** 2, axis=1)
    raised = 1 + gamma(problem.outputs**2 + 16)
    # a square may underflow where its root does not
    return np.sqrt(wrong) * raised + problem.outputs * 1e-150, np.sqrt(size) * raised + problem.outputs * 1e-150


@np.errstate(over="ignore", invalid="ignore")
def verified_ratio(problem: Problem, w: FloatArray, shape: NoiseShape) -> float:
    """Lower bound on the smallest eigenvalue of ``M^-1 H(w)``, 0 where none could be proved.

    The guess comes from untrusted eigenvalues. It is proved by a Cholesky factorisation of ``H - kappa M - tau I`` that runs to
    completion, ``tau`` being more than the errors of H, of M = R R' as multiplied out, of the difference, and of the factorisation
    itself (Rump 2006). Everything is scaled by powers of two so that M has a diagonal between 1/4 and 1.
    """
    exponent = np.frexp(row_norms(shape.factor))[1]
    scale = np.ldexp(1.0, -np.clip(exponent, -500, 500))
    hessian, error = enclose_hessian(problem, w, scale.reshape(problem.shape))
    factor = shape.factor * scale[:, None]
    if not (np.all(np.isfinite(hessian)) and math.isfinite(error) and np.all(np.diag(factor) > 0)):
        return 0.0
    metric = factor @ factor.T
    squares = norm_upper(factor) ** 2
    metric_error = gamma(len(factor) + 2) * squares * (1 + 2.0**-40) + factor.size * TINY
    metric = np.tril(metric) + np.tril(metric, -1).T
    guess = _smallest_ratio(hessian, factor)
    for part in _PARTS:
        kappa = guess * part
        if kappa > 0 and math.isfinite(kappa) and _dominates(hessian, error, kappa, metric, metric_error):
            return kappa
    return 0.0


def _smallest_ratio(hessian: FloatArray, factor: FloatArray) -> float:
    """The smallest eigenvalue of ``R^-1 H R'^-1`` as computed: a guess."""
    try:
        half = solve_triangular(factor, hessian, lower=True)
        whitened = solve_triangular(factor, half.T, lower=True)
        return float(eigh(whitened, eigvals_only=True, subset_by_index=[0, 0])[0])
    except (np.linalg.LinAlgError, ValueError):
        return 0.0


def _dominates(hessian: FloatArray, error: float, kappa: float, metric: FloatArray, metric_error: float) -> bool:
    """Whether ``H - kappa M >= 0`` is proved, from both matrices as computed and the norms of their errors.

    If Cholesky of the computed A completes, ``A + E = L L'`` with ``||E|| <= phi/(1 - phi) tr A``, ``phi = gamma(size + 1)``; the trace is at
    most that of H. Twice that is granted, for factorisations that multiply by reciprocals.
    """
    size = len(hessian)
    phi = gamma(size + 1)
    factoring = 2 * phi / (1 - phi) * float(np.sum(np.abs(np.diag(hessian)))) * (1 + gamma(size + 8))
    subtracting = 4 * UNIT * (norm_upper(hessian) + kappa * norm_upper(metric))
    tau = (factoring + subtracting + error + kappa * metric_error) * (1 + 2.0**-20) + size * TINY
    candidate = hessian - kappa * metric
    candidate[np.diag_indices(size)] -= tau
    if not np.all(np.isfinite(candidate)):
        return False
    try:
        np.linalg.cholesky(candidate)
    except np.linalg.LinAlgError:
        return False
    return True
