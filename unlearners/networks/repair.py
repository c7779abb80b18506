"""Training on the retained records after an operation that damaged the model: the second half of many methods."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field

from certify.models.networks.batches import Batch
from certify.models.networks.network import Gradient
from certify.models.networks.recipe import Recipe, optimiser_of
from certify.models.networks.state import State
from certify.unlearners.interface import Unlearner
from certify.unlearners.networks.meter import NetworkMeter

Adapt = Callable[[Gradient, State, Batch], Gradient]
"""Changes a gradient before the step."""

After = Callable[[State, Batch], State]
"""Changes the state after the step."""


@dataclass(frozen=True)
class Repair(Unlearner):
    """Base of the methods that train on the retained records; the knobs of that training.

    Args:
        lr: step size.
        epochs: passes over the retained records.
        batch_size: records in a batch.
        optimiser: "sgd", "adam" or "adamw".
        momentum: of SGD.
        weight_decay: see the optimisers.
        schedule: of the step size, see :class:`~certify.models.networks.recipe.Recipe`.
        warmup: share of the steps with a linearly growing step size.
    """

    quick: ClassVar[Mapping[str, Any]] = MappingProxyType({"epochs": 3})

    lr: Annotated[float, Field(gt=0)] = 0.01
    epochs: Annotated[int, Field(ge=1)] = 5
    batch_size: Annotated[int, Field(ge=1)] = 64
    optimiser: Literal["sgd", "adam", "adamw"] = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    schedule: Literal["constant", "cosine", "steps"] = "constant"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def repair(
        self, meter: NetworkMeter, state: State, *, adapt: Adapt | None = None, after: After | None = None
    ) -> State:
        """One step a batch of retained records, in training mode; the state at the end of each pass is marked.

        Args:
            meter: gives the records.
            state: where to start.
            adapt: changes each gradient before the step.
            after: changes the state after each step; the batch tells which models rest.
        """
        optimiser = optimiser_of(self.optimiser, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
        plan = Recipe("sgd", schedule=self.schedule, warmup=self.warmup)
        memory = optimiser.start(meter.network.moving(state))
        epoch = 0
        for batch in meter.batches("retain", epochs=self.epochs, batch_size=self.batch_size):
            state, memory = meter.at(batch, state, memory)
            if batch.epoch != epoch:
                epoch = batch.epoch
                meter.mark(state)
            gradient = meter.gradient(state, batch, train=True)
            gradient = gradient if adapt is None else adapt(gradient, state, batch)
            factor = torch.tensor([plan.factor(done) for done in batch.done], dtype=torch.float64, device=meter.device)
            state, memory = meter.step(optimiser, state, gradient, memory, batch, factor=factor, purpose="retain")
            state = state if after is None else after(state, batch)
        meter.mark(state)
        return state
