"""One architecture as a function of stacked parameters: outputs, gradients, and products with second derivatives.

A function of one model is written once; K models run as one batch under ``torch.vmap``, or in a loop where that is quicker or
the only right way. Both give the same numbers up to rounding.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
from torch import Tensor, nn

from certify.core.errors import ConfigurationError, InputError
from certify.core.foreign import explained
from certify.models.networks.generators import generator_state, seeded_generators
from certify.models.networks.state import State, Tensors, map_tensors, scale
from certify.models.networks.theirs import differentiable_attention, is_shortage, theirs

Loss = Callable[..., Tensor]
"""Losses of records, (B,), from outputs (B, ...) and further tensors with a leading axis B."""

Backend = Literal["auto", "vmap", "loop"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_TOO_FEW = "more than 1 value per channel"
"""In torch's refusal to normalise a batch by itself."""
_BATCH_STATISTICS = nn.modules.batchnorm._BatchNorm  # noqa: SLF001 - the common base of all batch normalisations


@dataclass(frozen=True, eq=False)
class Gradient:
    """Gradients of K models.

    Attributes:
        values: weighted sums of the losses, shape (K,).
        tensors: gradients by parameter, each (K, ...).
        buffers: buffers after the pass; those of the start outside training mode.
    """

    values: Tensor
    tensors: dict[str, Tensor]
    buffers: dict[str, Tensor]

    def scaled(self, factor: Tensor | float) -> "Gradient":
        """The gradient of ``factor`` times the loss; one factor for all models, or one each, shape (K,)."""
        return Gradient(
            scale(factor, self.values), map_tensors(lambda value: scale(factor, value), self.tensors), self.buffers
        )

    def plus(self, other: "Gradient") -> "Gradient":
        """The gradient of the sum of two losses; the buffers are those of the second pass."""
        return Gradient(self.values + other.values, map_tensors(torch.add, self.tensors, other.tensors), other.buffers)

    def with_tensors(self, tensors: dict[str, Tensor]) -> "Gradient":
        """The same with other gradients."""
        return Gradient(self.values, tensors, self.buffers)


