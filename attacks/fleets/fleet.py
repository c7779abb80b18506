"""A fleet from start to end: blocks of models made here or elsewhere, kept, and seen through every record."""

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from certify.attacks.fleets.assignment import Assignment, check_assignment
from certify.attacks.fleets.blocks import Block, Job, Made, Unlearn
from certify.attacks.fleets.executors import Workplace, workplace
from certify.attacks.fleets.memory import check_results_fit
from certify.attacks.fleets.plan import FleetPlan, FleetTask
from certify.attacks.fleets.store import FleetStore, fleet_key
from certify.attacks.fleets.trial import Survey, survey
from certify.attacks.observations import Cell, Observations
from certify.core.arrays import AnyArray
from certify.core.errors import ConfigurationError, InputError
from certify.core.progress import track

__all__ = ["Block", "FleetPlan", "FleetTask", "Unlearn", "run_blocks", "run_fleet"]


def run_fleet(
    task: FleetTask,
    plan: FleetPlan,
    assignment: AnyArray,
    unlearn: Unlearn | None = None,
    *,
    store: FleetStore | Path | None = None,
    executor: Any = None,
) -> Observations:
    """Train, unlearn, retrain and look at every model of the assignment.

    Args:
        task: what models are trained on.
        plan: how.
        assignment: which records each model is given, (K, N) of cells.
        unlearn: makes the unlearned models of a block; on other machines it must survive pickling.
        store: where blocks are kept and found again, a store or its folder; nowhere by default.
        executor: where blocks are made: anything with ``submit``, or a dask client; here, one after the other, by default.

    Returns:
        K models seen through N records, in the order of the assignment.

    Raises:
        InputError, ConfigurationError: something does not fit; or blocks failed, and then the others are kept in the store.
    """
    given = check_assignment(assignment, len(task))
    worlds = plan.worlds_with(unlearner=unlearn is not None)
    size = 4 if plan.stored == "float32" else 8
    check_results_fit(len(given), len(task), len(worlds), len(plan.signals), size)
    return Observations.join(list(run_blocks(task, plan, given, unlearn, store=store, executor=executor)))


def run_blocks(
    task: FleetTask,
    plan: FleetPlan,
    assignment: AnyArray,
    unlearn: Unlearn | None = None,
    *,
    store: FleetStore | Path | None = None,
    executor: Any = None,
) -> Iterator[Observations]:
    """The same block by block, in the order of the assignment, so that a sequential test can stop early.

    Closed early, blocks that have not begun are cancelled; those that were made are kept. A block that fails is left out, and
    when the others are done one error names it.

    Args, Raises: as for :func:`run_fleet`.
    """
    given = check_assignment(assignment, len(task))
    worlds = plan.worlds_with(unlearner=unlearn is not None)
    plan.recipe_for(task)
    keep = FleetStore(store) if isinstance(store, str | Path) else store
    if plan.keep_parameters and keep is None:
        raise ConfigurationError("keeps no weights without a store", where="fleet.keep_parameters", mend="give a store")
    failed: list[tuple[Job, tuple[str, str, str]]] = []
    with workplace(task, executor) as place:
        found, fleet = surveyed(place, plan, given, unlearn, worlds, keep)
        jobs = [
            Job(number, plan, unlearn, worlds, tuple(range(first, last)), given[first:last], found.backend)
            for number, first in enumerate(range(0, len(given), found.block))
            for last in (min(first + found.block, len(given)),)
        ]
        with closing(_made(place, jobs, keep, fleet)) as blocks:
            for job, made in _tracked(blocks, len(jobs)):
                if made.failure is not None:
                    failed.append((job, made.failure))
                    continue
                _check_device(job, made, found)
                yield _observed(task, job, made)
    if failed:
        raise _failure(failed, len(jobs), keep)


