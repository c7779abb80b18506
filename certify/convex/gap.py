"""Proven distance to the minimiser where the objective has kinks: duality gap, and a better point to measure from.

For slopes theta_i of the dual domain and any ``c`` with ``|c_j| <= l1``, Fenchel and Young give, for every record and coordinate,

    S = sum_i a_i [l(z_i) + l*(theta_i) - z_i theta_i] >= 0,    T = sum_j [l1 |w_j| - c_j w_j] >= 0,

and with ``rho = X' (a o theta) + c + l2 w`` theorem 9 of docs/theory.md says

    ||w - w*|| <= rho/(2 l2) + sqrt( (rho/(2 l2))^2 + (S + T)/l2 ),      rho short for its norm,

which is never above the root of ``2 gap / l2``. Every bracket is computed in a form without cancellation and rounded up:

* hinge, theta = -s alpha: ``(1 - alpha) max(t, 0) + alpha max(-t, 0)`` with ``t = 1 - s z``;
* any other loss, theta = l'(z') at the computed score z': at most half the largest l'' times ``(z - z')^2``.

The dual point is a proposal; that alpha is in [0, 1] and c in [-l1, l1] is enforced by clipping, which is exact.
"""

import math
from dataclasses import dataclass

import numpy as np

from certify.convex.enclosure import (
    Enclosed,
    enclose_gradient,
    enclose_slopes,
    gamma,
    norm_upper,
)
from certify.convex.losses.base import TINY, UNIT
from certify.convex.losses.hinge import Hinge
from certify.convex.nonsmooth import Reference, solve_reference
from certify.convex.problem import Problem
from certify.core.arrays import FloatArray
from certify.core.errors import AssumptionViolatedError

_RAISE = 1 + 2.0**-44
"""More than the rounding error of the few scalar operations that end each bound."""


@dataclass(frozen=True, eq=False)
class GapBound:
    """Upper bounds on ``||w - w*||`` for an objective with kinks.

    Attributes:
        subgradient: norm of a small subgradient over l2.
        direct: from the duality gap at w itself.
        via_reference: distance to the reference point, plus what is proved at that point.
        step: w minus the reference point, (K, p).
        residual: the subgradient, with the error of its computation.
    """

    subgradient: float
    direct: float
    via_reference: float
    step: FloatArray
    residual: Enclosed

    @property
    def duality_gap(self) -> float:
        """The better of the two bounds that rest on a duality gap."""
        return min(self.direct, self.via_reference)


def bound_by_gap(problem: Problem, w: FloatArray, reference: Reference | None = None) -> GapBound:
    """Bound the distance of parameters (K, p) to the minimiser.

    Args:
        problem: objective and records; every parameter penalised, l2 > 0.
        w: parameters.
        reference: an untrusted guess at the minimiser; solved for when absent.

    Raises:
        AssumptionViolatedError: ``l2 <= 0``, or an intercept without penalty.
    """
    _require_penalty(problem)
    guess = solve_reference(problem, w) if reference is None else reference
    residual, _ = enclose_gradient(problem, w)
    at_reference, _ = enclose_gradient(problem, guess.w)
    proved = min(_over(problem, at_reference.norm), gap_distance(problem, guess.w, guess.alpha))
    step = w - guess.w
    moved = norm_upper(step) * (1 + 4 * UNIT) + step.size * TINY
    return GapBound(
        subgradient=_over(problem, residual.norm),
        direct=gap_distance(problem, w, guess.alpha),
        via_reference=(moved + proved) * _RAISE,
        step=step,
        residual=residual,
    )


def gap_distance(problem: Problem, w: FloatArray, alpha: FloatArray | None = None) -> float:
    """The bound of theorem 9 at ``w``, with the given dual point of the hinge loss or the loss's own slopes.

    Args:
        problem: objective and records.
        w: parameters (K, p).
        alpha: proposed dual variables of the hinge loss, (n,); clipped into [0, 1]. Not used for other losses.

    Raises:
        AssumptionViolatedError: ``l2 <= 0``, or an intercept without penalty, for which no such dual point is feasible.
    """
    _require_penalty(problem)
    with np.errstate(over="ignore", invalid="ignore"):
        gradient, records = _dual_gradient(problem, w, alpha)
        rho, coordinates = _with_dual_of_l1(problem, w, gradient)
        l2 = problem.objective.l2
        # the smallest number of all covers a quotient that lost digits to underflow
        half, missing = rho.norm / 2 / l2 * _RAISE + TINY, (records + coordinates) / l2 * _RAISE + 5e-324
        bound = (half + math.hypot(half, math.sqrt(missing))) * _RAISE if math.isfinite(half + missing) else math.inf
        return bound if math.isfinite(bound) else math.inf


