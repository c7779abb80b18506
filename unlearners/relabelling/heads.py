"""The linear head of a network: its weights before and after training, and the features it is given."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from certify.core.arrays import IntArray
from certify.core.errors import ConfigurationError, InputError
from certify.models.networks.batches import Batch
from certify.models.networks.features import features
from certify.models.networks.network import Network
from certify.models.networks.state import State
from certify.unlearners.networks.meter import NetworkMeter


@dataclass(frozen=True, eq=False)
class Heads:
    """The heads of K models, in double precision; a bias is a last row, and the features' last entry is then 1.

    Attributes:
        weight, bias: names of the head's parameters; no bias is None.
        initial: W_0, the head before training, (D, C).
        trained: W_p, the heads at the start of unlearning, (K, D, C).
        view: the architecture with the head's input as output.
        alone: the head, and nothing else, may move.
        same_start: what does not move is what it was before training, for all models.
    """

    weight: str
    bias: str | None
    initial: Tensor
    trained: Tensor
    view: Network
    alone: bool
    same_start: bool

    @classmethod
    def of(cls, meter: NetworkMeter, state: State) -> "Heads":
        """The heads of the models.

        Raises:
            ConfigurationError: the head is no linear layer, or shares its weight with another layer.
            InputError: the task has no weights before training, or those of another architecture.
        """
        name = meter.task.head_name()
        part = dict(meter.task.model.named_modules())[name]
        if not isinstance(part, nn.Linear):
            raise ConfigurationError(
                f"the head {name!r} is a {type(part).__name__}, and labels are found for a linear one",
                where="head",
                mend="name the model's last nn.Linear",
            )
        before = _initial(meter, state)
        prefix = f"{name}." if name else ""
        if f"{prefix}weight" not in state.parameters:  # torch names a shared tensor once, by its first owner
            raise ConfigurationError(
                f"the head {name!r} shares its weight with another layer",
                where="head",
                mend="labels are found for a head with weights of its own: use another method",
            )
        weight, bias = f"{prefix}weight", None if part.bias is None else f"{prefix}bias"
        own = {weight} if bias is None else {weight, bias}
        fixed = {**meter.network.fixed(state), **state.buffers}
        old = {**before.parameters, **before.buffers}
        return cls(
            weight=weight,
            bias=bias,
            initial=_matrix(before, weight, bias)[0],
            trained=_matrix(state, weight, bias),
            view=features(meter.network, name),
            alone=meter.network.trainable == own,
            same_start=all(bool((value == old[key]).all()) for key, value in fixed.items()),
        )

    def features(self, meter: NetworkMeter, state: State, batch: Batch) -> Tensor:
        """Features (K, B, D) of a batch, in evaluation mode."""
        return self._extended(meter.outputs(state, batch, network=self.view), 3)

    def features_of(
        self, meter: NetworkMeter, state: State, records: Sequence[IntArray], *, train: bool = False
    ) -> list[Tensor]:
        """Features (n_k, D) of each model's records."""
        return [self._extended(part, 2) for part in meter.outputs_of(state, records, network=self.view, train=train)]

    def written(self, state: State, weights: Tensor) -> State:
        """The state with heads (K, D, C)."""
        old = state.parameters[self.weight]
        wide = weights.to(old)
        if self.bias is None:
            return state.with_parameters({self.weight: wide.mT.contiguous()})
        return state.with_parameters({self.weight: wide[:, :-1].mT.contiguous(), self.bias: wide[:, -1].contiguous()})

    def read(self, state: State) -> Tensor:
        """The heads (K, D, C) of a state."""
        return _matrix(state, self.weight, self.bias)

    def _extended(self, values: Tensor, axes: int) -> Tensor:
        width = len(self.initial) - (self.bias is not None)
        if values.shape[axes - 1 :] != (width,):
            raise InputError(
                f"the head's input has shape {tuple(values.shape[axes - 1 :])} for a record, not ({width},)",
                where="head",
                mend="labels are found for heads that take one vector a record",
            )
        if not bool(torch.isfinite(values).all()):
            raise InputError("a feature is not finite", where="head", mend="scale the inputs, or lower lr")
        wide = values.double()
        return wide if self.bias is None else torch.cat([wide, torch.ones_like(wide[..., :1])], dim=-1)


def _initial(meter: NetworkMeter, state: State) -> State:
    if meter.task.initial is None:
        raise InputError(
            "this method needs the weights before training and the task has none",
            where="initial",
            mend="give the task initial: the model as it was before its training began",
        )
    before = State.of(meter.task.initial).to(meter.device)
    if {n: v.shape[1:] for n, v in before.parameters.items()} != {n: v.shape[1:] for n, v in state.parameters.items()}:
        raise InputError(
            "the weights before training are of another architecture",
            where="initial",
            mend="give the model itself, as it was before its training began",
        )
    return before


def _matrix(state: State, weight: str, bias: str | None) -> Tensor:
    matrix = state.parameters[weight].double().mT
    return matrix if bias is None else torch.cat([matrix, state.parameters[bias].double()[:, None]], dim=1)
