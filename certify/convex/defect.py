"""What a proposed solution z of ``H z = r`` is worth: ``||H^-1 r - z||`` and the Newton decrement, from a product with the Hessian or without one.

Without one: let M be a Hessian kept from earlier (:mod:`certify.convex.anchor`), with curvatures m_i where H has h_i, and P the penalty,
``P >= s I``. With ``kappa = max_i |h_i - m_i| / sqrt(h_i m_i)`` and ``A^2 = z' (M - P) z``, for any z and ``c = r - M z``

* ``||H^-1 r - z|| <= ||c||/s + kappa A / (2 sqrt(s))``
* ``nu <= (1 + kappa/2 + kappa^2/8) sqrt(z' M z) + ||c||/sqrt(s)``.

Proof: docs/theory.md, theorem 5b. It costs p^2 operations and the curvatures at w, which the gradient's scores give.
"""

import math
from dataclasses import dataclass

import numpy as np

from certify.convex.anchor import KeptHessian
from certify.convex.enclosure import Enclosed, Scores, gamma, norm_upper, spans
from certify.convex.losses.base import TINY, UNIT, ScalarLoss
from certify.convex.problem import Problem
from certify.convex.trail import Traced
from certify.convex.vicinity import RAISE
from certify.core.arrays import FloatArray


@dataclass(frozen=True, eq=False)
class Measured:
    """A proposed step z and upper bounds on what it leaves.

    Attributes:
        step: z, (K, p).
        length: ``||z||``.
        defect: ``||H^-1 r - z||``.
        decrement: ``nu = sqrt(r' H^-1 r)``.
        reach: the largest change of a record's scores along z.
        unknown: the part of ``defect`` that comes from the gradient's own error.
    """

    step: FloatArray
    length: float
    defect: float
    decrement: float
    reach: float
    unknown: float = math.inf


def by_product(gradient: Enclosed, modulus: float, step: FloatArray, product: Enclosed) -> Measured:
    """From the product of the Hessian with the step (theorem 5)."""
    with np.errstate(over="ignore", invalid="ignore"):
        length = norm_upper(step)
        left = norm_upper(gradient.value - product.value) + gradient.error + product.error
        left += 2 * UNIT * (norm_upper(gradient.value) + norm_upper(product.value))
        square = max(_dot(gradient.value, step), 0.0) + (gradient.error + left) * length + left * left / modulus
    defect = left / modulus * RAISE if math.isfinite(left) else math.inf
    return Measured(step, length, defect, _decrement(gradient, modulus, math.sqrt(square)), product.reach)


def by_drift(
    problem: Problem, gradient: Enclosed, drift: float, step: FloatArray, kept: KeptHessian, row_norm: float
) -> Measured:
    """From the product of a Hessian that was kept with the step (theorem 5b).

    Args:
        problem: objective and records, of one score each, every parameter penalised.
        gradient: r.
        drift: kappa (:func:`curvature_drift`).
        step: z, (1, p).
        kept: M, of the same records.
        row_norm: upper bound on the norms of their rows.
    """
    modulus = float(problem.penalty.min())
    with np.errstate(over="ignore", invalid="ignore"):
        product, length = kept.product(step), norm_upper(step)
        # ``spread``: of the gradient's error, what is bounded in the norm of H^-1
        spread, error = gradient.split(kept, drift) if isinstance(gradient, Traced) else (0.0, gradient.error)
        left = norm_upper(gradient.value - product.value) + error + product.error
        left += 2 * UNIT * (norm_upper(gradient.value) + norm_upper(product.value))
        unknown = (error / modulus + spread / math.sqrt(modulus)) * RAISE
        energy = (max(_dot(product.value, step), 0.0) + product.error * length) * RAISE
        ridge = float(np.sum(problem.penalty * step * step)) * (1 - gamma(step.size + 16)) - step.size * TINY
        data = math.sqrt(max(energy - ridge, 0.0)) * RAISE if math.isfinite(energy) else math.inf
        defect = (left / modulus + (drift * data / 2 + spread) / math.sqrt(modulus)) * RAISE
        decrement = (1 + drift / 2 + drift * drift / 8) * math.sqrt(energy) + left / math.sqrt(modulus) + spread
    defect = defect if math.isfinite(defect) else math.inf
    return Measured(step, length, defect, _decrement(gradient, modulus, decrement), row_norm * length * RAISE, unknown)


@np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore")
def curvature_drift(problem: Problem, scores: Scores, kept: KeptHessian) -> float:
    """kappa, rounded up: ``max_i |h_i - m_i| / sqrt(h_i m_i)``, infinite where one of the two is (or may be) 0 and the other is not.

    Args:
        problem: objective and records.
        scores: of the records, with their errors.
        kept: curvatures from earlier.
    """
    loss, m, a = problem.objective.loss_function, kept.weights, problem.weights
    if not isinstance(loss, ScalarLoss) or not problem.objective.smooth or len(m) != len(a):
        return math.inf
    worst, constant = 0.0, loss.constants.self_concordance
    for rows in spans(len(a)):
        z, dz, y = scores.value[rows], scores.error[rows], problem.targets[rows, None]
        # h_i lies within `slack` of the computed number: |l'''| <= R l'', and e^t - 1 <= t + t^2 up to t = 1
        second, rounding, t = loss.second(z, y), loss.second_rounding(z, y), constant * dz
        error = (second + rounding) * np.where(t <= 1, t + t * t, math.inf) + rounding
        h, before = a[rows] * second[:, 0], m[rows]
        slack = (a[rows] * error[:, 0] + 2 * UNIT * h + TINY) * (1 + 16 * UNIT)
        low = (h - slack) * (1 - 2 * UNIT)
        apart = np.abs(h - before) + slack + 2 * UNIT * (h + before)
        ratio = np.where((a[rows] > 0) | (before > 0), apart / (np.sqrt(low) * np.sqrt(before)), 0.0)
        worst = max(worst, float(np.max(np.where(np.isnan(ratio), math.inf, ratio), initial=0.0)))
    return worst * (1 + 16 * UNIT)


def _dot(first: FloatArray, second: FloatArray) -> float:
    """Upper bound on the inner product of two arrays."""
    products = first * second
    return float(np.sum(products)) + gamma(products.size + 8) * float(np.sum(np.abs(products))) + products.size * TINY


def _decrement(gradient: Enclosed, modulus: float, found: float) -> float:
    plain = gradient.norm / math.sqrt(modulus)
    return min(found if math.isfinite(found) else math.inf, plain) * RAISE + TINY
