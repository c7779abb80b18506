"""Untrusted solvers: they propose, the certificate measures what they got wrong."""

import math
from collections.abc import Callable

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import brentq
from scipy.sparse.linalg import LinearOperator, cg

from certify.convex.heads import heads
from certify.convex.losses.base import weighted
from certify.convex.problem import Problem
from certify.core.arrays import FloatArray

DENSE_LIMIT = 2500
"""Parameters up to which the Hessian is formed (50 MB); beyond, conjugate gradients on Hessian products."""


class Factor:
    """A Cholesky factor of a Hessian, kept to propose steps for other points and other records. Nothing is promised."""

    def __init__(self, hessian: FloatArray) -> None:
        self._factor = cho_factor(hessian)

    def __call__(self, gradient: FloatArray) -> FloatArray:
        """An approximate solution of ``H z = gradient``, in the gradient's shape; zero where that is not finite."""
        if not np.all(np.isfinite(gradient)):
            return np.zeros(gradient.shape)
        return np.asarray(cho_solve(self._factor, gradient.ravel())).reshape(gradient.shape)

    def columns(self, right: FloatArray) -> FloatArray:
        """Approximate solutions for several right-hand sides, the columns of ``right``, (K p, c)."""
        return np.asarray(cho_solve(self._factor, right))


@np.errstate(over="ignore", invalid="ignore")
def newton_step(problem: Problem, w: FloatArray, gradient: FloatArray, hessian: FloatArray | None = None) -> FloatArray:
    """An approximate solution z of ``H(w) z = gradient``, (K, p). Nothing about its quality is promised."""
    parts = heads(problem) if hessian is None else ()
    if parts:  # the Hessian is block diagonal
        return np.vstack([newton_step(part, w[[k]], gradient[[k]]) for k, part in enumerate(parts)])
    if problem.size <= DENSE_LIMIT:
        matrix = problem.hessian(w) if hessian is None else hessian
        try:
            return np.asarray(cho_solve(cho_factor(matrix), gradient.ravel())).reshape(problem.shape)
        except (np.linalg.LinAlgError, ValueError):
            pass  # not positive definite in floating point, or not finite: let the iterative solver try
    return conjugate_gradient(lambda v: problem.hessian_product(w, v), gradient)


def conjugate_gradient(product: Callable[[FloatArray], FloatArray], gradient: FloatArray) -> FloatArray:
    """Conjugate gradients with an explicit tolerance (the default of SciPy is far too loose for a certificate)."""
    shape = gradient.shape
    if not np.all(np.isfinite(gradient)):
        return np.zeros(shape)
    operator = LinearOperator(
        (gradient.size, gradient.size), matvec=lambda v: product(v.reshape(shape)).ravel(), dtype=np.float64
    )
    solution, _ = cg(operator, gradient.ravel(), rtol=1e-12, atol=0.0, maxiter=1000)
    result = np.asarray(solution).reshape(shape)
    return result if np.all(np.isfinite(result)) else np.zeros(shape)


@np.errstate(over="ignore", invalid="ignore")
def line_search(problem: Problem, w: FloatArray, step: FloatArray, gradient: FloatArray) -> FloatArray | None:
    """``w - a step`` with the largest a in 1, 1/2, 1/4, ... of sufficient decrease; None when there is none."""
    start, slope = problem.value(w), float(np.sum(gradient * step))
    length = 1.0
    while length > 1e-12 and slope > 0 and math.isfinite(start):
        candidate = w - length * step
        if problem.value(candidate) <= start - 1e-4 * length * slope:
            return candidate
        length /= 2
    return None


@np.errstate(over="ignore", invalid="ignore")
def exact_line_search(problem: Problem, w: FloatArray, step: FloatArray) -> FloatArray | None:
    """``w - a step`` at the minimum over a > 0, by the root of the slope; None where F does not fall along ``-step``.

    Slopes are told apart where values of F no longer are, and across kinks of the slope Newton's method with this search
    ends after finitely many steps (Keerthi, DeCoste 2005). Two products with the data in all.
    """
    loss, z, u = problem.objective.loss_function, problem.scores(w), problem.scores(step)

    def slope(length: float) -> float:
        along = np.sum(loss.gradient(z - length * u, problem.targets) * u, axis=1)
        value = -float(np.sum(weighted(problem.weights, along))) - float(
            np.sum(problem.penalty * (w - length * step) * step)
        )
        return value if math.isfinite(value) else 1e300  # overflow is uphill

    if not slope(0.0) < 0:
        return None
    high = 1.0
    while slope(high) < 0 and high < 2.0**20:
        high *= 2
    if slope(high) < 0:
        return None
    return w - float(brentq(slope, 0.0, high, xtol=1e-300, rtol=1e-14, maxiter=200, disp=False)) * step
