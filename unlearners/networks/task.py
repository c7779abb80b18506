"""A network, the records it was trained on, and how it was trained."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from certify.core.arguments import as_whole, require_type, shown
from certify.core.arrays import IntArray
from certify.core.errors import ArgumentError, ConfigurationError, InputError
from certify.models.networks.losses import loss_named
from certify.models.networks.network import Backend
from certify.models.networks.recipe import Recipe
from certify.models.networks.state import State, number_kind
from certify.unlearners.networks.checks import (
    as_records,
    as_tensor,
    check_arguments,
    check_fit,
    check_head,
    check_module,
    check_records,
)
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
        check_module(self.model)
        check_arguments(**vars(self))
        loss_named(self.loss)
        check_head(self.model, self.head)
        if self.recipe is not None:
            require_type(self.recipe, Recipe, "recipe", "give a certify.unlearners.Recipe")
        object.__setattr__(self, "X", as_records(self.X, "X"))
        object.__setattr__(self, "y", as_records(self.y, "y"))
        self._check_fit(self.X, self.y, "training records")
        if self.held_out is not None:
            pair = self.held_out
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise ArgumentError(f"must be (X, y), not {shown(pair)}", where="held_out", mend="give both arrays")
            object.__setattr__(self, "held_out", (as_records(pair[0], "held_out X"), as_records(pair[1], "held_out y")))
            self._check_fit(*self.held_out, "held-out records")
        self._check_ids()

    def _check_fit(self, X: Any, y: Any, what: str) -> None:
        check_records(X, y, f"the {what}")
        device = next(iter(self.model.parameters()), torch.empty(0)).device
        check_fit(self.model, self.loss, X, y, lambda some, more: as_tensors(some, more, self.model, device), what)

    def _check_ids(self) -> None:
        if self.ids is None:
            return
        mend = "name each record once, by a whole number or a text"
        ids = as_ids(self.ids)
        if ids is None:
            raise ArgumentError(f"must be one id a record, not {shown(self.ids)}", where="ids", mend=mend)
        if len(ids) != len(self) or len(set(ids.tolist())) != len(self):
            raise InputError("an id repeats, or their number is not that of the records", where="ids", mend=mend)

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
        found = np.flatnonzero(np.asarray(self.y) == as_whole(label, "label"))
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
                mend="give the task a recipe: optimiser, lr, epochs, batch_size ([training] in a spec)",
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


DEVICES = ("cpu", "cuda")
"""Types of devices that methods run on."""


def device_named(name: str) -> torch.device:
    """A torch device by name, "auto" being a GPU where there is one.

    Raises:
        InputError: it is not there; ConfigurationError: it is no device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device: torch.device | None = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in DEVICES:
        raise ConfigurationError(f"{name[:40]!r} is no device", where="device", mend="use cpu, cuda or auto")
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise InputError(
            f"{name} is asked for and {torch.cuda.device_count()} GPUs are here", where="device", mend="use cpu or auto"
        )
    return device


def as_tensors(X: Any, y: Any, model: nn.Module, device: torch.device) -> tuple[Tensor, Tensor]:
    """Inputs and targets as tensors; floating inputs take the type of the model's own real numbers."""
    inputs, targets = as_tensor(X), as_tensor(y)
    kind = number_kind(model)
    inputs = inputs.to(device, kind) if inputs.is_floating_point() else inputs.to(device)
    targets = targets.to(device, kind) if targets.is_floating_point() else targets.to(device).long()
    return inputs, targets


def as_ids(ids: Any) -> Any:
    """Ids as a one-dimensional array, or None where they are no such thing."""
    try:
        array = np.asarray(ids)
    except (ValueError, TypeError, RuntimeError):
        return None
    return array if array.ndim == 1 and array.dtype.kind in "iuUS" else None
