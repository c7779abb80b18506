"""Features of a network: what goes into a module of it, its head as a rule."""

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from certify.core.errors import ConfigurationError
from certify.models.networks.network import Network


def features(network: Network, head: str) -> Network:
    """The same architecture with the input of one module in place of the outputs.

    A :class:`Network` like any other: it takes the same states, runs K models, and ``outputs`` gives the features (K, B, ...).

    Args:
        network: the architecture.
        head: name of the module, "" for the network itself.

    Raises:
        ConfigurationError: there is no such module; or, when it runs, the module is not called once, with one tensor.
    """
    return replace(network, evaluating=_tapped(network.evaluating, head), training=_tapped(network.training, head))


def _tapped(module: nn.Module, head: str) -> nn.Module:
    """A copy that returns what its head was given."""
    made = copy.deepcopy(module)
    parts = dict(made.named_modules())
    if head not in parts:
        raise ConfigurationError(
            f"the model has no module {head!r}", where="head", mend=f"it has {', '.join(filter(None, parts))}"
        )
    seen: list[Any] = []

    def begin(part: nn.Module, given: tuple[Any, ...]) -> None:
        del part, given
        seen.clear()  # of a pass that failed

    def keep(part: nn.Module, given: tuple[Any, ...]) -> None:
        del part
        seen.append(given[0] if len(given) == 1 else None)

    def give(part: nn.Module, given: tuple[Any, ...], result: Any) -> Tensor:
        del part, given, result
        found = list(seen)
        seen.clear()
        if len(found) != 1 or not isinstance(found[0], torch.Tensor):
            raise ConfigurationError(
                f"{head} is called {len(found)} times in a pass, or not with one tensor",
                where="head",
                mend="name the last layer, which must be called once",
            )
        return found[0]

    made.register_forward_pre_hook(begin)
    parts[head].register_forward_pre_hook(keep)
    made.register_forward_hook(give)
    return made
