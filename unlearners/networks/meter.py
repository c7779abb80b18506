"""What a method for networks works with: records it may read, counted work, and limits that stop it."""

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from certify.core.arrays import IntArray
from certify.core.errors import BudgetExceededError, InputError
from certify.core.progress import track
from certify.models.networks.batches import Batch, collate, epochs
from certify.models.networks.bench import Bench
from certify.models.networks.losses import loss_named
from certify.models.networks.network import Network
from certify.models.networks.state import State
from certify.unlearners.evidence import Budget, Claim, Reading
from certify.unlearners.networks.checkpoint import Checkpoint
from certify.unlearners.networks.task import NetworkTask
from certify.unlearners.task import Request

Which = Literal["retain", "forget", "held-out"]

_LIMITS = {"gradients": "sample_gradients", "forwards": "sample_forwards", "products": "sample_products"}


@dataclass(frozen=True, eq=False)
class Split:
    """Positions of one model's records: those it keeps and those it forgets."""

    retain: IntArray
    forget: IntArray

    @classmethod
    def of(cls, records: int, request: Request) -> "Split":
        """The split a request makes among ``records`` records, or among the request's members."""
        members = np.arange(records) if request.members is None else request.members
        return cls(np.setdiff1d(members, request.forgotten), request.forgotten)


