"""Training K models as ordinary torch would train each, in one batched program or one after the other.

Both ways read the same records in the same order and take the steps of ``torch.optim``; they differ by rounding. In the batched
program parameters carry a leading axis K, the forward pass runs under ``torch.vmap``, and one fused optimiser, which works entry
by entry, moves all models. Losses are checked once a pass, so that no step waits for the device.
"""

import contextlib
import copy
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from certify.attacks.fleets.ordinary import (
    BATCH_STATISTICS,
    called,
    draws,
    pass_seed,
    schedule,
    seed_all,
    torch_optimiser,
)
from certify.attacks.fleets.signals import observe
from certify.core.arrays import IntArray
from certify.core.errors import InputError
from certify.core.streams import stream
from certify.models.networks.losses import loss_named
from certify.models.networks.network import Loss
from certify.models.networks.recipe import Recipe
from certify.models.networks.state import State, number_kind

Backend = Literal["vmap", "loop"]

_LOOKED_AT = 16384
"""Pairs of a model and a record that are looked at side by side."""


@dataclass(frozen=True, eq=False)
class Trainer:
    """One architecture, its records and its recipe.

    Attributes:
        training, looking: copies of the module in the two modes; the parameters in them are scratch.
        moving: names of the parameters that are trained: those that need a gradient.
        X, y: inputs and targets of all records, on the device.
        loss: name of the loss.
        recipe: how models are trained; None where that is done elsewhere.
        bf16: matrix products of training passes in bfloat16.
        random: whether a training pass draws random numbers (dropout).
    """

    training: nn.Module
    looking: nn.Module
    moving: frozenset[str]
    X: Tensor
    y: Tensor
    loss: str
    recipe: Recipe | None
    bf16: bool = False
    random: bool = False

    @classmethod
    def of(
        cls, module: nn.Module, X: Tensor, y: Tensor, loss: str, recipe: Recipe | None, *, bf16: bool = False
    ) -> "Trainer":
        """A trainer for models of the module's architecture; parts put in evaluation mode by hand stay so."""
        moving = frozenset(name for name, value in module.named_parameters() if value.requires_grad)
        training = copy.deepcopy(module).to(X.device)
        training.train(module.training) if module.training else training.train()
        if module.training:
            for own, theirs in zip(training.modules(), module.modules(), strict=True):
                own.training = theirs.training
        looking = copy.deepcopy(module).to(X.device).eval().requires_grad_(requires_grad=False)
        random = draws(copy.deepcopy(training), X)
        return cls(training, looking, moving, X, y, loss, recipe, bf16, random)

    @property
    def batch_statistics(self) -> bool:
        """Whether a part normalises by the statistics of the batch."""
        return any(isinstance(part, BATCH_STATISTICS) and part.training for part in self.training.modules())

    @property
    def must_loop(self) -> bool:
        """Whether models cannot run as one program: randomness would mix them, and recurrent parts know no ``torch.vmap``."""
        return self.random or any(isinstance(part, nn.RNNBase) for part in self.looking.modules())

    def train(
        self,
        state: State,
        rows: Sequence[IntArray],
        seeds: Sequence[int],
        backend: Backend,
        names: Sequence[str],
    ) -> State:
        """Train each model on its own records by the recipe.

        The order of model k in pass e is drawn from the stream (``seeds[k]``, "train/e") alone.

        Args:
            state: where to start, K models.
            rows: for each model, positions of its records.
            seeds: one a model.
            backend: how they run.
            names: of the models, for messages.

        Raises:
            InputError: a loss is not finite; names the model and the pass.
        """
        assert self.recipe is not None
        size = self.recipe.batch_size
        if backend == "loop" or self.must_loop:
            return self._one_by_one(state, rows, seeds, names)
        groups: dict[int, list[int]] = {}
        for model, own in enumerate(rows):
            groups.setdefault(math.ceil(len(own) / size), []).append(model)
        made: list[State] = []
        for group in groups.values():  # models of equally many steps: all of them are busy in every one
            picked = (
                state.pick(group),
                [rows[k] for k in group],
                [seeds[k] for k in group],
                [names[k] for k in group],
            )
            lengths = {len(own) for own in picked[1]}
            uneven = len(lengths) > 1 or any(length % size == 1 for length in lengths)
            alone = self.batch_statistics and uneven  # padding must not reach a batch's statistics
            made.append(self._one_by_one(*picked) if alone else self._together(*picked))
        places = np.argsort(np.concatenate([np.asarray(group) for group in groups.values()]))
        return made[0] if len(made) == 1 else State.join(made).pick(places.tolist())

    def _together(self, state: State, rows: Sequence[IntArray], seeds: Sequence[int], names: Sequence[str]) -> State:
        recipe, models = self._recipe(), state.models
        leaves = {name: state.parameters[name].clone().requires_grad_() for name in self.moving}
        still = {name: value for name, value in state.parameters.items() if name not in self.moving}
        buffers = {name: value.clone() for name, value in state.buffers.items()}
        optimiser = torch_optimiser(recipe, list(leaves.values()))
        loss, kind = self._losses(), self._kind
        call = torch.vmap(self._forward)
        last, steps = last_weights(rows, recipe.batch_size, self.X.device)
        total = steps * recipe.epochs
        for epoch in range(recipe.epochs):
            order = torch.from_numpy(_orders(rows, seeds, epoch)).to(self.X.device)
            targets = self.y[order]
            seen = torch.zeros(models, device=self.X.device)
            for step in range(steps):
                part = slice(step * recipe.batch_size, (step + 1) * recipe.batch_size)
                schedule(optimiser, recipe, (epoch * steps + step) / total)
                inputs = self.X[order[:, part]]
                with self._autocast():
                    outputs, buffers = call({**leaves, **still}, buffers, inputs)
                wanted = targets[:, part]
                losses = loss(outputs.flatten(0, 1).to(kind), wanted.flatten(0, 1)).reshape(models, -1)
                if step < steps - 1 or last is None:
                    means = losses.mean(dim=1)
                else:
                    means = (torch.where(last > 0, losses, 0.0) * last.to(losses.dtype)).sum(dim=1)
                torch.autograd.backward(means.sum())
                optimiser.step()
                for value in leaves.values():
                    value.grad = None
                seen += means.detach()
            check_finite(torch.isfinite(seen), names, f"the loss is not finite in pass {epoch + 1}")
        after = State({n: (leaves[n].detach() if n in leaves else still[n]) for n in state.parameters}, buffers)
        check_finite(after.is_finite(), names, "a weight is not finite after training")
        return after

    def _one_by_one(self, state: State, rows: Sequence[IntArray], seeds: Sequence[int], names: Sequence[str]) -> State:
        module = copy.deepcopy(self.training)
        made = []
        for model, (own, seed, name) in enumerate(zip(rows, seeds, names, strict=True)):
            one = state.pick([model])
            one.write_into(module)
            self._train_one(module, own, seed, name)
            made.append(State.of(module))
        after = State.join(made)
        check_finite(after.is_finite(), names, "a weight is not finite after training")
        return after

    def _train_one(self, module: nn.Module, rows: IntArray, seed: int, name: str) -> None:
        recipe, loss, size, kind = self._recipe(), self._losses(), self._recipe().batch_size, self._kind
        moving = [value for n, value in module.named_parameters() if n in self.moving]
        optimiser = torch_optimiser(recipe, moving)
        steps = math.ceil(len(rows) / size)
        for epoch in range(recipe.epochs):
            order = torch.from_numpy(_orders([rows], [seed], epoch)[0]).to(self.X.device)
            if self.random:
                seed_all(pass_seed(seed, epoch), self.X.device)
            seen = torch.zeros((), device=self.X.device)
            for step, part in enumerate(torch.split(order, size)):
                schedule(optimiser, recipe, (epoch * steps + step) / (steps * recipe.epochs))
                if self.bf16:
                    with self._autocast():
                        outputs = called(module, self.X[part]).to(kind)
                else:
                    outputs = called(module, self.X[part])
                mean = loss(outputs, self.y[part]).mean()
                mean.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                for value in moving:
                    value.grad = None
                seen += mean.detach()
            check_finite(torch.isfinite(seen)[None], [name], f"the loss is not finite in pass {epoch + 1}")

    def look(
        self, state: State, signals: Sequence[str], backend: Backend, names: Sequence[str], kind: torch.dtype
    ) -> dict[str, Tensor]:
        """What each model says of every record, (K, N) by signal, on the CPU.

        Args:
            state: K models.
            signals: names.
            backend: how they run.
            names: of the models, for messages.
            kind: type of numbers to keep signals in.

        Raises:
            InputError: an output is not finite; names the model.
        """
        parts: dict[str, list[Tensor]] = {name: [] for name in signals}
        with torch.no_grad():
            size = look_size(state.models, backend)
            for start in range(0, len(self.X), size):
                outputs = self.outputs(state, self.X[start : start + size], backend)
                fine = torch.isfinite(outputs).flatten(1).all(dim=1)
                check_finite(fine, names, "an output is not finite")
                targets = self.y[start : start + size]
                wanted = targets.repeat(state.models, *[1] * (targets.dim() - 1))
                found = observe(outputs.flatten(0, 1), wanted, self.loss, signals)
                for name in signals:
                    parts[name].append(found[name].reshape(state.models, -1).to(kind).cpu())
        return {name: torch.cat(values, dim=1) for name, values in parts.items()}

    def outputs(self, state: State, inputs: Tensor, backend: Backend) -> Tensor:
        """Outputs (K, B, ...) of all models on the same inputs (B, ...), in evaluation mode."""

        def one(parameters: Any, buffers: Any) -> Tensor:
            return torch.func.functional_call(self.looking, ({**parameters}, {**buffers}), (inputs,))  # type: ignore[no-any-return]

        recurrent = any(isinstance(part, nn.RNNBase) for part in self.looking.modules())
        if backend == "vmap" and not recurrent:
            return torch.vmap(one)(state.parameters, state.buffers)
        each = []
        for model in range(state.models):
            parameters = {name: value[model] for name, value in state.parameters.items()}
            each.append(one(parameters, {name: value[model] for name, value in state.buffers.items()}))
        return torch.stack(each)

    def _forward(self, parameters: Any, buffers: Any, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        own = {name: value.clone() for name, value in buffers.items()}
        outputs = torch.func.functional_call(self.training, ({**parameters}, own), (x,))
        return outputs, {name: value.detach() for name, value in own.items()}

    @property
    def _kind(self) -> torch.dtype:
        return number_kind(self.training)

    def _losses(self) -> Loss:
        """Losses of records; cross-entropy of classes by torch's own kernel, which is quicker than ours and the same number."""
        if self.loss == "cross-entropy" and not self.y.is_floating_point() and self.y.dim() == 1:
            return functools.partial(functional.cross_entropy, reduction="none")
        return loss_named(self.loss)

    def _recipe(self) -> Recipe:
        assert self.recipe is not None
        return self.recipe

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(self.X.device.type, torch.bfloat16) if self.bf16 else contextlib.nullcontext()


def look_size(models: int, backend: Backend) -> int:
    """Records that a block looks at side by side."""
    return max(32, min(1024, _LOOKED_AT // (models if backend == "vmap" else 1)))


def last_weights(rows: Sequence[IntArray], size: int, device: torch.device) -> tuple[Tensor | None, int]:
    """Weights of records in the last batch of a pass, (K, B), 0 for padding; None where none is padded. And batches in a pass.

    All models have equally many batches, so that only the last can be of different widths.
    """
    counts = np.array([len(own) for own in rows])
    steps = math.ceil(int(counts.max()) / size)
    left = counts - (steps - 1) * size
    if (left == left[0]).all():
        return None, steps
    weights = (np.arange(left.max()) < left[:, None]) / left[:, None]
    return torch.from_numpy(weights).to(device), steps


def check_finite(fine: Tensor, names: Sequence[str], what: str) -> None:
    """Refuse models that are not finite, by name.

    Raises:
        InputError: one is not.
    """
    if bool(fine.all()):
        return
    worst = (~fine).nonzero()[:, 0].tolist()
    more = f" (and {len(worst) - 1} more)" if len(worst) > 1 else ""
    raise InputError(
        f"{what}{more}",
        where=names[worst[0]],
        mend="lower lr, bring the features to one scale, or give the method that made it smaller steps",
    )


def _orders(rows: Sequence[IntArray], seeds: Sequence[int], epoch: int) -> IntArray:
    """One pass: a permutation of each model's records, padded with its own last one, (K, n)."""
    orders = np.empty((len(rows), max(len(own) for own in rows)), dtype=np.int64)
    for line, own, seed in zip(orders, rows, seeds, strict=True):
        drawn = stream(seed, f"train/{epoch}").permutation(own)
        line[: len(drawn)] = drawn
        line[len(drawn) :] = drawn[-1]
    return orders
