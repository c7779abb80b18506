"""K models of one architecture as one value: every tensor carries a leading axis of length K."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from certify.core.errors import InputError

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class State:
    """Parameters and buffers of K models.

    Attributes:
        parameters: name to tensor of shape (K, ...); no tensor needs a gradient.
        buffers: the same for buffers, non-persistent ones included.
    """

    parameters: dict[str, Tensor]
    buffers: dict[str, Tensor]

    @classmethod
    def of(cls, *modules: nn.Module) -> "State":
        """A copy of the parameters and buffers of modules that have the same architecture.

        Raises:
            InputError: no module, one without parameters, or modules whose tensors differ in name, shape or kind.
        """
        if not modules:
            raise InputError("no model is given", where="model", mend="give at least one")
        first = _signature(modules[0])
        if not any(True for _ in modules[0].parameters()):
            raise InputError("the model has no parameters", where="model", mend="there is nothing to unlearn in it")
        for position, module in enumerate(modules[1:], start=1):
            if _signature(module) != first:
                raise InputError(
                    f"model {position} has other tensors than model 0",
                    where="model",
                    mend="models that run together must have one architecture and one type of numbers",
                )
        return cls(
            _stack([dict(module.named_parameters()) for module in modules]),
            _stack([dict(module.named_buffers()) for module in modules]),
        )

    @classmethod
    def gather(cls, modules: Iterable[nn.Module], count: int) -> "State":
        """The same as :meth:`of` for modules that are made one after the other: no more than one is held beside the state.

        Args:
            modules: as many as ``count``.
            count: how many there will be.

        Raises:
            InputError: as for :meth:`of`; or there are more or fewer.
        """
        first: nn.Module | None = None
        found: State | None = None
        place = -1
        for place, module in enumerate(modules):
            one = cls.of(module) if first is None else cls.of(first, module).pick([1])
            if first is None or found is None:
                first = module
                found = cls(_room(one.parameters, count), _room(one.buffers, count))
            if place < count:
                for own, theirs in ((found.parameters, one.parameters), (found.buffers, one.buffers)):
                    for name, value in theirs.items():
                        own[name][place] = value[0]
        if found is None or place + 1 != count:
            raise InputError(
                f"{place + 1} models are given, not {count}", where="model", mend="give as many as are said"
            )
        return found

    @classmethod
    def join(cls, states: Sequence["State"]) -> "State":
        """States one after another."""
        return cls(
            {name: torch.cat([state.parameters[name] for state in states]) for name in states[0].parameters},
            {name: torch.cat([state.buffers[name] for state in states]) for name in states[0].buffers},
        )

    @property
    def models(self) -> int:
        """K."""
        return int(next(iter(self.parameters.values())).shape[0])

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(iter(self.parameters.values())).device

    def pick(self, models: Sequence[int]) -> "State":
        """The models at these positions, copied."""
        index = torch.as_tensor(list(models), device=self.device)
        return State(
            {name: value.index_select(0, index) for name, value in self.parameters.items()},
            {name: value.index_select(0, index) for name, value in self.buffers.items()},
        )

    def repeat(self, models: int) -> "State":
        """Each model ``models`` times: K becomes K * models."""
        return State(
            {name: value.repeat_interleave(models, dim=0) for name, value in self.parameters.items()},
            {name: value.repeat_interleave(models, dim=0) for name, value in self.buffers.items()},
        )

    def to(self, device: torch.device) -> "State":
        """The same on another device."""
        return State(
            {name: value.to(device) for name, value in self.parameters.items()},
            {name: value.to(device) for name, value in self.buffers.items()},
        )

    def copy(self) -> "State":
        """A copy that shares no memory."""
        return State(
            {name: value.clone() for name, value in self.parameters.items()},
            {name: value.clone() for name, value in self.buffers.items()},
        )

    def with_parameters(self, parameters: Tensors) -> "State":
        """The same with these parameters in place of those of the same names."""
        return State({**self.parameters, **parameters}, self.buffers)

    def with_buffers(self, buffers: Tensors) -> "State":
        """The same with these buffers in place of those of the same names."""
        return State(self.parameters, {**self.buffers, **buffers})

    def choose(self, other: "State", where: Tensor) -> "State":
        """This state where ``where``, shape (K,), is true, the other one elsewhere."""
        if bool(where.all()):
            return self
        return State(
            {name: select(where, value, other.parameters[name]) for name, value in self.parameters.items()},
            {name: select(where, value, other.buffers[name]) for name, value in self.buffers.items()},
        )

    def write_into(self, module: nn.Module, model: int = 0) -> nn.Module:
        """Copy one model's tensors into a module of the architecture; returns the module."""
        with torch.no_grad():
            for own, theirs in ((self.parameters, module.named_parameters()), (self.buffers, module.named_buffers())):
                for name, tensor in theirs:
                    tensor.copy_(own[name][model])
        return module

    def is_finite(self) -> Tensor:
        """Which models have only finite parameters and buffers, shape (K,)."""
        flags = [
            torch.isfinite(rows(value)).all(dim=1) if value.is_floating_point() else None
            for value in (*self.parameters.values(), *self.buffers.values())
            if value.numel()
        ]
        return torch.stack([flag for flag in flags if flag is not None]).all(dim=0)

    def digest(self, model: int = 0) -> str:
        """SHA-256 over one model's names, shapes, kinds and bytes, in order of name."""
        total = hashlib.sha256()
        for tensors in (self.parameters, self.buffers):
            for name in sorted(tensors):
                total.update(f"{name}:{tensor_digest(tensors[name][model])};".encode())
        return total.hexdigest()


