"""What can be promised of a natural-gradient step of a linear model with canonical link."""

import math

from certify.convex.formulas import (
    RAISE,
    Facts,
    Sizes,
    componentwise,
    needs_hessian_lipschitz,
    needs_lipschitz,
    needs_modulus,
    needs_unit_weights,
    ngd_published,
    worst_case,
)
from certify.convex.losses.base import TINY
from certify.convex.onestep import proposed, start_at
from certify.convex.problem import Problem
from certify.convex.solve import DENSE_LIMIT
from certify.core.arrays import FloatArray
from certify.core.rounding import format_upper
from certify.unlearners.evidence import Meter


def promise(meter: Meter, gone: Problem, start: FloatArray, step: FloatArray, *, full: bool, corrected: bool) -> str:
    """Compute the guarantee of a step and say it in words; the numbers go to ``meter.solver``.

    ``gamma``: worst case, from the loss's constants, the norms of the records and the training residual (theorems P1 and P4);
    ``gamma_data``: from the step itself (theorem P2); ``gamma_published``: the formula of a public re-implementation, no proof;
    ``training_residual``: upper bound on ``||grad F_S(w0)||``. What the solver missed and rounding are in the first two.

    Args:
        meter: of the run; charged a gradient and two Hessians.
        gone: the forgotten records without penalty.
        start: the original weights, (K, p).
        step: what was added to them.
        full: solved with the information of all records.
        corrected: solved for the measured gradient.

    Returns:
        The reason of the claim.
    """
    if meter.problem.objective.l1 > 0:
        return "no guarantee before the fact: with an L1 term the minimiser's zeros may change"
    if meter.problem.size > DENSE_LIMIT:
        return f"no guarantee before the fact: more than {DENSE_LIMIT:,} parameters"
    meter.charge("gradients")
    meter.charge("hessians")
    meter.charge("hessians")
    known = start_at(meter.problem, gone, start)
    if known is None:
        meter.residual_norms.append(math.inf)
        return "no guarantee: the Hessian at the original weights is singular to working precision"
    meter.residual_norms.append(known.gradient.norm)
    meter.solver["training_residual"] = known.training_residual
    facts = Facts(known, proposed(known, step, full=full, corrected=corrected), Sizes(meter.problem, gone))
    missing = needs_modulus(facts) or needs_hessian_lipschitz(facts)
    if not missing:
        meter.solver["gamma_data"] = componentwise(facts) * RAISE + TINY
    missing = missing or needs_lipschitz(facts)
    if missing:
        return f"no worst-case guarantee: {missing}"
    meter.solver["gamma"] = gamma = worst_case(facts, full=full, corrected=corrected) * RAISE + TINY
    if not needs_unit_weights(facts):
        meter.solver["gamma_published"] = ngd_published(facts)
    return (
        f"within {format_upper(gamma)} of the retrained weights by the worst case, within "
        f"{format_upper(meter.solver['gamma_data'])} by the step itself (link canonical: the information is the Hessian)"
    )
