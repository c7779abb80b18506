"""Whether what is said is so: knobs act (10), budgets bind and the counts are true (14)."""

from dataclasses import fields, replace
from typing import Any

from certify.core.errors import BudgetExceededError, CertifyError
from certify.unlearners.conformance.beds import Bed, same
from certify.unlearners.conformance.findings import Finding, fails, passes
from certify.unlearners.conformance.trials import Trials
from certify.unlearners.evidence import Budget

_ACTS = 1e-10
"""A smaller relative change of the result is rounding."""

_LIMITS = {
    "convex": {"gradients": "gradients", "hessians": "hessians"},
    "network": {"gradients": "sample_gradients", "forwards": "sample_forwards", "products": "sample_products"},
}


def knob_liveness(trials: Trials) -> Finding:
    """10. Each knob changes the result, or makes the method refuse, on some bed and beside some words of the other knobs.

    Public ports accept and ignore knobs: a number of max-steps, a forget batch size.
    """
    dead = []
    for knob in fields(trials.method):
        if knob.name in trials.inert() or trials.has_no_choice(knob.name):
            continue
        alternatives = trials.alternatives(knob.name)
        if not alternatives:
            return fails(f"no other value of {knob.name} is accepted; declare one in conformance.others")
        if not any(_acts(trials, bed, knob.name, alternatives) for bed in trials.beds()):
            dead.append(knob.name)
    if dead:
        return fails(f"accepted and ignored: {', '.join(dead)}")
    return passes(f"{len(fields(trials.method))} knobs, each of which acts")


def budget(trials: Trials) -> Finding:
    """14. A budget of what a run costs lets it through unchanged, one less stops it, and nothing is done that is not counted."""
    for bed in trials.beds():
        free = trials.run(bed)
        for kind, limit in _LIMITS[bed.kind].items():
            used = free.evidence.counts[kind]
            trouble = _binds(trials, bed, limit, used)
            if trouble:
                return fails(f"{bed.name}: {trouble}")
        trouble = _uncounted_convex(trials, bed) if bed.kind == "convex" else _uncounted_records(trials, bed)
        if trouble:
            return fails(f"{bed.name}: {trouble}")
    return passes("budgets bind, and an independent count agrees")


def _acts(trials: Trials, bed: Bed, knob: str, alternatives: list[Any]) -> bool:
    for context in trials.contexts(knob):
        try:
            base = bed.numbers(trials.run(bed, context))
        except CertifyError:
            continue
        for value in alternatives:
            try:
                found = bed.numbers(trials.run(bed, {**context, knob: value}))
            except CertifyError:
                return True
            if not same(base, found, _ACTS):
                return True
    return False


def _binds(trials: Trials, bed: Bed, limit: str, used: int) -> str:
    try:
        enough = trials.run_anew(bed, budget=Budget(**{limit: used}))
    except BudgetExceededError:
        return f"a budget of the {used} {limit} that a run uses stops it"
    if not same(bed.numbers(enough), bed.numbers(trials.run(bed))):
        return f"a budget of {limit} that suffices changes the result"
    if used == 0:
        return ""
    try:
        trials.run_anew(bed, budget=Budget(**{limit: used - 1}))
    except BudgetExceededError:
        return ""
    return f"a budget of {used - 1} {limit} does not stop a run that uses {used}"


def _uncounted_convex(trials: Trials, bed: Bed) -> str:
    from certify.unlearners.conformance.convex_beds import ConvexBed, watched

    assert isinstance(bed, ConvexBed)
    odd, seen = watched(bed)
    counts = trials.build().forget(odd.task, odd.request).evidence.counts
    for kind, true in seen.items():
        if true > counts[kind]:
            return f"{true} {kind} over the records and {counts[kind]} in the evidence"
    return ""


def _uncounted_records(trials: Trials, bed: Bed) -> str:
    """Records that went through the model: at most one forward pass for a gradient or an output, two for a product."""
    from certify.unlearners.conformance.network_beds import Odometer

    seen = [0]
    architecture = bed.task.architecture
    task = replace(
        bed.task,
        model=Odometer(bed.copied().task.model, seen),
        initial=None if bed.task.initial is None else Odometer(bed.task.initial, seen),
        architecture=lambda: Odometer(architecture(), seen),
    )
    seen[0] = 0  # building a task sends a record through the model
    counts = trials.build().forget(task, bed.request).evidence.counts
    least = counts["gradients"] + counts["forwards"]
    most = least + 2 * counts["products"]
    if seen[0] > most:
        return f"{seen[0]} records passed through the model and the evidence accounts for {most}"
    if seen[0] < least:
        return f"{seen[0]} records passed through the model and the evidence charges for {least}"
    return ""
