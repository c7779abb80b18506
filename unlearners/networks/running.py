"""Running a method on networks: nothing of the caller's is changed, and what happened is measured here."""

import hashlib
import json
import platform
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from certify.core.errors import ConfigurationError, InputError
from certify.core.memory import PeakMemory
from certify.data.dataset import record_keys
from certify.models.networks.generators import seeded_generators
from certify.models.networks.state import State, norm, tensor_digest
from certify.models.networks.theirs import is_shortage
from certify.unlearners.evidence import Budget, Evidence, TensorChange
from certify.unlearners.interface import Result, Unlearner
from certify.unlearners.networks.checkpoint import Checkpoint
from certify.unlearners.networks.meter import NetworkMeter
from certify.unlearners.networks.task import NetworkTask
from certify.unlearners.task import Request

if TYPE_CHECKING:
    from torch import nn

_PASS = 512
"""Records in a pass that only adds up, at most."""
_BLOCK = 8192
"""Records looked at side by side for copies; one at a time is slow, all at once a copy of the data."""
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
"""In Python's default text of an object: another one in each process."""


def run_fleet(
    method: Unlearner,
    task: NetworkTask,
    requests: Sequence[Request],
    budget: Budget,
    seeds: Sequence[int],
    starts: State | None,
    *,
    trajectory: bool,
    checkpoint: Checkpoint | None = None,
) -> list[Result]:
    """See :meth:`Unlearner.forget_fleet`."""
    if not requests or len(seeds) != len(requests) or (starts is not None and starts.models != len(requests)):
        raise ConfigurationError(
            f"{len(requests)} requests, {len(seeds)} seeds and {starts.models if starts else 'no'} starts do not fit",
            where="forget_fleet",
            mend="give one of each for each model, and at least one",
        )
    with _undisturbed(task.place(), seeds[0]), named_when_short(method, task, len(requests)):
        meter = NetworkMeter.open(task, requests, budget, seeds, method.name)
        meter.trajectory = [] if trajectory else None
        begin = meter.original() if starts is None else starts.to(meter.device).copy()
        meter.chunk = _chunk(method, task)
        meter.check(begin, when="before the first step")
        if checkpoint is not None:
            checkpoint.open(identity(method, meter, begin), meter.device)
            meter.checkpoint = checkpoint
        _warn_of_copies(meter)
        with PeakMemory(str(meter.device) if meter.device.type == "cuda" else None) as memory:
            end = method.run_networks(meter, begin.copy())
        meter.check(end, when="at the end")
        if checkpoint is not None:
            checkpoint.require_taken_up()
        meter.warn_of_lone_records(meter.network)
        return [
            _result(method, meter, begin.pick([model]), end.pick([model]), model, memory.above_start)
            for model in range(len(requests))
        ]


def identity(method: Unlearner, meter: NetworkMeter, begin: State) -> dict[str, Any]:
    """What two runs must share for one to take up the other."""
    task = meter.task
    splits = hashlib.sha256(b"".join(rows.tobytes() + b";" for s in meter.splits for rows in (s.retain, s.forget)))
    # what the model makes of no record at all tells one forward from another of the same tensors
    blank = meter.network.outputs(begin.pick([0]), torch.zeros_like(meter.X[:1])[None])
    return {
        "method": method.name,
        "knobs": json.loads(json.dumps(method.knobs(), default=str)),
        "seeds": list(meter.seeds),
        "start": [begin.digest(model) for model in range(begin.models)],
        "records": [tensor_digest(meter.X), tensor_digest(meter.y), meter.held_out_start, splits.hexdigest()],
        "recipe": repr(task.recipe),
        "loss": task.loss,
        "moving": sorted(meter.network.trainable),
        "head": task.head,
        "initial": None if task.initial is None else State.of(task.initial).digest(),
        "network": [_ADDRESS.sub("", repr(meter.network.training)), tensor_digest(blank)],
        "version": version("certify-unlearning"),
    }


def _result(method: Unlearner, meter: NetworkMeter, begin: State, end: State, model: int, peak: int | None) -> Result:
    tensors = changes(begin, end)
    warnings = list(meter.warnings)
    if not any(change.changed for change in tensors):
        warnings.append("no tensor changed: the result is the model it started from")
    claim, reason = meter.claim or (method.claim, "")
    reads = meter.reading(model)
    evidence = Evidence(
        method=method.name,
        knobs=method.knobs(),
        counts=dict(meter.counts),
        seconds=meter.seconds,
        residual_norms=(),
        moved=float(norm({n: end.parameters[n] - begin.parameters[n] for n in end.parameters})[0]),
        records_read=sum(part.records for part in reads.values()),
        warnings=tuple(warnings),
        reads=reads,
        tensors=tensors,
        traces={purpose: tuple(values) for purpose, values in meter.traces.items()},
        solver={**meter.solver, **{name: float(values[model]) for name, values in meter.reports.items()}},
        seed=meter.seeds[model],
        peak_memory=peak,
        environment=_environment(meter.device),
    )
    marked = tuple(state.pick([model]) for state in meter.trajectory or ())
    return Result(_module(meter.task.model, end), evidence, claim, end, reason, marked)


