"""Losses with their constants; one file each. Every constant is checked by a test against a numerical maximum."""

from certify.convex.losses.base import Loss, LossConstants, TargetError
from certify.convex.losses.logistic import Logistic
from certify.convex.losses.poisson import Poisson
from certify.convex.losses.softmax import Softmax
from certify.convex.losses.squared import Squared
from certify.core.errors import ConfigurationError
from certify.core.names import did_you_mean

__all__ = ["LOSSES", "Loss", "LossConstants", "TargetError", "get_loss"]

LOSSES: dict[str, Loss] = {loss.name: loss for loss in (Logistic(), Softmax(), Squared(), Poisson())}


def get_loss(name: str) -> Loss:
    """The loss called ``name``.

    Raises:
        ConfigurationError: there is none of that name.
    """
    if name not in LOSSES:
        raise ConfigurationError(f"unknown loss {name!r}", where="objective.loss", mend=did_you_mean(name, LOSSES))
    return LOSSES[name]
