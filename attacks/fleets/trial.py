"""What a fleet will be run with: how many models at once, as one program or in a loop, found out by a few steps of each."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from certify.attacks.fleets.blocks import device_name, is_shortage, prepare
from certify.attacks.fleets.fresh import fresh, seed_of
from certify.attacks.fleets.memory import block_size, bytes_per_model, fits
from certify.attacks.fleets.ordinary import undisturbed
from certify.attacks.fleets.plan import FleetPlan, FleetTask
from certify.attacks.fleets.training import Backend, Trainer
from certify.attacks.observations import WORLDS
from certify.core.errors import CertifyError, ConfigurationError, InputError
from certify.models.networks.recipe import Recipe
from certify.models.networks.state import State

_STEPS, _REPEATS, _LOOPED = 2, 5, 2
_ENOUGH = 2.0
"""Seconds after which no further try is begun."""
_APART = {"float32": 1e-3, "tf32": 2e-2, "bf16": 1e-1}
"""Largest difference between a gradient found one way and the other, relative to its largest entry, that may be rounding."""


@dataclass(frozen=True)
class Survey:
    """What was found out about a fleet before its first training.

    Attributes:
        backend: "vmap" or "loop".
        block: models in a block.
        device: name of the device.
        each: bytes that one model of a block needs.
        parameters: bytes of one model's weights.
        step: seconds that one step of one model takes, by backend that was tried; empty where nothing is trained here.
        reason: why this backend.
    """

    backend: Backend
    block: int
    device: str
    each: int
    parameters: int
    step: dict[str, float]
    reason: str


def survey(task: FleetTask, plan: FleetPlan, sizes: Sequence[int]) -> Survey:
    """Find out, on models that are thrown away.

    The choice is part of what a kept block is known by, and both ways agree to rounding (checked here on one step, held to 1e-6
    by the tests), so a trial that comes out otherwise on a busy machine never mixes with what an earlier one chose.

    Args:
        task: what models are trained on.
        plan: how.
        sizes: records that each model of the fleet is trained on.

    Raises:
        InputError, ConfigurationError: the task does not fit, or not even one model fits in memory.
    """
    device = task.place()
    with undisturbed(device, plan.precision, deterministic=plan.deterministic):
        trainer, like = prepare(task, plan, device)
        trial = _Trial(task, plan, trainer, like)
        ways: tuple[Backend, Backend] = ("vmap", "loop")
        # weights that are kept lie in main memory: on a GPU they take nothing of what is counted here
        kept = len(plan.worlds or WORLDS) if plan.keep_parameters and device.type == "cpu" else 0
        need = {way: bytes_per_model(trainer, like, max(sizes), way, kept) for way in ways}
        block = min(plan.block or block_size(len(sizes), need[_lightest(plan)], device), len(sizes))
        together = min(block, plan.block or fits(need["vmap"], device))
        while True:
            try:
                backend, step, reason = trial.choose(together)
                break
            except (MemoryError, RuntimeError) as error:
                if not is_shortage(error) or plan.block is not None or together <= 1:
                    raise
                together //= 2
        if backend == "vmap" and plan.block is None:
            block = block_size(len(sizes), need["vmap"], device, together)
    weights = sum(value.numel() * value.element_size() for value in (*like.parameters.values(), *like.buffers.values()))
    return Survey(backend, block, device_name(device), need[backend], weights, step, reason)


def _lightest(plan: FleetPlan) -> Backend:
    """What needs least memory of what may be chosen."""
    return "vmap" if plan.backend == "vmap" else "loop"


@dataclass(frozen=True, eq=False)
class _Trial:
    task: FleetTask
    plan: FleetPlan
    trainer: Trainer
    like: State

    def choose(self, models: int) -> tuple[Backend, dict[str, float], str]:
        """The backend for so many models at once, seconds of a step of one model, and why."""
        recipe, asked = self.trainer.recipe, self.plan.backend
        if recipe is None:
            return "loop", {}, "models are trained by the task's own function"
        loop = {"loop": _LOOPED}
        if self.trainer.must_loop:
            return "loop", self.seconds(loop), "training draws random numbers, or has recurrent parts"
        if asked == "loop" or (models <= 1 and asked == "auto"):
            why = "asked for" if asked == "loop" else "one model runs at a time"
            return "loop", self.seconds({"loop": 1}), why
        doubt = self.doubt(recipe)
        if asked == "vmap":
            if doubt:
                raise ConfigurationError(f"vmap will not do: {doubt}", where="fleet.backend", mend="use loop, or auto")
            return "vmap", self.seconds({"vmap": models}), "asked for"
        if doubt:
            return "loop", self.seconds(loop), doubt
        found = self.seconds({"vmap": models, **loop})
        backend: Backend = "vmap" if found["vmap"] < found["loop"] else "loop"
        times = f"{found['vmap']:.2g} s by vmap and {found['loop']:.2g} s in a loop"
        return backend, found, f"a step of one model took {times}"

    def doubt(self, recipe: Recipe) -> str:
        """What speaks against vmap: it cannot run the model, or finds another gradient than the loop."""
        step = Recipe("sgd", lr=1.0, epochs=1, batch_size=recipe.batch_size)
        records = min(len(self.trainer.X), recipe.batch_size)
        start, ends = self.start(2), []
        for backend in ("vmap", "loop"):
            try:
                ends.append(self.run(start, step, records, "vmap" if backend == "vmap" else "loop"))
            except (RuntimeError, NotImplementedError, ValueError, TypeError, CertifyError) as error:
                if is_shortage(error):
                    raise
                if backend == "vmap":
                    return "torch.vmap cannot run the model"
                return ""  # neither can: the training itself will say why
        for name, begin in start.parameters.items():
            moves = [end.parameters[name] - begin for end in ends]
            largest = float(moves[1].abs().max()) if begin.numel() else 0.0
            rounding = 1e-5 * float(begin.abs().max()) if begin.numel() else 0.0
            if (
                begin.numel()
                and float((moves[0] - moves[1]).abs().max()) > _APART[self.plan.precision] * largest + rounding
            ):
                return "torch.vmap finds other gradients than a loop"
        return ""

    def seconds(self, counts: dict[str, int]) -> dict[str, float]:
        """Least time of a step of one model, of some tries taken in turn; the step size is next to nothing."""
        assert self.trainer.recipe is not None
        recipe = replace(self.trainer.recipe, lr=1e-12, epochs=1)
        records = min(len(self.trainer.X), _STEPS * recipe.batch_size)
        steps = -(-records // recipe.batch_size)
        starts = {backend: self.start(models) for backend, models in counts.items()}
        found = dict.fromkeys(counts, float("inf"))
        started = time.perf_counter()
        for tries in range(_REPEATS):
            if tries and time.perf_counter() - started > _ENOUGH:
                break
            for backend, models in counts.items():
                begin = time.perf_counter()
                self._step(starts[backend], recipe, records, "vmap" if backend == "vmap" else "loop")
                if self.trainer.X.device.type == "cuda":
                    torch.cuda.synchronize()
                found[backend] = min(found[backend], (time.perf_counter() - begin) / (steps * models))
        return found

    def _step(self, start: State, recipe: Recipe, records: int, backend: Backend) -> None:
        """Steps of next to no size: where even they end in numbers that are not finite, no learning rate has had a part in it."""
        try:
            self.run(start, recipe, records, backend)
        except InputError:
            raise InputError(
                "the loss of a freshly initialised model is not finite, or its gradient is not",
                where="architecture",
                mend="bring the features to one scale (mean 0, deviation 1), or look for what divides or takes logarithms in the module",
            ) from None

    def start(self, models: int) -> State:
        """Models to try with."""
        seeds = [seed_of(self.plan.seed, "trial", model) for model in range(models)]
        return fresh(self.task, seeds, self.like, self.trainer.X.device, range(models))

    def run(self, start: State, recipe: Recipe, records: int, backend: Backend) -> State:
        """The models after training on the first records."""
        seeds = list(range(start.models))
        rows = [np.arange(records)] * start.models
        names = [f"trial model {model}" for model in seeds]
        return replace(self.trainer, recipe=recipe).train(start, rows, seeds, backend, names)