def changes(begin: State, end: State) -> tuple[TensorChange, ...]:
    """What became of each tensor of the first model."""
    found = []
    for buffer, before, after in ((False, begin.parameters, end.parameters), (True, begin.buffers, end.buffers)):
        for name, old in before.items():
            found.append(_change(name, old[0], after[name][0], buffer=buffer))
    return tuple(found)


def _change(name: str, old: Tensor, new: Tensor, *, buffer: bool) -> TensorChange:
    own, other = (torch.view_as_real(value) if value.is_complex() else value for value in (old, new))
    difference = other.double() - own.double()
    l2, start = float(difference.norm()), float(own.double().norm())
    return TensorChange(
        name=name,
        buffer=buffer,
        elements=old.numel(),
        changed=int((new != old).sum()),
        l2=l2,
        relative=l2 / start if start else (float("inf") if l2 else 0.0),
        largest=float(difference.abs().max()) if old.numel() else 0.0,
        before=tensor_digest(old),
        after=tensor_digest(new),
    )


def _module(original: "nn.Module", end: State) -> "nn.Module":
    """A module of the original's class, device and mode with the new numbers."""
    import copy

    return end.write_into(copy.deepcopy(original))


def _warn_of_copies(meter: NetworkMeter) -> None:
    """Retraining cannot remove what a copy of a forgotten record among the retained ones teaches."""
    blocks = (part.detach().cpu().reshape(len(part), -1).double().numpy() for part in torch.split(meter.X, _BLOCK))
    keys = np.concatenate([record_keys(block, np.zeros(len(block))) for block in blocks])
    worst = max(int(np.isin(keys[split.retain], keys[split.forget]).sum()) for split in meter.splits)
    if worst:
        one, many = (
            "record is an exact copy of a forgotten one: its",
            "records are exact copies of forgotten ones: their",
        )
        meter.warn(f"{worst} retained {one if worst == 1 else many} influence stays, by any method")


def _environment(device: torch.device) -> dict[str, str]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "torch": torch.__version__,
        "device": f"{device.type} {name}".strip(),
        "threads": str(torch.get_num_threads()),
    }


@contextmanager
def _undisturbed(device: torch.device, seed: int) -> Iterator[None]:
    """Gradients on, global generators seeded; everything as found afterwards, also after an error."""
    quiet = np.errstate(
        over="ignore", divide="ignore", invalid="ignore"
    )  # what is not finite is refused where it matters
    with seeded_generators(seed, device), torch.inference_mode(mode=False), torch.enable_grad(), quiet:
        yield


def _chunk(method: Unlearner, task: NetworkTask) -> int:
    """Records in a pass without a knob of its own: bounded by the batch size, so that a smaller one needs less memory there too."""
    size = _batch_size(method, task)[0]
    return _PASS if size is None else min(_PASS, 8 * size)


def _batch_size(method: Unlearner, task: NetworkTask) -> tuple[int | None, str]:
    """Records in a training batch, and what sets their number: a knob, or the task's recipe."""
    own = getattr(method, "batch_size", None)
    if own is None and task.recipe is not None:
        return task.recipe.batch_size, "in the recipe batch_size="
    return own, "--set batch_size="


@contextmanager
def named_when_short(method: Unlearner, task: NetworkTask, models: int) -> Iterator[None]:
    """Out of memory in one line that says which knob halves the need."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_shortage(error):
            raise
        hints = [f"at_once={models // 2} models"] if models > 1 else []
        size, knob = _batch_size(method, task)
        if size is not None and size > 1:
            hints.append(f"{knob}{size // 2}")
        if hasattr(method, "max_parameters"):  # a dense matrix, whatever the batch
            hints.append("letting half of the parameters move (trainable)")
        how = " or ".join(hints) + " halves what a step needs" if hints else "use a smaller model, or device cpu"
        which = "one model" if models == 1 else f"{models} models in a batch"
        raise InputError(f"out of memory with {which}", where=method.name, mend=how) from None
