"""The distance to the retrained weights in the norm of anisotropic noise, ``||w - w*||_M = ||R'(w - w*)||`` with ``M = R R'``.

Let D be any proven bound on ``||w - w*||``, t any bound on ``R_loss max_i ||x_i . (w - w*)||`` (for example ``R_loss max_i ||x_i|| D``), ``nu`` the
Newton decrement, s a lower bound on the eigenvalues of H and kappa one with ``H >= kappa M``. Then

* plain:              ``||R'(w - w*)|| <= ||R|| D``
* self-concordance:   ``||R'(w - w*)|| <= t/(1 - e^-t) nu / sqrt(kappa)``
* refined Newton:     ``||R'(w - w*)|| <= ||R' H^-1 r|| + (t/(1 - e^-t) - 1) nu / sqrt(kappa)``

and for any proposed step z with ``c = r - H z``, ``||R' H^-1 r|| <= ||R' z|| + ||c|| / sqrt(kappa s)``. Proofs: docs/theory.md, 11.
"""

import math
from dataclasses import dataclass

import numpy as np

from certify.convex.certificate import DistanceBound
from certify.convex.curvature import NoiseShape
from certify.convex.enclosure import enclose_gradient, enclose_hessian_product, norm_upper
from certify.convex.losses.base import TINY, UNIT
from certify.convex.problem import Problem
from certify.convex.ratio import verified_ratio
from certify.core.arrays import FloatArray
from certify.core.bounds import LowerBound, UpperBound

_RAISE = 1 + 2.0**-44
"""More than the rounding error of the few scalar operations that end each bound."""

_SHARPENINGS = 4


@dataclass(frozen=True)
class ShapedBound:
    """Proven upper bounds on ``||R'(w - w*)||``; each is infinite where it does not apply. Without unit: a multiple of noise_std.

    Attributes:
        distance: the smallest of the three.
        plain: the norm of R times the Euclidean distance.
        self_concordant: Newton decrement over the root of the ratio, and a correction of second order.
        refined: Newton step length in the noise's norm, and a correction of second order.
        rounding: bound on the rounding error of the coordinates ``R' w``, which the release rounds to the noise's grid.
        ratio: kappa, verified.
    """

    distance: UpperBound
    plain: UpperBound
    self_concordant: UpperBound
    refined: UpperBound
    rounding: UpperBound
    ratio: LowerBound

    @property
    def shift(self) -> UpperBound:
        """Distance between what the two worlds round to the grid."""
        return self.distance + self.rounding


def bound_shaped(problem: Problem, w: FloatArray, bound: DistanceBound, shape: NoiseShape) -> ShapedBound:
    """Bound the distance of ``w`` to the minimiser in the norm of the noise.

    Args:
        problem: objective and retained records.
        w: parameters, (K, p).
        bound: the certificate of the same parameters in the Euclidean norm; its step is measured anew, not trusted.
        shape: computed from the retained records alone, and the very one that the release will use.
    """
    if problem.objective.bent:
        return _without_hessian(w, bound, shape)
    distance, modulus = float(bound.distance), float(bound.modulus)
    kappa = max(verified_ratio(problem, w, shape), modulus / shape.norm / shape.norm * (1 - 2.0**-50))
    step = _measure_step(problem, w, bound.newton_step)
    growth = _growth(problem.objective.loss_function.constants.self_concordance, bound, step)
    scaled = float(bound.newton_decrement) / math.sqrt(kappa) if kappa > 0 else math.inf
    newton = _newton_length(bound.newton_step, step, shape, kappa, modulus)
    values = [shape.norm * distance, (1 + growth) * scaled, newton + growth * scaled]
    plain, concordant, refined = (UpperBound(_finite(value * _RAISE + TINY)) for value in values)
    return ShapedBound(
        distance=UpperBound(min(plain, concordant, refined)),
        plain=plain,
        self_concordant=concordant,
        refined=refined,
        rounding=UpperBound(_finite(shape.coordinates_error(w))),
        ratio=LowerBound(kappa),
    )


def _without_hessian(w: FloatArray, bound: DistanceBound, shape: NoiseShape) -> ShapedBound:
    """Where F has kinks the other bounds do not apply: the Euclidean distance times the norm of R."""
    plain, nowhere = UpperBound(_finite(shape.norm * float(bound.distance) * _RAISE + TINY)), UpperBound(math.inf)
    return ShapedBound(
        distance=plain,
        plain=plain,
        self_concordant=nowhere,
        refined=nowhere,
        rounding=UpperBound(_finite(shape.coordinates_error(w))),
        ratio=LowerBound(0.0),
    )


def _finite(value: float) -> float:
    """The value, infinite where it is not a number."""
    return math.inf if math.isnan(value) else value


@dataclass(frozen=True)
class _Step:
    """A proposed step z as measured: upper bounds on ``||r - H z||`` and on ``max_i ||x_i . z||``."""

    left: float
    reach: float


def _measure_step(problem: Problem, w: FloatArray, step: FloatArray) -> _Step:
    gradient, scores = enclose_gradient(problem, w)
    product = enclose_hessian_product(problem, scores, step)
    with np.errstate(over="ignore", invalid="ignore"):
        left = norm_upper(gradient.value - product.value) + gradient.error + product.error
        left += 2 * UNIT * (norm_upper(gradient.value) + norm_upper(product.value))
    return _Step(_finite(left * _RAISE), product.reach)


def _growth(constant: float, bound: DistanceBound, step: _Step) -> float:
    """Upper bound on ``t/(1 - e^-t) - 1``, which is at most ``t/2 + t^2/12`` and at most t.

    t starts from the distance and is sharpened by the scores: ``||x_i . e|| <= ||x_i . z|| + ||x_i|| ||e - z||``, where
    ``||e - z|| <= ||r - H z||/s + (t/(1 - e^-t) - 1) nu/sqrt(s)``.
    """
    if constant == 0:
        return 0.0
    row_norm, modulus = float(bound.max_row_norm), float(bound.modulus)
    t, growth = math.inf, math.inf
    change = row_norm * float(bound.distance)
    for _ in range(_SHARPENINGS):
        found = constant * change * _RAISE + TINY
        t = min(t, found) if math.isfinite(found) else t
        growth = min(t / 2 + t * t / 12, t) * _RAISE
        error = step.left / modulus + growth * float(bound.newton_decrement) / math.sqrt(modulus)
        change = step.reach + row_norm * error * _RAISE
    return growth


def _newton_length(z: FloatArray, step: _Step, shape: NoiseShape, kappa: float, modulus: float) -> float:
    """Upper bound on ``||R' H^-1 r||``, from any proposed step z."""
    if not (kappa > 0 and modulus > 0):
        return math.inf
    with np.errstate(over="ignore", invalid="ignore"):
        length = norm_upper(shape.coordinates(z)) + shape.coordinates_error(z)
    return _finite(length + step.left / (math.sqrt(kappa) * math.sqrt(modulus)))
