"""The architecture of a model of which only some parameters were trained: the others are the original's in every shadow model."""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import nn

from certify.core.errors import ConfigurationError
from certify.gate.load import LoadedSpec
from certify.gate.networks import NetworkInputs


@dataclass(frozen=True, eq=False)
class Frozen:
    """Makes an untrained module whose parameters outside ``trainable`` are the original's and need no gradient.

    Buffers are fresh, as they are in the method ``retrain``. What retrained models share in this way is no evidence of forgetting: if
    a forgotten record shaped a frozen parameter, it is still there.

    Attributes:
        build: makes the untrained module.
        trainable: patterns of names.
        original: the model that the frozen parameters are taken from.
    """

    build: Callable[[], nn.Module]
    trainable: tuple[str, ...]
    original: nn.Module

    def __call__(self) -> nn.Module:
        """A module that is untrained where it may move."""
        made, theirs = self.build(), dict(self.original.named_parameters())
        with torch.no_grad():
            for name, value in made.named_parameters():
                if not any(fnmatchcase(name, pattern) for pattern in self.trainable):
                    value.copy_(theirs[name])
                    value.requires_grad = False
        return made


def architecture_for(loaded: LoadedSpec, inputs: NetworkInputs) -> Callable[[], nn.Module]:
    """What makes the models of a fleet.

    Raises:
        ConfigurationError: parameters are frozen, and no model says what they are.
    """
    patterns = tuple(inputs.task.trainable)
    if inputs.task.train is not None:
        return inputs.build  # what is trained, and from what, is the function's own matter
    if all(any(fnmatchcase(name, one) for one in patterns) for name, _ in inputs.task.model.named_parameters()):
        return inputs.build
    if inputs.original is None:
        raise ConfigurationError(
            "parameters outside it are the original's in every retrained model, and no original is named",
            where=f"{loaded.path}: release.trainable",
            mend="name release.original",
        )
    return Frozen(inputs.build, patterns, inputs.task.model)
