"""NegGrad+: descent on the retained records and ascent on the forgotten ones in the same step."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from certify.models.networks.recipe import optimiser_of
from certify.models.networks.state import State
from certify.unlearners.evidence import Claim
from certify.unlearners.interface import Kind, Unlearner
from certify.unlearners.networks.meter import NetworkMeter
from certify.unlearners.networks.pairing import paired


@dataclass(frozen=True)
class NegGradPlus(Unlearner):
    """Steps on ``alpha L_R - (1 - alpha) L_F``, L_R and L_F mean losses of a batch of retained and one of forgotten records.

    A strong baseline when tuned, and sensitive to ``alpha``: the ascent has no upper end, so a small ``alpha`` diverges. The
    paper goes through the longer part once an epoch and repeats the shorter; so does this, with a new order in each round of
    either part (public code repeats the same batches). Our reading: the forgotten records pass in evaluation mode, the paper's
    code lets them shift batch statistics.

    Args:
        lr: step size.
        epochs: passes over the longer part.
        batch_size: records of each part in a step.
        alpha: weight of the retained records' loss.
        clip: largest norm of a step's gradient; None is no limit.
        optimiser: "sgd", "adam" or "adamw".
        momentum: of SGD.
        weight_decay: see the optimisers.
    """

    name: ClassVar[str] = "neggrad-plus"
    summary: ClassVar[str] = "lower the retained records' loss and raise the forgotten ones' in the same steps"
    needs: ClassVar[str] = "the original model, the retained and the forgotten records"
    reference: ClassVar[str] = "Kurmanji et al. 2023 (NegGrad+)"
    claim: ClassVar[Claim] = Claim.NONE
    kinds: ClassVar[tuple[Kind, ...]] = ("network",)
    family: ClassVar[str] = "gradient"
    reads_forgotten: ClassVar[bool] = True
    stochastic: ClassVar[bool] = True

    lr: Annotated[float, Field(gt=0)] = 0.01
    epochs: Annotated[int, Field(ge=1)] = 5
    batch_size: Annotated[int, Field(ge=1)] = 128
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.95
    clip: Annotated[float, Field(gt=0)] | None = None
    optimiser: Literal["sgd", "adam", "adamw"] = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0

    def run_networks(self, meter: NetworkMeter, state: State) -> State:
        """One step a pair of batches."""
        optimiser = optimiser_of(self.optimiser, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
        memory = optimiser.start(meter.network.moving(state))
        for forget, retain in paired(meter, epochs=self.epochs, batch_size=self.batch_size, length="longer"):
            state, memory = meter.at(forget, state, memory)
            ascent = meter.gradient(state, forget).scaled(self.alpha - 1)
            gradient = ascent.plus(meter.gradient(state, retain, train=True).scaled(self.alpha))
            state, memory = meter.step(optimiser, state, gradient, memory, retain, clip=self.clip)
        return state
