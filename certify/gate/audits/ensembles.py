"""Audits of a model that is an ensemble of SISA: beside it stand ensembles, trained by the same settings from other seeds."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from certify.attacks.fleets.blocks import Block
from certify.attacks.fleets.fresh import seed_of
from certify.core.errors import AssumptionViolatedError, ConfigurationError, InputError
from certify.core.files import FileRecord, is_file
from certify.gate.audits.method import Method, described, method_of, told_method
from certify.gate.load import LoadedSpec
from certify.gate.networks import NetworkInputs, filled, read_member_inputs, read_network_inputs
from certify.models.networks.network import Network
from certify.models.networks.recipe import Recipe
from certify.models.networks.state import State
from certify.unlearners import Request
from certify.unlearners.methods.sisa import Sisa
from certify.unlearners.networks.ensemble import Ensemble
from certify.unlearners.networks.shard_files import is_state, read
from certify.unlearners.networks.shards import SisaTask, taken_up
from certify.unlearners.networks.task import NetworkTask


@dataclass(frozen=True, eq=False)
class Architecture:
    """Makes an untrained ensemble.

    Attributes:
        member: makes an untrained member.
        members: how many.
    """

    member: Callable[[], nn.Module]
    members: int

    def __call__(self) -> Ensemble:
        """Each member with weights of its own."""
        made = Ensemble(self.member(), self.members)
        for place in range(1, self.members):
            made.members[place] = self.member()
        return made


@dataclass(frozen=True, eq=False)
class Training:
    """Trains an ensemble on some of the records: what a fleet calls in the place of a recipe. Processes can be handed it.

    Attributes:
        method: SISA with the settings of the ensemble under review.
        member: a member before its training, with what is not trained as it stands in that ensemble.
        architecture: makes an untrained member.
        recipe, loss, trainable, device: as in the task.
    """

    method: Sisa
    member: nn.Module
    architecture: Callable[[], nn.Module]
    recipe: Recipe | None
    loss: str
    trainable: tuple[str, ...]
    device: str

    def prepared(self, X: Any, y: Any, seed: int) -> SisaTask:
        """With its memory; shards and slices by the positions of the records."""
        task = NetworkTask(
            self.member,
            X,
            y,
            loss=self.loss,
            recipe=self.recipe,
            architecture=self.architecture,
            trainable=self.trainable,
            device=self.device,
        )
        return self.method.prepare(task, seed)

    def __call__(self, X: Any, y: Any, seed: int) -> nn.Module:
        """The ensemble."""
        return self.prepared(X, y, seed).model


@dataclass(frozen=True, eq=False)
class Replay:
    """Deletion by replay on a fleet.

    A fleet keeps no checkpoints: each ensemble is trained once more from its seed, which gives the same one, and replayed from there.

    Attributes:
        training: what trained the originals.
    """

    training: Training

    def __call__(self, block: Block) -> State:
        """The block's ensembles, each without the records it was asked to forget."""
        made = []
        for model, rows, forget in zip(block.models, block.members, block.forget, strict=True):
            seed = seed_of(block.plan.seed, "original", model)
            ready = self.training.prepared(np.asarray(block.task.X)[rows], np.asarray(block.task.y)[rows], seed)
            result = self.training.method.forget(ready, Request.at(ready, np.searchsorted(rows, forget)))
            made.append(State.of(result.model))
        return State.join(made).to(block.device)

    @property
    def identity(self) -> str:
        """Name and knobs."""
        return described(self.training.method)


@dataclass(frozen=True, eq=False)
class Ensembles:
    """The ensemble under review, and how others are read and trained.

    Attributes:
        training: trains others.
        released: the ensemble under review, and its file.
        read: reads another one, by the file's name and the spec's key.
    """

    training: Training
    released: tuple[nn.Module, FileRecord]
    read: Callable[[str, str], tuple[nn.Module, FileRecord]]

    @property
    def replay(self) -> Replay:
        """The method under audit."""
        return Replay(self.training)


def read_audited(loaded: LoadedSpec, device: str | None) -> NetworkInputs:
    """Everything an audit's spec names but the models under review; of ensembles where ``release.model`` is a state of SISA.

    Raises:
        ConfigurationError, InputError: with the file or key concerned.
        AssumptionViolatedError: the ensemble is trained on records of the forget set, as it says itself.
    """
    path = loaded.resolve(loaded.spec.release.model)
    if not is_file(path) or not is_state(path):
        return read_network_inputs(loaded, device, needs_original=False)
    inputs = read_member_inputs(loaded, device)
    saved = read(path)
    released = taken_up(path, saved, inputs.task)
    _require_forgotten(loaded, inputs, released, path)
    training = _training(loaded, inputs, released)
    original, record, left_out = _original(loaded, inputs, released)
    architecture = Architecture(inputs.build, released.shards)
    task = replace(
        inputs.task,
        model=architecture().eval() if original is None else original.model.eval(),
        architecture=architecture,
        initial=None,
        head=None,
        trainable=tuple(f"members.*.{pattern}" for pattern in inputs.task.trainable),
        train=training,
    )
    others = partial(_other, loaded, inputs, released)
    ensembles = Ensembles(training, (released.model.eval(), saved.record), others)
    return replace(
        inputs, task=task, build=architecture, original=record, ensembles=ensembles, left_out=tuple(left_out)
    )


