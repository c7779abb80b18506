"""The a-posteriori certificate: a proven upper bound on the distance to the retrained model.

Let ``r`` be the gradient at ``w`` of the objective on the retained records, ``H`` the Hessian there, ``s`` a lower
bound on its smallest eigenvalue, ``nu = sqrt(r' H^-1 r)`` the Newton decrement, ``R`` the self-concordance constant of the
loss times the largest row norm, ``rho = R nu / sqrt(s)``, and ``T`` any bound on ``R_loss max_i ||x_i . (w - w*)||``. Then

* strong convexity:   ``||w - w*|| <= ||r|| / l2``                                    (all parameters penalised)
* self-concordance:   ``||w - w*|| <= -ln(1 - rho) / R``                              (where rho < 1)
* refined Newton:     ``||w - w*|| <= ||H^-1 r|| + (T / (1 - e^-T) - 1) nu / sqrt(s)``

Where the loss has no R (its second derivative jumps) only the first applies. One-vs-rest heads are certified one by one and
joined: ``||w - w*||^2 = sum_k ||w_k - w_k*||^2``.

``T`` starts from the first two and is sharpened by the scores themselves: ``||x_i . e|| <= ||x_i . z|| + ||x_i|| ||e - z||``, where
records rarely lie along ``e``. Proofs: docs/theory.md. Nobody's solution of ``H z = r`` is trusted: for any z, with the measured
``c = r - H z``, ``||H^-1 r|| <= ||z|| + ||c||/s`` and ``nu^2 = r.z + z.c + c' H^-1 c <= r.z + ||z|| ||c|| + ||c||^2 / s``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from certify.convex.adapters import agreed_weights
from certify.convex.anchor import KeptHessian
from certify.convex.defect import Measured, by_product
from certify.convex.enclosure import (
    Enclosed,
    enclose_gradient,
    enclose_hessian_product,
    max_row_norm,
    norm_upper,
)
from certify.convex.gap import bound_by_gap
from certify.convex.heads import for_head, heads, join
from certify.convex.losses.base import TINY
from certify.convex.modulus import proved_modulus
from certify.convex.numbers import as_matrix
from certify.convex.objective import Objective
from certify.convex.parameters import as_parameters
from certify.convex.problem import Problem, bind
from certify.convex.proposed import proposed
from certify.convex.selftest import function_error
from certify.convex.shadow import Shadow
from certify.convex.solve import DENSE_LIMIT, newton_step
from certify.convex.trail import Trail
from certify.convex.vicinity import RAISE, Vicinity, self_concordant_bounds
from certify.core.arrays import FloatArray
from certify.core.bounds import LowerBound, UpperBound
from certify.core.errors import AssumptionViolatedError

_NOWHERE = UpperBound(math.inf)
"""Of a bound that does not apply."""


@dataclass(frozen=True, eq=False)
class DistanceBound:
    """Proven upper bounds on ``||w - w*||``; each is infinite where it does not apply.

    Attributes:
        distance: the smallest of them, rounding included.
        strong_convexity: gradient norm over the strong-convexity modulus.
        self_concordant: bound from generalised self-concordance.
        refined: Newton step length plus a second-order correction.
        residual_norm: norm of the gradient as computed.
        rounding: proven bound on the error of that gradient.
        newton_decrement: upper bound on ``sqrt(r' H^-1 r)``.
        radius: ``R nu / sqrt(s)``; below 1, Newton's method from here converges quadratically, provably.
        modulus: verified lower bound on the smallest eigenvalue of the Hessian at w.
        max_row_norm: largest row norm, rounded up.
        newton_step: the step that was proposed and measured, (K, p); ``w - newton_step`` is the next iterate. Where F has
            kinks, the step to the reference point.
        residual: the gradient as computed, (K, p); the smallest subgradient where F is not differentiable.
        duality_gap: bound from the duality gap and a reference point, for kinked losses and an L1 term.
        trail: what the next certificate may start from, where a trail was asked for.
    """

    distance: UpperBound
    strong_convexity: UpperBound
    self_concordant: UpperBound
    refined: UpperBound
    residual_norm: float
    rounding: UpperBound
    newton_decrement: UpperBound
    radius: UpperBound
    modulus: LowerBound
    max_row_norm: UpperBound
    newton_step: FloatArray = field(repr=False)
    residual: FloatArray = field(repr=False)
    duality_gap: UpperBound = _NOWHERE
    trail: Trail | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, object]:
        """Everything but the trail: that holds the records, those that left among them, and is for memory alone."""
        return vars(self) | {"trail": None}


def bound_distance(objective: Objective, X: Any, y: Any, w: Any, sample_weight: Any = None) -> DistanceBound:
    """Bound the Euclidean distance of ``w`` to the exact minimiser of the objective on the retained records.

    Args:
        objective: the declared objective, sum convention.
        X: features of the *retained* records, (n, d).
        y: their targets, (n,).
        w: weights (d,) or (K, d), with the intercept as last column or as a pair (coef, intercept), or a fitted
            scikit-learn estimator (or another model that :func:`certify.adapt` reads), refused when its own objective is not the
            declared one. Lower precision than float64 is converted exactly: certified as stored.
        sample_weight: (n,), all 1 when absent.

    Raises:
        InputError: arrays that do not fit together.
        AssumptionViolatedError: ``l2 <= 0``, an intercept without penalty and without a provable modulus, or a model that
            minimised something else.

    Example:
        The minimiser of ``(w - 3)^2/2 + w^2/2`` is 1.5; from w = 2 the refined bound is its distance, 0.5.

        >>> bound = bound_distance(Objective("squared", l2=1.0), [[1.0]], [3.0], [2.0])
        >>> 0.5 <= bound.distance < 0.5000001
        True
    """
    matrix = as_matrix(X)
    plain = agreed_weights(objective, w, matrix.shape[0], sample_weight)
    parameters = as_parameters(objective, plain, matrix.shape[1])
    return certify_parameters(bind(objective, matrix, y, len(parameters), sample_weight), parameters)


def certify_parameters(
    problem: Problem,
    w: FloatArray,
    propose: Callable[[FloatArray], FloatArray] | None = None,
    row_norm: float | None = None,
    kept: KeptHessian | None = None,
    trail: Trail | Shadow | None = None,
) -> DistanceBound:
    """:func:`bound_distance` for a problem and parameters (K, p) that were checked before.

    Args:
        problem: objective and retained records.
        w: parameters.
        propose: an approximate inverse of the Hessian to use instead of factoring it here, for example a factor kept from
            training (:class:`certify.convex.solve.Factor`). Untrusted; the modulus is then l2 alone.
        row_norm: an upper bound on the row norms that is already known, for example of a larger set of records.
        kept: a Hessian of the same records from earlier, with its proven error; used with a proposal only.
        trail: the ``trail`` of an earlier certificate nearby, which spares the pass over the records in double precision as long as its
            errors are small; or the records' shadow, to begin one. Used with a kept Hessian only.
    """
    if not problem.objective.l2 > 0:
        raise AssumptionViolatedError(
            f"l2 is {problem.objective.l2:g}: without strong convexity there is no certificate",
            where="objective.l2",
            mend="train with l2 > 0 and declare it",
        )
    function_error()
    parts = heads(problem)
    if parts:
        row_norm = max_row_norm(problem) if row_norm is None else row_norm
        return join(
            [certify_parameters(part, w[[k]], for_head(propose, k, w), row_norm) for k, part in enumerate(parts)]
        )
    if problem.objective.bent:
        return _by_gap(problem, w, row_norm)
    bound = _by_gradient(problem, w, propose, row_norm, kept, trail)
    if problem.objective.smooth or not float(problem.penalty.min()) > 0:
        return bound
    gap = UpperBound(bound_by_gap(problem, w).duality_gap)  # no Newton bound applies where the second derivative jumps
    return replace(bound, duality_gap=gap, distance=min(bound.distance, gap))


def _by_gradient(
    problem: Problem,
    w: FloatArray,
    propose: Callable[[FloatArray], FloatArray] | None,
    known_row_norm: float | None,
    kept: KeptHessian | None,
    trail: Trail | Shadow | None,
) -> DistanceBound:
    """The three bounds from the gradient, and from the Hessian where there is one."""
    row_norm = max_row_norm(problem) if known_row_norm is None else known_row_norm
    if propose is not None:
        evidence = proposed(problem, w, propose, row_norm, kept, trail)
        bound = _assemble(problem, evidence.gradient, evidence.modulus, evidence.measured, row_norm)
        return replace(bound, trail=evidence.trail)
    gradient, scores = enclose_gradient(problem, w)
    hessian = problem.hessian(w) if problem.size <= DENSE_LIMIT else None
    modulus = proved_modulus(problem, scores, hessian)
    step = newton_step(problem, w, gradient.value, hessian)
    found = by_product(gradient, modulus, step, enclose_hessian_product(problem, scores, step))
    return _assemble(problem, gradient, modulus, found, row_norm)


def _by_gap(problem: Problem, w: FloatArray, row_norm: float | None) -> DistanceBound:
    """Where slopes jump: no Hessian, so l2 is all the curvature there is, and no Newton bound applies."""
    bound = bound_by_gap(problem, w)
    return DistanceBound(
        distance=UpperBound(min(bound.subgradient, bound.duality_gap)),
        strong_convexity=UpperBound(bound.subgradient),
        self_concordant=_NOWHERE,
        refined=_NOWHERE,
        residual_norm=norm_upper(bound.residual.value),
        rounding=UpperBound(bound.residual.error),
        newton_decrement=_NOWHERE,
        radius=_NOWHERE,
        modulus=LowerBound(problem.objective.l2),
        max_row_norm=UpperBound(max_row_norm(problem) if row_norm is None else row_norm),
        newton_step=bound.step,
        residual=bound.residual.value,
        duality_gap=UpperBound(bound.duality_gap),
    )


def _assemble(
    problem: Problem,
    gradient: Enclosed,
    modulus: float,
    found: Measured,
    row_norm: float,
) -> DistanceBound:
    penalised = float(problem.penalty.min())
    strong = gradient.norm / penalised * RAISE if penalised > 0 else math.inf
    constant = problem.objective.loss_function.constants.self_concordance
    curvature_change = constant * max(row_norm, TINY) * RAISE if constant else 0.0  # infinite where l'' jumps
    radius = curvature_change * found.decrement / math.sqrt(modulus) * RAISE if constant else 0.0
    near = Vicinity(
        newton_norm=min(found.length + found.defect, gradient.norm / modulus) * RAISE,
        scaled=found.decrement / math.sqrt(modulus) * RAISE,
        defect=found.defect,
        reach=found.reach,
        row_norm=row_norm,
        constant=constant,
    )
    concordant, refined = self_concordant_bounds(near, radius, strong)
    bounds = [value + TINY if math.isfinite(value) else math.inf for value in (strong, concordant, refined)]
    return DistanceBound(
        distance=UpperBound(min(bounds)),
        strong_convexity=UpperBound(bounds[0]),
        self_concordant=UpperBound(bounds[1]),
        refined=UpperBound(bounds[2]),
        residual_norm=norm_upper(gradient.value),
        rounding=UpperBound(gradient.error),
        newton_decrement=UpperBound(found.decrement),
        radius=UpperBound(radius),
        modulus=LowerBound(modulus),
        max_row_norm=UpperBound(row_norm),
        newton_step=found.step,
        residual=gradient.value,
    )
