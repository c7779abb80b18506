"""A verified lower bound on the smallest eigenvalue of the Hessian at w."""

import math

import numpy as np

from certify.convex.blocks import row_norms
from certify.convex.enclosure import Scores, gamma
from certify.convex.losses.base import TINY, UNIT, ScalarLoss, weighted
from certify.convex.problem import Problem
from certify.core.arrays import FloatArray
from certify.core.errors import AssumptionViolatedError

MODULUS_LIMIT = 1000
"""Parameters up to which the eigenvalue is worth its cubic cost."""


def _hessian_error(problem: Problem, loss: ScalarLoss, scores: Scores) -> float:
    """Bound on the spectral norm of (computed - exact) Hessian.

    Entry (j, k) is wrong by at most ``sum_i D_i |x_ij| |x_ik|``; such a matrix has norm at most ``sum_i D_i ||x_i||^2``.
    The Hessian was formed from scores of its own: they too lie within dz of the exact ones, so within 2 dz of these.
    """
    count = gamma(problem.chunk + -(-problem.records // problem.chunk) + 8)
    total = 0.0
    for rows, block in problem.chunks():
        z, dz, y = scores.value[rows], 2 * scores.error[rows], problem.targets[rows][:, None]
        curvature = loss.third_sup(z, dz, y) * dz + loss.second_rounding(z, y) + count * loss.second_sup(z, dz, y)
        norms = row_norms(block) * (1 + gamma(problem.shape[1] + 16)) + TINY
        # the weight is multiplied in between: a square of the norm alone may underflow where the product does not
        total += float(np.sum((weighted(problem.weights[rows], curvature[:, 0]) * norms) * norms))
        total += TINY * problem.size * float(np.sum(1 + norms * norms))  # products that underflowed
    return total * (1 + 4 * gamma(problem.records + problem.shape[1] + 64)) + 4 * UNIT * problem.objective.l2


def _shift_proves(matrix: FloatArray, shift: float) -> float:
    """Lower bound on the smallest eigenvalue if Cholesky of ``matrix - shift I`` runs to completion, else 0.

    Then ``A + E = R'R`` with ``|E| <= phi |R'||R|``, ``phi = gamma(p + 1)``, whose norm is at most
    ``phi ||R||_F^2 <= phi/(1 - phi) tr A`` (Rump 2006).
    """
    size = len(matrix)
    shifted = matrix - shift * np.eye(size)
    try:
        np.linalg.cholesky(shifted)
    except np.linalg.LinAlgError:
        return 0.0
    phi = gamma(size + 1)
    lost = phi / (1 - phi) * float(np.trace(np.abs(shifted))) * (1 + gamma(size + 8))
    lost += 2 * UNIT * (float(np.max(np.abs(np.diag(matrix)))) + shift) + size * TINY
    return shift - 2 * lost


@np.errstate(over="ignore", invalid="ignore")
def verified_modulus(problem: Problem, scores: Scores, hessian: FloatArray) -> float:
    """Lower bound on the smallest eigenvalue of the exact Hessian, 0 where none could be proved.

    Args:
        problem: objective and records, of a scalar self-concordant loss.
        scores: scores at w with their errors.
        hessian: the Hessian computed at w, (p, p).
    """
    loss = problem.objective.loss_function
    if not isinstance(loss, ScalarLoss) or not math.isfinite(loss.constants.self_concordance):
        return 0.0  # where l'' may jump, the Hessian at w says nothing of the way to the minimiser
    if problem.size > MODULUS_LIMIT or not np.all(np.isfinite(hessian)):
        return 0.0
    symmetric = np.tril(hessian) + np.tril(hessian, -1).T
    guess = float(np.linalg.eigvalsh(symmetric)[0])
    error = _hessian_error(problem, loss, scores)
    for part in (1 - 1e-9, 1 - 1e-6, 0.999, 0.9, 0.5):
        proved = _shift_proves(symmetric, guess * part) - error if guess > 0 else 0.0
        if math.isfinite(proved) and proved > 0:
            return proved * (1 - 2.0**-50)
    return 0.0


def proved_modulus(problem: Problem, scores: Scores, hessian: FloatArray | None) -> float:
    """The larger of l2 (when it covers every parameter) and the verified smallest eigenvalue of a computed Hessian.

    Raises:
        AssumptionViolatedError: neither is above 0.
    """
    declared = float(problem.penalty.min())
    measured = verified_modulus(problem, scores, hessian) if hessian is not None else 0.0
    if max(declared, measured) > 0:
        return max(declared, measured)
    because = (
        f"it has more than {MODULUS_LIMIT} parameters"
        if problem.size > MODULUS_LIMIT
        else "the Hessian is singular to working precision"
    )
    if not math.isfinite(problem.objective.loss_function.constants.self_concordance):
        because = f"the second derivative of the {problem.objective.loss} loss jumps"
    if problem.outputs > 1:
        because = "softmax does not change when all intercepts move together"
    raise AssumptionViolatedError(
        f"the intercept is not penalised and no strong-convexity modulus could be proved ({because})",
        where="objective.penalize_intercept",
        mend="penalise the intercept (penalize_intercept = true; in scikit-learn fit_intercept=False and a column of ones) and train again",
    )