def method_at_work(loaded: LoadedSpec, inputs: NetworkInputs) -> Method | Replay:
    """The method under audit on a fleet; errors as for :func:`~certify.gate.audits.method.method_of`."""
    return Method(method_of(loaded), inputs.task) if inputs.ensembles is None else inputs.ensembles.replay


def read_reviewed(loaded: LoadedSpec, inputs: NetworkInputs, name: str, key: str) -> tuple[nn.Module, FileRecord]:
    """A model of the request, one network or an ensemble as the one under review is."""
    if inputs.ensembles is None:
        return filled(loaded, inputs.build, name, key)
    return inputs.ensembles.released if key == "release.model" else inputs.ensembles.read(name, key)


def _require_forgotten(loaded: LoadedSpec, inputs: NetworkInputs, released: SisaTask, path: Path) -> None:
    """The request must be what the ensemble says that it forgot, or it is compared with models of other records."""
    asked, gone = inputs.request.forgotten, np.flatnonzero(~released.alive)
    still, others = np.setdiff1d(asked, gone), np.setdiff1d(gone, asked)
    if len(still):
        raise AssumptionViolatedError(
            f"is trained on {len(still)} of the {len(asked)} records of the forget set, by its own account",
            where=str(path),
            mend="forget them first: `certify unlearn --method sisa`",
        )
    if len(others):
        raise InputError(
            f"lacks {len(others)} records that {path.name} forgot before, and models without them are the ones to compare with",
            where=str(loaded.resolve(loaded.spec.data.forget)),
            mend="list them too, or take them out of the data",
        )


def _training(loaded: LoadedSpec, inputs: NetworkInputs, released: SisaTask) -> Training:
    """By the settings of the ensemble under review, which the spec and the evidence may not contradict."""
    method = Sisa(shards=released.shards, slices=released.slices, epochs=released.epochs)
    where = f"{loaded.path}: release.unlearner"
    told = told_method(loaded)
    for name in (loaded.spec.release.unlearner, None if told is None else told[0]):
        if name not in (None, method.name):
            raise ConfigurationError(
                f"{name!r} is said to have made the model, which is an ensemble of sisa",
                where=where,
                mend="name the method that made this model",
            )
    knobs = {} if loaded.spec.audit is None else loaded.spec.audit.knobs
    for name, value in knobs.items():
        if method.knobs().get(name) != value:
            raise ConfigurationError(
                f"is {value}, and the ensemble under review says {method.knobs().get(name, 'nothing of it')}",
                where=f"{loaded.path}: audit.knobs.{name}",
                mend="leave it out: the file knows its knobs",
            )
    task, last = inputs.task, released.checkpoints[-1]
    moving = Network.of(task.model, trainable=task.trainable).trainable
    with torch.no_grad():
        for name, parameter in task.model.named_parameters():
            if name not in moving:
                parameter.copy_(last.parameters[name][0])
    return Training(method, task.model, inputs.build, task.recipe, task.loss, task.trainable, task.device)


def _original(
    loaded: LoadedSpec, inputs: NetworkInputs, released: SisaTask
) -> tuple[SisaTask | None, FileRecord | None, list[str]]:
    """The ensemble before the deletion, where it is one that the attacks must tell apart; or why it is not."""
    name = loaded.spec.release.original
    if name is None:
        return None, None, []
    path = loaded.resolve(name)
    if not is_state(path):
        return None, None, ["the original as a control: it is one network, and the model under review an ensemble"]
    saved = read(path)
    original = taken_up(path, saved, inputs.task)
    if original.shards != released.shards:
        return None, None, ["the original as a control: it is an ensemble of another number of members"]
    if not original.alive[inputs.request.forgotten].all():
        return None, None, ["the original as a control: it had forgotten some of these records before"]
    return original, saved.record, []


def _other(
    loaded: LoadedSpec, inputs: NetworkInputs, released: SisaTask, name: str, key: str
) -> tuple[nn.Module, FileRecord]:
    """Another ensemble without the same records."""
    path = loaded.resolve(name)
    if not is_state(path):
        raise InputError(
            "is no ensemble of sisa, as the model under review is",
            where=f"{path} ({key})",
            mend="name ensembles: prepared from other seeds, and replayed without the same records",
        )
    saved = read(path)
    other = taken_up(path, saved, inputs.task)
    if other.shards != released.shards or not np.array_equal(other.alive, released.alive):
        raise InputError(
            "is an ensemble of another number of members, or without other records, than the one under review",
            where=f"{path} ({key})",
            mend="replay it without the same records",
        )
    return other.model.eval(), saved.record
