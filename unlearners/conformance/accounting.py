"""Whether what is said is so: knobs act (10), budgets bind and the counts are true (14)."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from certify.core.errors import BudgetExceededError, CertifyError
from certify.unlearners.conformance.beds import Bed, same
from certify.unlearners.conformance.findings import Finding, fails, passes
from certify.unlearners.conformance.trials import Trials
from certify.unlearners.evidence import Budget
from certify.unlearners.interface import Result

_ACTS = 1e-10
"""A smaller relative change of the result is rounding."""

_LIMITS = {
    "convex": {"gradients": "gradients", "hessians": "hessians"},
    "network": {"gradients": "sample_gradients", "forwards": "sample_forwards", "products": "sample_products"},
}


def knob_liveness(trials: Trials) -> Finding:
    """10. Each knob changes the result, or makes the method refuse, on some bed and beside some words of the other knobs.

    Looked at where records are forgotten from the original, from one that is no minimiser, and on linear least squares. Knobs of the
    report change the report instead, and only that. Public ports accept and ignore knobs: a number of max-steps, a forget batch size.
    """
    dead, meddling = [], []
    for knob in fields(trials.method):
        if knob.name in trials.inert() or trials.has_no_choice(knob.name):
            continue
        alternatives = trials.alternatives(knob.name)
        if not alternatives:
            return fails(f"no other value of {knob.name} is accepted; declare one in conformance.others")
        acts = any(_acts(trials, bed, knob.name, alternatives) for bed in _places(trials))
        if knob.name not in trials.method.conformance.reports:
            dead += [] if acts else [knob.name]
        elif acts:
            meddling.append(knob.name)
        elif not any(_tells(trials, bed, knob.name, alternatives) for bed in trials.beds()):
            dead.append(knob.name)
    if dead:
        return fails(f"accepted and ignored: {', '.join(dead)}")
    if meddling:
        return fails(f"declared to change the report alone, and not so: {', '.join(meddling)}")
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


def _places(trials: Trials) -> Iterator[Bed]:
    """Beds on which a knob may act, made as they are needed."""
    beds = trials.beds()
    yield from beds
    yield from (bed.spoiled_original() for bed in beds)
    yield from trials.linear_beds("network")


def _tells(trials: Trials, bed: Bed, knob: str, alternatives: list[Any]) -> bool:
    """Whether the claim or what the solver says depends on the knob, and on nothing else."""
    if _told(trials.run(bed)) != _told(trials.run_anew(bed)):
        return False
    return any(_told(trials.run(bed)) != _told(trials.run(bed, {knob: value})) for value in alternatives)


def _told(result: Result) -> tuple[Any, ...]:
    return result.claim, result.reason, result.evidence.solver


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
    from certify.unlearners.conformance.network_beds import NetworkBed

    assert isinstance(bed, NetworkBed)
    own, seen = bed.watched()
    ready = own.prepared(trials.build(), 0)
    seen.count = 0  # what a preparation costs is no cost of the request
    counts = trials.build().forget(ready.task, bed.request).evidence.counts
    least = counts["gradients"] + counts["forwards"]
    most = least + 2 * counts["products"]
    if seen.count > most:
        return f"{seen.count} records passed through the model and the evidence accounts for {most}"
    if seen.count < least:
        return f"{seen.count} records passed through the model and the evidence charges for {least}"
    return ""
