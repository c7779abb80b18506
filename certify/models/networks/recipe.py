"""How a model was trained, and training K models by it."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from certify.core.errors import ConfigurationError
from certify.core.knobs import check_knobs
from certify.models.networks.optimisers import Adam, Optimiser, Sgd


@dataclass(frozen=True)
class Recipe:
    """Optimiser, schedule and length of a training run.

    Attributes:
        optimiser: "sgd", "adam" or "adamw".
        lr: step size.
        epochs: passes over the records.
        batch_size: records in a batch.
        momentum: of SGD.
        weight_decay: see the optimisers.
        schedule: "constant"; "cosine" to zero; "steps": times 0.1 at 80 % and again at 90 % of the steps.
        warmup: share of the steps with a linearly growing step size.
    """

    optimiser: Literal["sgd", "adam", "adamw"] = "adam"
    lr: Annotated[float, Field(gt=0)] = 1e-3
    epochs: Annotated[int, Field(ge=1)] = 10
    batch_size: Annotated[int, Field(ge=1)] = 128
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    schedule: Literal["constant", "cosine", "steps"] = "constant"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def __post_init__(self) -> None:
        check_knobs(self, "recipe")
        if self.momentum and self.optimiser != "sgd":
            raise ConfigurationError(
                f"{self.optimiser} has no momentum", where="recipe.momentum", mend="leave it out, or use sgd"
            )

    def build(self) -> Optimiser:
        """The optimiser."""
        return optimiser_of(self.optimiser, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)

    def factor(self, done: float) -> float:
        """What multiplies the step size when a share ``done`` of the steps, in [0, 1), is done."""
        if done < self.warmup:
            return (done + 1e-3) / (self.warmup + 1e-3)
        if self.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        if self.schedule == "steps":
            return 0.01 if done >= 0.9 else 0.1 if done >= 0.8 else 1.0
        return 1.0


def optimiser_of(name: str, *, lr: float, momentum: float = 0.0, weight_decay: float = 0.0) -> Optimiser:
    """An optimiser by name: "sgd", "adam" or "adamw"; momentum is for SGD alone."""
    if name == "sgd":
        return Sgd(lr, weight_decay, momentum)
    return Adam(lr, weight_decay, decoupled=name == "adamw")
