"""Every condition of the theorem, and how it is known to hold: verified, declared or violated."""

from certify.convex.losses.base import FUNCTION_ERROR, UNIT
from certify.convex.selftest import function_error
from certify.core.rounding import format_lower, format_plain, format_upper
from certify.data.copies import NEARNESS
from certify.gate.inputs import Inputs
from certify.gate.measure import Measurement
from certify.gate.spec import PolicySpec
from certify.reports.schema import Assumption

_NOISE = {
    "isotropic": "The release adds fresh Gaussian noise of the policy's noise_std to every weight, drawn once, after this check, from the operating system's entropy.",
    "curvature": "The release adds fresh Gaussian noise of covariance noise_std^2 M^-1 to the weights, drawn once, after this check, from the operating system's entropy.",
}


def assumptions(
    inputs: Inputs, policy: PolicySpec, measured: Measurement | None, refusal: str | None, copies: int, near: int | None
) -> tuple[Assumption, ...]:
    """Every condition of the theorem, and how it is known to hold."""
    parts = [
        _records(inputs),
        _delta(inputs, policy),
        _convex(inputs, measured, refusal),
        *_concordant(inputs, measured),
    ]
    return (*parts, *_shaped(measured), *_arithmetic(measured), _copies(copies, near), *_declared(inputs, policy))


def _records(inputs: Inputs) -> Assumption:
    return Assumption(
        id="retained-records",
        statement="The gradient is taken over exactly the retained records.",
        status="verified",
        evidence=f"{inputs.problem.records:,} records read; none of the {len(inputs.forgotten):,} forgotten ids is among them",
    )


def _delta(inputs: Inputs, policy: PolicySpec) -> Assumption:
    limit = 1 / inputs.problem.records
    return Assumption(
        id="small-delta",
        statement="delta is below one over the number of retained records.",
        status="verified" if policy.delta < limit else "violated",
        evidence=f"{format_plain(policy.delta)} against {format_lower(limit)}",
    )


def _convex(inputs: Inputs, measured: Measurement | None, refusal: str | None) -> Assumption:
    return Assumption(
        id="strong-convexity",
        statement="The objective is strongly convex, so that there is one minimiser to compare with.",
        status="violated" if measured is None else "verified",
        evidence=refusal or "not measured"
        if measured is None
        else f"{_modulus_name(inputs)} at least {measured.bound.modulus}",
    )


def _concordant(inputs: Inputs, measured: Measurement | None) -> tuple[Assumption, ...]:
    """Needed only where a bound of that kind gave the distance."""
    if measured is None or measured.bound.distance == measured.bound.strong_convexity:
        return ()
    if not inputs.objective.smooth:
        return (_dual(inputs, measured),)
    constant = inputs.objective.loss_function.constants.self_concordance
    evidence = f"R = {format_upper(constant)} x row norm {measured.bound.max_row_norm}; R nu / sqrt(s) = {measured.bound.radius}"
    statement = (
        "The loss is generalised self-concordant: curvature at the weights bounds curvature up to the retrained ones."
    )
    return (Assumption(id="self-concordance", statement=statement, status="verified", evidence=evidence),)


def _shaped(measured: Measurement | None) -> tuple[Assumption, ...]:
    if measured is None or measured.shaped is None:
        return ()
    shape = Assumption(
        id="noise-shape",
        statement="The covariance of the noise depends on the retained records and the objective alone, which both worlds share.",
        status="verified",
        evidence="M is the Hessian at w = 0 on the retained records, the same to the last bit in any order of the records; neither the weights nor the forgotten records enter it",
    )
    ratio = Assumption(
        id="noise-curvature",
        statement="The curvature at these weights is at least a proven part of that of the noise.",
        status="verified",
        evidence=f"H >= {measured.shaped.ratio} M; distance in the norm of M at most {measured.shaped.distance}",
    )
    # without a Hessian no ratio is needed: the distance in M's norm is the Euclidean one times the norm of R
    return (shape, ratio) if measured.shaped.ratio > 0 else (shape,)


