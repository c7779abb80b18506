"""Losses with their constants; one file each. Every constant is checked by a test against a numerical maximum."""

import math
from dataclasses import replace

from certify.convex.losses.base import Loss, LossConstants, TargetError, TwoClassLoss
from certify.convex.losses.gamma import Gamma
from certify.convex.losses.hinge import Hinge
from certify.convex.losses.huber_hinge import HuberHinge
from certify.convex.losses.log_cosh import LogCosh
from certify.convex.losses.logistic import Logistic
from certify.convex.losses.one_vs_rest import OneVsRest
from certify.convex.losses.poisson import Poisson
from certify.convex.losses.pseudo_huber import PseudoHuber
from certify.convex.losses.softmax import Softmax
from certify.convex.losses.softplus_hinge import SoftplusHinge
from certify.convex.losses.squared import Squared
from certify.convex.losses.squared_hinge import SquaredHinge
from certify.core.arguments import shown
from certify.core.errors import ConfigurationError
from certify.core.names import did_you_mean

__all__ = ["LOSSES", "Loss", "LossConstants", "OneVsRest", "TargetError", "TwoClassLoss", "get_loss"]

_SMOOTHED: dict[str, HuberHinge | SoftplusHinge] = {loss.name: loss for loss in (HuberHinge(1.0), SoftplusHinge(1.0))}

LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Logistic(),
        Softmax(),
        Squared(),
        Poisson(),
        Gamma(),
        PseudoHuber(),
        LogCosh(),
        SquaredHinge(),
        *_SMOOTHED.values(),
        Hinge(),
    )
}
"""Every loss by name; those that need ``smoothing`` stand here with 1."""

_SMOOTHING_RANGE = (1e-100, 1e100)  # squares of it and of its inverse are far from overflow and underflow


def get_loss(name: str, smoothing: float | None = None, *, one_vs_rest: bool = False) -> Loss:
    """The loss called ``name``.

    Args:
        name: one of ``LOSSES``.
        smoothing: for the losses whose ``smoothing_is`` says what it means, and for no other.
        one_vs_rest: a two-class loss for each of K classes.

    Raises:
        ConfigurationError: there is none of that name, smoothing is missing, out of place or out of range, or one-vs-rest of a
            loss that is not of two classes.
    """
    if not isinstance(name, str):
        raise ConfigurationError("the loss is not a name", where="objective.loss", mend="see `certify list losses`")
    if name not in LOSSES:
        raise ConfigurationError(f"unknown loss {name!r}", where="objective.loss", mend=did_you_mean(name, LOSSES))
    loss = _with_smoothing(LOSSES[name], smoothing)
    if not one_vs_rest:
        return loss
    if not isinstance(loss, TwoClassLoss):
        raise ConfigurationError(
            f"one_vs_rest takes a loss of two classes, and {name} is none",
            where="objective.one_vs_rest",
            mend="remove it, or choose logistic or a hinge",
        )
    return OneVsRest(loss)


def _with_smoothing(loss: Loss, smoothing: float | None) -> Loss:
    if loss.smoothing_is is None:
        if smoothing is None:
            return loss
        raise ConfigurationError(
            f"the {loss.name} loss has no smoothing", where="objective.smoothing", mend="remove it, or check the loss"
        )
    if smoothing is None:
        raise ConfigurationError(
            f"the {loss.name} loss needs smoothing ({loss.smoothing_is})",
            where="objective.smoothing",
            mend="declare the one it was trained with",
        )
    low, high = _SMOOTHING_RANGE
    if not (math.isfinite(smoothing) and low <= smoothing <= high):
        raise ConfigurationError(
            f"smoothing must be a number above 0 (from {shown(low)} to {shown(high)}), not {shown(smoothing)}",
            where="objective.smoothing",
            mend=f"give {loss.smoothing_is}, as it was trained",
        )
    return replace(_SMOOTHED[loss.name], smoothing=smoothing)
