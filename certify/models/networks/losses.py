"""Losses of records from a network's outputs: each maps (B, C) outputs, and what else it names, to (B,) losses.

All are per record, so the reduction, and with it the learning rate, never depends on the number of classes or the batch.
"""

import torch
from torch import Tensor
from torch.nn import functional

from certify.core.errors import ConfigurationError
from certify.core.names import did_you_mean
from certify.models.networks.network import Loss


def cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    """``-log softmax(outputs)[label]``; ``labels`` are classes (B,) or distributions (B, C)."""
    if labels.dim() == outputs.dim():
        return -(labels.to(outputs.dtype) * functional.log_softmax(outputs, dim=1)).sum(dim=1)
    return -functional.log_softmax(outputs, dim=1).gather(1, labels.long()[:, None])[:, 0]


def binary_cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    """``log(1 + exp(-s z))`` with s = +-1 from labels in {0, 1}, for one output a record."""
    sign = 2 * labels.to(outputs.dtype).reshape(len(outputs)) - 1
    return functional.softplus(-sign * outputs.reshape(len(outputs)))


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """``1/2 ||outputs - target||^2``; classes (B,) stand for one-hot targets when there is more than one output."""
    flat = outputs.flatten(1)
    if not targets.is_floating_point() and targets.dim() == 1 and flat.shape[1] > 1:
        # torch's own one_hot looks at the values and cannot be vectorised over models
        targets = targets[:, None] == torch.arange(flat.shape[1], device=flat.device)
    return 0.5 * (flat - targets.to(flat.dtype).reshape(flat.shape)).square().sum(dim=1)


def class_logits(outputs: Tensor) -> Tensor:
    """Logits (B, C) of the classes; one output a record, the log odds of class 1, becomes (0, z)."""
    flat = outputs.reshape(len(outputs), -1)
    return flat if flat.shape[1] > 1 else torch.cat([torch.zeros_like(flat), flat], dim=1)


def divergence_from(outputs: Tensor, target_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """``T^2 KL(softmax(target / T) || softmax(outputs / T))`` (Hinton et al. 2015)."""
    target = functional.log_softmax(target_logits / temperature, dim=1)
    own = functional.log_softmax(outputs / temperature, dim=1)
    return temperature * temperature * functional.kl_div(own, target, reduction="none", log_target=True).sum(dim=1)


LOSSES: dict[str, Loss] = {
    "cross-entropy": cross_entropy,
    "binary-cross-entropy": binary_cross_entropy,
    "squared": squared_error,
}
"""Losses a task may be trained with."""


def loss_named(name: str) -> Loss:
    """The training loss called ``name``.

    Raises:
        ConfigurationError: there is none.
    """
    if name not in LOSSES:
        raise ConfigurationError(f"unknown loss {name!r}", where="loss", mend=did_you_mean(name, LOSSES))
    return LOSSES[name]


def correct(outputs: Tensor, labels: Tensor) -> Tensor:
    """Which predictions (..., B) of outputs (..., B, C) are right; one output a record is a binary score. NaN is wrong."""
    if outputs.shape[-1] == 1:
        return ((outputs[..., 0] > 0).long() == labels) & torch.isfinite(outputs[..., 0])
    return (outputs.argmax(dim=-1) == labels) & torch.isfinite(outputs).all(dim=-1)
