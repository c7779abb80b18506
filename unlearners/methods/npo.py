"""Negative preference optimisation for classifiers: an ascent that stops pulling at what is already forgotten."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from certify.models.networks.batches import Batch
from certify.models.networks.network import Loss
from certify.models.networks.recipe import optimiser_of
from certify.models.networks.state import State
from certify.unlearners.evidence import Claim
from certify.unlearners.interface import Kind, Unlearner
from certify.unlearners.networks.meter import NetworkMeter
from certify.unlearners.networks.pairing import paired
from certify.unlearners.networks.targets import Targets


@dataclass(frozen=True)
class NegativePreference(Unlearner):
    """Descent on ``-(2 / beta) log sigmoid(-beta log(p / p_0))`` over the forgotten records, plus ``retain`` times ``L_R``.

    p is the probability of a record's target, p_0 the original's; ``log(p / p_0)`` is the loss at the original less the loss
    now, for any loss that is a negative log-likelihood. The gradient is that of gradient ascent times
    ``2 p^beta / (p^beta + p_0^beta)``: 1 at the original, vanishing as a record is forgotten, so the ascent damps itself. As
    ``beta`` goes to 0 it becomes plain gradient ascent. The paper's setting is language models; taking the label for the
    sequence is our reading. Without the retained term no retained record is read.

    Args:
        lr: step size.
        epochs: passes over the forgotten records.
        batch_size: records of each part in a step.
        beta: how soon a record is left alone.
        retain: weight of the retained records' mean loss, one batch of them for each of forgotten ones; 0 reads none.
        optimiser: "sgd", "adam" or "adamw".
        momentum: of SGD.
        weight_decay: see the optimisers.
    """

    name: ClassVar[str] = "npo"
    summary: ClassVar[str] = "raise the forgotten records' loss, ever more gently (negative preference optimisation)"
    needs: ClassVar[str] = "the original model, the forgotten records, the retained ones unless retain = 0"
    reference: ClassVar[str] = "Zhang et al. 2024 (NPO)"
    claim: ClassVar[Claim] = Claim.NONE
    kinds: ClassVar[tuple[Kind, ...]] = ("network",)
    family: ClassVar[str] = "gradient"
    reads_forgotten: ClassVar[bool] = True
    stochastic: ClassVar[bool] = True
    ascends: ClassVar[bool] = True

    lr: Annotated[float, Field(gt=0)] = 0.01
    epochs: Annotated[int, Field(ge=1)] = 20
    batch_size: Annotated[int, Field(ge=1)] = 128
    beta: Annotated[float, Field(gt=0)] = 0.5
    retain: Annotated[float, Field(ge=0)] = 1.0
    optimiser: Literal["sgd", "adam", "adamw"] = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0

    def run_networks(self, meter: NetworkMeter, state: State) -> State:
        """One forward pass of the forgotten records for p_0, then one step a batch of them, in evaluation mode."""
        loss = damped_ascent(meter.loss, self.beta)
        reference = _losses(meter, state)
        optimiser = optimiser_of(self.optimiser, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
        memory = optimiser.start(meter.network.moving(state))
        for forget, retain in self._batches(meter):
            state, memory = meter.at(forget, state, memory)
            gradient = meter.gradient(state, forget, loss, (meter.y[forget.indices], reference.at(forget)))
            if retain is not None:
                gradient = gradient.plus(meter.gradient(state, retain, train=True).scaled(self.retain))
            state, memory = meter.step(optimiser, state, gradient, memory, forget)
        return state

    def _batches(self, meter: NetworkMeter) -> Iterator[tuple[Batch, Batch | None]]:
        if self.retain > 0:
            yield from paired(meter, epochs=self.epochs, batch_size=self.batch_size, length="forget")
        else:
            for batch in meter.batches("forget", epochs=self.epochs, batch_size=self.batch_size):
                yield batch, None


def damped_ascent(loss: Loss, beta: float) -> Loss:
    """``(2 / beta) softplus(beta (reference - loss))`` of a record, from outputs, target and the reference's loss."""

    def npo(outputs: Tensor, target: Tensor, reference: Tensor) -> Tensor:
        return 2 / beta * functional.softplus(beta * (reference - loss(outputs, target)))

    return npo


def _losses(meter: NetworkMeter, state: State) -> Targets:
    """Loss of each forgotten record at the start."""
    forget = meter.records("forget")
    rows = [torch.from_numpy(own).to(meter.device) for own in forget]
    outputs = meter.outputs_of(state, forget)
    return Targets.of(meter, forget, [meter.loss(z, meter.y[own]) for z, own in zip(outputs, rows, strict=True)])
