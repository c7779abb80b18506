"""torch: one ``nn.Linear`` head on frozen features, certified as stored.

A head does not know its loss nor its penalty: both are declared. ``l2`` is the total coefficient. With a loss averaged over n
records, ``SGD(weight_decay=d)`` adds ``d w`` to the mean gradient, so its stationary point has ``l2 = n d``; so has that of
``Adam``; ``AdamW`` decays apart from the gradient and has no such objective.
"""

from typing import Any

from certify.convex.adapters.base import Declared, FittedModel, NoAdapterError
from certify.convex.losses import get_loss
from certify.core.arrays import AnyArray
from certify.core.errors import ConfigurationError


def read(model: Any, name: str, version: str, declared: Declared) -> FittedModel:
    """A linear head with its declared objective."""
    if name != "Linear":
        raise NoAdapterError(
            f"no adapter for torch's {name}",
            where="model",
            mend="pass the last nn.Linear alone, and as X the features that the frozen rest gives it",
        )
    declared.refuse("a torch head", "alpha", "l1_weight")
    if declared.loss is None or declared.l2 is None:
        raise ConfigurationError(
            "a torch head does not say what it was trained for",
            where="loss, l2",
            mend='declare both, as in adapt(head, loss="softmax", l2=12.0), l2 in total (for SGD: records times weight_decay)',
        )
    get_loss(declared.loss)
    bias = None if model.bias is None else _array(model.bias)
    return FittedModel(
        name=name,
        library="torch",
        version=version,
        loss=declared.loss,
        coef=_array(model.weight),
        intercept=bias,
        l2=float(declared.l2),
        penalize_intercept=declared.penalize_intercept is not False,
        notes=("loss and l2 are declared: a torch head does not keep them", "the features are frozen: not covered"),
    )


def _array(tensor: Any) -> AnyArray:
    """The numbers as stored; half types that NumPy lacks become float64, which holds each of them."""
    held = tensor.detach().cpu()
    array: AnyArray = (held if str(held.dtype) in {"torch.float32", "torch.float64"} else held.double()).numpy().copy()
    return array
