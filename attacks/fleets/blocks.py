"""One block of a fleet: some models trained, unlearned, retrained and looked at, from start to end."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from certify.attacks.fleets.assignment import Assignment
from certify.attacks.fleets.fresh import blueprint, fresh, same_shape, seed_of, seeded, stacked
from certify.attacks.fleets.ordinary import undisturbed
from certify.attacks.fleets.plan import FleetPlan, FleetTask, check_task
from certify.attacks.fleets.training import Backend, Trainer, check_finite
from certify.attacks.observations import Cell
from certify.core.arguments import shown
from certify.core.arrays import AnyArray, IntArray
from certify.core.errors import CertifyError, InputError
from certify.core.foreign import foreign
from certify.models.networks.state import State, number_kind

_SHORTAGES = ("can't allocate memory", "not enough memory", "out of memory", "_STATUS_ALLOC_FAILED")
"""In torch's messages: the allocators of Linux and Windows, CUDA, and its libraries."""


@dataclass(frozen=True, eq=False)
class Block:
    """What an unlearner is given: the originals of a block, and what each of them is to keep and to forget.

    Attributes:
        task: architecture, records, loss.
        plan: recipe, precision.
        models: numbers of the models in the fleet.
        originals: K trained models, on the device; the unlearner may not change them.
        retain, forget: positions of each model's records in ``task.X``.
        seeds: one a model, for whatever is random in unlearning.
        device: where the originals are and the unlearned ones are expected.
    """

    task: FleetTask
    plan: FleetPlan
    models: tuple[int, ...]
    originals: State
    retain: tuple[IntArray, ...]
    forget: tuple[IntArray, ...]
    seeds: tuple[int, ...]
    device: torch.device

    @property
    def members(self) -> tuple[IntArray, ...]:
        """Positions of the records that each original was trained on, in order."""
        return tuple(np.sort(np.concatenate(pair)) for pair in zip(self.retain, self.forget, strict=True))

    def __len__(self) -> int:
        return len(self.models)


Unlearn = Callable[[Block], State]
"""An unlearner for a block: K models in, K models out, of the same tensors. It must survive pickling to run on other machines."""


@dataclass(frozen=True, eq=False)
class Job:
    """A block to be made, wherever that is.

    Attributes:
        number: of the block.
        plan, unlearn: what to do.
        worlds: which are made.
        models: numbers of the models in the fleet.
        rows: their rows of the assignment.
        backend: how they run.
    """

    number: int
    plan: FleetPlan
    unlearn: Unlearn | None
    worlds: tuple[str, ...]
    models: tuple[int, ...]
    rows: Assignment
    backend: Backend

    @property
    def name(self) -> str:
        """For messages."""
        first, last = self.models[0], self.models[-1]
        return (
            f"block {self.number} (model {first})"
            if first == last
            else f"block {self.number} (models {first} to {last})"
        )


@dataclass(frozen=True, eq=False)
class Made:
    """What came of a job.

    Attributes:
        signals: by world and signal, (K, N).
        states: by world, on the CPU; empty unless the plan keeps parameters.
        device: what it was made on.
        seconds: how long each world took.
        failure: what went wrong, in the words of the error; then there are no signals.
    """

    signals: dict[str, dict[str, AnyArray]]
    states: dict[str, State] = field(default_factory=dict)
    device: str = "cpu"
    seconds: dict[str, float] = field(default_factory=dict)
    failure: tuple[str, str, str] | None = None


def make_block(task: FleetTask, job: Job) -> Made:
    """Make a block of the fleet of a task; what the user's code raises comes back as a failure, so that other blocks go on."""
    try:
        device = task.place()
        with undisturbed(device, job.plan.precision, deterministic=job.plan.deterministic):
            return _Worker.of(task, job, device).make()
    except CertifyError as error:
        return Made({}, failure=(error.what, error.where, error.mend))
    except (MemoryError, RuntimeError) as error:
        if not is_shortage(error):
            raise
        mend = f"give block={max(1, len(job.models) // 2)}"
        return Made({}, failure=(f"out of memory with {len(job.models)} models at once", "fleet.block", mend))


