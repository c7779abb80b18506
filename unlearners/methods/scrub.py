"""SCRUB: away from the original on the forgotten records, back to it on the retained ones, in turns."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from certify.models.networks.batches import Batch
from certify.models.networks.network import Loss
from certify.models.networks.recipe import optimiser_of
from certify.models.networks.state import State
from certify.unlearners.evidence import Claim
from certify.unlearners.interface import Kind, Unlearner
from certify.unlearners.networks.meter import NetworkMeter
from certify.unlearners.networks.rewind import nearest_to_held_out
from certify.unlearners.networks.targets import Targets, logits_of, need_classes, need_probabilities, taught


@dataclass(frozen=True)
class Scrub(Unlearner):
    """Alternating passes with the original, frozen, as teacher; D is ``T^2 KL(teacher || model)`` of a record.

    Each of the first ``max_epochs`` epochs begins with a pass over the forgotten records that raises the mean of D; every epoch
    ends with a pass over the retained records that lowers the mean of ``gamma CE + alpha D``. The epochs that only repair, at
    the end, belong to the method. One optimiser makes all steps. With ``rewind`` (SCRUB+R) the result is the epoch whose error
    on the forgotten records is nearest to that on held-out records of the same classes.

    At the start model and teacher are one and the gradient of D is exactly zero; what rounding leaves of it is noise, which Adam
    would blow up to full steps. In evaluation mode, in which forgotten records pass here (ours: they must not shift batch
    statistics), the first raising pass is therefore no step at all and is left out; ``max_epochs`` of 1 raises nothing. The
    paper's code also lowers the step size late and averages weights; neither is in the paper's algorithm nor here.

    Args:
        lr: step size.
        epochs: passes over the retained records.
        max_epochs: epochs that begin with a raising pass; from ``epochs`` on none only repairs, which is warned of.
        batch_size: retained records in a batch.
        forget_batch_size: forgotten records in a batch.
        alpha: weight of D on retained records.
        gamma: weight of the training loss on retained records.
        temperature: T, of both softmaxes.
        rewind: choose the epoch by the held-out error.
        optimiser: "sgd", "adam" or "adamw".
        momentum: of SGD.
        weight_decay: see the optimisers.
    """

    name: ClassVar[str] = "scrub"
    summary: ClassVar[str] = "in turns away from the original on the forgotten and back to it on the retained records"
    needs: ClassVar[str] = "the original model, the retained and the forgotten records; held-out records to rewind"
    reference: ClassVar[str] = "Kurmanji et al. 2023 (SCRUB, SCRUB+R)"
    claim: ClassVar[Claim] = Claim.NONE
    kinds: ClassVar[tuple[Kind, ...]] = ("network",)
    family: ClassVar[str] = "distil"
    reads_forgotten: ClassVar[bool] = True
    stochastic: ClassVar[bool] = True

    lr: Annotated[float, Field(gt=0)] = 0.05
    epochs: Annotated[int, Field(ge=1)] = 10
    max_epochs: Annotated[int, Field(ge=0)] = 5
    batch_size: Annotated[int, Field(ge=1)] = 64
    forget_batch_size: Annotated[int, Field(ge=1)] = 64
    alpha: Annotated[float, Field(ge=0)] = 0.1
    gamma: Annotated[float, Field(ge=0)] = 0.99
    temperature: Annotated[float, Field(gt=0)] = 2.0
    rewind: bool = False
    optimiser: Literal["sgd", "adam", "adamw"] = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0

    def run_networks(self, meter: NetworkMeter, state: State) -> State:
        """One forward pass of the teacher, then one step a batch."""
        need_probabilities(meter)
        if self.rewind:
            need_classes(meter, state)
        if self.max_epochs < 2:
            meter.warn("max_epochs is below 2: the first raising pass moves nothing, so nothing pushes records out")
        if self.max_epochs >= self.epochs:
            meter.warn("max_epochs is not below epochs: no epoch at the end only repairs")
        teacher = state
        away = taught(self.temperature)
        towards = self._repairing(meter.loss)
        forget, retain = (self._lessons(meter, teacher, which) for which in ("forget", "retain"))
        optimiser = optimiser_of(self.optimiser, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
        memory = optimiser.start(meter.network.moving(state))
        states: list[State] = []
        for epoch in range(self.epochs):
            if 0 < epoch < self.max_epochs:
                for batch in self._pass(meter, "forget", epoch):
                    state, memory, states = meter.at(batch, state, memory, states)
                    gradient = meter.gradient(state, batch, away, (forget.at(batch),)).scaled(-1.0)
                    state, memory = meter.step(optimiser, state, gradient, memory, batch, purpose="forget")
            for batch in self._pass(meter, "retain", epoch):
                state, memory, states = meter.at(batch, state, memory, states)
                extras = (meter.y[batch.indices], retain.at(batch))
                gradient = meter.gradient(state, batch, towards, extras, train=True)
                state, memory = meter.step(optimiser, state, gradient, memory, batch, purpose="retain")
            meter.mark(state)
            if self.rewind:
                states.append(state)
        return nearest_to_held_out(meter, states) if self.rewind else state

    def _pass(self, meter: NetworkMeter, which: Literal["forget", "retain"], epoch: int) -> Iterator[Batch]:
        size = self.forget_batch_size if which == "forget" else self.batch_size
        return meter.batches(which, epochs=1, batch_size=size, first=epoch)

    def _lessons(self, meter: NetworkMeter, teacher: State, which: Literal["forget", "retain"]) -> Targets:
        records = meter.records(which)
        return Targets.of(meter, records, logits_of(meter, teacher, records))

    def _repairing(self, task_loss: Loss) -> Loss:
        """``gamma CE + alpha D`` of a record, from outputs, target and the teacher's logits."""
        near = taught(self.temperature)

        def loss(outputs: Tensor, target: Tensor, teacher: Tensor) -> Tensor:
            return self.gamma * task_loss(outputs, target) + self.alpha * near(outputs, teacher)

        return loss
