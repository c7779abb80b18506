"""What a task for networks is given, looked at before anything is trained: one clear line for whatever does not fit."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from certify.core.arguments import require_type, shown
from certify.core.errors import ArgumentError, ConfigurationError, InputError
from certify.core.foreign import explained
from certify.models.networks.losses import loss_named
from certify.models.networks.theirs import is_shortage

_ARRAYS = "give a NumPy array or a tensor of numbers, one entry a record"


def check_module(model: nn.Module) -> None:
    """Wrappers that torch's function transforms cannot run, and parameters whose norms and steps are no real numbers.

    Raises:
        InputError: names the wrapper, or the parameter.
    """
    mends = {
        torch.jit.ScriptModule: "give the module it was scripted or traced from",
        nn.DataParallel: "give the module in it, model.module",
        nn.parallel.DistributedDataParallel: "give the module in it, model.module",
    }
    for name, part in model.named_modules():
        for kind, mend in mends.items():
            if isinstance(part, kind):
                which = f"{name} is" if name else "the model is"
                raise InputError(f"{which} a {kind.__name__}, which runs by itself alone", where="model", mend=mend)
    for name, value in model.named_parameters():
        if value.is_complex():
            raise InputError(
                f"the parameter {name} holds complex numbers",
                where="model",
                mend="hold their real and imaginary parts in a real one, and view_as_complex in the forward",
            )


def check_arguments(**given: Any) -> None:
    """Types of the arguments that are not records.

    Raises:
        ArgumentError: names the first that is of another type.
    """
    for name in ("loss", "device", "backend", "name"):
        require_type(given[name], str, name, "give its name as text")
    for name in ("architecture", "train"):
        if given[name] is not None and not callable(given[name]):
            raise ArgumentError(f"must be a function, not {shown(given[name])}", where=name, mend="give a function")
    if given["head"] is not None:
        require_type(given["head"], str, "head", "give the name of the last layer as text")
    if given["initial"] is not None:
        require_type(given["initial"], nn.Module, "initial", "give a module of the original's architecture")
    patterns = given["trainable"]
    if not isinstance(patterns, tuple | list) or not all(isinstance(pattern, str) for pattern in patterns):
        raise ArgumentError(
            f"must be patterns of names, not {shown(patterns)}", where="trainable", mend='give a tuple: ("head.*",)'
        )


def as_records(values: Any, where: str) -> Any:
    """Inputs or targets as they are, lists as arrays; numbers with one entry a record.

    Raises:
        ArgumentError: anything else.
    """
    if isinstance(values, list | tuple):
        try:
            values = np.asarray(values)
        except ValueError:
            raise ArgumentError("is a list of lists of different lengths", where=where, mend=_ARRAYS) from None
    if not isinstance(values, np.ndarray | Tensor):
        raise ArgumentError(f"must be an array of numbers, not {shown(values)}", where=where, mend=_ARRAYS)
    if isinstance(values, np.ndarray) and values.dtype.kind not in "fiub":
        raise ArgumentError(f"is an array of {values.dtype}, not of real numbers", where=where, mend=_ARRAYS)
    if isinstance(values, Tensor) and values.is_complex():
        raise ArgumentError("is a tensor of complex numbers", where=where, mend=_ARRAYS)
    if values.ndim < 1:
        raise ArgumentError("is one number", where=where, mend=_ARRAYS)
    return values


def as_tensor(values: Any) -> Tensor:
    """A tensor of an array; whole numbers of the types that torch knows by name alone become int64."""
    if isinstance(values, np.ndarray) and values.dtype in (np.uint16, np.uint32, np.uint64):
        values = values.astype(np.int64)
    if isinstance(values, np.ndarray) and not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    return torch.as_tensor(values)


def check_records(X: Any, y: Any, what: str) -> None:
    """Lengths, and numbers that are finite.

    Raises:
        InputError: no records, lengths that differ, NaN or infinity.
    """
    if len(X) != len(y) or len(X) == 0:
        raise InputError(
            f"{what} are {len(X)} inputs and {len(y)} targets", where="data", mend="give one target an input"
        )
    for values, name in ((as_tensor(X), "inputs"), (as_tensor(y), "targets")):
        if values.is_floating_point() and not bool(torch.isfinite(values).all()):
            raise InputError(f"{what} hold a number that is not finite", where="data", mend=f"clean the {name}")


def check_fit(
    model: nn.Module, loss: str, X: Any, y: Any, tensors: Callable[[Any, Any], tuple[Tensor, Tensor]], what: str
) -> None:
    """A blank record through the model and the loss: shapes and types fit, and the outputs have a place for each class.

    Raises:
        InputError: they do not.
    """
    labels = as_tensor(y)
    if loss == "cross-entropy" and labels.dim() == 1 and labels.is_floating_point():
        raise InputError("classes must be whole numbers", where="data", mend="number the classes from 0")
    first = as_tensor(X[:1])
    record = f"a record of shape {tuple(first.shape[1:])} and type {str(first.dtype).replace('torch.', '')} ({what})"
    mend = "save X in the shape and type that the model's forward takes, or mend the forward"
    flags = [(part, part.training) for part in model.modules()]  # some may be frozen by hand
    try:
        with explained(f"the model cannot read {record}: it", "data", mend, is_shortage), torch.no_grad():
            inputs, targets = tensors(torch.zeros_like(first), y[:1])
            outputs = model.eval()(inputs)
    except ConfigurationError as error:
        raise InputError(error.what, where=error.where, mend=error.mend) from None
    except (MemoryError, RuntimeError):  # nothing else passes
        mend = "use a smaller model, or a machine with more of it"
        raise InputError(f"out of memory with one record ({what})", where="model", mend=mend) from None
    finally:
        for part, training in flags:
            part.training = training
    if not isinstance(outputs, Tensor):
        raise InputError(f"the model returns {shown(outputs)}, not a tensor", where="model", mend="return the outputs")
    _check_outputs(loss, outputs, targets, labels, what)


def _check_outputs(loss: str, outputs: Tensor, targets: Tensor, labels: Tensor, what: str) -> None:
    low, high = int(labels.min()), int(labels.max())
    if loss == "cross-entropy" and labels.dim() == 1:
        if outputs.dim() != 2 or low < 0 or high >= outputs.shape[1]:
            raise InputError(
                f"the classes are {low} to {high} and the model's outputs have shape {tuple(outputs.shape)} for one record"
                f" ({what})",
                where="head",
                mend="number the classes from 0, and give the head one output a class",
            )
        return
    if loss == "binary-cross-entropy" and (float(labels.min()) < 0 or float(labels.max()) > 1):
        raise InputError(
            f"targets run from {low} to {high} ({what})", where="data", mend="binary cross-entropy takes 0 and 1"
        )
    try:
        value = loss_named(loss)(outputs, targets)
    except (RuntimeError, ValueError, IndexError):
        value = None
    if value is None or value.shape != (1,):
        raise InputError(
            f"{loss} does not fit outputs of shape {tuple(outputs.shape)} and a target of shape"
            f" {tuple(targets.shape[1:])} ({what})",
            where="loss",
            mend="give the head the outputs that the loss needs, or name the loss of training",
        )


def check_head(model: nn.Module, head: str | None) -> None:
    """The name of the last layer, where one is given.

    Raises:
        ConfigurationError: the model has no such module.
    """
    names = [name for name, _ in model.named_modules() if name]
    if head is not None and head not in names:
        raise ConfigurationError(
            f"the model has no module {head[:40]!r}", where="head", mend=f"it has {', '.join(names[:20])}"
        )
