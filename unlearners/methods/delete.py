"""DELETE: the original's own probabilities without the label, taught to the forgotten records."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from certify.models.networks.losses import class_logits
from certify.models.networks.recipe import optimiser_of
from certify.models.networks.state import State
from certify.unlearners.evidence import Claim
from certify.unlearners.interface import Kind, Unlearner
from certify.unlearners.networks.meter import NetworkMeter
from certify.unlearners.networks.targets import Targets, logits_of, need_classes


@dataclass(frozen=True)
class Delete(Unlearner):
    """Descent on ``KL(q || p)`` over the forgotten records, q the original's softmax with the label's logit at minus infinity.

    Reads no retained record. Made for whole classes: the target gives a forgotten record's label no probability at all, which is
    more than a retrained model would do to a record it simply has not seen, so random subsets are over-forgotten, and retained
    records like them suffer.

    Args:
        lr: step size.
        epochs: passes over the forgotten records.
        batch_size: records in a batch.
        optimiser: "sgd", "adam" or "adamw".
        momentum: of SGD.
        weight_decay: see the optimisers.
    """

    name: ClassVar[str] = "delete"
    summary: ClassVar[str] = "teach the forgotten records the original's probabilities of the other classes"
    needs: ClassVar[str] = "the original model, the forgotten records"
    reference: ClassVar[str] = "Zhou et al. 2025 (DELETE)"
    claim: ClassVar[Claim] = Claim.NONE
    kinds: ClassVar[tuple[Kind, ...]] = ("network",)
    family: ClassVar[str] = "distil"
    reads_forgotten: ClassVar[bool] = True
    stochastic: ClassVar[bool] = True
    ascends: ClassVar[bool] = True

    lr: Annotated[float, Field(gt=0)] = 0.01
    epochs: Annotated[int, Field(ge=1)] = 20
    batch_size: Annotated[int, Field(ge=1)] = 128
    optimiser: Literal["sgd", "adam", "adamw"] = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0

    def run_networks(self, meter: NetworkMeter, state: State) -> State:
        """One forward pass of the forgotten records for the targets, then one step a batch of them in evaluation mode."""
        need_classes(meter, state)
        forget = meter.records("forget")
        logits = logits_of(meter, state, forget)
        rows = [torch.from_numpy(own).to(meter.device) for own in forget]
        aims = [without_label(z, meter.y[own]) for z, own in zip(logits, rows, strict=True)]
        targets = Targets.of(meter, forget, aims)
        optimiser = optimiser_of(self.optimiser, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
        memory = optimiser.start(meter.network.moving(state))
        for batch in meter.batches("forget", epochs=self.epochs, batch_size=self.batch_size):
            state, memory = meter.at(batch, state, memory)
            gradient = meter.gradient(state, batch, divergence, (targets.at(batch),))
            state, memory = meter.step(optimiser, state, gradient, memory, batch, purpose="forget")
        return state


def without_label(logits: Tensor, labels: Tensor) -> Tensor:
    """``softmax`` of the logits (n, C) in which the label's is minus infinity."""
    return torch.softmax(logits.scatter(1, labels[:, None], float("-inf")), dim=1)


def divergence(outputs: Tensor, target: Tensor) -> Tensor:
    """``KL(target || softmax(outputs))`` of a record, the target a distribution that may hold zeros."""
    own = functional.log_softmax(class_logits(outputs), dim=1)
    return (torch.xlogy(target, target) - target * own).sum(dim=1)
