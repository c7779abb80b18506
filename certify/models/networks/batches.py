"""Batches for K models at once: each model reads its own records in its own order, the same alone and in company."""

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from certify.core.arrays import IntArray
from certify.core.streams import stream


@dataclass(frozen=True, eq=False)
class Batch:
    """One batch for each of K models; models with fewer records are padded.

    Attributes:
        indices: positions of records, shape (K, B); padding repeats a record of the same model.
        weights: 1 / (records of the model's batch) for a record, 0 for padding, shape (K, B), in double precision: a weighted
            sum is the mean.
        active: models that have a record in this batch, shape (K,); the others rest.
        epoch: number of the pass over the records, from 0.
        done: share of each model's own batches that came before this one, in [0, 1).
        seeds: one for each model, for what is random in a training pass over this batch.
        begins: name of the pass that this batch is the first of; empty for the others.
    """

    indices: Tensor
    weights: Tensor
    active: Tensor
    epoch: int = 0
    done: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()
    begins: str = ""

    @property
    def records(self) -> Tensor:
        """Records that count, for each model, shape (K,)."""
        return (self.weights > 0).sum(dim=1)

    @property
    def even(self) -> bool:
        """Whether nothing is padded."""
        return bool((self.weights > 0).all())


def epochs(
    records: Sequence[IntArray],
    *,
    batch_size: int,
    count: int = 1,
    seeds: Sequence[int] = (),
    name: str = "order",
    shuffle: bool = True,
    first: int = 0,
    device: torch.device | None = None,
) -> Iterator[Batch]:
    """Batches of ``count`` passes over each model's records.

    The order of model k in pass e is a permutation drawn from the stream (``seeds[k]``, ``name``, e): it depends neither on the
    other models nor on what was drawn before.

    Args:
        records: for each model, positions of its records.
        batch_size: records of one model in a batch; the last batch of a pass may be smaller.
        count: passes.
        seeds: one seed for each model; not needed without ``shuffle``.
        name: name of the stream.
        shuffle: new order in each pass; otherwise the order given.
        first: number of the first pass.
        device: where the tensors go.
    """
    for epoch in range(first, first + count):
        orders = [
            stream(seeds[model], f"{name}/{epoch}").permutation(rows) if shuffle else np.asarray(rows)
            for model, rows in enumerate(records)
        ]
        longest = max((len(order) for order in orders), default=0)
        each = [max(1, math.ceil(len(order) / batch_size)) for order in orders]
        for place, start in enumerate(range(0, longest, batch_size)):
            done = tuple(min(place + (epoch - first) * own, count * own - 1) / (count * own) for own in each)
            rows = [order[start : start + batch_size] for order in orders]
            own = tuple(_mix(seed, name, epoch, place) for seed in seeds)
            yield replace(collate(rows, device=device), epoch=epoch, done=done, seeds=own)


def collate(rows: Sequence[IntArray], *, device: torch.device | None = None) -> Batch:
    """One batch from the records of each model, which may differ in number."""
    width = max((len(part) for part in rows), default=0)
    indices = np.zeros((len(rows), width), dtype=np.int64)
    weights = np.zeros((len(rows), width))
    for model, part in enumerate(rows):
        if len(part):
            indices[model] = np.resize(part, width)
            weights[model, : len(part)] = 1.0 / len(part)
    active = np.array([len(part) > 0 for part in rows])
    return Batch(
        torch.from_numpy(indices).to(device),
        torch.from_numpy(weights).to(device),
        torch.from_numpy(active).to(device),
    )


def _mix(seed: int, name: str, epoch: int, place: int) -> int:
    words = np.random.SeedSequence([seed, zlib.crc32(name.encode()), epoch, place]).generate_state(1, np.uint64)
    return int(words[0] >> 1)
