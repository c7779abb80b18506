"""A fleet that is larger than memory: some models at a time, with the results of all at once."""

from collections.abc import Sequence
from dataclasses import replace

from certify.core.errors import ConfigurationError
from certify.models.networks.state import State
from certify.unlearners.evidence import Budget
from certify.unlearners.interface import Result, Unlearner
from certify.unlearners.networks.checkpoint import Checkpoint
from certify.unlearners.networks.running import run_fleet
from certify.unlearners.networks.task import NetworkTask
from certify.unlearners.task import Request

_LIMITS = {"sample_gradients": "gradients", "sample_forwards": "forwards", "sample_products": "products"}


def run_in_groups(
    method: Unlearner,
    task: NetworkTask,
    requests: Sequence[Request],
    budget: Budget,
    seeds: Sequence[int],
    starts: State | None,
    *,
    trajectory: bool,
    checkpoint: Checkpoint | None,
    at_once: int | None,
) -> list[Result]:
    """See :meth:`Unlearner.forget_fleet`. Counts and seconds are sums over the groups; losses and warnings are a group's own."""
    if at_once is not None and (not isinstance(at_once, int) or isinstance(at_once, bool) or at_once < 1):
        raise ConfigurationError(
            f"{at_once!r} models at a time make no sense",
            where="forget_fleet.at_once",
            mend="give a whole number from 1",
        )
    fits = len(seeds) == len(requests) and (starts is None or starts.models == len(requests))
    if at_once is None or at_once >= len(requests) or not fits:  # what does not fit is refused there
        return run_fleet(method, task, requests, budget, seeds, starts, trajectory=trajectory, checkpoint=checkpoint)
    if checkpoint is not None:
        raise ConfigurationError(
            "a run in groups keeps no checkpoint", where="forget_fleet.at_once", mend="leave out one of the two"
        )
    groups: list[list[Result]] = []
    for first in range(0, len(requests), at_once):
        part = slice(first, min(first + at_once, len(requests)))
        own = None if starts is None else starts.pick(range(part.start, part.stop))
        left = _left(budget, groups)
        groups.append(run_fleet(method, task, requests[part], left, seeds[part], own, trajectory=trajectory))
    return _together(groups)


def _left(budget: Budget, groups: Sequence[Sequence[Result]]) -> Budget:
    """What the groups before left of a budget that is for all."""
    counts, seconds = _spent(groups)
    limits = {
        name: None if limit is None else max(0, limit - counts.get(kind, 0))
        for name, kind in _LIMITS.items()
        for limit in (getattr(budget, name),)
    }
    return replace(budget, **limits, seconds=None if budget.seconds is None else max(0.0, budget.seconds - seconds))


def _spent(groups: Sequence[Sequence[Result]]) -> tuple[dict[str, int], float]:
    """Counts and seconds; every result of a group carries the group's."""
    found = [group[0].evidence for group in groups]
    kinds = {kind for evidence in found for kind in evidence.counts}
    counts = {kind: sum(evidence.counts.get(kind, 0) for evidence in found) for kind in sorted(kinds)}
    return counts, sum(evidence.seconds for evidence in found)


def _together(groups: Sequence[Sequence[Result]]) -> list[Result]:
    counts, seconds = _spent(groups)
    peaks = [group[0].evidence.peak_memory for group in groups]
    known = [peak for peak in peaks if peak is not None]
    peak = max(known) if len(known) == len(peaks) else None
    return [
        replace(
            result,
            evidence=replace(result.evidence, counts=dict(counts), seconds=seconds, peak_memory=peak),
        )
        for group in groups
        for result in group
    ]
