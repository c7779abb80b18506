"""What the result may not depend on: the order of records (3), batch sizes and small requests (8), chance and company (11)."""

import numpy as np

from certify.core.streams import stream
from certify.unlearners.conformance.beds import Bed, difference, same, size
from certify.unlearners.conformance.findings import Finding, fails, passes, spares
from certify.unlearners.conformance.trials import Trials
from certify.unlearners.evidence import Claim
from certify.unlearners.interface import Result
from certify.unlearners.probe import Knobs
from certify.unlearners.task import Request

_ORDER = 1e-5
_BATCHES = 1e-6


def permutation(trials: Trials) -> Finding:
    """3. A deterministic or one-shot method gives the same model for the same records in another order, up to 1e-5.

    A public recursion for the inverse Fisher matrix gave a direction along the first record's gradient, whatever came after.
    """
    beds = [bed for bed in trials.beds() if trials.is_settled(bed)]
    if not beds:
        return spares("declares neither a deterministic nor a one-shot method: the order of the records is drawn")
    for bed in beds:
        order = stream(1, "conformance/order").permutation(len(bed.records))
        here, there = (side.numbers(trials.run(side)) for side in (bed, bed.permuted(order)))
        if not same(here, there, _ORDER):
            return fails(f"{bed.name}: the order of the records moves the result by {difference(here, there):.2g}")
    return passes("the order of the records does not matter")


def batch_size(trials: Trials) -> Finding:
    """8. Knobs of speed or memory leave the result alone; a request of one record, or of less than a batch, is forgotten too.

    A public importance was the square of a batch's mean gradient, 1/B of the mean square; public loops skipped or refused a
    forget set smaller than a batch.
    """
    for bed in trials.beds():
        trouble = _meddles(trials, bed) or ("" if trials.is_control else _overlooks(trials, bed))
        if trouble:
            return fails(f"{bed.name}: {trouble}")
    inert = trials.inert()
    return passes("small requests are forgotten" + (f"; {', '.join(inert)} leave the result alone" if inert else ""))


def _meddles(trials: Trials, bed: Bed) -> str:
    """A knob of speed or memory that changes the result, or nothing at all."""
    for knob in trials.inert():
        for value in (1, 5, 100_000):
            here, there = (bed.numbers(trials.run(bed, knobs)) for knobs in (None, {knob: value}))
            if not same(here, there, _BATCHES):
                return f"{knob}={value} moves the result by {difference(here, there):.2g}"
        if bed.kind == "network" and _passes(trials, bed, {knob: 1}) == _passes(trials, bed, {knob: 100_000}):
            return f"{knob} is accepted and ignored: the records pass through the model alike"
    return ""


def _overlooks(trials: Trials, bed: Bed) -> str:
    """A small request that changes nothing, or whose contents make no difference."""
    for few in (1, 3):
        small = bed.forgetting(Request.at(bed.named, bed.request.forgotten[:few]), f"{few} to forget")
        found = trials.run(small)
        alone = trials.method.conformance.alone if few == 1 else {}
        if same(small.numbers(trials.run(small, alone)), trials.start(small)):
            return f"a request of {few} records changes nothing"
        if trials.method.reads_forgotten and found.claim != Claim.EXACT:  # then the contents must not matter
            other = small.spoiled(small.request.forgotten)
            if same(small.numbers(found), other.numbers(trials.run(other))):
                return f"the contents of a request of {few} records make no difference"
    return ""


def _passes(trials: Trials, bed: Bed, knobs: Knobs) -> int:
    """How often the model is called."""
    from certify.unlearners.conformance.network_beds import NetworkBed

    assert isinstance(bed, NetworkBed)
    own, seen = bed.watched()
    method = trials.build(knobs)
    ready = own.prepared(method, 0)
    seen.calls = 0
    ready.run(method, 0, None)
    return seen.calls


def determinism(trials: Trials) -> Finding:
    """11. The same seed, 0 included, gives the same tensors; another seed other ones where something is drawn, alone as in a fleet.

    A public script seeded its generator only ``if seed``, so that seed 0 was none.
    """
    for bed in trials.beds():
        for seed in (0, 1):
            here, there = trials.run(bed, seed=seed), trials.run_anew(bed, seed=seed)
            if not same(bed.numbers(here), bed.numbers(there)):
                return fails(f"{bed.name}: seed {seed} gives another model each time")
        equal = same(bed.numbers(trials.run(bed)), bed.numbers(trials.run(bed, seed=1)))
        if trials.is_random(bed) and equal:
            return fails(f"{bed.name}: declared stochastic, and seeds 0 and 1 give the same model")
        if not trials.is_random(bed) and not equal:
            return fails(f"{bed.name}: declared deterministic, and seeds 0 and 1 give different models")
        if bed.kind == "network":
            alone, company = _company(trials, bed)
            if not same(alone, company, _BATCHES):
                gap = difference(alone, company) / size(alone)
                return fails(f"{bed.name}: in a fleet of two the result is another one, by {gap:.2g}")
    return passes("the seed decides, and nothing else")


def _company(trials: Trials, bed: Bed) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The result alone, and as the second of two models with requests of different sizes."""
    other = Request.at(bed.named, np.arange(1, 20))
    own = bed.copied()
    fleet: list[Result] = trials.build().forget_fleet(own.task, [other, own.request], seeds=[5, 0])
    return bed.numbers(trials.run(bed)), bed.numbers(fleet[1])
