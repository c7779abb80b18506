"""MSG: initialise anew the weights whose gradients tell the retained from the forgotten records least, then train."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from certify.core.arrays import IntArray
from certify.core.errors import InputError
from certify.core.streams import stream
from certify.models.networks.batches import Batch
from certify.models.networks.network import Gradient
from certify.models.networks.state import State
from certify.unlearners.evidence import Claim
from certify.unlearners.interface import Kind
from certify.unlearners.networks.meter import NetworkMeter
from certify.unlearners.networks.parts import kernels, matrices
from certify.unlearners.networks.repair import Repair


@dataclass(frozen=True)
class SmallestGradients(Repair):
    """The share of the weights with the smallest ``|grad(L_R' - L_F)|`` initialised anew, then descent on the retained records.

    R' is a draw of as many retained records as there are forgotten ones. The entry of the 2023 competition: the score, 30 % of the
    weights of convolutions, and gradients of all other weights times 0.1 in the training that follows. Our reading: the score is
    taken in evaluation mode; the share is taken of each tensor (``scope`` "layer") or of all of them together; anew means
    Kaiming's normal draw, ``N(0, 2 / fan_in)``; a model without convolutions has its linear layers treated so.

    Plain SGD is the only optimiser: one that divides by the size of the gradients, like Adam, would undo the factor.

    Fails where the score is zero for want of signal (weights behind a constant input are taken first and mean nothing), and with
    few passes: the damage of 30 % new weights has to be repaired.

    Args:
        share: of the weights that are initialised anew.
        damp: factor on the gradients of all other parameters.
        where: "convolutions", "linear", "both", or "auto": convolutions where there are any, else linear layers.
        scope: whether the share is of each tensor ("layer") or of all of them together ("model").
        lr, epochs, batch_size, optimiser, momentum, weight_decay, schedule, warmup: see
            :class:`~certify.unlearners.networks.repair.Repair`.
    """

    name: ClassVar[str] = "msg"
    summary: ClassVar[str] = (
        "initialise anew the weights with the smallest gradients of L_R - L_F, then train on the retained"
    )
    needs: ClassVar[str] = "the original model, the retained and the forgotten records"
    reference: ClassVar[str] = "NeurIPS 2023 unlearning competition, second place; Cadet et al. 2024 (MSG)"
    claim: ClassVar[Claim] = Claim.NONE
    kinds: ClassVar[tuple[Kind, ...]] = ("network",)
    family: ClassVar[str] = "reinitialise"
    reads_forgotten: ClassVar[bool] = True
    stochastic: ClassVar[bool] = True

    share: Annotated[float, Field(gt=0, le=1)] = 0.3
    damp: Annotated[float, Field(ge=0)] = 0.1
    where: Literal["auto", "convolutions", "linear", "both"] = "auto"
    scope: Literal["layer", "model"] = "layer"
    optimiser: Literal["sgd"] = "sgd"

    def run_networks(self, meter: NetworkMeter, state: State) -> State:
        """Score, initialise, train."""
        chosen = self._smallest(self._scores(meter, state))
        meter.report("reinitialised", torch.stack([m.flatten(1).sum(dim=1) for m in chosen.values()]).sum(dim=0))
        new = {name: _kaiming(state.parameters[name], meter.seeds, name) for name in chosen}
        state = state.with_parameters(
            {name: torch.where(mask, new[name], state.parameters[name]) for name, mask in chosen.items()}
        )

        def damped(gradient: Gradient, now: State, batch: Batch) -> Gradient:
            del now, batch
            return gradient.with_tensors(
                {
                    name: torch.where(chosen[name], g, self.damp * g) if name in chosen else self.damp * g
                    for name, g in gradient.tensors.items()
                }
            )

        return self.repair(meter, state, adapt=damped)

    def _scores(self, meter: NetworkMeter, state: State) -> dict[str, Tensor]:
        """``|grad(L_R' - L_F)|`` of the weights concerned."""
        model = meter.task.model
        convolutions, linear = kernels(model), matrices(model)
        names = {
            "auto": convolutions or linear,
            "convolutions": convolutions,
            "linear": linear,
            "both": (*convolutions, *linear),
        }[self.where]
        names = tuple(name for name in names if name in meter.network.trainable)
        if not names:
            raise InputError(
                f"the model has no such weights that may move (where={self.where})",
                where=self.name,
                mend="use where=both",
            )
        retain = meter.mean_gradient(state, matched(meter))
        forget = meter.mean_gradient(state, meter.records("forget"))
        return {name: (retain.tensors[name] - forget.tensors[name]).abs() for name in names}

    def _smallest(self, scores: dict[str, Tensor]) -> dict[str, Tensor]:
        """True at the weights with the smallest scores, for each model on its own."""
        if self.scope == "layer":
            return {name: _lowest(value, self.share) for name, value in scores.items()}
        sizes = [value[0].numel() for value in scores.values()]
        flat = _lowest(torch.cat([value.flatten(1) for value in scores.values()], dim=1), self.share)
        parts = torch.split(flat, sizes, dim=1)
        return {name: part.reshape(value.shape) for (name, value), part in zip(scores.items(), parts, strict=True)}


def matched(meter: NetworkMeter) -> list[IntArray]:
    """For each model, a draw of as many retained records as it forgets (all of them where there are fewer)."""
    return [
        np.sort(stream(seed, "matched").choice(split.retain, min(len(split.forget), len(split.retain)), replace=False))
        for seed, split in zip(meter.seeds, meter.splits, strict=True)
    ]


def _lowest(value: Tensor, share: float) -> Tensor:
    """True at ``round(share n)`` smallest of a model's n entries, at least one; ties go to the first."""
    flat = value.flatten(1)
    count = max(1, round(share * flat.shape[1]))
    order = flat.argsort(dim=1, stable=True)[:, :count]
    return torch.zeros_like(flat, dtype=torch.bool).scatter_(1, order, value=True).reshape(value.shape)


def _kaiming(weight: Tensor, seeds: Sequence[int], name: str) -> Tensor:
    """New weights (K, out, in, ...) from ``N(0, 2 / fan_in)``, each model's from its own stream."""
    deviation = math.sqrt(2 / weight[0, 0].numel())
    drawn = [stream(seed, f"kaiming/{name}").normal(0, deviation, size=tuple(weight.shape[1:])) for seed in seeds]
    return torch.from_numpy(np.stack(drawn)).to(weight)
