"""Random labels: teach the forgotten records wrong labels, drawn anew in each epoch, beside the retained ones."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from certify.core.streams import stream
from certify.models.networks.batches import Batch
from certify.models.networks.recipe import optimiser_of
from certify.models.networks.state import State, Tensors
from certify.unlearners.evidence import Claim
from certify.unlearners.interface import Kind, Unlearner
from certify.unlearners.networks.meter import NetworkMeter
from certify.unlearners.networks.pairing import two_sided
from certify.unlearners.networks.targets import need_classes


@dataclass(frozen=True)
class RandomLabels(Unlearner):
    """Training on all records, the forgotten ones with uniformly random labels that change from epoch to epoch.

    A weak baseline: it overwrites rather than forgets, and may leave the forgotten records with a larger loss than records never
    seen, which betrays them too. Public code disagrees on two points, which are knobs here: whether the true label may be drawn,
    and whether both parts share batches. The forgotten records pass in evaluation mode, so that they do not shift batch
    statistics.

    Args:
        lr: step size.
        epochs: passes over all records.
        batch_size: records in a batch.
        true_label: a record's own label may be drawn.
        order: "mixed" batches of both parts, or in each epoch a pass over the "forgotten-first" and then one over the retained.
        optimiser: "sgd", "adam" or "adamw".
        momentum: of SGD.
        weight_decay: see the optimisers.
    """

    name: ClassVar[str] = "random-labels"
    summary: ClassVar[str] = "train on with random labels for the forgotten records (a weak baseline)"
    needs: ClassVar[str] = "the original model, the retained and the forgotten records"
    reference: ClassVar[str] = "Golatkar et al. 2020; Graves et al. 2021 (relabelling)"
    claim: ClassVar[Claim] = Claim.NONE
    kinds: ClassVar[tuple[Kind, ...]] = ("network",)
    family: ClassVar[str] = "relabel"
    reads_forgotten: ClassVar[bool] = True
    stochastic: ClassVar[bool] = True

    lr: Annotated[float, Field(gt=0)] = 0.01
    epochs: Annotated[int, Field(ge=1)] = 10
    batch_size: Annotated[int, Field(ge=1)] = 128
    true_label: bool = False
    order: Literal["mixed", "forgotten-first"] = "mixed"
    optimiser: Literal["sgd", "adam", "adamw"] = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0

    def run_networks(self, meter: NetworkMeter, state: State) -> State:
        """One step a batch."""
        return self.relabelled(meter, state)

    def relabelled(self, meter: NetworkMeter, state: State, mask: Tensors | None = None) -> State:
        """The training; parameters outside the mask stay as they are, bit for bit."""
        classes = need_classes(meter, state)
        optimiser = optimiser_of(self.optimiser, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
        memory = optimiser.start(meter.network.moving(state))
        for epoch in range(self.epochs):
            extras = partial(_own, drawn_labels(meter, classes, epoch, true_label=self.true_label))
            for batch in self._batches(meter, epoch):
                state, memory = meter.at(batch, state, memory)
                gradient = two_sided(meter, state, batch, meter.loss, extras)
                state, memory = meter.step(optimiser, state, gradient, memory, batch, mask=mask)
            meter.mark(state)
        return state

    def _batches(self, meter: NetworkMeter, epoch: int) -> Iterator[Batch]:
        if self.order == "mixed":
            both = [np.concatenate([split.retain, split.forget]) for split in meter.splits]
            yield from meter.passes(both, epochs=1, batch_size=self.batch_size, name="mixed", first=epoch)
        else:
            yield from meter.batches("forget", epochs=1, batch_size=self.batch_size, first=epoch)
            yield from meter.batches("retain", epochs=1, batch_size=self.batch_size, first=epoch)


def drawn_labels(meter: NetworkMeter, classes: int, epoch: int, *, true_label: bool) -> Tensor:
    """Labels (K, n) for one epoch: uniformly drawn for each model's forgotten records, their own for all others.

    Without the true label one of the other ``classes - 1`` is drawn. The labels of model k depend on its seed, its forgotten
    records and the epoch alone.
    """
    labels = meter.y.repeat(meter.models, 1)
    for model, split in enumerate(meter.splits):
        generator = stream(meter.seeds[model], f"labels/{epoch}")
        drawn = generator.integers(classes if true_label else classes - 1, size=len(split.forget))
        rows = torch.from_numpy(split.forget).to(meter.device)
        found = torch.from_numpy(drawn).to(meter.device)
        labels[model, rows] = found if true_label else found + (found >= meter.y[rows])
    return labels


def _own(labels: Tensor, batch: Batch) -> tuple[Tensor]:
    """The labels of a batch's records."""
    return (labels.gather(1, batch.indices),)