def tensor_digest(value: Tensor) -> str:
    """SHA-256 of a tensor's kind, shape and bytes."""
    plain = value.detach().cpu().contiguous()
    head = f"{plain.dtype}{tuple(plain.shape)}".encode()
    return hashlib.sha256(head + plain.reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()


def rows(value: Tensor) -> Tensor:
    """One row a model, (K, m), of a tensor (K, ...); a parameter that is a single number too."""
    return value[:, None] if value.dim() == 1 else value.flatten(1)


def number_kind(module: nn.Module) -> torch.dtype:
    """Type of the real numbers a module computes with: that of its first such parameter, whatever others stand before it."""
    return next((value.dtype for value in module.parameters() if value.is_floating_point()), torch.float32)


def select(where: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """``yes`` for models where ``where``, shape (K,), is true, ``no`` elsewhere."""
    return torch.where(where.reshape(-1, *([1] * (yes.dim() - 1))), yes, no)


def scale(factor: Tensor | float, value: Tensor) -> Tensor:
    """``factor * value`` with one factor for all models, or one each, shape (K,)."""
    if isinstance(factor, Tensor) and factor.dim() == 1:
        return factor.to(value.dtype).reshape(-1, *([1] * (value.dim() - 1))) * value
    return factor * value


def map_tensors(function: Callable[..., Tensor], *trees: Tensors) -> dict[str, Tensor]:
    """The function of the tensors of one name, for each name."""
    return {name: function(*(tree[name] for tree in trees)) for name in trees[0]}


def dot(left: Tensors, right: Tensors) -> Tensor:
    """Inner product over all tensors for each model, in double precision, shape (K,)."""
    return torch.stack([rows(left[name].double() * right[name].double()).sum(dim=1) for name in left]).sum(dim=0)


def norm(tree: Tensors) -> Tensor:
    """Euclidean norm over all tensors for each model, in double precision, shape (K,)."""
    return dot(tree, tree).sqrt()


def flatten(tree: Tensors) -> Tensor:
    """All tensors side by side, shape (K, P), in the order of the mapping."""
    return torch.cat([rows(value) for value in tree.values()], dim=1)


def unflatten(vector: Tensor, like: Tensors) -> dict[str, Tensor]:
    """The inverse of :func:`flatten` for tensors shaped as ``like``."""
    parts = torch.split(vector, [value[0].numel() for value in like.values()], dim=1)
    return {
        name: part.reshape(len(vector), *value.shape[1:])
        for (name, value), part in zip(like.items(), parts, strict=True)
    }


def _signature(module: nn.Module) -> tuple[tuple[str, tuple[int, ...], torch.dtype], ...]:
    named = (*module.named_parameters(), *module.named_buffers())
    return tuple((name, tuple(value.shape), value.dtype) for name, value in named)


def _room(tensors: Tensors, count: int) -> dict[str, Tensor]:
    """Tensors without content for so many models like this one."""
    return {name: value.new_empty((count, *value.shape[1:])) for name, value in tensors.items()}


def _stack(trees: Sequence[Tensors]) -> dict[str, Tensor]:
    return {name: torch.stack([tree[name].detach() for tree in trees]) for name in trees[0]}
