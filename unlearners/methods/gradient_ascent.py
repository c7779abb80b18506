"""Gradient ascent on the forgotten records (NegGrad), with a bounded form that cannot run away."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from certify.core.errors import ConfigurationError
from certify.models.networks.network import Loss
from certify.models.networks.recipe import optimiser_of
from certify.models.networks.state import State
from certify.unlearners.evidence import Claim
from certify.unlearners.interface import Kind, Unlearner
from certify.unlearners.networks.meter import NetworkMeter
from certify.unlearners.probe import Probe


@dataclass(frozen=True)
class GradientAscent(Unlearner):
    """Steps that raise the mean loss of the forgotten records, from the original model.

    The plain loss has no upper end, so the plain form diverges sooner or later. The bounded form raises ``min(loss, bound)``:
    a record whose loss has reached the bound, by default that of a uniform guess, pulls no more.

    Args:
        lr: step size.
        epochs: passes over the forgotten records.
        batch_size: records in a batch.
        bounded: raise the loss to ``bound`` at most.
        bound: largest loss aimed at; None is log C, the loss of a uniform guess among C classes (two where one output tells
            them apart). Squared error has no such loss: there it must be given.
        clip: largest norm of a gradient; None is no limit.
        optimiser: "sgd" or "adam"; there is no weight decay.
        momentum: of SGD.
    """

    name: ClassVar[str] = "gradient-ascent"
    summary: ClassVar[str] = "raise the loss of the forgotten records, bounded or not (a weak baseline)"
    needs: ClassVar[str] = "the original model, the forgotten records"
    reference: ClassVar[str] = "Graves et al. 2021; Thudi et al. 2022 (as a baseline)"
    claim: ClassVar[Claim] = Claim.NONE
    kinds: ClassVar[tuple[Kind, ...]] = ("network",)
    family: ClassVar[str] = "gradient"
    reads_forgotten: ClassVar[bool] = True
    stochastic: ClassVar[bool] = True
    ascends: ClassVar[bool] = True
    conformance: ClassVar[Probe] = Probe(contexts={"bounded": {"bound": 0.01}})

    lr: Annotated[float, Field(gt=0)] = 1e-3
    epochs: Annotated[int, Field(ge=1)] = 5
    batch_size: Annotated[int, Field(ge=1)] = 128
    bounded: bool = True
    bound: Annotated[float, Field(gt=0)] | None = None
    clip: Annotated[float, Field(gt=0)] | None = None
    optimiser: Literal["sgd", "adam"] = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def run_networks(self, meter: NetworkMeter, state: State) -> State:
        """One step a batch of forgotten records. Batch statistics stay as they are: forgotten records must not shift them.

        Raises:
            ConfigurationError: no bound is given and the loss has no uniform guess.
        """
        if self.bounded and self.bound is None and meter.task.loss == "squared":
            raise ConfigurationError(
                "squared error has no loss of a uniform guess to stop at",
                where="gradient-ascent.bound",
                mend="give bound, or set bounded=false",
            )
        optimiser = optimiser_of(self.optimiser, lr=self.lr, momentum=self.momentum)
        memory = optimiser.start(meter.network.moving(state))
        loss = negated(meter.loss, self.bound, bounded=self.bounded)
        for batch in meter.batches("forget", epochs=self.epochs, batch_size=self.batch_size):
            state, memory = meter.at(batch, state, memory)
            gradient = meter.gradient(state, batch, loss)
            state, memory = meter.step(optimiser, state, gradient, memory, batch, clip=self.clip, purpose="forget")
        return state


def negated(loss: Loss, bound: float | None, *, bounded: bool) -> Loss:
    """``-loss``, or ``-min(loss, bound)``."""

    def ascend(outputs: Tensor, *more: Tensor) -> Tensor:
        losses = loss(outputs, *more)
        if not bounded:
            return -losses
        limit = math.log(max(2, outputs.shape[-1])) if bound is None else bound
        return -torch.clamp(losses, max=min(limit, torch.finfo(losses.dtype).max))

    return ascend