def _dual(inputs: Inputs, measured: Measurement) -> Assumption:
    """What the duality gap needs, where the objective has kinks."""
    return Assumption(
        id="duality-gap",
        statement="The dual point is feasible, and every parameter is penalised.",
        status="verified",
        evidence=f"dual variables clipped into their bounds; l2 = {format_plain(inputs.objective.l2)}{_sparse(inputs)}; bound from the gap {measured.bound.duality_gap}",
    )


def _modulus_name(inputs: Inputs) -> str:
    """What the modulus bounds: there is no Hessian where the objective has kinks."""
    return "modulus of strong convexity" if inputs.objective.bent else "smallest eigenvalue of the Hessian"


def _sparse(inputs: Inputs) -> str:
    return "" if inputs.objective.l1 == 0 else f", l1 = {format_plain(inputs.objective.l1)}"


def _arithmetic(measured: Measurement | None) -> tuple[Assumption, ...]:
    if measured is None:
        return ()
    error = Assumption(
        id="rounding",
        statement="The rounding error of the gradient is included in the bound.",
        status="verified",
        evidence=f"proven error {measured.bound.rounding} on a computed norm of {format_upper(measured.bound.residual_norm)}",
    )
    functions = Assumption(
        id="functions",
        statement="This machine's exp and its relatives are as exact as the bound grants.",
        status="verified",
        evidence=f"tried before the check: relative error at most {format_upper(function_error())} x 2^-53, {FUNCTION_ERROR / UNIT:.0f} x 2^-53 granted",
    )
    model = Assumption(
        id="arithmetic",
        statement="The machine rounds as IEEE 754 says and matrix products obey the standard error model.",
        status="declared",
        evidence="property of the processor and of the numerical libraries",
    )
    return error, functions, model


def _copies(copies: int, near: int | None) -> Assumption:
    """Copies are somebody else's as far as anyone can tell from the data; how many there are is measured."""
    return Assumption(
        id="copies",
        statement="Retained records that equal a forgotten one, or nearly so, belong to somebody else.",
        status="verified" if copies == 0 and near == 0 else "declared",
        evidence=_copies_found(copies, near),
    )


def _copies_found(copies: int, near: int | None) -> str:
    equal = f"{_counted(copies, 'equals', 'equal')} a forgotten one in every feature and in the target"
    close = f"{_counted(near or 0, 'lies', 'lie')} within {NEARNESS:g} standard deviations of a forgotten one in every feature and in the target"
    if copies == 0 and near == 0:
        return "no exact or near copy found"
    if near is None:
        return f"{equal}; near copies were not searched for (too many records to compare)"
    found = [words for count, words in ((copies, equal), (near, close)) if count]
    return "; ".join(found) + "; they were not removed, and the certificate does not cover them"


def _counted(count: int, singular: str, plural: str) -> str:
    return f"{count:,} retained record {singular}" if count == 1 else f"{count:,} retained records {plural}"


def _declared(inputs: Inputs, policy: PolicySpec) -> tuple[Assumption, ...]:
    items = (
        (
            "objective",
            "The declared objective is the one a retraining would minimise.",
            f"{inputs.objective.formula}, l2 = {format_plain(inputs.objective.l2)}{_sparse(inputs)}",
        ),
        (
            "preprocessing",
            "The features of the retained records do not depend on the forgotten ones (no scaler, encoder or selection fitted with them).",
            "declared by whoever wrote the spec",
        ),
        (
            "hyper-parameters",
            "Loss, l2 and noise were fixed without looking at who asks to be forgotten.",
            f"noise_std {format_plain(policy.noise_std)} from the policy file",
        ),
        (
            "noise",
            _NOISE[policy.noise_shape],
            "done by `certify release`, or by whoever releases the model",
        ),
    )
    return tuple(
        Assumption(id=name, statement=statement, status="declared", evidence=evidence)
        for name, statement, evidence in items
    )
