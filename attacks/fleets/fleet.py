"""A fleet from start to end: blocks of models made here or elsewhere, kept, and seen through every record."""

from collections.abc import Iterator
from concurrent.futures import Executor
from typing import Any

import numpy as np

from certify.attacks.fleets.assignment import Assignment, check_assignment
from certify.attacks.fleets.blocks import Block, Job, Made, Unlearn, make_block
from certify.attacks.fleets.plan import FleetPlan, FleetTask
from certify.attacks.observations import Observations
from certify.core.errors import InputError

__all__ = ["Block", "FleetPlan", "FleetTask", "Unlearn", "run_blocks", "run_fleet"]


def run_fleet(
    task: FleetTask,
    plan: FleetPlan,
    assignment: Assignment,
    unlearn: Unlearn | None = None,
    *,
    store: Any = None,
    executor: Executor | None = None,
) -> Observations:
    """Train, unlearn, retrain and look at every model of the assignment.

    Args:
        task: what models are trained on.
        plan: how.
        assignment: which records each model is given, (K, N).
        unlearn: makes the unlearned models of a block.
        store: where blocks are kept and found again; nowhere by default.
        executor: where blocks are made; here, one after the other, by default.

    Returns:
        K models seen through N records, in the order of the assignment.

    Raises:
        InputError, ConfigurationError: something does not fit; or blocks failed, and then the others are kept in the store.
    """
    return Observations.join(list(run_blocks(task, plan, assignment, unlearn, store=store, executor=executor)))


def run_blocks(
    task: FleetTask,
    plan: FleetPlan,
    assignment: Assignment,
    unlearn: Unlearn | None = None,
    *,
    store: Any = None,
    executor: Executor | None = None,
) -> Iterator[Observations]:
    """The same block by block, in the order of the assignment, so that a sequential test can stop early.

    A block that fails is left out; when the others are done one error names it.
    """
    assignment = check_assignment(assignment, len(task))
    worlds = plan.worlds_with(unlearner=unlearn is not None)
    size = plan.block or min(len(assignment), 64)
    for number, first in enumerate(range(0, len(assignment), size)):
        models = tuple(range(first, min(first + size, len(assignment))))
        rows = assignment[first : first + size]
        job = Job(number, task, plan, unlearn, worlds, models, rows, "vmap")
        made = make_block(job)
        if made.failure is not None:
            what, where, mend = made.failure
            raise InputError(f"{job.name}: {what}", where=where, mend=mend)
        yield _observed(task, job, made)


def _observed(task: FleetTask, job: Job, made: Made) -> Observations:
    ids = np.arange(len(task)) if task.ids is None else np.asarray(task.ids)
    return Observations(job.rows.astype(np.int64), made.signals, ids)
