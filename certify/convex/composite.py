"""An untrusted solver for a differentiable objective with an L1 term: Newton on the nonzero coordinates.

Each iteration frees the zero coordinates whose slope exceeds l1, takes a Newton step on what is free, and sets to zero what
would change its sign (Andrew, Gao 2007; Byrd, Chin, Nocedal, Oztoprak 2016); where that does not help, one proximal gradient step.
Without an L1 term it is damped Newton, with generalised second derivatives where the loss has kinks in its slope.
"""

import math
from typing import Protocol

import numpy as np

from certify.convex import solve
from certify.convex.problem import Problem
from certify.core.arrays import FloatArray

ITERATIONS = 300
"""Newton iterations after which it gives what it has."""


_PATIENCE = 6
"""Iterations without progress after which it stops."""

_COORDINATES = 300
"""Parameters up to which coordinate descent, a loop in Python, is worth its time."""


class Watch(Protocol):
    """Who wants to know about each evaluation, and may stop the solver by an exception."""

    def gradient(self, norm: float) -> None:
        """A gradient was computed; ``norm`` is that of the smallest subgradient."""

    def hessian(self) -> None:
        """A Hessian is about to be formed and solved with."""


class Unwatched:
    """Nobody does."""

    def gradient(self, norm: float) -> None:
        """Ignore."""

    def hessian(self) -> None:
        """Ignore."""


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def minimise_composite(problem: Problem, start: FloatArray, watch: Watch) -> FloatArray:
    """Parameters (K, p) that nearly minimise the objective; nothing about them is promised."""
    w, gradient = start, _watched_gradient(problem, start, watch)
    best, least, value, idle = w, _size(problem, w, gradient), problem.value(w), 0
    for _ in range(ITERATIONS):
        improved = _improve(problem, w, gradient, watch)
        if improved is None or idle > _PATIENCE:
            break
        w, gradient = improved
        size, here = _size(problem, w, gradient), problem.value(w)
        # at rounding level values go up and down by themselves, and would do so forever
        idle = 0 if size < 0.5 * least or here < value - 1e-12 * abs(value) else idle + 1
        value = min(value, here)
        if size < least or idle == 0:
            best, least = w, size
    return best


def _watched_gradient(problem: Problem, w: FloatArray, watch: Watch) -> FloatArray:
    gradient = problem.smooth_gradient(w)
    watch.gradient(_size(problem, w, gradient))
    return gradient


def _size(problem: Problem, w: FloatArray, gradient: FloatArray) -> float:
    """Norm of the smallest subgradient."""
    return float(np.linalg.norm(problem.shrink(w, gradient)))


def _improve(
    problem: Problem, w: FloatArray, gradient: FloatArray, watch: Watch
) -> tuple[FloatArray, FloatArray] | None:
    """The next iterate and its smooth gradient, or None when nothing gets better."""
    residual = problem.shrink(w, gradient)
    if not np.any(residual) or not np.all(np.isfinite(residual)):
        return None
    watch.hessian()
    step = _newton_step(problem, w, residual)
    full = _within_orthant(problem, w, w - step, residual)
    full_gradient = _watched_gradient(problem, full, watch)
    # close to the minimum values differ by less than their rounding: only the gradient still tells better from worse
    here = problem.value(w)
    no_worse = problem.value(full) <= here + 1e-10 * abs(here)
    if no_worse and _size(problem, full, full_gradient) < 0.5 * _size(problem, w, gradient):
        return full, full_gradient
    better = _search(problem, w, step, residual, 1e-3)
    if better is None:
        better = _model_step(problem, w, gradient)
    if better is None:
        better = _search(problem, w, step, residual, 1e-12)
    if better is None:
        better = _proximal_step(problem, w, gradient, residual)
    return None if better is None else (better, _watched_gradient(problem, better, watch))


