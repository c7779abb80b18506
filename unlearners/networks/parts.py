"""Parts of a network by path or by number, and training that leaves the other parts bit for bit as they are."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from certify.core.errors import ConfigurationError, InputError
from certify.core.names import did_you_mean
from certify.models.networks.bench import Bench
from certify.models.networks.state import State

_KERNELS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def layers(model: nn.Module) -> tuple[str, ...]:
    """Paths of the modules that own a weight of two or more axes, in order of registration (which may not be that of use)."""
    return tuple(
        name for name, part in model.named_modules() if any(value.dim() > 1 for value in part.parameters(recurse=False))
    )


def last_layers(model: nn.Module, k: int, where: str) -> tuple[str, ...]:
    """Paths of the last ``k`` layers, and of what owns parameters between and behind them (normalisations).

    Raises:
        ConfigurationError: there are fewer layers.
    """
    found = layers(model)
    if k > len(found):
        raise ConfigurationError(f"the model has {len(found)} layers, not {k}", where=where, mend="ask for fewer")
    owners = [name for name, part in model.named_modules() if any(True for _ in part.parameters(recurse=False))]
    return tuple(owners[owners.index(found[-k]) :])


def named_parts(model: nn.Module, paths: str, where: str) -> tuple[str, ...]:
    """Module paths from text, separated by commas.

    Raises:
        ConfigurationError: one is no module of the model, or owns no parameter.
    """
    modules = {name: part for name, part in model.named_modules() if name}
    found = tuple(path.strip() for path in paths.split(","))
    for path in found:
        if path not in modules:
            raise ConfigurationError(f"the model has no module {path!r}", where=where, mend=did_you_mean(path, modules))
        if not any(True for _ in modules[path].parameters()):
            raise ConfigurationError(f"{path} has no parameters", where=where, mend="name a layer that has")
    return found


def inside(name: str, parts: Sequence[str]) -> bool:
    """Whether a tensor, or a module, of this name lies in one of the parts; "" is the network itself."""
    return any(not part or name == part or name.startswith(f"{part}.") for part in parts)


def kernels(model: nn.Module) -> tuple[str, ...]:
    """Names of the weights of convolutions."""
    return tuple(_weight(name) for name, part in model.named_modules() if isinstance(part, _KERNELS))


def matrices(model: nn.Module) -> tuple[str, ...]:
    """Names of the weights of linear layers."""
    return tuple(_weight(name) for name, part in model.named_modules() if isinstance(part, nn.Linear))


@contextmanager
def only(bench: Bench, parts: Sequence[str]) -> Iterator[None]:
    """Inside, nothing but these parts moves: the others need no gradient, and run in evaluation mode.

    A batch normalisation outside the parts therefore uses its running statistics and leaves them alone, and dropout there is
    off: what is frozen is the same function in training as in the model that is returned.

    Raises:
        InputError: no parameter of the parts may move (``task.trainable``, or a tensor shared with another part).
    """
    before = bench.network
    moving = frozenset(name for name in before.trainable if inside(name, parts))
    if not moving:
        raise InputError(
            "no parameter of the chosen layers may move",
            where=bench.name,
            mend="widen trainable, or choose other layers",
        )
    training = copy.deepcopy(before.training)
    for name, part in training.named_modules():
        if not inside(name, parts):
            part.training = False
    bench.network = replace(before, training=training, trainable=moving, _random={})
    try:
        yield
    finally:
        bench.network = before


def check_frozen(before: State, after: State, parts: Sequence[str], name: str) -> None:
    """Refuse a result in which a tensor outside the parts, buffers included, is not bit for bit what it was.

    Raises:
        InputError: names the tensor.
    """
    for old, new in ((before.parameters, after.parameters), (before.buffers, after.buffers)):
        for tensor, value in old.items():
            if not inside(tensor, parts) and not _same_bits(value, new[tensor]):
                raise InputError(
                    f"{tensor} lies outside the chosen layers and moved",
                    where=name,
                    mend="this is a defect of the method",
                )


def _same_bits(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and torch.equal(
        first.contiguous().flatten().view(torch.uint8), second.contiguous().flatten().view(torch.uint8)
    )


def _weight(name: str) -> str:
    return f"{name}.weight" if name else "weight"
