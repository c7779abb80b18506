"""What there is to certify from when a step is proposed: gradient, modulus, and what the step is worth; as cheaply as will do.

Three ways, from the cheapest: the gradient followed in single precision from a point where it was known (theorem 5c); measured, its rounding bounded by
norms; measured, its rounding bounded entry by entry. The first two with a Hessian that was kept, where it is near enough (theorem 5b).
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from certify.convex.anchor import KeptHessian
from certify.convex.bynorms import gradient_by_norms, product_by_norms
from certify.convex.defect import Measured, by_drift, by_product, curvature_drift
from certify.convex.enclosure import Enclosed, enclose_gradient, enclose_hessian_product, norm_upper
from certify.convex.modulus import proved_modulus
from certify.convex.problem import Problem
from certify.convex.shadow import Shadow
from certify.convex.trail import Trail, begin
from certify.core.arrays import FloatArray

_WORTHWHILE = 0.08
"""Looseness, relative to the step, above which a proposed step is worth one more product with the Hessian."""

_NEGLIGIBLE = 1e-3
"""Rounding errors, as a part of the step, up to which a cheaper bound on them will do."""

_UNKNOWN = 0.04
"""What the gradient's own error may add to the distance, relative to the step, where it was followed in single precision."""

_CORRECTIONS = 4


class Evidence(NamedTuple):
    """A gradient, a modulus of strong convexity, what a step is worth, and where the next certificate may start from."""

    gradient: Enclosed
    modulus: float
    measured: Measured
    trail: Trail | None


def proposed(
    problem: Problem,
    w: FloatArray,
    propose: Callable[[FloatArray], FloatArray],
    row_norm: float,
    kept: KeptHessian | None,
    trail: Trail | Shadow | None,
) -> Evidence:
    """The evidence at w (K, p) for the step that an approximate inverse proposes.

    Args:
        problem: objective and records.
        w: parameters.
        propose: the approximate inverse of the Hessian; untrusted.
        row_norm: upper bound on the norms of the records' rows.
        kept: a Hessian of the same records from earlier.
        trail: of an earlier certificate, or the records' shadow to begin one.

    Raises:
        AssumptionViolatedError: not every parameter is penalised.
    """
    if kept is not None and isinstance(trail, Trail) and trail.ready:
        found = _followed(problem, w, propose, row_norm, kept, trail)
        if found is not None:
            return found
        trail = trail.lapsed()
    return _measured(problem, w, propose, row_norm, kept, trail)


def _followed(
    problem: Problem,
    w: FloatArray,
    propose: Callable[[FloatArray], FloatArray],
    row_norm: float,
    kept: KeptHessian,
    trail: Trail,
) -> Evidence | None:
    """From a gradient that was followed from an earlier point; None where that is not known well enough."""
    onward = trail.onward(problem, w, kept)
    if onward is None:
        return None
    following, gradient = onward.trail, onward.trail.gradient
    modulus, step = proved_modulus(problem, following.scores, None), np.array(propose(gradient.value.copy()))
    found = by_drift(problem, gradient, onward.drift, step, kept, row_norm)
    known = math.isfinite(found.length) and found.unknown <= _UNKNOWN * found.length
    if not (known and found.defect <= _WORTHWHILE * found.length):
        return None
    # errors add up: a trail whose next step would know too little is not followed in vain
    spent = found.unknown * (following.steps + 1) > _UNKNOWN * found.length * following.steps
    return Evidence(gradient, modulus, found, replace(following, spent=spent))


def _measured(
    problem: Problem,
    w: FloatArray,
    propose: Callable[[FloatArray], FloatArray],
    row_norm: float,
    kept: KeptHessian | None,
    trail: Trail | Shadow | None,
) -> Evidence:
    """From a gradient measured in double precision: rounding bounded by norms where that is next to nothing, else entry by entry.

    With a Hessian that was kept, and curvatures that changed little since, no product with the Hessian of today is needed.
    """
    for enclose, multiply in ((gradient_by_norms, product_by_norms), (enclose_gradient, enclose_hessian_product)):
        gradient, scores = enclose(problem, w)
        modulus = proved_modulus(problem, scores, None)
        if kept is not None:
            step = np.array(propose(gradient.value.copy()))
            found = by_drift(problem, gradient, curvature_drift(problem, scores, kept), step, kept, row_norm)
            precise = gradient.error <= _NEGLIGIBLE * modulus * found.length
            if precise and found.defect <= _WORTHWHILE * found.length:
                break
        product = partial(multiply, problem, scores)
        step, applied = _refined_proposal(gradient, product, propose, modulus)
        found = by_product(gradient, modulus, step, applied)
        if gradient.error + applied.error <= _NEGLIGIBLE * modulus * found.length:
            break
    fresh = None if kept is None else begin(trail, problem, w, gradient, scores)
    return Evidence(gradient, modulus, found, fresh)


def _refined_proposal(
    gradient: Enclosed,
    product: Callable[[FloatArray], Enclosed],
    propose: Callable[[FloatArray], FloatArray],
    modulus: float,
) -> tuple[FloatArray, Enclosed]:
    """A step from an approximate inverse, corrected by its own measured defect while that would loosen the bound.

    Each correction costs one product with the Hessian and divides the defect by what the approximate inverse is worth.
    """
    # copies: a solver that works in place must not reach what the bound is computed from
    step = np.array(propose(gradient.value.copy()))
    applied = product(step)
    for _ in range(_CORRECTIONS):
        defect = gradient.value - applied.value
        if not norm_upper(defect) > _WORTHWHILE * modulus * norm_upper(step):
            break
        corrected = step + propose(defect.copy())
        following = product(corrected)
        if not norm_upper(gradient.value - following.value) < norm_upper(defect):
            break
        step, applied = corrected, following
    return step, applied
