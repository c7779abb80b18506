"""What the method may not touch: weights behind a mask (5), records of the past (6), whatever is the caller's (12)."""

import math
from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from certify.core.errors import CertifyError
from certify.unlearners.conformance.beds import Bed, namesakes, same
from certify.unlearners.conformance.findings import Finding, fails, passes, spares
from certify.unlearners.conformance.process import watched_process
from certify.unlearners.conformance.trials import Trials
from certify.unlearners.evidence import Claim

if TYPE_CHECKING:
    from certify.unlearners.conformance.network_beds import NetworkBed


def mask_integrity(trials: Trials) -> Finding:
    """5. What may not move stays bit for bit, under momentum, weight decay and Adam too; buffers move by retained records alone.

    Public masks multiplied the gradient, and momentum and weight decay moved the weights all the same. Forget passes in
    training mode shift batch normalisation, which a comparison of parameters does not see.
    """
    if "network" not in trials.method.kinds:
        return spares("linear models have neither masks nor buffers")
    from certify.unlearners.conformance.network_beds import NetworkBed

    for bed in trials.beds("network"):
        assert isinstance(bed, NetworkBed)
        trouble = _outside(trials, bed) or _leaks(trials, bed) or _statistics(trials, bed) or _accounts(trials, bed)
        if trouble:
            return fails(f"{bed.name}: {trouble}")
    return passes("what may not move stays bit for bit, and the evidence shows every tensor")


def tombstones(trials: Trials) -> Finding:
    """6. After two requests nothing of the first one's records reaches the result; what is kept is read; states survive storage.

    A public sharded trainer brought a deleted record back with the next deletion, and never trained on the records that were
    left over when the shards were cut.
    """
    for bed in trials.beds():
        if not trials.method.reads_forgotten:
            other = bed.spoiled(bed.request.forgotten)
            if not same(bed.numbers(trials.run(bed)), other.numbers(trials.run(other))):
                return fails(f"{bed.name}: forgotten records reach the result, and reads_forgotten is not declared")
        first = trials.run(bed)
        then = bed.request.then(bed.named, np.array([1, 3, 8, 9]))
        second = bed.after(first, then)
        stored = bed.after(first, then, through_disk=True)
        spoiled = second.spoiled(bed.request.forgotten)
        found = second.numbers(trials.run(second))
        if not same(found, spoiled.numbers(trials.run(spoiled))):
            return fails(f"{bed.name}: records forgotten by the first request reach the result of the second")
        if not same(found, stored.numbers(trials.run_anew(stored))):
            return fails(f"{bed.name}: a state that was stored and read again gives another result")
        if trials.method.claim == Claim.EXACT:
            read = _kept_read(trials, bed, second)
            if read != len(second.retained()):
                return fails(
                    f"{bed.name}: claims to be exact and reads {read} of {len(second.retained())} kept records"
                )
    return passes("nothing of an earlier request is read again")


def _kept_read(trials: Trials, bed: Bed, second: Bed) -> int:
    """How many records that are kept were looked at: by the second request, or since it was trained by a model of the method's own."""
    if not trials.method.own_model:
        evidence = trials.run(second).evidence
        return evidence.reads["retain"].records if evidence.reads else evidence.records_read
    from certify.unlearners.conformance.network_beds import NetworkBed

    assert isinstance(bed, NetworkBed)
    watched, passed = bed.watched()
    method = trials.build()
    first = watched.prepared(method, 0)
    first.after(first.run(method, 0, None), second.request).run(method, 0, None)
    return len(np.intersect1d(passed.positions(bed.records), second.retained()))


def isolation(trials: Trials) -> Finding:
    """12. The model, the records, the generators, the grad mode and every switch of the caller's are as they were before."""
    for bed in trials.beds():
        own, result = bed.copied(), trials.run(bed)
        inputs = _inputs(own)
        before = {name: look() for name, look in inputs.items()}
        with watched_process(trials.left):
            found = trials.build().forget(own.task, own.request, seed=0)
        changed = [*sorted(trials.left), *(name for name, look in inputs.items() if look() != before[name])]
        if changed:
            return fails(f"{bed.name}: left changed: {', '.join(changed)}")
        if not same(bed.numbers(found), bed.numbers(result)):
            return fails(f"{bed.name}: a second run in one process gives another result")
        trouble = _shares(own, found) or (_in_another_mood(trials, bed) if bed.kind == "network" else "")
        if trouble:
            return fails(f"{bed.name}: {trouble}")
    return passes("everything of the caller's is as it was")


def _outside(trials: Trials, bed: "NetworkBed") -> str:
    """Frozen by the task, or by requires_grad."""
    import copy

    model = copy.deepcopy(bed.task.model)
    names = [name for name, _ in model.named_parameters()]
    for name in names[:2]:
        model.get_parameter(name).requires_grad = False
    for other, frozen in (
        (bed.with_task("head alone", trainable=("head*",)), [n for n in names if not n.startswith("head")]),
        (bed.with_task("frozen start", model=model), names[:2]),
    ):
        try:
            found = other.numbers(trials.run(other))
        except CertifyError:
            continue  # the method needs the frozen part and says so
        own = {} if trials.method.own_model else {name: [found[name]] for name in frozen}
        moved = [
            name
            for name in frozen
            if not all(np.array_equal(v, other.start()[name]) for v in own.get(name, namesakes(found, name)))
        ]
        if moved:
            return f"{', '.join(moved)} moved and may not ({other.name})"
    return ""


