"""SalUn: random labels, but only the weights that matter most for the forgotten records may move."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from certify.models.networks.state import State, Tensors, flatten, unflatten
from certify.unlearners.methods.random_labels import RandomLabels
from certify.unlearners.networks.meter import NetworkMeter


@dataclass(frozen=True)
class SalUn(RandomLabels):
    """Random labels under a mask: the ``share`` of the weights with the largest ``|gradient of L_F|`` at the original.

    The other weights stay bit for bit as they were: the mask holds in the optimiser's step, behind momentum, weight decay and
    Adam (in public code before 2026 it held before the step, and those three moved the masked weights). Running averages of
    batch normalisation are no weights: they describe what the moved weights let through, so retained records go on updating
    them, and the evidence lists them. Our reading of a tie: the weight that comes first, so that exactly the share is chosen.
    Otherwise as :class:`~certify.unlearners.methods.random_labels.RandomLabels`, weaknesses included.

    Args:
        share: share of the weights that may move.
        lr: step size.
        epochs: passes over all records.
        batch_size: records in a batch.
        true_label: a record's own label may be drawn.
        order: "mixed" or "forgotten-first".
        optimiser: "sgd", "adam" or "adamw".
        momentum: of SGD.
        weight_decay: see the optimisers.
    """

    name: ClassVar[str] = "salun"
    summary: ClassVar[str] = "random labels, moving only the weights that matter most for the forgotten records"
    reference: ClassVar[str] = "Fan et al. 2024 (SalUn)"

    share: Annotated[float, Field(gt=0, le=1)] = 0.5

    def share_moved(self) -> float:
        """The mask's share."""
        return self.share

    def run_networks(self, meter: NetworkMeter, state: State) -> State:
        """One gradient of all forgotten records for the mask, then one step a batch."""
        gradient = meter.mean_gradient(state, meter.records("forget"))
        return self.relabelled(meter, state, salient(gradient.tensors, self.share))


def salient(gradient: Tensors, share: float) -> dict[str, Tensor]:
    """For each model, true at the ``round(share P)`` (at least one) of its P weights with the largest absolute gradient."""
    flat = flatten(gradient).abs()
    count = max(1, round(share * flat.shape[1]))
    first = torch.argsort(flat, dim=1, descending=True, stable=True)[:, :count]
    return unflatten(torch.zeros_like(flat, dtype=torch.bool).scatter(1, first, value=True), gradient)
