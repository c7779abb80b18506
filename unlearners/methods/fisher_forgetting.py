"""Fisher forgetting: noise on each weight in inverse proportion to what the retained records say about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from certify.core.streams import stream
from certify.models.networks.state import State
from certify.unlearners.evidence import Claim
from certify.unlearners.interface import Kind, Unlearner
from certify.unlearners.networks.fisher import true_fisher
from certify.unlearners.networks.meter import NetworkMeter
from certify.unlearners.networks.parts import inside


@dataclass(frozen=True)
class FisherForgetting(Unlearner):
    """``w + sqrt(min(alpha / (F_R + floor), largest_variance)) z``, z standard normal, F_R the diagonal Fisher of the retained.

    The paper's: noise of variance ``alpha / F_R``, and more of it on the head. Our reading: the Fisher information itself, the
    expectation over the model's own labels taken in full and gradients of single records, at a cost of one gradient a record and
    class; every constant is a knob; no row of a class is reset, which would make the forgetting of a class trivial.

    Fails as an unlearner of single records: the noise does not look at the forgotten records at all, so it removes what they
    taught only as it removes everything in directions the retained records do not need; accuracy falls before they are gone. No
    certificate follows from the noise.

    Args:
        alpha: noise power.
        floor: added to the Fisher information; a weight that nothing depends on has none.
        largest_variance: of the noise on one weight.
        head_factor: on the variance of the noise in the task's head.
        input_mean: average the variance of a weight over all axes but that of its output, as the public code does.
        batch_size: records in one batch of gradients; the result does not depend on it but for rounding.
    """

    name: ClassVar[str] = "fisher-forgetting"
    summary: ClassVar[str] = "add noise of variance alpha / Fisher information of the retained records"
    needs: ClassVar[str] = "the original model, the retained records"
    reference: ClassVar[str] = "Golatkar et al. 2020"
    claim: ClassVar[Claim] = Claim.NONE
    kinds: ClassVar[tuple[Kind, ...]] = ("network",)
    family: ClassVar[str] = "dampen"
    stochastic: ClassVar[bool] = True
    one_shot: ClassVar[bool] = True

    alpha: Annotated[float, Field(gt=0)] = 1e-6
    floor: Annotated[float, Field(gt=0)] = 1e-8
    largest_variance: Annotated[float, Field(gt=0)] = 1e-2
    head_factor: Annotated[float, Field(ge=0)] = 10.0
    input_mean: bool = False
    batch_size: Annotated[int, Field(ge=1)] = 64

    def run_networks(self, meter: NetworkMeter, state: State) -> State:
        """One draw; running statistics are left alone."""
        fisher = true_fisher(meter, state, meter.records("retain"), batch_size=self.batch_size)
        head = (meter.task.head_name(),)
        meter.charge("steps", meter.models)
        noisy = {}
        for name, information in fisher.items():
            variance = self._variance(information, self.head_factor if inside(name, head) else 1.0)
            noisy[name] = state.parameters[name] + variance.sqrt() * _normal(information, meter.seeds, name)
        return state.with_parameters(noisy)

    def _variance(self, information: Tensor, factor: float) -> Tensor:
        most = min(self.largest_variance, torch.finfo(information.dtype).max)
        variance = torch.clamp(factor * self.alpha / (information + self.floor), max=most)
        if self.input_mean and variance.dim() > 2:
            mean = variance.flatten(2).mean(dim=2)
            variance = mean.reshape(*mean.shape, *([1] * (variance.dim() - 2))).expand_as(variance)
        return variance


def _normal(like: Tensor, seeds: Sequence[int], name: str) -> Tensor:
    """Standard normal numbers, each model's from its own stream."""
    drawn = [stream(seed, f"fisher/{name}").standard_normal(tuple(like.shape[1:])) for seed in seeds]
    return torch.from_numpy(np.stack(drawn)).to(like)
