"""Steps that look at forgotten and retained records together."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import reduce
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from certify.core.arrays import IntArray
from certify.core.progress import track
from certify.core.streams import stream
from certify.models.networks.batches import Batch, collate
from certify.models.networks.network import Gradient, Loss
from certify.models.networks.state import State
from certify.unlearners.networks.meter import NetworkMeter


def paired(
    meter: NetworkMeter, *, epochs: int, batch_size: int, length: Literal["longer", "forget"]
) -> Iterator[tuple[Batch, Batch]]:
    """A batch of forgotten and one of retained records for each step.

    Both parts are gone through again and again, in a new order each time, each model at its own pace. An epoch has as many
    steps as the longer part of a model, or its forgotten records, has batches; a model whose epochs are over rests.

    Args:
        meter: whose records.
        epochs: passes over the part that decides the length.
        batch_size: records of each part in a step.
        length: which part decides how many steps an epoch has.

    Yields:
        Forgotten and retained; the first says where an epoch of the slowest model begins, for ``meter.at``.
    """
    sizes = [
        max(len(split.forget), len(split.retain)) if length == "longer" else len(split.forget) for split in meter.splits
    ]
    each = [math.ceil(size / batch_size) for size in sizes]
    steps = torch.tensor([min(epochs * own, 2**62) for own in each], device=meter.device)  # a tensor counts no further
    forget = meter.cycle("forget", batch_size=batch_size)
    retain = meter.cycle("retain", batch_size=batch_size)
    for step in track(range(epochs * max(each)), f"{meter.name}: steps"):
        epoch, place = divmod(step, max(each))
        begins, pair, awake = f"pairs/{epoch}", (next(forget), next(retain)), step < steps
        if not meter.is_done(begins):
            gone, kept = (resting(batch, awake) for batch in pair)
            yield replace(gone, begins="" if place else begins), kept


def two_sided(
    meter: NetworkMeter, state: State, batch: Batch, loss: Loss, extras: Callable[[Batch], tuple[Tensor, ...]]
) -> Gradient:
    """Gradient of the mean loss over a batch that mixes both parts.

    The retained records pass in training mode and the forgotten ones in evaluation mode, which keeps these out of the batch's
    statistics. A single retained record has no such statistics and passes in evaluation mode too.

    Args:
        meter: which records are to be forgotten.
        state: K models.
        batch: K batches.
        loss: losses of records.
        extras: the loss's further arguments for a batch.
    """
    return reduce(
        Gradient.plus,
        [
            meter.gradient(state, part, loss, extras(part), train=train)
            for part, train in zip(_sides(meter, batch), (False, True), strict=True)
            if bool((part.weights > 0).any())
        ],
    )


def _sides(meter: NetworkMeter, batch: Batch) -> tuple[Batch, Batch]:
    """The forgotten and the retained records of a batch, each weighted by the whole batch's size."""
    kept = (batch.weights > 0).cpu().numpy()
    rows = [indices[here] for indices, here in zip(batch.indices.cpu().numpy(), kept, strict=True)]
    gone = [np.isin(own, split.forget) for own, split in zip(rows, meter.splits, strict=True)]
    if meter.network.has_batch_statistics:
        gone = [away | (len(away) - away.sum() == 1) for away in gone]
    sizes = torch.tensor([max(1, len(own)) for own in rows], device=batch.weights.device, dtype=torch.float64)

    def part(own: list[IntArray]) -> Batch:
        made = collate(own, device=batch.indices.device)
        weights = (made.weights > 0).double() / sizes[:, None]
        return replace(batch, indices=made.indices, weights=weights)

    return (
        part([own[away] for own, away in zip(rows, gone, strict=True)]),
        part([own[~away] for own, away in zip(rows, gone, strict=True)]),
    )


def sampled(meter: NetworkMeter, share: float, name: str) -> list[IntArray]:
    """For each model a random share of its retained records, at least one, drawn from the stream of that name."""
    found = []
    for rows, seed in zip(meter.records("retain"), meter.seeds, strict=True):
        count = max(1, round(share * len(rows)))
        found.append(np.sort(stream(seed, name).choice(rows, size=count, replace=False)))
    return found


def resting(batch: Batch, awake: Tensor) -> Batch:
    """The batch in which only the models where ``awake``, shape (K,), is true have records."""
    if bool(awake.all()):
        return batch
    return replace(batch, weights=batch.weights * awake[:, None], active=batch.active & awake)