@dataclass
class NetworkMeter(Bench):
    """The bench of a method: K models, each with its own records to keep and to forget.

    Attributes:
        task: what the method was given.
        splits: one for each model.
        budget: limits; the counts are sums over the models, and so are the limits.
        warnings: what a reader should know.
        held_out_start: position in ``X`` from which the held-out records lie.
        solver: what a solver inside reports (iterations, residual, damping, eigenvalues).
        claim: what the method claims of this run and why, where that depends on the run.
        trajectory: states marked on the way; None when nobody asked for them.
        checkpoint: where the run is kept, if anywhere.
        reports: what a solver reports of each model, (K,) by name; it goes to ``Evidence.solver``.
    """

    task: NetworkTask = field(kw_only=True)
    splits: tuple[Split, ...] = field(kw_only=True)
    budget: Budget = field(kw_only=True)
    warnings: list[str] = field(default_factory=list)
    solver: dict[str, float] = field(default_factory=dict)
    held_out_start: int = 0
    started: float = field(default_factory=time.perf_counter)
    claim: tuple[Claim, str] | None = None
    trajectory: list[State] | None = None
    checkpoint: Checkpoint | None = None
    reports: dict[str, Tensor] = field(default_factory=dict)
    _read: list[Tensor] = field(default_factory=list)
    _kept: list[str] = field(default_factory=list)
    _cycled: dict[str, int] = field(default_factory=dict)

    @classmethod
    def open(
        cls, task: NetworkTask, requests: Sequence[Request], budget: Budget, seeds: Sequence[int], name: str
    ) -> "NetworkMeter":
        """A meter on the task's device, with the held-out records behind the training records.

        Raises:
            InputError: the device is not there.
        """
        device = task.place()
        X, y = task.tensors(device)
        start = len(X)
        if task.held_out is not None:
            more, their = task.held_out_tensors(device)
            X, y = torch.cat([X, more]), torch.cat([y, their])
        return cls(
            network=Network.of(task.model, trainable=task.trainable, backend=task.backend),
            X=X,
            y=y,
            loss=loss_named(task.loss),
            seeds=tuple(seeds),
            name=name,
            task=task,
            splits=tuple(Split.of(len(task), request) for request in requests),
            budget=budget,
            held_out_start=start,
        )

    @property
    def models(self) -> int:
        """K."""
        return len(self.splits)

    def records(self, which: Which) -> list[IntArray]:
        """Positions in ``X`` of each model's retained, forgotten or held-out records.

        Raises:
            InputError: held-out records are asked for and the task has none.
        """
        if which == "held-out":
            self.task.held_out_tensors(torch.device("cpu"))
            return [np.arange(self.held_out_start, len(self.X))] * self.models
        return [split.retain if which == "retain" else split.forget for split in self.splits]

    def batches(self, which: Which, *, epochs: int, batch_size: int, name: str = "", first: int = 0) -> Iterator[Batch]:
        """Batches of some passes over the retained, forgotten or held-out records in shuffled order."""
        rows = self.records(which)
        self._warn_when_short(which, rows, batch_size)
        yield from self.passes(rows, epochs=epochs, batch_size=batch_size, name=name or which, first=first)

    def cycle(self, which: Which, *, batch_size: int, name: str = "") -> Iterator[Batch]:
        """Batches without end, shuffled anew in each pass.

        In a stack every model goes round its own records: a model whose pass is over begins the next one, whatever the others do.
        """
        rows = self.records(which)
        self._warn_when_short(which, rows, batch_size)
        name = name or f"{which}/cycle"
        streams = [_forever(self, own, batch_size, model, name) for model, own in enumerate(rows)]
        for drawn in count(1):
            parts = [next(stream) for stream in streams]
            if drawn <= self._cycled.get(name, 0):
                continue  # an earlier run that this one takes up went further
            self._cycled[name] = drawn
            batch = collate([own for own, _ in parts], device=self.device)
            yield Batch(batch.indices, batch.weights, batch.active, seeds=tuple(seed for _, seed in parts))

    def charge(self, kind: str, amount: int) -> None:
        """Count; stop at the budget.

        Raises:
            BudgetExceededError: it would be too many, or time is up.
        """
        limit = getattr(self.budget, _LIMITS[kind]) if kind in _LIMITS else None
        if limit is not None and self.counts[kind] + amount > limit:
            raise BudgetExceededError(
                f"the budget of {limit} {kind} of records is used up before {self.name} was done",
                where=f"budget.{_LIMITS[kind]}",
                mend="raise the budget; no weights were written",
            )
        if self.budget.seconds is not None and self.seconds > self.budget.seconds:
            raise BudgetExceededError(
                f"the budget of {self.budget.seconds:g} seconds is used up before {self.name} was done",
                where="budget.seconds",
                mend="raise the budget; no weights were written",
            )
        self.counts[kind] += amount

    @property
    def seconds(self) -> float:
        """Time since the run began."""
        return time.perf_counter() - self.started

    def reads(self, batch: Batch) -> None:
        """Keep which records were looked at, for each model."""
        if not self._read:
            self._read = [torch.zeros(len(self.X), dtype=torch.bool, device=self.device) for _ in self.splits]
        for model, seen in enumerate(self._read):
            seen[batch.indices[model][batch.weights[model] > 0]] = True

    def reading(self, model: int) -> dict[str, Reading]:
        """What one model's run looked at: number of records and a digest of their positions, by part of the data."""
        seen = self._read[model].cpu().numpy() if self._read else np.zeros(len(self.X), dtype=bool)
        split = self.splits[model]
        parts = {
            "retain": split.retain,
            "forget": split.forget,
            "held-out": np.arange(self.held_out_start, len(self.X)),
        }
        found = {which: rows[seen[rows]] for which, rows in parts.items()}
        stray = int(seen.sum()) - sum(len(rows) for rows in found.values())
        if stray:
            raise InputError(
                f"{stray} records were read that are neither retained, forgotten nor held out",
                where=self.name,
                mend="this is a defect of the method: it must read through meter.batches or meter.records",
            )
        return {which: Reading(len(rows), _digest(rows)) for which, rows in found.items()}

    def is_done(self, begins: str) -> bool:
        """Whether an earlier run, taken up here, did this pass and kept what came of it."""
        saved = None if self.checkpoint is None else self.checkpoint.saved
        return saved is not None and begins in saved["kept"]

    def rounds(self, total: int, name: str = "round") -> Iterator[tuple[int, str]]:
        """Rounds of a method that makes no passes over batches, with a progress bar: the number, and the name for :meth:`at`."""
        for number in track(range(total), f"{self.name}: {name}"):
            begins = f"{name}/{number}"
            if not self.is_done(begins):
                yield number, begins

    def at(self, batch: Batch | str, *carry: Any) -> tuple[Any, ...]:
        """Call first in a loop over batches with all that the loop changes: ``state, memory = meter.at(batch, state, memory)``.

        In a loop over :meth:`rounds` the round's name takes the batch's place.

        At the beginning of a pass it is kept, if the run has a checkpoint and it is time; when a killed run is taken up, the
        passes it did are skipped and what it carried is returned.
        """
        begins = batch if isinstance(batch, str) else batch.begins
        if self.checkpoint is None or not begins:
            return carry
        saved = self.checkpoint.saved
        if saved is not None and saved["begins"] == begins:
            self.checkpoint.saved = None
            self._restore(saved)
            return tuple(saved["carry"])
        if saved is None and self.checkpoint.due:
            self.checkpoint.save({"begins": begins, "carry": carry, **self._progress()})
        self._kept.append(begins)
        return carry

    def _progress(self) -> dict[str, Any]:
        self.warn_of_lone_records(self.network)  # who takes the run up may meet none
        return {
            "kept": list(self._kept),
            "counts": dict(self.counts),
            "traces": {purpose: list(values) for purpose, values in self.traces.items()},
            "read": list(self._read),
            "cycled": dict(self._cycled),
            "warnings": list(self.warnings),
            "solver": dict(self.solver),
            "reports": dict(self.reports),
            "trajectory": self.trajectory,
            "seconds": self.seconds,
        }

    def _restore(self, saved: dict[str, Any]) -> None:
        self._kept = [*saved["kept"], saved["begins"]]
        self.counts, self.traces, self._read = saved["counts"], saved["traces"], saved["read"]
        self._cycled, self.warnings, self.solver = saved["cycled"], saved["warnings"], saved["solver"]
        self.trajectory, self.reports = saved["trajectory"], saved["reports"]
        self.started = time.perf_counter() - saved["seconds"]
        self.warn("taken up from a checkpoint of a run that had stopped")

    def mark(self, state: State) -> None:
        """Keep a state on the way (the end of a pass), for those who asked for the trajectory."""
        if self.trajectory is not None:
            self.trajectory.append(state)

    def report(self, name: str, values: Tensor) -> None:
        """Report a number of each model, shape (K,), in ``Evidence.solver``."""
        self.reports[name] = values

    def warn(self, message: str) -> None:
        """Add a warning once."""
        if message not in self.warnings:
            self.warnings.append(message)

    def warn_of_lone_records(self, network: Network) -> None:
        """Say where a training batch of one record could not be normalised by itself."""
        if network.met_lone_record:
            self.warn("a batch of one record was normalised by the running statistics: it has none of its own")

    def _warn_when_short(self, which: Which, rows: list[IntArray], batch_size: int) -> None:
        smallest = min(len(part) for part in rows)
        if smallest < batch_size:
            self.warn(f"the {which} set of {smallest} records is smaller than a batch of {batch_size}")

    def original(self) -> State:
        """K copies of the original model."""
        return self.task.original(self.models, self.device)


def _digest(rows: IntArray) -> str:
    return hashlib.sha256(np.sort(rows).astype("<i8").tobytes()).hexdigest()


def _forever(
    meter: NetworkMeter, rows: IntArray, batch_size: int, model: int, name: str
) -> Iterator[tuple[IntArray, int]]:
    """A batch of one model's records and its seed, again and again."""
    if not len(rows):
        raise InputError("a model has no record left to read", where=meter.name, mend="keep at least one record")
    for epoch in count():
        for batch in epochs([rows], batch_size=batch_size, seeds=[meter.seeds[model]], name=name, first=epoch):
            yield batch.indices[0].numpy(), batch.seeds[0]