def _newton_step(problem: Problem, w: FloatArray, residual: FloatArray) -> FloatArray:
    """A solution of ``H z = residual`` on the coordinates that are free: not zero, or wanting to leave it."""
    free = (w != 0) | (residual != 0) | (problem.lasso == 0)
    if problem.size <= solve.DENSE_LIMIT:
        places = np.flatnonzero(free.ravel())
        step = np.zeros(problem.size)
        try:
            hessian = problem.hessian(w)[np.ix_(places, places)]
            step[places] = np.linalg.solve(hessian, residual.ravel()[places])
        except np.linalg.LinAlgError:
            pass
        if step.any() and np.all(np.isfinite(step)):
            return step.reshape(problem.shape)
    return solve.conjugate_gradient(
        lambda v: np.where(free, problem.hessian_product(w, np.where(free, v, 0.0)), v), residual
    )


def _within_orthant(problem: Problem, w: FloatArray, candidate: FloatArray, residual: FloatArray) -> FloatArray:
    """The candidate with every coordinate set to zero that left the orthant in which the L1 term is linear."""
    orthant = np.where(w != 0, np.sign(w), -np.sign(residual))
    return np.where((problem.lasso > 0) & (np.sign(candidate) != orthant), 0.0, candidate)


def _search(
    problem: Problem, w: FloatArray, step: FloatArray, residual: FloatArray, shortest: float
) -> FloatArray | None:
    """The first of w - step, w - step/2, ..., kept in the orthant, that decreases the objective enough."""
    here, length = problem.value(w), 1.0
    while length > shortest and math.isfinite(here):
        candidate = _within_orthant(problem, w, w - length * step, residual)
        promised = float(np.sum(residual * (w - candidate)))
        value = problem.value(candidate)
        if promised > 0 and value <= here - 1e-4 * promised and value < here:
            return candidate
        length /= 2
    return None


def _model_step(problem: Problem, w: FloatArray, gradient: FloatArray) -> FloatArray | None:
    """A step towards the minimiser of the quadratic model with its L1 term, found by coordinate descent (small problems)."""
    if problem.objective.l1 == 0 or problem.size > min(_COORDINATES, solve.DENSE_LIMIT):
        return None
    hessian, here = problem.hessian(w), problem.value(w)
    lasso = np.broadcast_to(problem.lasso, problem.shape).ravel()
    target = coordinate_descent(hessian, gradient.ravel(), w.ravel(), lasso).reshape(problem.shape)
    length = 1.0
    while length > 1e-6:
        candidate = w + length * (target - w) if length < 1 else target
        if problem.value(candidate) < here:
            return candidate
        length /= 2
    return None


def coordinate_descent(hessian: FloatArray, gradient: FloatArray, w: FloatArray, lasso: FloatArray) -> FloatArray:
    """Minimise ``gradient.d + d' H d / 2 + lasso |w + d|``; returns w + d."""
    u, slope, curvature = w.copy(), gradient.copy(), np.maximum(np.diag(hessian), 1e-300)
    for _ in range(200):
        largest = 0.0
        for j in range(len(u)):
            moved = u[j] - slope[j] / curvature[j]
            change = math.copysign(max(abs(moved) - lasso[j] / curvature[j], 0.0), moved) - u[j]
            if change != 0:
                u[j] += change
                slope += change * hessian[j]
                largest = max(largest, abs(change))
        if largest <= 1e-12 * float(np.max(np.abs(u))):
            break
    return u


def _proximal_step(problem: Problem, w: FloatArray, gradient: FloatArray, residual: FloatArray) -> FloatArray | None:
    """One proximal gradient step with backtracking; None when the objective cannot be decreased."""
    here, curvature = problem.value(w), _curvatures(problem, w, residual)
    for _ in range(60):
        moved = w - gradient / curvature
        candidate = np.copysign(np.maximum(np.abs(moved) - problem.lasso / curvature, 0.0), moved)
        if problem.value(candidate) < here:
            return candidate
        curvature *= 4
    return None


def _curvatures(problem: Problem, w: FloatArray, residual: FloatArray) -> FloatArray:
    """Second derivative along each coordinate; where that is dear, the one along the residual for all."""
    if problem.size <= solve.DENSE_LIMIT:
        found = np.diag(problem.hessian(w)).reshape(problem.shape)
    else:
        along = float(np.sum(residual * problem.hessian_product(w, residual))) / float(np.sum(residual * residual))
        found = np.full(problem.shape, along)
    return np.maximum(found, max(problem.objective.l2, 1e-300))
