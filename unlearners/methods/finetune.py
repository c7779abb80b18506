"""Fine-tuning: keep training on the retained records and hope that the rest fades."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from certify.models.networks.optimisers import Optimiser
from certify.models.networks.recipe import optimiser_of
from certify.models.networks.state import State
from certify.unlearners.evidence import Claim
from certify.unlearners.interface import Kind, Unlearner
from certify.unlearners.networks.meter import NetworkMeter


@dataclass(frozen=True)
class FineTune(Unlearner):
    """Gradient descent on the mean loss of the retained records, from the original model.

    A weak baseline: at small step sizes it under-forgets, and on a linear interpolating model it does nothing at all.

    Args:
        lr: step size.
        epochs: passes over the retained records.
        batch_size: records in a batch.
        optimiser: "sgd", "adam" or "adamw".
        momentum: of SGD.
        weight_decay: see the optimisers.
    """

    name: ClassVar[str] = "fine-tune"
    summary: ClassVar[str] = "keep training on the retained records (a weak baseline)"
    needs: ClassVar[str] = "the original model, the retained records"
    reference: ClassVar[str] = "Golatkar et al. 2020 (as a baseline)"
    claim: ClassVar[Claim] = Claim.NONE
    kinds: ClassVar[tuple[Kind, ...]] = ("network",)
    family: ClassVar[str] = "gradient"
    stochastic: ClassVar[bool] = True

    lr: Annotated[float, Field(gt=0)] = 0.01
    epochs: Annotated[int, Field(ge=1)] = 5
    batch_size: Annotated[int, Field(ge=1)] = 128
    optimiser: Literal["sgd", "adam", "adamw"] = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0

    def run_networks(self, meter: NetworkMeter, state: State) -> State:
        """One step a batch of retained records, in training mode."""
        optimiser = self._optimiser()
        memory = optimiser.start(meter.network.moving(state))
        for batch in meter.batches("retain", epochs=self.epochs, batch_size=self.batch_size):
            state, memory = meter.at(batch, state, memory)
            gradient = meter.gradient(state, batch, train=True)
            state, memory = meter.step(optimiser, state, gradient, memory, batch, purpose="retain")
        return state

    def _optimiser(self) -> Optimiser:
        return optimiser_of(self.optimiser, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
