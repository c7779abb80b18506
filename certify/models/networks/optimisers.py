"""SGD and Adam on stacked parameters, as pure functions: the updates of ``torch.optim``, model by model.

They are written out because a mask has to hold through momentum and weight decay, and because a model of a stack that has no
batch left must rest altogether; ``torch.optim`` knows neither. The tests hold them to ``torch.optim``.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from certify.models.networks.state import Tensors, map_tensors, scale, select


@dataclass(frozen=True, eq=False)
class Memory:
    """What an optimiser carries from step to step.

    Attributes:
        steps: steps each model has taken, shape (K,).
        slots: running averages by kind, then by parameter.
    """

    steps: Tensor
    slots: dict[str, dict[str, Tensor]]


@dataclass(frozen=True)
class Optimiser(ABC):
    """Base of the optimisers; a value, without memory of its own.

    Attributes:
        lr: step size.
        weight_decay: coefficient added to the gradient as ``weight_decay * w`` (decoupled where a subclass says so).
    """

    lr: float
    weight_decay: float = 0.0

    @abstractmethod
    def start(self, parameters: Tensors) -> Memory:
        """The memory before the first step."""

    @abstractmethod
    def _update(self, w: Tensors, g: Tensors, memory: Memory, lr: Tensor | float) -> tuple[dict[str, Tensor], Memory]:
        """New parameters and memory for all models."""

    def step(
        self,
        parameters: Tensors,
        gradient: Tensors,
        memory: Memory,
        *,
        active: Tensor | None = None,
        mask: Tensors | None = None,
        factor: Tensor | float = 1.0,
    ) -> tuple[dict[str, Tensor], Memory]:
        """One step.

        Args:
            parameters: name to tensor (K, ...); only names in ``gradient`` move.
            gradient: gradients by name.
            memory: from :meth:`start` or the step before.
            active: models that take the step, shape (K,); the others keep parameters and memory bit for bit.
            mask: for each parameter, true where it may move; elsewhere it stays bit for bit the same.
            factor: multiplies ``lr`` in this step (schedules); one for all models, or one each, shape (K,).
        """
        w = {name: parameters[name] for name in gradient}
        new, after = self._update(w, gradient, memory, self.lr * factor)
        if mask is not None:
            new = {name: torch.where(mask[name].bool(), value, w[name]) for name, value in new.items()}
        if active is not None and not bool(active.all()):
            new = map_tensors(lambda yes, no: select(active, yes, no), new, w)
            after = Memory(
                torch.where(active, after.steps, memory.steps),
                {
                    kind: map_tensors(lambda yes, no: select(active, yes, no), slot, memory.slots[kind])
                    for kind, slot in after.slots.items()
                },
            )
        return {**parameters, **new}, after


@dataclass(frozen=True)
class Sgd(Optimiser):
    """Stochastic gradient descent: ``v <- momentum v + g + weight_decay w; w <- w - lr v`` (Nesterov: ``lr (g + momentum v)``)."""

    momentum: float = 0.0
    nesterov: bool = False

    def start(self, parameters: Tensors) -> Memory:
        """Velocity zero."""
        slots = {"velocity": map_tensors(torch.zeros_like, parameters)} if self.momentum else {}
        return Memory(_no_steps(parameters), slots)

    def _update(self, w: Tensors, g: Tensors, memory: Memory, lr: Tensor | float) -> tuple[dict[str, Tensor], Memory]:
        if self.weight_decay:
            g = map_tensors(lambda gradient, value: gradient + self.weight_decay * value, g, w)
        slots = memory.slots
        move = dict(g)
        if self.momentum:
            velocity = {name: self.momentum * memory.slots["velocity"][name] + g[name] for name in g}
            slots = {"velocity": {**memory.slots["velocity"], **velocity}}
            move = (
                map_tensors(lambda gradient, v: gradient + self.momentum * v, g, velocity)
                if self.nesterov
                else velocity
            )
        return map_tensors(lambda value, d: value - scale(lr, d), w, move), Memory(memory.steps + 1, slots)


@dataclass(frozen=True)
class Adam(Optimiser):
    """Adam (Kingma, Ba 2015) with bias correction; ``decoupled`` decay is AdamW (Loshchilov, Hutter 2019)."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    decoupled: bool = False

    def start(self, parameters: Tensors) -> Memory:
        """Both moments zero."""
        return Memory(
            _no_steps(parameters),
            {kind: map_tensors(torch.zeros_like, parameters) for kind in ("first", "second")},
        )

    def _update(self, w: Tensors, g: Tensors, memory: Memory, lr: Tensor | float) -> tuple[dict[str, Tensor], Memory]:
        if self.weight_decay and self.decoupled:
            w = map_tensors(lambda value: scale(1 - lr * self.weight_decay, value), w)
        elif self.weight_decay:
            g = map_tensors(lambda gradient, value: gradient + self.weight_decay * value, g, w)
        steps = memory.steps + 1
        first = {n: self.beta1 * memory.slots["first"][n] + (1 - self.beta1) * g[n] for n in g}
        second = {n: self.beta2 * memory.slots["second"][n] + (1 - self.beta2) * g[n] * g[n] for n in g}
        rate = lr / (1 - self.beta1 ** steps.double())
        spread = (1 - self.beta2 ** steps.double()).rsqrt()
        new = {n: w[n] - scale(rate, first[n]) / (scale(spread, second[n].sqrt()) + self.eps) for n in g}
        slots = {kind: {**memory.slots[kind], **now} for kind, now in (("first", first), ("second", second))}
        return new, Memory(steps, slots)


def _no_steps(parameters: Tensors) -> Tensor:
    value = next(iter(parameters.values()))
    return torch.zeros(value.shape[0], dtype=torch.int64, device=value.device)
