"""L1-sparse unlearning: train on the retained records under a fading L1 penalty."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from certify.models.networks.batches import Batch
from certify.models.networks.network import Gradient
from certify.models.networks.state import State, flatten, scale
from certify.unlearners.evidence import Claim
from certify.unlearners.interface import Kind
from certify.unlearners.networks.meter import NetworkMeter
from certify.unlearners.networks.repair import Repair
from certify.unlearners.probe import Probe


@dataclass(frozen=True)
class L1Sparse(Repair):
    """Fine-tuning on ``L_R(w) + gamma_t ||w||_1`` with ``gamma_t = gamma (1 - t)``, t the share of the steps done.

    The paper's: the penalty, by its subgradient ``gamma_t sign(w)``, and its linear decay to zero. Our reading: the decay runs
    from step to step, not from pass to pass, and the penalty is on every parameter that may move. A subgradient makes weights
    small, not zero; the share of parameters with ``|w| <= threshold`` before and after is reported (``solver``), nothing is pruned.

    Fails where the passes are few: sparsity needs time, and without it this is fine-tuning. A gamma so large that the penalty
    wins leaves a model that knows nothing.

    Args:
        gamma: weight of the penalty at the start; 0 is fine-tuning.
        threshold: magnitude up to which a parameter is counted as near zero, in the report alone.
        lr, epochs, batch_size, optimiser, momentum, weight_decay, schedule, warmup: see
            :class:`~certify.unlearners.networks.repair.Repair`.
    """

    name: ClassVar[str] = "l1-sparse"
    summary: ClassVar[str] = "fine-tune on the retained records under an L1 penalty that fades"
    needs: ClassVar[str] = "the original model, the retained records"
    reference: ClassVar[str] = "Jia et al. 2023"
    claim: ClassVar[Claim] = Claim.NONE
    kinds: ClassVar[tuple[Kind, ...]] = ("network",)
    family: ClassVar[str] = "gradient"
    stochastic: ClassVar[bool] = True
    conformance: ClassVar[Probe] = Probe(others={"threshold": 0.1}, reports=("threshold",))

    gamma: Annotated[float, Field(ge=0)] = 5e-4
    threshold: Annotated[float, Field(ge=0)] = 1e-3
    epochs: Annotated[int, Field(ge=1)] = 10

    def run_networks(self, meter: NetworkMeter, state: State) -> State:
        """The penalty enters through the gradient of each step."""

        def penalised(gradient: Gradient, now: State, batch: Batch) -> Gradient:
            gammas = [self.gamma * (1 - done) for done in batch.done]
            gamma = torch.tensor(gammas, dtype=torch.float64, device=meter.device)
            return gradient.with_tensors(
                {name: g + scale(gamma, torch.sign(now.parameters[name])) for name, g in gradient.tensors.items()}
            )

        meter.report("near_zero_before", self._near_zero(meter, state))
        state = self.repair(meter, state, adapt=penalised)
        meter.report("near_zero_after", self._near_zero(meter, state))
        return state

    def _near_zero(self, meter: NetworkMeter, state: State) -> torch.Tensor:
        flat = flatten(meter.network.moving(state))
        return (flat.abs() <= self.threshold).double().mean(dim=1)