def is_shortage(error: BaseException) -> bool:
    """Whether torch ran out of memory."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(part in str(error) for part in _SHORTAGES)


def device_name(device: torch.device) -> str:
    """A device as reports name it."""
    return f"cuda {torch.cuda.get_device_name(device)}" if device.type == "cuda" else "cpu"


@dataclass(eq=False)
class _Worker:
    task: FleetTask
    job: Job
    trainer: Trainer
    like: State
    device: torch.device
    made: Made

    @classmethod
    def of(cls, task: FleetTask, job: Job, device: torch.device) -> "_Worker":
        trainer, like = prepare(task, job.plan, device)
        return cls(task, job, trainer, like, device, Made({}, device=device_name(device)))

    def make(self) -> Made:
        forget = self.rows(Cell.FORGET)
        retain = self.rows(Cell.RETAIN)
        members = [np.sort(np.concatenate(pair)) for pair in zip(retain, forget, strict=True)]
        worlds = self.job.worlds
        if "original" in worlds or "unlearned" in worlds:
            originals = self.timed("original", lambda: self.train("original", members))
            if "original" in worlds:
                self.look("original", originals)
            if "unlearned" in worlds:
                unlearned = self.timed("unlearned", lambda: self.unlearn(originals, retain, forget))
                del originals
                self.look("unlearned", unlearned)
                del unlearned
        for world in ("retrained", "again"):
            if world in worlds:
                self.look(world, self.timed(world, lambda world=world: self.train(world, retain)))  # type: ignore[misc]
        return self.made

    def rows(self, cell: Cell) -> list[IntArray]:
        return [np.flatnonzero(row == cell) for row in self.job.rows]

    def names(self, world: str) -> list[str]:
        return [f"{world} model {model}" for model in self.job.models]

    def seeds(self, purpose: str) -> tuple[int, ...]:
        return tuple(seed_of(self.job.plan.seed, purpose, model) for model in self.job.models)

    def train(self, world: str, rows: Sequence[IntArray]) -> State:
        seeds = self.seeds(world)
        starts = self.seeds("original") if world == "retrained" and self.job.plan.coupled else seeds
        if self.task.train is not None:
            return self.train_elsewhere(world, rows, starts)
        begin = fresh(self.task, starts, self.like, self.device, self.job.models)
        return self.trainer.train(begin, rows, seeds, self.job.backend, self.names(world))

    def train_elsewhere(self, world: str, rows: Sequence[IntArray], seeds: Sequence[int]) -> State:
        task, made = self.task, []
        assert task.train is not None
        for own, seed in zip(rows, seeds, strict=True):
            X, y = _some(task.X, own), _some(task.y, own)
            made.append(seeded(lambda X=X, y=y, seed=seed: task.train(X, y, seed), seed, "train"))  # type: ignore[misc]
        state = stacked(made, self.like, self.job.models, "train").to(self.device)
        check_finite(state.is_finite(), self.names(world), "a weight is not finite after training")
        return state

    def unlearn(self, originals: State, retain: list[IntArray], forget: list[IntArray]) -> State:
        assert self.job.unlearn is not None
        block = Block(
            task=self.task,
            plan=self.job.plan,
            models=self.job.models,
            originals=originals,
            retain=tuple(retain),
            forget=tuple(forget),
            seeds=self.seeds("unlearned"),
            device=self.device,
        )
        with foreign("it", "the unlearner", "it is called with a Block and returns a State of as many models"):
            state = self.job.unlearn(block)
        if not isinstance(state, State):
            raise InputError(
                f"returned {shown(state)}, not a State", where="the unlearner", mend="return the K unlearned models"
            )
        if state.models != len(block) or not same_shape(state, originals):
            raise InputError(
                f"returned {state.models} models of other tensors or another number than the {len(block)} it was given",
                where="the unlearner",
                mend="return as many models, of the originals' tensors",
            )
        state = state.to(self.device)
        check_finite(state.is_finite(), self.names("unlearned"), "a weight is not finite after unlearning")
        return State(
            {name: value.detach() for name, value in state.parameters.items()},
            {name: value.detach() for name, value in state.buffers.items()},
        )

    def look(self, world: str, state: State) -> None:
        kind = torch.float32 if self.job.plan.stored == "float32" else torch.float64
        found = self.trainer.look(state, self.job.plan.signals, self.job.backend, self.names(world), kind)
        self.made.signals[world] = {name: value.numpy() for name, value in found.items()}
        if self.job.plan.keep_parameters:
            self.made.states[world] = state.to(torch.device("cpu"))

    def timed(self, world: str, work: Callable[[], State]) -> State:
        start = time.perf_counter()
        found = work()
        self.made.seconds[world] = time.perf_counter() - start
        return found


def prepare(task: FleetTask, plan: FleetPlan, device: torch.device) -> tuple[Trainer, State]:
    """A trainer on the device, and one model of the architecture; refuses records that do not fit the model.

    Raises:
        InputError, ConfigurationError: as for :func:`~certify.attacks.fleets.plan.check_task` and
            :func:`~certify.attacks.fleets.fresh.blueprint`.
    """
    module = blueprint(task)
    like = State.of(module)
    kind = number_kind(module)
    X, y = task.tensors(kind, device)
    check_task(task, plan, _one_output(module, X[:1].cpu()))
    bf16 = plan.precision == "bf16"
    return Trainer.of(module, X, y, task.loss, plan.recipe_for(task), bf16=bf16), like


def _one_output(module: torch.nn.Module, x: Tensor) -> Tensor:
    import copy

    found: Any = None
    try:
        with torch.no_grad():
            found = copy.deepcopy(module).eval()(torch.zeros_like(x))
    except (RuntimeError, ValueError, IndexError, TypeError):
        kind = str(x.dtype).replace("torch.", "")
        raise InputError(
            f"the model cannot read a record of shape {tuple(x.shape[1:])} and type {kind}",
            where="data",
            mend="save X in the shape and type that the model's forward takes",
        ) from None
    if not isinstance(found, Tensor):
        raise InputError(
            f"the model returns {shown(found)}, not a tensor", where="architecture", mend="return the outputs"
        )
    return found


def _some(values: Any, rows: IntArray) -> Any:
    return values[torch.from_numpy(rows)] if isinstance(values, Tensor) else values[rows]