def _require_penalty(problem: Problem) -> None:
    if not problem.objective.l2 > 0:
        raise AssumptionViolatedError(
            f"l2 is {problem.objective.l2:g}: without strong convexity there is no certificate",
            where="objective.l2",
            mend="train with l2 > 0 and declare it",
        )
    if not float(problem.penalty.min()) > 0:
        raise AssumptionViolatedError(
            "the intercept is not penalised, and an objective with kinks can then not be certified",
            where="objective.penalize_intercept",
            mend="penalise the intercept (penalize_intercept = true; in scikit-learn fit_intercept=False and a column of ones) and train again",
        )


def _over(problem: Problem, norm: float) -> float:
    """A subgradient's norm over the modulus of strong convexity."""
    bound = norm / problem.objective.l2 * _RAISE + TINY
    return bound if math.isfinite(bound) else math.inf


def _dual_gradient(problem: Problem, w: FloatArray, alpha: FloatArray | None) -> tuple[Enclosed, float]:
    """``X' (a o theta) + l2 w``, and an upper bound on S; one pass over the data."""
    brackets = np.empty(problem.records)
    feasible = None if alpha is None else np.clip(np.nan_to_num(alpha), 0.0, 1.0)[:, None]

    def slopes(rows: slice, z: FloatArray, dz: FloatArray) -> tuple[FloatArray, FloatArray]:
        slope, error, brackets[rows] = _dual_point(problem, z, dz, rows, None if feasible is None else feasible[rows])
        return slope, error

    gradient = enclose_slopes(problem, w, slopes)
    missing = float(np.sum(np.where(problem.weights > 0, problem.weights * brackets, 0.0)))
    missing = missing * (1 + 4 * gamma(problem.records + 64)) + problem.records * TINY
    return gradient, missing if math.isfinite(missing) else math.inf


def _dual_point(
    problem: Problem, z: FloatArray, dz: FloatArray, rows: slice, alpha: FloatArray | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Slopes (n, K), a bound on their error, and upper bounds on the records' brackets (n,)."""
    loss, y = problem.objective.loss_function, problem.targets[rows]
    if isinstance(loss, Hinge) and alpha is not None:
        t = 1 - y[:, None] * z
        reach = dz * (1 + 4 * UNIT) + 2 * UNIT * np.abs(t) + TINY
        bracket = (1 - alpha) * np.maximum(t + reach, 0.0) + alpha * np.maximum(reach - t, 0.0)
        slope = -y[:, None] * alpha
        return slope, np.zeros_like(slope), bracket[:, 0] * (1 + 16 * UNIT)
    # the slope at the computed score, as if that score were exact: what is missing is a second-order term
    slope = loss.gradient(z, y)
    spread = np.sum(dz * dz, axis=1)
    with np.errstate(invalid="ignore"):
        bracket = 0.5 * loss.curvature_trace(z, dz, y) * spread * (1 + gamma(z.shape[1] + 64)) + TINY
    return slope, loss.gradient_error(z, np.zeros_like(dz), y), np.where(np.isnan(bracket), np.inf, bracket)


def _with_dual_of_l1(problem: Problem, w: FloatArray, gradient: Enclosed) -> tuple[Enclosed, float]:
    """``rho = gradient + c`` for a good c in [-l1, l1], and an upper bound on T."""
    if problem.objective.l1 == 0:
        return gradient, 0.0
    c = np.clip(problem.penalty * w - gradient.value, -problem.lasso, problem.lasso)
    c = np.where(np.isnan(c), 0.0, c)
    rho = gradient.value + c
    error = gradient.error * (1 + 4 * UNIT) + 2 * UNIT * norm_upper(rho) + rho.size * TINY
    missing = float(np.sum(np.abs(w) * (problem.lasso - np.sign(w) * c)))
    return Enclosed(rho, error), missing * (1 + 4 * gamma(w.size + 16)) + w.size * TINY
