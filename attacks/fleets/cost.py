"""What a fleet will cost, before its first training."""

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from certify.attacks.fleets.assignment import Assignment, check_assignment
from certify.attacks.fleets.blocks import Job, Made, Unlearn, make_block
from certify.attacks.fleets.executors import Workplace, workplace
from certify.attacks.fleets.fleet import survey_of, surveyed
from certify.attacks.fleets.memory import shown_bytes
from certify.attacks.fleets.plan import FleetPlan, FleetTask
from certify.attacks.fleets.store import FleetStore
from certify.attacks.fleets.training import Backend
from certify.attacks.observations import Cell
from certify.core.arrays import AnyArray
from certify.core.errors import InputError
from certify.models.networks.recipe import Recipe


@dataclass(frozen=True)
class Cost:
    """A forecast, from a few steps and one block of a few models.

    Attributes:
        models: K.
        trainings: models that are trained from a fresh start, over all worlds.
        unlearnings: models that are unlearned.
        seconds: of all, one worker.
        training, unlearning, looking: its parts; unlearning one block of a few models is timed and scaled, so that a method which gains
            from large blocks costs less.
        memory: bytes that a block needs on its device, the unlearner's own work aside.
        disk: bytes that the store takes.
        block: models in a block.
        backend: how they run.
        reason: why so.
        device: where.
    """

    models: int
    trainings: int
    unlearnings: int
    seconds: float
    training: float
    unlearning: float
    looking: float
    memory: int
    disk: int
    block: int
    backend: str
    reason: str
    device: str

    def of(self, models: int) -> "Cost":
        """The forecast for another number of models, each of which costs as much."""
        scale = models / self.models
        return replace(
            self,
            models=models,
            trainings=round(scale * self.trainings),
            unlearnings=round(scale * self.unlearnings),
            seconds=scale * self.seconds,
            training=scale * self.training,
            unlearning=scale * self.unlearning,
            looking=scale * self.looking,
            disk=round(scale * self.disk),
        )

    def __str__(self) -> str:
        unlearned = f" and {self.unlearnings:,} unlearnings" if self.unlearnings else ""
        return (
            f"{self.models:,} models: {self.trainings:,} trainings{unlearned}, about {_shown_seconds(self.seconds)} on one worker"
            f" ({self.device}, {self.backend}, {self.block} at once), {shown_bytes(self.memory)} of memory and"
            f" {shown_bytes(self.disk)} on disk"
        )


_SAMPLE = 2
"""Models of the block that is timed."""


def forecast(
    task: FleetTask,
    plan: FleetPlan,
    assignment: AnyArray,
    unlearn: Unlearn | None = None,
    *,
    executor: Any = None,
    store: FleetStore | None = None,
) -> Cost:
    """What :func:`~certify.attacks.fleets.fleet.run_fleet` with these arguments will cost.

    A few steps are timed where the blocks will be made; unlearning, looking, and training by the task's own function are timed on a
    block of two models, which are trained for one pass.

    Args:
        task: as for ``run_fleet``.
        plan: the same.
        assignment: the same.
        unlearn: the same.
        executor: the same.
        store: where what was found out about the fleet is kept, so that its run need not find it out again; nowhere by default.

    Raises:
        InputError, ConfigurationError: what ``run_fleet`` would refuse.
    """
    given = check_assignment(assignment, len(task))
    worlds = plan.worlds_with(unlearner=unlearn is not None)
    recipe = plan.recipe_for(task)
    with workplace(task, executor) as place:
        found = (
            survey_of(place, plan, given) if store is None else surveyed(place, plan, given, unlearn, worlds, store)[0]
        )
        sample = _sample(place, plan, given, unlearn, worlds, found.backend)
    share = len(given) / min(_SAMPLE, len(given))
    trained = [world for world in worlds if world != "unlearned"]
    if "unlearned" in worlds and "original" not in trained:
        trained.append("original")
    if recipe is None:
        training = share * sum(sample.get(world, 0.0) for world in trained)
    else:
        training = found.step[found.backend] * sum(_steps(given, world, recipe) for world in trained)
    unlearning = share * sample.get("unlearned", 0.0)
    looking = share * sample["looking"]
    signals = len(given) * len(task) * len(worlds) * len(plan.signals) * (4 if plan.stored == "float32" else 8)
    weights = found.parameters * len(given) * len(worlds) if plan.keep_parameters else 0
    return Cost(
        models=len(given),
        trainings=len(given) * len(trained),
        unlearnings=len(given) * ("unlearned" in worlds),
        seconds=training + unlearning + looking,
        training=training,
        unlearning=unlearning,
        looking=looking,
        memory=found.each * found.block,
        disk=signals + weights,
        block=found.block,
        backend=found.backend,
        reason=found.reason,
        device=found.device,
    )


def _sample(
    place: Workplace,
    plan: FleetPlan,
    given: Assignment,
    unlearn: Unlearn | None,
    worlds: tuple[str, ...],
    backend: Backend,
) -> dict[str, float]:
    """Seconds of each world of a small block whose models are trained for one pass, and of looking at all of them."""
    models = min(_SAMPLE, len(given))
    short = plan if plan.recipe is None else replace(plan, recipe=replace(plan.recipe, epochs=1))
    short = replace(short, keep_parameters=False)
    job = Job(0, short, unlearn, worlds, tuple(range(models)), given[:models], backend)
    begin = time.perf_counter()
    made: Made = place.call(make_block, job)
    whole = time.perf_counter() - begin
    if made.failure is not None:
        what, where, mend = made.failure
        raise InputError(what, where=where, mend=mend)
    return {**made.seconds, "looking": max(0.0, whole - sum(made.seconds.values()))}


def _steps(given: AnyArray, world: str, recipe: Recipe) -> int:
    """Steps of all models of a world."""
    mask = given != Cell.OUT if world == "original" else given == Cell.RETAIN
    return int(np.ceil(mask.sum(axis=1) / recipe.batch_size).sum()) * recipe.epochs


def _shown_seconds(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"
