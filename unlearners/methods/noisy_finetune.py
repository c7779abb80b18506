"""Noisy fine-tuning: retained records and noise, without any accounting (a control)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field

from certify.core.streams import stream
from certify.models.networks.batches import Batch
from certify.models.networks.state import State, select
from certify.unlearners.evidence import Claim
from certify.unlearners.interface import Kind
from certify.unlearners.networks.meter import NetworkMeter
from certify.unlearners.networks.repair import Repair


@dataclass(frozen=True)
class NoisyFineTune(Repair):
    """Gradient descent on the retained records with ``noise * z`` added to each parameter after each step, z standard normal.

    An empirical control beside methods whose noise is accounted for: nothing is clipped or projected, so no privacy follows, and
    none is claimed. It shows what noise alone does.

    Args:
        noise: standard deviation of what is added to each parameter that may move, in each step.
        lr, epochs, batch_size, optimiser, momentum, weight_decay, schedule, warmup: see
            :class:`~certify.unlearners.networks.repair.Repair`.
    """

    name: ClassVar[str] = "noisy-fine-tune"
    summary: ClassVar[str] = "train on the retained records with noise after each step (a control, no certificate)"
    needs: ClassVar[str] = "the original model, the retained records"
    reference: ClassVar[str] = "Neel et al. 2021; Chien et al. 2024 (where noise is accounted for)"
    claim: ClassVar[Claim] = Claim.NONE
    kinds: ClassVar[tuple[Kind, ...]] = ("network",)
    family: ClassVar[str] = "gradient"
    stochastic: ClassVar[bool] = True

    noise: Annotated[float, Field(ge=0)] = 1e-3

    def run_networks(self, meter: NetworkMeter, state: State) -> State:
        """Each model draws from its own stream; a model without a record in a batch rests."""

        def perturbed(now: State, batch: Batch) -> State:
            generators = [stream(seed, "noise") for seed in batch.seeds]
            active = batch.active.tolist()
            moved = {}
            for name, value in meter.network.moving(now).items():
                shape = tuple(value.shape[1:])
                drawn = [
                    g.standard_normal(shape) if go else np.zeros(shape)
                    for g, go in zip(generators, active, strict=True)
                ]
                noisy = value + self.noise * torch.from_numpy(np.stack(drawn)).to(value)
                moved[name] = select(batch.active, noisy, value)
            return now.with_parameters(moved)

        return self.repair(meter, state, after=perturbed)