@dataclass(frozen=True, eq=False)
class Network:
    """The structure of a model without its numbers.

    Attributes:
        evaluating, training: copies of the module in the two modes; their own parameters are never used.
        trainable: names of the parameters that methods may move.
        backend: "vmap", "loop", or "auto": vmap but for one model, for convolutions on a CPU (grouped convolutions are slower
            there than a loop), for recurrent parts, for randomness or batch statistics in training mode that would mix models
            or padding in, and for a forward that vmap cannot run, one that branches on a value, say.
    """

    evaluating: nn.Module
    training: nn.Module
    trainable: frozenset[str]
    backend: Backend = "auto"
    _random: dict[str, bool] = field(default_factory=dict, repr=False)
    _met: set[str] = field(default_factory=set, repr=False)
    _lone: list[nn.Module] = field(default_factory=list, init=False, repr=False)

    @classmethod
    def of(cls, module: nn.Module, *, trainable: tuple[str, ...] = ("*",), backend: Backend = "auto") -> "Network":
        """The structure of a module.

        Args:
            module: the model; it is copied.
            trainable: patterns of names (``head.*``); parameters that need no gradient in the module never move.
            backend: how K models run.

        Raises:
            InputError: the module has no parameters.
            ConfigurationError: no parameter that needs a gradient matches the patterns.
        """
        named = dict(module.named_parameters())
        if not named:
            raise InputError("the model has no parameters", where="model", mend="there is nothing to unlearn in it")
        moving = frozenset(
            name
            for name, value in named.items()
            if value.requires_grad and any(fnmatchcase(name, pattern) for pattern in trainable)
        )
        if not moving:
            raise ConfigurationError(
                f"no parameter that needs a gradient matches {', '.join(trainable)}",
                where="trainable",
                mend=f"the parameters are {', '.join(list(named)[:8])}",
            )
        with explained("copying the model", "model", "give an nn.Module that copy.deepcopy can copy"):
            evaluating = copy.deepcopy(module).requires_grad_(requires_grad=False).eval()
        for part in evaluating.modules():
            if isinstance(part, nn.Embedding | nn.EmbeddingBag):
                part.sparse = False  # the same gradients as ordinary tensors
        training = copy.deepcopy(evaluating).train()
        _keep_flags(module, training)
        return cls(evaluating, training, moving, backend)

    @property
    def has_batch_statistics(self) -> bool:
        """Whether a module normalises by the statistics of the batch in training mode."""
        return any(isinstance(part, _BATCH_STATISTICS) and part.training for part in self.training.modules())

    @property
    def _is_recurrent(self) -> bool:
        """Whether there are parts that ``torch.vmap`` cannot run."""
        return any(isinstance(part, nn.RNNBase) for part in self.evaluating.modules())

    @property
    def met_lone_record(self) -> bool:
        """Whether a training batch of one record was normalised by the running statistics, having none of its own."""
        return "lone record" in self._met

    def moving(self, state: State) -> dict[str, Tensor]:
        """The parameters that may move."""
        return {name: value for name, value in state.parameters.items() if name in self.trainable}

    def fixed(self, state: State) -> dict[str, Tensor]:
        """The other parameters."""
        return {name: value for name, value in state.parameters.items() if name not in self.trainable}

    def outputs(self, state: State, inputs: Tensor, *, train: bool = False, seeds: tuple[int, ...] = ()) -> Tensor:
        """Outputs (K, B, ...) of each model on its inputs (K, B, ...), without gradient; buffers are left alone."""

        def one(fixed: Tensors, moving: Tensors, buffers: Tensors, x: Tensor) -> Tensor:
            return self._call({**fixed, **moving}, buffers, x, train=train)[0]

        with torch.no_grad():
            looped = self._looped(state, train=train, even=True, example=inputs)
            found: Tensor = self._map(one, self._parts(state, inputs), looped=looped, seeds=seeds, train=train)
            return found

    def gradient(
        self,
        state: State,
        loss: Loss,
        inputs: Tensor,
        weights: Tensor,
        extras: tuple[Tensor, ...] = (),
        *,
        train: bool = False,
        seeds: tuple[int, ...] = (),
    ) -> Gradient:
        """Gradient of ``sum_b weights_b loss_b`` for each model, in the parameters that may move.

        Args:
            state: K models.
            loss: losses of records.
            inputs: (K, B, ...).
            weights: (K, B); 0 for padding.
            extras: further arguments of the loss, each (K, B, ...).
            train: training mode: dropout on, batch normalisation by the batch and its running statistics updated. A batch of
                one record that has no statistics passes in evaluation mode.
            seeds: one for each model, for what is random in training mode.
        """
        even = bool((weights > 0).all()) if train else True
        looped = self._looped(state, train=train, even=even, example=inputs)

        def one(
            fixed: Tensors, moving: Tensors, buffers: Tensors, x: Tensor, w: Tensor, more: tuple[Tensor, ...]
        ) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]:
            if looped and train:  # padding must not reach the batch's statistics
                kept = w > 0
                if not bool(kept.any()):
                    return {n: torch.zeros_like(v) for n, v in moving.items()}, w.sum(), dict(buffers)
                x, w, more = x[kept], w[kept], tuple(part[kept] for part in more)

            def objective(parameters: Tensors) -> tuple[Tensor, tuple[Tensor, dict[str, Tensor]]]:
                outputs, after = self._call({**fixed, **parameters}, buffers, x, train=train)
                total = _weighted(loss(outputs, *more), w)
                return total, (total.detach(), after)

            gradient, (value, after) = torch.func.grad(objective, has_aux=True)(dict(moving))
            return gradient, value, after

        parts = (*self._parts(state, inputs), weights, extras)
        gradient, values, buffers = self._map(one, parts, looped=looped, seeds=seeds, train=train)
        return Gradient(
            values.detach(), {n: g.detach() for n, g in gradient.items()}, {n: b.detach() for n, b in buffers.items()}
        )

    def input_gradient(
        self, state: State, loss: Loss, inputs: Tensor, weights: Tensor, extras: tuple[Tensor, ...] = ()
    ) -> Tensor:
        """Gradient of ``sum_b weights_b loss_b`` in the inputs, (K, B, ...), in evaluation mode; inputs are no whole numbers."""

        def one(
            fixed: Tensors, moving: Tensors, buffers: Tensors, x: Tensor, w: Tensor, more: tuple[Tensor, ...]
        ) -> Tensor:
            def objective(inputs: Tensor) -> Tensor:
                outputs, _ = self._call({**fixed, **moving}, buffers, inputs, train=False)
                return _weighted(loss(outputs, *more), w)

            return torch.func.grad(objective)(x)  # type: ignore[no-any-return]

        looped = self._looped(state, train=False, even=True, example=inputs)
        found: Tensor = self._map(
            one, (*self._parts(state, inputs), weights, extras), looped=looped, seeds=(), train=False
        )
        return found.detach()

    def hessian_product(
        self,
        state: State,
        vector: Tensors,
        loss: Loss,
        inputs: Tensor,
        weights: Tensor,
        extras: tuple[Tensor, ...] = (),
    ) -> dict[str, Tensor]:
        """Hessian of ``sum_b weights_b loss_b`` times a vector, forward over reverse, in evaluation mode; shapes as the vector's."""

        def one(
            fixed: Tensors,
            moving: Tensors,
            buffers: Tensors,
            x: Tensor,
            v: Tensors,
            w: Tensor,
            more: tuple[Tensor, ...],
        ) -> dict[str, Tensor]:
            def objective(parameters: Tensors) -> Tensor:
                outputs, _ = self._call({**fixed, **parameters}, buffers, x, train=False)
                return _weighted(loss(outputs, *more), w)

            return dict(torch.func.jvp(torch.func.grad(objective), (dict(moving),), (dict(v),))[1])

        return self._second(one, state, vector, inputs, weights, extras)

    def gauss_newton_product(
        self,
        state: State,
        vector: Tensors,
        loss: Loss,
        inputs: Tensor,
        weights: Tensor,
        extras: tuple[Tensor, ...] = (),
    ) -> dict[str, Tensor]:
        """Generalised Gauss-Newton matrix ``sum_b weights_b J_b' (d2 loss_b / d outputs2) J_b`` times a vector.

        For cross-entropy and squared error on the outputs it is the Fisher information (labels drawn from the model), and
        positive semi-definite.
        """

        def one(
            fixed: Tensors,
            moving: Tensors,
            buffers: Tensors,
            x: Tensor,
            v: Tensors,
            w: Tensor,
            more: tuple[Tensor, ...],
        ) -> dict[str, Tensor]:
            def outputs_of(parameters: Tensors) -> Tensor:
                return self._call({**fixed, **parameters}, buffers, x, train=False)[0]

            outputs, change = torch.func.jvp(outputs_of, (dict(moving),), (dict(v),))[:2]
            slope = torch.func.grad(lambda z: _weighted(loss(z, *more), w))
            curved = torch.func.jvp(slope, (outputs,), (change,))[1]
            pull = torch.func.vjp(outputs_of, dict(moving))[1]
            return pull(curved)[0]  # type: ignore[no-any-return]

        return self._second(one, state, vector, inputs, weights, extras)

    def sample_gradients(
        self, state: State, loss: Loss, inputs: Tensor, extras: tuple[Tensor, ...] = ()
    ) -> dict[str, Tensor]:
        """Gradients of each record's loss in evaluation mode, each (K, B, ...): B times the memory of the parameters."""

        def one(
            fixed: Tensors, moving: Tensors, buffers: Tensors, x: Tensor, more: tuple[Tensor, ...]
        ) -> dict[str, Tensor]:
            def objective(parameters: Tensors, record: Tensor, its: tuple[Tensor, ...]) -> Tensor:
                outputs, _ = self._call({**fixed, **parameters}, buffers, record[None], train=False)
                return loss(outputs, *(part[None] for part in its)).sum()

            each = torch.func.grad(objective)
            if not (self._is_recurrent or "record by record" in self._met):
                try:
                    return torch.vmap(each, in_dims=(None, 0, 0))(dict(moving), x, more)  # type: ignore[no-any-return]
                except RuntimeError as error:
                    self._try_instead("record by record", error)
            return _restack([each(dict(moving), x[b], tuple(part[b] for part in more)) for b in range(len(x))])  # type: ignore[no-any-return]

        looped = self._looped(state, train=False, even=True, example=inputs)
        found = self._map(one, (*self._parts(state, inputs), extras), looped=looped, seeds=(), train=False)
        return {name: value.detach() for name, value in found.items()}

    def _second(
        self,
        one: Callable[..., dict[str, Tensor]],
        state: State,
        vector: Tensors,
        inputs: Tensor,
        weights: Tensor,
        extras: tuple[Tensor, ...],
    ) -> dict[str, Tensor]:
        looped = self._looped(state, train=False, even=True, example=inputs)
        ordered = {name: vector[name] for name in self.moving(state)}
        parts = (*self._parts(state, inputs), ordered, weights, extras)
        with differentiable_attention():
            found = self._map(one, parts, looped=looped, seeds=(), train=False)
        return {name: value.detach() for name, value in found.items()}

    def _parts(self, state: State, inputs: Tensor) -> tuple[Any, ...]:
        return self.fixed(state), self.moving(state), state.buffers, inputs

    def _call(
        self, parameters: Tensors, buffers: Tensors, x: Tensor, *, train: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        own = {name: value.clone() for name, value in buffers.items()}  # a module may count its passes in one
        module = self.training if train else self.evaluating
        try:  # the records are copied: a forward may work on what it is given in place, and a pass may be made twice
            outputs = torch.func.functional_call(module, ({**parameters}, own), (x.clone(),))
            return outputs, own if train else dict(buffers)
        except ValueError as error:
            if not train or _TOO_FEW not in str(error):
                raise
        return self._call_lone(parameters, buffers, x)

    def _call_lone(self, parameters: Tensors, buffers: Tensors, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """A training pass of one record, which has no statistics of its own: normalised by the running ones, which stay."""
        self._met.add("lone record")
        if not self._lone:
            made = copy.deepcopy(self.training)
            for part in made.modules():
                if isinstance(part, _BATCH_STATISTICS):
                    part.eval()
            self._lone.append(made)
        own = {name: value.clone() for name, value in buffers.items()}
        try:
            return torch.func.functional_call(self._lone[0], ({**parameters}, own), (x.clone(),)), own
        except ValueError as error:
            if _TOO_FEW not in str(error):
                raise
        raise InputError(
            "a batch of one record has no statistics to normalise by, and the model keeps none",
            where="model",
            mend="choose another batch_size, or let its batch normalisation track running statistics",
        )

    def _try_instead(self, way: str, error: RuntimeError) -> None:
        """Note a way that any module can go and a quicker one that this one cannot; what fails there too is its own mistake."""
        if is_shortage(error):
            raise error
        self._met.add(way)

    def _looped(self, state: State, *, train: bool, even: bool, example: Tensor) -> bool:
        if state.models == 1 or self.backend == "loop" or self._is_recurrent or "model by model" in self._met:
            return True
        if train and (self._is_random(state, example) or (self.has_batch_statistics and not even)):
            return True
        if self.backend == "vmap":
            return False
        on_cpu = state.device.type == "cpu"
        return on_cpu and any(isinstance(part, _CONVOLUTIONS) for part in self.evaluating.modules())

    def _is_random(self, state: State, example: Tensor) -> bool:
        """Whether a pass in training mode draws random numbers, found out by one pass of one model."""
        if "train" not in self._random:
            with theirs(), torch.no_grad(), seeded_generators(0, state.device):
                before = generator_state(state.device)
                self._call(_first(state.parameters), _first(state.buffers), example[0], train=True)
                self._random["train"] = not torch.equal(before, generator_state(state.device))
        return self._random["train"]

    def _map(
        self, one: Callable[..., Any], parts: tuple[Any, ...], *, looped: bool, seeds: tuple[int, ...], train: bool
    ) -> Any:
        """One model's function for all models; nested mappings and tuples of tensors with a leading axis K in and out."""
        with theirs():
            if not looped:
                try:
                    return torch.vmap(one)(*parts)
                except RuntimeError as error:
                    if self.backend == "vmap":
                        raise
                    self._try_instead("model by model", error)
            models = next(iter(parts[1].values())).shape[0]
            found = []
            for model in range(models):
                own = tuple(_take(part, model) for part in parts)
                if train:
                    with seeded_generators(seeds[model] if seeds else 0, parts[3].device):
                        found.append(one(*own))
                else:
                    found.append(one(*own))
            return _restack(found)


def _weighted(losses: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum in which a weight of zero wins over an infinite loss of padding."""
    return (torch.where(weights > 0, losses, torch.zeros_like(losses)) * weights.to(losses.dtype)).sum()


def _keep_flags(source: nn.Module, copied: nn.Module) -> None:
    """A part that was put in evaluation mode by hand inside a training module stays frozen there."""
    if not source.training:
        return
    for own, model in zip(copied.modules(), source.modules(), strict=True):
        own.training = model.training


def _first(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value[0] for name, value in tensors.items()}


def _take(part: Any, model: int) -> Any:
    if isinstance(part, Tensor):
        return part[model]
    if isinstance(part, tuple):
        return tuple(_take(item, model) for item in part)
    return {name: value[model] for name, value in part.items()}


def _restack(found: list[Any]) -> Any:
    first = found[0]
    if isinstance(first, Tensor):
        return torch.stack(found)
    if isinstance(first, tuple):
        return tuple(_restack([item[place] for item in found]) for place in range(len(first)))
    return {name: torch.stack([item[name] for item in found]) for name in first}
