"""Boundary shrinking: forgotten records get the label of what lies just beyond the decision boundary."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from certify.core.errors import ConfigurationError
from certify.models.networks.batches import epochs
from certify.models.networks.losses import class_logits
from certify.models.networks.recipe import optimiser_of
from certify.models.networks.state import State
from certify.unlearners.evidence import Claim
from certify.unlearners.interface import Kind, Unlearner
from certify.unlearners.networks.meter import NetworkMeter
from certify.unlearners.networks.targets import Targets, need_classes


@dataclass(frozen=True)
class BoundaryShrink(Unlearner):
    """Training on the forgotten records alone, each labelled as the original sees its neighbour ``x + bound sign(dL/dx)``.

    Made for whole classes; it reads no retained record, and accuracy on those falls with every step. The paper wants the nearest
    wrong class, so the neighbour's most probable class other than the record's own is taken; public code takes the neighbour's
    class even where it is the record's own (``own_label``), which confirms the record instead of forgetting it.

    Args:
        lr: step size.
        epochs: passes over the forgotten records.
        batch_size: records in a batch.
        bound: length of the step to the neighbour in each feature, in the features' units.
        own_label: a neighbour of the record's own class gives that class.
        optimiser: "sgd", "adam" or "adamw".
        momentum: of SGD.
        weight_decay: see the optimisers.
    """

    name: ClassVar[str] = "boundary-shrink"
    summary: ClassVar[str] = "label forgotten records as their neighbours beyond the decision boundary"
    needs: ClassVar[str] = "the original model, the forgotten records; inputs that are real numbers"
    reference: ClassVar[str] = "Chen et al. 2023 (boundary shrink)"
    claim: ClassVar[Claim] = Claim.NONE
    kinds: ClassVar[tuple[Kind, ...]] = ("network",)
    family: ClassVar[str] = "relabel"
    reads_forgotten: ClassVar[bool] = True
    stochastic: ClassVar[bool] = True
    ascends: ClassVar[bool] = True

    lr: Annotated[float, Field(gt=0)] = 0.01
    epochs: Annotated[int, Field(ge=1)] = 10
    batch_size: Annotated[int, Field(ge=1)] = 128
    bound: Annotated[float, Field(gt=0)] = 0.1
    own_label: bool = False
    optimiser: Literal["sgd", "adam", "adamw"] = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0

    def run_networks(self, meter: NetworkMeter, state: State) -> State:
        """A gradient and a forward pass of each forgotten record for the labels, then one step a batch in evaluation mode."""
        need_classes(meter, state)
        if not meter.X.is_floating_point():
            raise ConfigurationError(
                "inputs that are whole numbers have no neighbours",
                where=f"{self.name}: X",
                mend="use a method that does not move inputs, such as random-labels",
            )
        labels = neighbours_labels(meter, state, self.bound, own_label=self.own_label)
        optimiser = optimiser_of(self.optimiser, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
        memory = optimiser.start(meter.network.moving(state))
        for batch in meter.batches("forget", epochs=self.epochs, batch_size=self.batch_size):
            state, memory = meter.at(batch, state, memory)
            gradient = meter.gradient(state, batch, extras=(labels.at(batch),))
            state, memory = meter.step(optimiser, state, gradient, memory, batch, purpose="forget")
        return state


def neighbours_labels(meter: NetworkMeter, state: State, bound: float, *, own_label: bool) -> Targets:
    """For each forgotten record the most probable class, but its own unless allowed, of ``x + bound sign(dL/dx)``."""
    forget = meter.records("forget")
    found: list[list[torch.Tensor]] = [[] for _ in forget]
    for batch in epochs(forget, batch_size=meter.chunk, shuffle=False, device=meter.device):
        moved = meter.X[batch.indices] + bound * meter.input_gradient(state, batch).sign()
        meter.charge("forwards", int(batch.records.sum()))
        logits = torch.stack([class_logits(values) for values in meter.network.outputs(state, moved)])
        if not own_label:
            logits = logits.scatter(2, meter.y[batch.indices][..., None], float("-inf"))
        for model, count in enumerate(batch.records.tolist()):
            found[model].append(logits[model, :count].argmax(dim=1))
    return Targets.of(meter, forget, [torch.cat(parts) for parts in found])
