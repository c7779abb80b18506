"""A network, the records it was trained on, and how it was trained."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from certify.core.arrays import IntArray
from certify.core.errors import ConfigurationError, InputError
from certify.models.networks.losses import loss_named
from certify.models.networks.network import Backend
from certify.models.networks.recipe import Recipe
from certify.models.networks.state import State
from certify.unlearners.task import Request


@dataclass(frozen=True, eq=False)
class NetworkTask:
    """What a method for networks is given.

    Attributes:
        model: the original; any ``nn.Module`` that maps inputs (B, ...) to outputs (B, C). It is never changed.
        X: inputs of all training records, (n, ...), tensor or array.
        y: classes (n,), or targets (n, ...).
        ids: names of the records; their positions where none are given.
        held_out: (X, y) of records that were never trained on, for methods that need such.
        loss: "cross-entropy", "binary-cross-entropy" or "squared".
        recipe: how the original was trained; what trains again (retrain, SISA, EU-k) uses it.
        architecture: makes a freshly initialised model; where it is missing, the parts' own ``reset_parameters`` do.
        initial: the weights before training, for methods that need them; a module of the same architecture.
        head: name of the last layer; the last ``nn.Linear`` where it is missing.
        trainable: patterns of the names of parameters that methods may move (a head, adapters).
        train: trains a model of the architecture from a fresh start: called with arrays X and y and a seed, returns the
            module. What retrains uses it in place of the recipe.
        device: "cpu", "cuda", "cuda:1", or "auto": a GPU where there is one.
        backend: how several models run, see :class:`~certify.models.networks.network.Network`.

    Raises:
        InputError: no records, lengths that differ, a repeated id, classes that do not fit the outputs, or a device that is
            not there.
    """

    model: nn.Module
    X: Any
    y: Any
    ids: Any = None
    held_out: tuple[Any, Any] | None = None
    loss: str = "cross-entropy"
    recipe: Recipe | None = None
    architecture: Callable[[], nn.Module] | None = None
    initial: nn.Module | None = None
    head: str | None = None
    trainable: tuple[str, ...] = ("*",)
    train: Callable[[Any, Any, int], nn.Module] | None = None
    device: str = "cpu"
    backend: Backend = "auto"
    name: str = "task"

    def __post_init__(self) -> None:
        if not isinstance(self.model, nn.Module):
            raise InputError(
                f"the model is a {type(self.model).__name__}, not a torch module",
                where="model",
                mend="give an nn.Module",
            )
        loss_named(self.loss)
        _check_lengths(self.X, self.y, "the training records")
        if self.held_out is not None:
            _check_lengths(*self.held_out, "the held-out records")
        if self.ids is not None and len(set(np.asarray(self.ids).tolist())) != len(self):
            raise InputError(
                "an id repeats, or their number is not that of the records", where="ids", mend="name each once"
            )
        _check_classes(self)

    def __len__(self) -> int:
        return len(self.X)

    @property
    def where(self) -> str:
        """For messages."""
        return self.name

    def positions(self, ids: Iterable[object]) -> IntArray:
        """Positions of records by id, -1 for an unknown one."""
        known = self.ids if self.ids is not None else range(len(self))
        place = {key: position for position, key in enumerate(np.asarray(known).tolist())}
        wanted = [item.item() if isinstance(item, np.generic) else item for item in ids]
        return np.array([place.get(item, -1) for item in wanted], dtype=np.int64)

    def request(self, ids: Iterable[object]) -> Request:
        """The request to forget the records with these ids; errors as for :meth:`Request.of`."""
        return Request.of(self, ids)

    def request_class(self, label: int) -> Request:
        """The request to forget every record of a class."""
        found = np.flatnonzero(np.asarray(self.y) == label)
        return Request.at(self, found)

    def place(self) -> torch.device:
        """The device.

        Raises:
            InputError: a GPU is asked for and none is there.
        """
        return device_named(self.device)

    def tensors(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Inputs and targets on the device, floating inputs in the model's own precision."""
        return as_tensors(self.X, self.y, self.model, device)

    def held_out_tensors(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """The held-out records on the device.

        Raises:
            InputError: the task has none.
        """
        if self.held_out is None:
            raise InputError(
                "this method compares with records that were never trained on and none are given",
                where="held_out",
                mend="give the task held-out records (data.test in a spec)",
            )
        return as_tensors(*self.held_out, self.model, device)

    def original(self, models: int, device: torch.device) -> State:
        """``models`` copies of the original."""
        return State.of(self.model).to(device).repeat(models)

    def need_recipe(self) -> Recipe:
        """How the original was trained.

        Raises:
            InputError: the task does not say.
        """
        if self.recipe is None:
            raise InputError(
                "this method trains again and the task does not say how the original was trained",
                where="recipe",
                mend="give the task a recipe (optimiser, lr, epochs, batch_size)",
            )
        return self.recipe

    def head_name(self) -> str:
        """Name of the last layer.

        Raises:
            ConfigurationError: the name given is no module, or there is no linear layer to take.
        """
        modules = dict(self.model.named_modules())
        if self.head is not None:
            if self.head not in modules:
                raise ConfigurationError(
                    f"the model has no module {self.head!r}",
                    where="head",
                    mend=f"it has {', '.join(filter(None, modules))}",
                )
            return self.head
        linear: list[str] = [name for name, module in modules.items() if isinstance(module, nn.Linear)]
        if not linear:
            raise ConfigurationError("the model has no linear layer", where="head", mend="name its last layer")
        return linear[-1]


class OwnTask(NetworkTask, ABC):
    """A task that a method with a model and a memory of its own makes for itself, by its ``prepare`` or as the state of a result.

    Its ``model`` is the method's, and it carries what later requests need.
    """

    @abstractmethod
    def save(self, path: Path) -> str:
        """Write what it carries to a file; returns the file's SHA-256."""

    @abstractmethod
    def load(self, path: Path, task: NetworkTask) -> "OwnTask":
        """Read what :meth:`save` of such a task wrote, for the plain task that it was made from."""


def device_named(name: str) -> torch.device:
    """A torch device by name, "auto" being a GPU where there is one.

    Raises:
        InputError: it is not there; ConfigurationError: it is no device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigurationError(f"{name[:40]!r} is no device", where="device", mend="use cpu, cuda or auto") from None
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise InputError(
            f"{name} is asked for and {torch.cuda.device_count()} GPUs are here", where="device", mend="use cpu or auto"
        )
    return device


def as_tensors(X: Any, y: Any, model: nn.Module, device: torch.device) -> tuple[Tensor, Tensor]:
    """Inputs and targets as tensors; floating inputs take the type of the model's first parameter."""
    inputs, targets = torch.as_tensor(X), torch.as_tensor(y)
    kind = next((value.dtype for value in model.parameters()), torch.float32)
    inputs = inputs.to(device, kind) if inputs.is_floating_point() else inputs.to(device)
    targets = targets.to(device, kind) if targets.is_floating_point() else targets.to(device).long()
    return inputs, targets


def _check_lengths(X: Any, y: Any, what: str) -> None:
    if len(X) != len(y) or len(X) == 0:
        raise InputError(
            f"{what} are {len(X)} inputs and {len(y)} targets", where="data", mend="give one target an input"
        )
    values = torch.as_tensor(X)
    if values.is_floating_point() and not bool(torch.isfinite(values).all()):
        raise InputError(f"{what} hold a number that is not finite", where="data", mend="clean the inputs")


def _check_classes(task: NetworkTask) -> None:
    """A blank record through the model: its outputs must have a place for each class."""
    labels = torch.as_tensor(task.y)
    if task.loss != "cross-entropy" or labels.dim() != 1:
        return
    if labels.is_floating_point():
        raise InputError("classes must be whole numbers", where="data", mend="number the classes from 0")
    flags = [(part, part.training) for part in task.model.modules()]  # some may be frozen by hand
    try:
        with torch.no_grad():
            device = next(iter(task.model.parameters()), torch.empty(0)).device
            blank = torch.zeros_like(torch.as_tensor(task.X[:1]))
            outputs = task.model.eval()(as_tensors(blank, task.y[:1], task.model, device)[0])
    except (RuntimeError, ValueError, IndexError, TypeError):
        first = torch.as_tensor(task.X[:1])
        raise InputError(
            f"the model cannot read a record of shape {tuple(first.shape[1:])} and type {first.dtype}".replace(
                "torch.", ""
            ),
            where="data",
            mend="save X in the shape and type that the model's forward takes",
        ) from None
    finally:
        for part, training in flags:
            part.training = training
    low, high = int(labels.min()), int(labels.max())
    if outputs.dim() != 2 or low < 0 or high >= outputs.shape[1]:
        raise InputError(
            f"the classes are {low} to {high} and the model's outputs have shape {tuple(outputs.shape)} for one record",
            where="head",
            mend="number the classes from 0, and give the head one output a class",
        )
