"""What the result is held against: direct solves (4), fresh weights (7), the original where nothing is asked (13)."""

import numpy as np

from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import CertifyError, ConfigurationError, InputError
from certify.unlearners.conformance.beds import Bed, Numbers, same, size
from certify.unlearners.conformance.findings import Finding, fails, passes, spares
from certify.unlearners.conformance.trials import Trials
from certify.unlearners.evidence import Claim
from certify.unlearners.task import Request

_EXACT = 1e-6
_NEAR = 0.1
_STAYS = 1e-6


def linear_oracle(trials: Trials) -> Finding:
    """4. On ridge and logistic regression and on linear least squares the method agrees with a direct solve on what is kept.

    A method that claims to be exact is within 1e-6 of the solution. One of second order removes nine tenths of the original's
    distance (one that draws batches of a network: only with the ``oracle`` knobs it declares), or as much as it declares for its ``oracle`` knobs.
    """
    method = trials.method
    if method.family not in {"exact", "second-order"}:
        return spares(f"declared {method.family}, which solves no linear model exactly")
    notes = []
    for name, left in [*_on_convex(trials), *_on_network(trials)]:
        limit = _limit(trials, network=name == "least squares")
        if not left <= limit:
            return fails(f"{name}: {left:.2g} of the original's distance to the direct solve is left, above {limit:g}")
        notes.append(f"{name} {left:.1g}")
    if not notes:
        return spares("the method is for no linear model")
    return passes(f"distance to the direct solve over the original's: {', '.join(notes)}")


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
            if np.mean(value == start[name]) > 0.05:
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
    beds = _linear_beds(trials)
    for bed in beds:
        try:
            Request.at(bed.named, nothing)
        except InputError:
            pass
        else:
            return fails("Request.at lets an empty request in")
        empty = bed.forgetting(Request(nothing), "nobody to forget")
        try:
            found = empty.numbers(trials.run(empty, _oracle_knobs(trials, bed)))
        except CertifyError:
            continue
        if not same(found, empty.start(), _STAYS):
            return fails(f"{bed.name}: the original moves although nothing is to be forgotten")
    return passes("the original stays where it is") if beds else spares("the method is for no linear model")


def _on_convex(trials: Trials) -> list[tuple[str, float]]:
    from certify.unlearners.conformance.convex_beds import ConvexBed

    found = []
    for bed in trials.beds("convex"):
        assert isinstance(bed, ConvexBed)
        target = {"coef": bed.optimum(bed.retained())}
        found.append((bed.name, _left(bed.start(), bed.numbers(trials.run(bed)), target)))
    return found


def _on_network(trials: Trials) -> list[tuple[str, float]]:
    if trials.method.claim == Claim.EXACT and not trials.method.needs_original:
        return []  # trains by a recipe, which is not a solver
    if trials.method.stochastic and trials.method.conformance.oracle is None:
        return []  # steps from batches end near a solution only with knobs that the method has to name
    found = []
    for bed in _linear_beds(trials):
        if bed.kind == "network":
            from certify.unlearners.conformance.network_beds import least_squares

            rows = bed.retained()
            solution: FloatArray = least_squares(bed.records[rows], np.asarray(bed.task.y)[rows])
            target: dict[str, AnyArray] = {"head.weight": solution[None, :-1], "head.bias": solution[-1:]}
            result = trials.run(bed, _oracle_knobs(trials, bed))
            found.append((bed.name, _left(bed.start(), bed.numbers(result), target)))
    return found


def _linear_beds(trials: Trials) -> list[Bed]:
    """The convex beds, and least squares as a network where the method takes it."""
    found = trials.beds("convex")
    if "network" in trials.method.kinds and (trials.method.needs_original or "convex" not in trials.method.kinds):
        from certify.unlearners.conformance.network_beds import least_squares_bed

        bed = least_squares_bed()
        try:
            trials.run(bed, _oracle_knobs(trials, bed))
        except ConfigurationError:
            return found
        return [*found, bed]
    return found


def _oracle_knobs(trials: Trials, bed: Bed) -> dict[str, object]:
    return dict(trials.method.conformance.oracle or {}) if bed.kind == "network" else {}


def _limit(trials: Trials, *, network: bool) -> float:
    if trials.method.claim == Claim.EXACT:
        return _EXACT
    if network and trials.method.conformance.oracle is not None:
        return trials.method.conformance.tolerance
    return 0.5 if trials.method.stochastic else _NEAR


def _left(start: Numbers, found: Numbers, target: Numbers) -> float:
    """What is left of the distance to the target, 1 where nothing happened."""
    after, before = (
        sum(float(np.sum((side[name] - value) ** 2)) for name, value in target.items()) ** 0.5
        for side in (found, start)
    )
    return float(after / max(before, 1e-12 * size(target)))
