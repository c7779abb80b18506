"""What a model says of records, from its outputs: the signals of observations, in double precision."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from certify.attacks.observations import SIGNALS
from certify.core.errors import ConfigurationError
from certify.models.networks.losses import class_logits, loss_named
from certify.models.networks.losses import correct as is_correct

_LIKELIHOODS = ("cross-entropy", "binary-cross-entropy")


def signals_of(loss: str, labels: Tensor) -> tuple[str, ...]:
    """The signals that there are for a loss: all for classes, for targets ``phi`` alone (minus the loss)."""
    return SIGNALS if loss in _LIKELIHOODS and not labels.is_floating_point() else ("phi",)


def check_signals(names: Sequence[str], loss: str, labels: Tensor) -> tuple[str, ...]:
    """The names, when there are such signals for the loss.

    Raises:
        ConfigurationError: there is no such signal.
    """
    known = signals_of(loss, labels)
    for name in names:
        if name not in known:
            raise ConfigurationError(
                f"{loss} on these targets has no signal {name[:40]!r}",
                where="signals",
                mend=f"it has {', '.join(known)}",
            )
    return tuple(names)


def observe(outputs: Tensor, targets: Tensor, loss: str, names: Sequence[str]) -> dict[str, Tensor]:
    """Signals of records from a model's outputs.

    ``phi = z_y - logsumexp_{j != y} z_j``, entropy ``-sum_j p_j log p_j``, modified entropy ``-(1 - p_y) log p_y - sum_{j != y}
    p_j log(1 - p_j)``, and whether the prediction is right. All from logits by logarithms of sums, so that nothing saturates:
    phi is the logit gap itself for two classes, however large. For squared error phi is ``-||output - target||^2``,
    for distributions as targets minus the cross-entropy.

    Args:
        outputs: (B, ...), one row a record.
        targets: classes (B,), or targets (B, ...).
        loss: name of the loss.
        names: which signals; see :func:`signals_of`.

    Returns:
        Each (B,), in double precision.
    """
    outputs = outputs.double()
    if signals_of(loss, targets) == ("phi",):
        return {"phi": -loss_named(loss)(outputs, targets) * (2 if loss == "squared" else 1)}
    labels = targets.reshape(-1).long()
    logits = class_logits(outputs)
    own = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, labels[:, None], value=True)
    log_p, rest = functional.log_softmax(logits, dim=1), logits.masked_fill(own, -torch.inf).logsumexp(dim=1)
    found: dict[str, Tensor] = {}
    for name in names:
        if name == "phi":
            found[name] = logits[own] - rest
        elif name == "entropy":
            found[name] = -(log_p.exp() * log_p).sum(dim=1)
        elif name == "modified-entropy":
            found[name] = _modified_entropy(log_p, _log_complement(logits, log_p), own)
        else:
            found[name] = is_correct(outputs.reshape(len(labels), -1), labels).double()
    return found


def _modified_entropy(log_p: Tensor, log_not: Tensor, own: Tensor) -> Tensor:
    of_label = log_not[own].exp() * log_p[own]
    return -of_label - torch.where(own, 0.0, log_p.exp() * log_not).sum(dim=1)


def _log_complement(logits: Tensor, log_p: Tensor) -> Tensor:
    """``log(1 - p_j)``: from the other logits for the largest, which alone can be so near 1 that the difference is lost."""
    small = torch.log1p(-log_p.exp().clamp(max=0.75))
    large = torch.log(-torch.expm1(log_p.clamp(max=-1e-300)))
    found = torch.where(log_p < -0.7, small, large)
    top = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, logits.argmax(dim=1, keepdim=True), value=True)
    others = logits.masked_fill(top, -torch.inf).logsumexp(dim=1) - logits.logsumexp(dim=1)
    return torch.where(top, others[:, None], found)
