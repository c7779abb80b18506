"""UNSIR: unlearn a class from noise that the original takes least for it, then repair."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from certify.core.arrays import IntArray
from certify.core.errors import ConfigurationError
from certify.core.streams import stream
from certify.models.networks.batches import Batch
from certify.models.networks.network import Gradient
from certify.models.networks.optimisers import Adam
from certify.models.networks.recipe import optimiser_of
from certify.models.networks.state import State
from certify.unlearners.evidence import Claim
from certify.unlearners.interface import Kind, Unlearner
from certify.unlearners.networks.meter import NetworkMeter
from certify.unlearners.networks.pairing import sampled
from certify.unlearners.networks.targets import need_classes


@dataclass(frozen=True)
class Unsir(Unlearner):
    """For whole classes: an impairing pass with error-maximising noise beside a sample of the retained records, then a repair.

    The noise N is a batch of inputs labelled with the classes to be forgotten that Adam, with step size ``noise_lr``, moves
    towards a large ``L(N) - penalty mean ||N||^2`` at the original. Training on it under those labels ruins what the model
    takes for the classes. No forgotten record is looked at, only their classes. Our reading: each impairing step takes the whole
    noise batch, in evaluation mode, and a batch of the sample, weighted as one batch; the paper shuffles copies of the noise
    among the sample. Where retained records are of a forgotten class, that is warned of: they suffer too, and only the repair speaks for them. The
    head learns to avoid the class: features may keep it, which a linear probe shows.

    Args:
        lr: step size of the impairing pass.
        repair_lr: step size of the repair.
        epochs: passes over the sample, in each of the two.
        batch_size: retained records in a batch.
        sample: share of the retained records.
        noise: inputs in the noise batch.
        noise_steps: steps that make the noise.
        noise_lr: their size.
        penalty: weight of the noise's squared norm.
        optimiser: of both passes, "sgd" or "adam"; there is no weight decay.
    """

    name: ClassVar[str] = "unsir"
    summary: ClassVar[str] = "impair whole classes by error-maximising noise, then repair (classes only)"
    needs: ClassVar[str] = "the original model, the retained records, the classes to be forgotten"
    reference: ClassVar[str] = "Tarun et al. 2023 (UNSIR)"
    claim: ClassVar[Claim] = Claim.NONE
    kinds: ClassVar[tuple[Kind, ...]] = ("network",)
    family: ClassVar[str] = "relabel"
    stochastic: ClassVar[bool] = True

    lr: Annotated[float, Field(gt=0)] = 0.02
    repair_lr: Annotated[float, Field(gt=0)] = 0.01
    epochs: Annotated[int, Field(ge=1)] = 1
    batch_size: Annotated[int, Field(ge=1)] = 64
    sample: Annotated[float, Field(gt=0, le=1)] = 0.3
    noise: Annotated[int, Field(ge=1)] = 32
    noise_steps: Annotated[int, Field(ge=1)] = 40
    noise_lr: Annotated[float, Field(gt=0)] = 0.1
    penalty: Annotated[float, Field(ge=0)] = 0.1
    optimiser: Literal["sgd", "adam"] = "adam"

    def run_networks(self, meter: NetworkMeter, state: State) -> State:
        """The noise, then one step a batch of the sample, twice over."""
        need_classes(meter, state)
        labels = torch.stack([torch.from_numpy(np.resize(own, self.noise)) for own in _classes(meter)]).to(meter.device)
        noise = self._made(meter, state, labels)
        sample = sampled(meter, self.sample, "unsir/sample")
        for purpose, lr in (("impair", self.lr), ("repair", self.repair_lr)):
            optimiser = optimiser_of(self.optimiser, lr=lr)
            memory = optimiser.start(meter.network.moving(state))
            for batch in meter.passes(sample, epochs=self.epochs, batch_size=self.batch_size, name=purpose):
                state, memory = meter.at(batch, state, memory)
                gradient = meter.gradient(state, batch, train=True)
                if purpose == "impair":
                    gradient = self._with_noise(meter, state, batch, gradient, noise, labels)
                state, memory = meter.step(optimiser, state, gradient, memory, batch, purpose=purpose)
            meter.mark(state)
        return state

    def _made(self, meter: NetworkMeter, state: State, labels: Tensor) -> Tensor:
        """The noise (K, noise, ...), from standard normal numbers."""
        if not meter.X.is_floating_point():
            raise ConfigurationError(
                "inputs that are whole numbers cannot be noise that is optimised",
                where=f"{self.name}: X",
                mend="use a method that does not move inputs, such as random-labels",
            )
        shape = (self.noise, *meter.X.shape[1:])
        drawn = [torch.from_numpy(stream(seed, "unsir/noise").normal(size=shape)) for seed in meter.seeds]
        noise = {"noise": torch.stack(drawn).to(meter.X)}
        weights = torch.full(labels.shape, 1 / self.noise, device=meter.device, dtype=torch.float64)
        adam = Adam(self.noise_lr)
        memory = adam.start(noise)
        for _ in range(self.noise_steps):
            meter.charge("gradients", labels.numel())
            rise = meter.network.input_gradient(state, meter.loss, noise["noise"], weights, (labels,))
            descent = {"noise": 2 * self.penalty / self.noise * noise["noise"] - rise}
            noise, memory = adam.step(noise, descent, memory)
        return noise["noise"]

    def _with_noise(
        self, meter: NetworkMeter, state: State, batch: Batch, retained: Gradient, noise: Tensor, labels: Tensor
    ) -> Gradient:
        """Gradient of the mean loss over noise and batch together; a model without a record in the batch rests anyway."""
        meter.charge("gradients", int(batch.active.sum()) * self.noise)
        weights = torch.full(labels.shape, 1 / self.noise, device=meter.device, dtype=torch.float64)
        gradient = meter.network.gradient(state, meter.loss, noise, weights, (labels,))
        share = self.noise / (self.noise + batch.records.double())
        return gradient.scaled(share).plus(retained.scaled(1 - share))


def _classes(meter: NetworkMeter) -> list[IntArray]:
    """The classes each model is to forget.

    Warns of retained records of these classes, which are impaired with them.
    """
    y = meter.y.cpu().numpy()
    classes = [np.unique(y[rows]) for rows in meter.records("forget")]
    left = max(int(np.isin(y[rows], own).sum()) for rows, own in zip(meter.records("retain"), classes, strict=True))
    if left:
        meter.warn(
            f"{left} retained records are of a class to be forgotten: this method impairs whole classes, theirs too"
        )
    return classes