def _leaks(trials: Trials, bed: "NetworkBed") -> str:
    """More weights move than the method's own mask allows, under some optimiser."""
    names = {knob.name for knob in fields(trials.method)}
    if trials.build().share_moved() >= 1:
        return ""
    decay = {"weight_decay": 0.1} if "weight_decay" in names else {}
    heavy = {"momentum": 0.9} if "momentum" in names else {}
    ways = (
        [{"optimiser": "adam", **decay}, {"optimiser": "sgd", **heavy, **decay}]
        if "optimiser" in names
        else [heavy | decay]
    )
    for way in ways:
        allowed = trials.build(way).share_moved()
        tensors = [change for change in trials.run(bed, way).evidence.tensors if not change.buffer]
        limit = sum(math.ceil(allowed * change.elements) for change in tensors)
        changed = sum(change.changed for change in tensors)
        if changed > limit:
            shown = ", ".join(f"{name}={value}" for name, value in way.items()) or "its defaults"
            return f"{changed} weights moved and the mask lets {limit} move ({shown})"
    return ""


def _statistics(trials: Trials, bed: "NetworkBed") -> str:
    """With nothing before the statistics allowed to move, they depend on the records of training passes alone."""
    buffers = [name for name, _ in bed.task.model.named_buffers()]
    if not trials.method.reads_forgotten or not buffers:
        return ""
    last = bed.with_task("last bias alone", trainable=("head.bias",))
    other = last.spoiled(last.request.forgotten)
    for knobs in ({}, trials.method.conformance.steady):
        try:
            here, there = trials.run(last, knobs), trials.run(other, knobs)
        except CertifyError:
            continue
        if trials.method.conformance.steady and not knobs and _steps(here) != _steps(there):
            continue  # so many more passes of retained records, as the method says
        one, two = last.numbers(here), other.numbers(there)
        moved = [name for name in buffers if not np.array_equal(one[name], two[name])]
        if moved:
            return f"forgotten records moved the buffers {', '.join(moved)}"
    return ""


def _steps(result: Any) -> int:
    return int(result.evidence.counts["steps"])


def _accounts(trials: Trials, bed: "NetworkBed") -> str:
    """The evidence names every tensor that differs from the original."""
    result = trials.run(bed)
    start, found = trials.start(bed), bed.shipped(result)
    told = {change.name: change.changed for change in result.evidence.tensors}
    true = {name: int((value != start[name]).sum()) for name, value in found.items()}
    wrong = [name for name in true if told.get(name) != true[name]]
    return f"the evidence is wrong about {', '.join(wrong)}" if wrong else ""


def _inputs(bed: Bed) -> dict[str, Callable[[], Any]]:
    """The caller's model and records."""
    task = bed.task
    found: dict[str, Callable[[], Any]] = {"the request": bed.request.forgotten.tobytes}
    if bed.kind == "convex":
        return found | {
            "the features": task.dataset.X.tobytes,
            "the targets": task.dataset.y.tobytes,
            "the original": task.original.coef.tobytes,
        }
    model = task.model
    return found | {
        "the inputs": task.X.tobytes,
        "the targets": task.y.tobytes,
        "the original": lambda: {n: v.detach().numpy().tobytes() for n, v in model.state_dict().items()},
        "the original's gradients": lambda: [value.grad is None for value in model.parameters()],
        "requires_grad": lambda: [value.requires_grad for value in model.parameters()],
        "the training flags": lambda: [part.training for part in model.modules()],
        "the original's hooks": lambda: [
            (len(part._forward_hooks), len(part._forward_pre_hooks), len(part._backward_hooks))  # noqa: SLF001
            for part in model.modules()
        ],
    }


def _shares(bed: Bed, result: Any) -> str:
    """The result lies in memory of its own."""
    if bed.kind == "convex":
        shared = np.shares_memory(result.model.coef, bed.task.original.coef) or np.shares_memory(
            result.model.coef, result.state
        )
    else:
        old = {value.data_ptr() for value in bed.task.model.state_dict().values()}
        shared = any(value.data_ptr() in old for value in result.model.state_dict().values())
    return "the result shares memory with the original" if shared else ""


def _in_another_mood(trials: Trials, bed: Bed) -> str:
    """The same result with gradients switched off and a model in training mode, which the result keeps."""
    import torch

    own = bed.copied()
    own.task.model.train()
    frozen = next(iter(own.task.model.parameters())).requires_grad
    with torch.no_grad():
        found = trials.build().forget(own.task, own.request, seed=0)
        if torch.is_grad_enabled():
            return "gradients are switched on after a run in which they were off"
    if not own.task.model.training or not found.model.training:
        return "a model in training mode came back in evaluation mode"
    if next(iter(found.model.parameters())).requires_grad != frozen:
        return "requires_grad of the result is not the original's"
    if not same(bed.numbers(found), bed.numbers(trials.run(bed))):
        return "the grad mode or the model's training mode changes the result"
    return ""
