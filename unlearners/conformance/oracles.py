"""What the result is held against: direct solves (4), fresh weights (7), the original where nothing is asked (13)."""

import numpy as np

from certify.core.arrays import FloatArray
from certify.core.errors import CertifyError, InputError
from certify.unlearners.conformance.beds import Bed, Numbers, namesakes, same, size
from certify.unlearners.conformance.findings import Finding, fails, passes, spares
from certify.unlearners.conformance.trials import Trials
from certify.unlearners.evidence import Claim
from certify.unlearners.probe import Knobs
from certify.unlearners.task import Request

_EXACT = 1e-6
_NEAR = 0.1
_HALF = 0.5
_STAYS = 1e-6


def linear_oracle(trials: Trials) -> Finding:
    """4. On ridge and logistic regression and on linear least squares the method agrees with a direct solve on what is kept.

    A method, or a run, that claims to be exact is within 1e-6 of the solution. A method of second order removes nine tenths of
    the original's distance (one that draws: half); with the ``oracle`` knobs it declares it is within 1e-6 on quadratic objectives,
    and half the distance is gone without them. One that draws batches of a network is tried there with such knobs alone.
    """
    solves = trials.method.family in {"exact", "second-order"}
    notes = []
    for bed in trials.linear_beds():
        for knobs, limit in _limits(trials, bed) if solves else _claimed(trials, bed):
            left = _left(bed.start(), bed.numbers(trials.run(bed, knobs)), _solution(bed))
            if not left <= limit:
                shown = "".join(f" with {name}={value}" for name, value in knobs.items())
                return fails(
                    f"{bed.name}{shown}: {left:.2g} of the original's distance to the direct solve is left, above {limit:g}"
                )
            notes.append(f"{bed.name} {left:.1g}")
    if not notes:
        return spares(
            "the method is for no linear model"
            if solves
            else f"declared {trials.method.family}, and no run on a linear model claims to be exact"
        )
    return passes(f"distance to the direct solve over the original's: {', '.join(notes)}")


def _claimed(trials: Trials, bed: Bed) -> list[tuple[Knobs, float]]:
    """Of a method that need not solve anything: what a run claims."""
    try:
        return [({}, _EXACT)] if trials.run(bed).claim == Claim.EXACT else []
    except CertifyError:  # other checks say so
        return []


def fresh_init(trials: Trials) -> Finding:
    """7. What trains again from nothing does so: no trained tensor survives, the original's numbers do not matter, seeds differ.

    A public "retrain" reset the top-level modules that own a reset: the head, 0.05 % of the weights.
    """
    method = trials.method
    if method.needs_original and not (method.claim == Claim.EXACT and "network" in method.kinds):
        return spares("starts from the original and does not claim to train anew")
    for bed in trials.beds():
        other = bed.spoiled_original()
        here, there = bed.numbers(trials.run(bed)), other.numbers(trials.run(other))
        if not same(here, there, 1e-9 if bed.kind == "convex" else 0.0):
            return fails(f"{bed.name}: the original's numbers reach the result")
        if bed.kind == "convex":
            continue
        start, again = bed.start(), bed.numbers(trials.run(bed, seed=1))
        for name, value in here.items():
            if value.size < 2 or value.dtype.kind != "f":
                continue
            if any(np.mean(value == old) > 0.05 for old in namesakes(start, name, value.shape)):
                return fails(f"{bed.name}: {name} still holds numbers of the original")
            if np.array_equal(value, again[name]):
                return fails(f"{bed.name}: two seeds give the same {name}")
    return passes("nothing of the original is left")


def empty_request(trials: Trials) -> Finding:
    """13. To forget nothing is refused at the door and costs nothing; let in, it leaves an exact or Newton method where it was.

    The original is the minimiser on all records. A step scaled by the wrong number of records, or a regulariser counted twice,
    moves away from it.
    """
    method = trials.method
    nothing = np.zeros(0, dtype=np.int64)
    if method.family not in {"exact", "second-order"} or trials.method.stochastic:
        return spares("neither an exact nor a deterministic second-order method")
    beds = trials.linear_beds()
    for bed in beds:
        try:
            Request.at(bed.named, nothing)
        except InputError:
            pass
        else:
            return fails("Request.at lets an empty request in")
        empty = bed.forgetting(Request(nothing), "nobody to forget")
        try:
            found = empty.numbers(trials.run(empty, method.conformance.oracle if bed.kind == "network" else None))
        except CertifyError:
            continue
        if not same(found, empty.start(), _STAYS):
            return fails(f"{bed.name}: the original moves although nothing is to be forgotten")
    return passes("the original stays where it is") if beds else spares("the method is for no linear model")


def _limits(trials: Trials, bed: Bed) -> list[tuple[Knobs, float]]:
    """What may be left of the original's distance, by knobs."""
    method = trials.method
    oracle, drawn = method.conformance.oracle, method.stochastic
    if bed.kind == "network" and (
        (method.claim == Claim.EXACT and not method.needs_original)  # trains by a recipe, which is not a solver
        or (
            drawn and oracle is None
        )  # steps from batches end near a solution only with knobs that the method has to name
    ):
        return []
    usual = _EXACT if method.claim == Claim.EXACT else _HALF if drawn else _NEAR
    if oracle is None:
        return [({}, usual)]
    found: list[tuple[Knobs, float]] = [(oracle, _EXACT if bed.quadratic else usual)]
    return found if bed.kind == "network" and drawn else [*found, ({}, max(usual, _HALF))]


def _solution(bed: Bed) -> Numbers:
    """The minimiser on what is kept, by a solver that is none of the toolkit's."""
    rows = bed.retained()
    if bed.kind == "convex":
        from certify.unlearners.conformance.convex_beds import ConvexBed

        assert isinstance(bed, ConvexBed)
        return {"coef": bed.optimum(rows)}
    from certify.unlearners.conformance.network_beds import least_squares

    solution: FloatArray = least_squares(bed.records[rows], np.asarray(bed.task.y)[rows])
    return {"head.weight": solution[None, :-1], "head.bias": solution[-1:]}


def _left(start: Numbers, found: Numbers, target: Numbers) -> float:
    """What is left of the distance to the target, 1 where nothing happened."""
    after, before = (
        sum(float(np.sum((side[name] - value) ** 2)) for name, value in target.items()) ** 0.5
        for side in (found, start)
    )
    return float(after / max(before, 1e-12 * size(target)))
