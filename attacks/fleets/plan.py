"""What a fleet is asked to do: the task that each model is trained on, and how."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from certify.attacks.fleets.signals import check_signals
from certify.attacks.observations import SIGNALS, WORLDS
from certify.core.arguments import require_type, shown
from certify.core.errors import ArgumentError, ConfigurationError, InputError
from certify.core.knobs import check_knobs
from certify.models.networks.losses import loss_named
from certify.models.networks.recipe import Recipe

Precision = Literal["float32", "tf32", "bf16"]
Choice = Literal["auto", "vmap", "loop"]


@dataclass(frozen=True, eq=False)
class FleetTask:
    """What every model of a fleet is trained on.

    Attributes:
        architecture: makes a freshly initialised model, drawing its weights from torch's global generator, which is seeded for
            it; or a module whose parts have ``reset_parameters``.
        X: inputs of all records, (N, ...), array or tensor; out, retained and forgotten ones.
        y: classes (N,), or targets (N, ...).
        loss: "cross-entropy", "binary-cross-entropy" or "squared".
        train: trains a model from a fresh start in place of the plan's recipe: called with arrays X and y and a seed, returns
            the module.
        device: "cpu", "cuda", "cuda:1", or "auto": a GPU where there is one.
        ids: names of the records, (N,); their positions where none are given.
        identity: a text that stands for what the store cannot read of ``architecture``, ``train`` or the unlearner (a file they
            load, an object without source). Change it when that changes.
        initial: weights that every model starts from, a module of the architecture; models then differ by the order of their
            records alone. None starts each from weights of its own.

    Raises:
        ArgumentError, InputError: arguments of other types, lengths that differ, numbers that are not finite.
        ConfigurationError: ``initial`` beside a ``train`` function, which starts by itself.
    """

    architecture: Callable[[], nn.Module] | nn.Module
    X: Any
    y: Any
    loss: str = "cross-entropy"
    train: Callable[[Any, Any, int], nn.Module] | None = None
    device: str = "cpu"
    ids: Any = None
    identity: str = ""
    initial: nn.Module | None = None

    def __post_init__(self) -> None:
        if not callable(self.architecture):
            raise ArgumentError(
                f"must be a function or a module, not {shown(self.architecture)}",
                where="architecture",
                mend="give a function that makes a freshly initialised model",
            )
        if self.train is not None and not callable(self.train):
            raise ArgumentError(f"must be a function, not {shown(self.train)}", where="train", mend="give a function")
        if self.initial is not None:
            require_type(self.initial, nn.Module, "initial", "give a module of the architecture")
        if self.initial is not None and self.train is not None:
            raise ConfigurationError(
                "a train function starts by itself", where="initial", mend="leave it out, or give a recipe instead"
            )
        for name in ("loss", "device", "identity"):
            require_type(getattr(self, name), str, name, "give a text")
        loss_named(self.loss)
        for name in ("X", "y"):
            object.__setattr__(self, name, _records(getattr(self, name), name))
        if len(self.X) != len(self.y) or not len(self.X):
            raise InputError(
                f"{len(self.X)} inputs and {len(self.y)} targets", where="data", mend="give one target an input"
            )
        if self.loss == "cross-entropy" and self.y.ndim == 1 and _kind(self.y) == "f":
            raise InputError("classes must be whole numbers", where="data", mend="number the classes from 0")

    def __len__(self) -> int:
        return len(self.X)

    def place(self) -> torch.device:
        """The device.

        Raises:
            InputError: it is not there; ConfigurationError: it is no device.
        """
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if self.device == "auto":
            return torch.device("cuda" if there else "cpu")
        try:
            device: torch.device | None = torch.device(self.device)
        except RuntimeError:
            device = None
        if device is None or device.type not in ("cpu", "cuda"):
            raise ConfigurationError(f"{self.device[:40]!r} is no device", where="device", mend="use cpu, cuda or auto")
        if device.type == "cuda" and (device.index or 0) >= there:
            raise InputError(
                f"{self.device} is asked for and {there} GPUs are here", where="device", mend="use cpu or auto"
            )
        return device

    def tensors(self, kind: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
        """Inputs and targets on the device, floating ones in this type of numbers."""
        inputs, targets = torch.as_tensor(self.X), torch.as_tensor(self.y)
        inputs = _aligned(inputs.to(device, kind) if inputs.is_floating_point() else inputs.to(device))
        targets = targets.to(device, kind) if targets.is_floating_point() else targets.to(device).long()
        return inputs, targets


@dataclass(frozen=True)
class FleetPlan:
    """How a fleet is trained, unlearned and looked at.

    Attributes:
        recipe: optimiser, schedule, length; not needed where the task brings its own ``train``.
        seed: root seed. What happens to model k depends on it, on k and on row k of the assignment, not on the blocks.
        worlds: which models are made and looked at; by default all, "unlearned" where there is an unlearner.
        signals: what is kept of what they say.
        block: models trained together; None chooses by memory.
        backend: how models of a block run: "vmap" as one batched program, "loop" one after the other; "auto" by a short trial.
        precision: "float32" (the architecture's own type of numbers), "tf32" or "bf16" for matrix products, with weights, gradients and signals in the
            architecture's own type.
        coupled: retrained models start from the weights that their originals started from; otherwise from fresh ones.
        stored: type of numbers that signals are kept in; they are computed in double precision.
        keep_parameters: keep the weights of every world too, for distances; needs a store.
        deterministic: only operations that torch knows to be deterministic; some GPU operations then raise.
    """

    recipe: Recipe | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    worlds: tuple[str, ...] | None = None
    signals: tuple[str, ...] = SIGNALS
    block: Annotated[int, Field(ge=1)] | None = None
    backend: Choice = "auto"
    precision: Precision = "float32"
    coupled: bool = False
    stored: Literal["float32", "float64"] = "float32"
    keep_parameters: bool = False
    deterministic: bool = False

    def __post_init__(self) -> None:
        check_knobs(self, "fleet")
        for name, given, known in (("worlds", self.worlds, WORLDS), ("signals", self.signals, SIGNALS)):
            for item in given or ():
                if item not in known:
                    raise ConfigurationError(
                        f"{item[:40]!r} is unknown", where=f"fleet.{name}", mend=f"choose from {', '.join(known)}"
                    )
        if not self.signals:
            raise ConfigurationError("nothing is looked at", where="fleet.signals", mend="name a signal: phi")

    def worlds_with(self, *, unlearner: bool) -> tuple[str, ...]:
        """The worlds that are made.

        Raises:
            ConfigurationError: "unlearned" is asked for without an unlearner.
        """
        if self.worlds is None:
            return tuple(world for world in WORLDS if unlearner or world != "unlearned")
        if "unlearned" in self.worlds and not unlearner:
            raise ConfigurationError(
                "the unlearned world needs an unlearner", where="fleet.worlds", mend="give one, or leave the world out"
            )
        return tuple(world for world in WORLDS if world in self.worlds)

    def recipe_for(self, task: FleetTask) -> Recipe | None:
        """The recipe; None where the task trains by itself.

        Raises:
            ConfigurationError: there is neither.
        """
        if self.recipe is None and task.train is None:
            raise ConfigurationError(
                "nothing says how the models are trained",
                where="fleet.recipe",
                mend="give a recipe (optimiser, lr, epochs, batch_size), or the task a train function",
            )
        return None if task.train is not None else self.recipe


def check_task(task: FleetTask, plan: FleetPlan, outputs: Tensor) -> None:
    """Whether a model's outputs on one record, (1, ...), have a place for every label, and the signals exist.

    Raises:
        InputError: labels outside the outputs, a loss that does not fit; ConfigurationError: an unknown signal.
    """
    targets = torch.as_tensor(task.y)
    check_signals(plan.signals, task.loss, targets)
    low, high = float(targets.min()), float(targets.max())
    classes = task.loss == "cross-entropy" and targets.dim() == 1
    if classes and (outputs.dim() != 2 or low < 0 or high >= outputs.shape[1]):
        raise InputError(
            f"the classes are {low:g} to {high:g} and the model's outputs have shape {tuple(outputs.shape)} for one record",
            where="data",
            mend="number the classes from 0, and give the head one output a class",
        )
    if task.loss == "binary-cross-entropy" and (low < 0 or high > 1):
        raise InputError(
            f"targets run from {low:g} to {high:g}", where="data", mend="binary cross-entropy takes 0 and 1"
        )
    one = targets[:1].to(outputs.device)
    one = one.to(outputs.dtype) if one.is_floating_point() else one.long()
    try:
        fits = loss_named(task.loss)(outputs, one).shape == (1,)
    except (RuntimeError, ValueError, IndexError):
        fits = False
    if not fits:
        raise InputError(
            f"{task.loss} does not fit outputs of shape {tuple(outputs.shape)} for one record",
            where="loss",
            mend="give the head the outputs that the loss needs, or name the loss of training",
        )


def _records(values: Any, where: str) -> Any:
    mend = "give a NumPy array or a tensor of numbers, one entry a record"
    values = np.asarray(values) if isinstance(values, list | tuple) else values
    if not isinstance(values, np.ndarray | Tensor) or values.ndim < 1 or _kind(values) not in "fiub":
        raise ArgumentError(f"must be an array of numbers, not {shown(values)}", where=where, mend=mend)
    given = torch.as_tensor(values)
    if given.is_floating_point() and not bool(torch.isfinite(given).all()):
        raise InputError("holds a number that is not finite", where=where, mend="clean the records")
    return values


def _aligned(values: Tensor) -> Tensor:
    """The same where torch itself would put it: an array that came through a network may lie elsewhere, and MKL rounds by that."""
    return values.clone(memory_format=torch.contiguous_format) if values.data_ptr() % 64 else values.contiguous()


def _kind(values: Any) -> str:
    if isinstance(values, np.ndarray):
        return str(values.dtype.kind)
    return "c" if values.is_complex() else "f" if values.is_floating_point() else "i"