def begun(task: FleetTask, plan: FleetPlan, models: int, unlearn: Unlearn | None, store: FleetStore) -> bool:
    """Whether an earlier run of the same fleet of so many models got as far as choosing how to run it.

    Raises:
        ConfigurationError: the store cannot tell fleets like this one apart.
    """
    fleet = fleet_key(task, plan, unlearn, plan.worlds_with(unlearner=unlearn is not None))
    return store.choice(_choice_name(fleet, plan, models)) is not None


def _choice_name(fleet: str, plan: FleetPlan, models: int) -> str:
    return f"{fleet[:32]}-{plan.block}-{plan.backend}-{models}"


def survey_of(place: Workplace, plan: FleetPlan, assignment: Assignment) -> Survey:
    """What a fleet would be run with, found out where it would run."""
    sizes = [int(count) for count in (assignment != Cell.OUT).sum(axis=1)]
    found: Survey = place.call(survey, plan, sizes)
    return found


def surveyed(
    place: Workplace,
    plan: FleetPlan,
    assignment: Assignment,
    unlearn: Unlearn | None,
    worlds: tuple[str, ...],
    store: FleetStore | None,
) -> tuple[Survey, str]:
    """What to run with: what an earlier run of the same fleet chose, or what is found out now; and the fleet's key."""
    if store is None:
        return survey_of(place, plan, assignment), ""
    fleet = fleet_key(place.task, plan, unlearn, worlds)
    name = _choice_name(fleet, plan, len(assignment))
    earlier = store.choice(name)
    if earlier is not None:
        return Survey(**earlier), fleet
    found = survey_of(place, plan, assignment)
    store.save_choice(name, asdict(found))
    return found, fleet


def _made(
    place: Workplace, jobs: list[Job], store: FleetStore | None, fleet: str
) -> Generator[tuple[Job, Made], None, None]:
    """Blocks in order, from the store where they are there; what is made is kept at once.

    No more than one block from the store is held at a time, and no weights that the store has: a fleet may be larger than memory.
    """
    if store is None:
        yield from place.make(jobs)
        return
    if place.pool is None:
        for job in jobs:
            yield job, store.load(job, fleet) or _kept(place, job, store, fleet, place.make([job]))
        return
    # an executor is given what is missing before the first block is asked for: what is there is looked for twice
    there = {job.number for job in jobs if store.load(job, fleet) is not None}
    with closing(place.make([job for job in jobs if job.number not in there])) as making:
        for job in jobs:
            found = store.load(job, fleet) if job.number in there else None
            lost = job.number in there and found is None
            yield job, found or _kept(place, job, store, fleet, place.make([job]) if lost else making)


def _kept(place: Workplace, job: Job, store: FleetStore, fleet: str, making: Iterator[tuple[Job, Made]]) -> Made:
    """The next block, which is this job's, written to the store."""
    _, made = next(making)
    if made.failure is None:
        store.save(place.task, job, made, fleet)
    return replace(made, states={})


def _tracked(blocks: Iterator[tuple[Job, Made]], count: int) -> Iterator[tuple[Job, Made]]:
    """The blocks, with a progress bar over them."""
    for _ in track(range(count), "fleet: blocks"):
        yield next(blocks)


def _check_device(job: Job, made: Made, found: Survey) -> None:
    if made.device != found.device:
        raise InputError(
            f"{job.name} was made on {made.device}, the fleet began on {found.device}",
            where="fleet",
            mend="use one kind of device for all: rounding differs between them",
        )


def _failure(failed: list[tuple[Job, tuple[str, str, str]]], blocks: int, store: FleetStore | None) -> InputError:
    job, (what, where, mend) = failed[0]
    more = f", and {len(failed) - 1} more blocks failed" if len(failed) > 1 else ""
    others = blocks - len(failed)
    kept = f"; {others} of {blocks} blocks are kept, run again to make the rest" if store is not None and others else ""
    return InputError(f"{job.name}: {what}{more}", where=where, mend=f"{mend}{kept}")


def _observed(task: FleetTask, job: Job, made: Made) -> Observations:
    ids = np.arange(len(task)) if task.ids is None else np.asarray(task.ids)
    return Observations(job.rows.astype(np.int64), made.signals, ids)
