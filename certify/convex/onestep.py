"""One step from the original model towards the retained minimiser, with everything about it that a bound may use.

Two steps are looked at, both from the original weights ``w0``, both with a Hessian at ``w0``:

* Newton:     ``s = -H_R^-1 grad F_R(w0)``, the Hessian of the retained records, their measured gradient;
* jackknife:  ``s = H_S^-1 G``, ``G = sum over the forgotten of a_i grad loss_i(w0)``, the Hessian of *all* records. For the
  losses here (canonical links) the Fisher information is the Hessian, so this is the natural-gradient step too.

The solution of the linear system is not trusted: the step is the vector the solver returned, and what it missed
(``defect``) is measured.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from certify.convex.blocks import Block, absolute
from certify.convex.enclosure import (
    Enclosed,
    Scores,
    dot_error,
    enclose_gradient,
    enclose_hessian_product,
    gamma,
    norm_upper,
)
from certify.convex.losses.base import TINY, UNIT
from certify.convex.modulus import verified_modulus
from certify.convex.problem import Problem
from certify.convex.solve import Factor
from certify.core.arrays import FloatArray


@dataclass(frozen=True, eq=False)
class Start:
    """What is known at the original weights before a step; every number but the step proposals is proven.

    Attributes:
        retained: objective and retained records.
        forgotten: the forgotten records, without any penalty.
        w0: the original weights, (K, p).
        gradient: of the retained objective, with its error.
        removed: ``G``, gradient of the forgotten records' losses, with its error.
        training_residual: upper bound on ``||grad F_S(w0)||``, all records: zero only for an exactly trained original.
        modulus: lower bound on the smallest eigenvalue of the retained Hessian at w0.
    """

    retained: Problem
    forgotten: Problem
    w0: FloatArray
    gradient: Enclosed
    removed: Enclosed
    training_residual: float
    modulus: float
    scores: Scores
    scores_forgotten: Scores
    factor_retained: Factor
    factor_all: Factor


@dataclass(frozen=True, eq=False)
class Step:
    """A step that was computed, and upper bounds on what follows from it.

    Attributes:
        vector: the step s, (K, p).
        landing: ``w0 + s`` as float64 computes it.
        norm: of s.
        linear_residual: ``||grad F_R(w0) + H_R s||``: what the quadratic model leaves, mismatch of curvature and training
            residual included.
        defect: what the solver missed of its own linear system.
        energy: ``||s||_H = sqrt(s' H_R s)``.
        reach: ``max_i ||s x_i||``, the largest change of a record's scores.
        rounding: ``||landing - (w0 + s)||``.
        squares: ``||A^(1/2) (X s)||``.
        fourths: ``sqrt(sum_i a_i ||s x_i||^4)``.
    """

    vector: FloatArray
    landing: FloatArray
    norm: float
    linear_residual: float
    defect: float
    energy: float
    reach: float
    rounding: float
    squares: float
    fourths: float


def start_at(retained: Problem, forgotten: Problem, w0: FloatArray) -> Start | None:
    """Measure gradients and curvature at w0; None where a Hessian there is not positive definite in floating point."""
    bare = replace(forgotten, objective=replace(forgotten.objective, l2=0.0))
    gradient, scores = enclose_gradient(retained, w0)
    removed, scores_forgotten = enclose_gradient(bare, w0)
    hessian = retained.hessian(w0)
    with np.errstate(over="ignore", invalid="ignore"):
        full = hessian + bare.hessian(w0)
    try:
        factors = Factor(hessian), Factor(full)
    except (np.linalg.LinAlgError, ValueError):  # singular to working precision, or not finite
        return None
    everything = _sum(gradient, removed)
    return Start(
        retained=retained,
        forgotten=bare,
        w0=w0,
        gradient=gradient,
        removed=removed,
        training_residual=everything.norm,
        modulus=max(float(retained.penalty.min()), verified_modulus(retained, scores, hessian)),
        scores=scores,
        scores_forgotten=scores_forgotten,
        factor_retained=factors[0],
        factor_all=factors[1],
    )


def newton(start: Start) -> Step:
    """The Newton step on the retained records."""
    return proposed(start, -start.factor_retained(start.gradient.value), full=False, corrected=True)


def jackknife(start: Start) -> Step:
    """The infinitesimal-jackknife step: the Hessian of all records, the gradient of the forgotten ones."""
    return proposed(start, start.factor_all(start.removed.value), full=True, corrected=False)


def proposed(start: Start, vector: FloatArray, *, full: bool, corrected: bool) -> Step:
    """A step that somebody solved for: ``H s = right``, measured; what was missed of that system is its defect.

    Args:
        start: what is known before the step.
        vector: s, (K, p).
        full: H is the Hessian of all records; else of the retained ones.
        corrected: ``right = -grad F_R(w0)``, the training residual included; else ``G``, as if w0 were exactly trained.
    """
    product = enclose_hessian_product(start.retained, start.scores, vector)
    curved = product
    if full:
        curved = _sum(product, enclose_hessian_product(start.forgotten, start.scores_forgotten, vector))
    right = _negated(start.gradient) if corrected else start.removed
    return _measured(start, vector, product, _sum(right, _negated(curved)).norm)


@np.errstate(over="ignore", invalid="ignore")
def _measured(start: Start, vector: FloatArray, product: Enclosed, defect: float) -> Step:
    landing = start.w0 + vector
    squares, fourths = _image(start.retained, vector)
    return Step(
        vector=vector,
        landing=landing,
        norm=norm_upper(vector),
        linear_residual=_sum(start.gradient, product).norm,
        defect=defect,
        energy=_energy(vector, product),
        reach=product.reach,
        rounding=2 * UNIT * norm_upper(landing) + vector.size * TINY,
        squares=squares,
        fourths=fourths,
    )


def _energy(vector: FloatArray, product: Enclosed) -> float:
    """Upper bound on ``sqrt(s' H s)`` from the enclosed product H s."""
    absolute = float(np.sum(np.abs(vector * product.value)))
    square = float(np.sum(vector * product.value)) + gamma(vector.size + 8) * absolute + vector.size * TINY
    square = max(square, 0.0) + product.error * norm_upper(vector)
    return math.sqrt(square) * (1 + 16 * UNIT) if math.isfinite(square) else math.inf


def _image(problem: Problem, vector: FloatArray) -> tuple[float, float]:
    """Upper bounds on ``||A^(1/2) X s'||_F`` and on ``sqrt(sum_i a_i ||s x_i||^4)``."""

    def part(rows: slice, block: Block) -> FloatArray:
        size = np.abs(block @ vector.T) + dot_error(absolute(block), vector)
        lengths = (np.sum(size * size, axis=1) + TINY) * (1 + gamma(problem.outputs + 8))
        weighted = problem.weights[rows] * lengths
        return np.array([np.sum(weighted), np.sum(weighted * lengths)]) + len(weighted) * TINY

    second, fourth = (float(value) for value in problem.over_records(part))
    slack = 1 + gamma(problem.records + 64)
    if not (math.isfinite(second) and math.isfinite(fourth)):
        return math.inf, math.inf
    return math.sqrt(second * slack) * (1 + 4 * UNIT), math.sqrt(fourth * slack) * (1 + 4 * UNIT)


@np.errstate(over="ignore", invalid="ignore")
def _sum(first: Enclosed, second: Enclosed) -> Enclosed:
    """The sum of two enclosed arrays; its rounding is at most one unit of what is added."""
    error = first.error + second.error + 2 * UNIT * (norm_upper(first.value) + norm_upper(second.value))
    return Enclosed(first.value + second.value, error * (1 + 8 * UNIT))


def _negated(array: Enclosed) -> Enclosed:
    return Enclosed(-array.value, array.error)
