"""SISA's memory: which shard and slice each record belongs to, the checkpoints, the tombstones; on disk without pickle."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from certify.core.arrays import IntArray
from certify.core.errors import InputError
from certify.core.files import read_bytes, write_file
from certify.core.streams import stream
from certify.models.networks.state import State
from certify.unlearners.networks.ensemble import Ensemble, joined
from certify.unlearners.networks.task import NetworkTask, OwnTask

FORMAT = "certify-sisa/1"


@dataclass(frozen=True, eq=False)
class SisaTask(OwnTask):
    """The task of the ensemble: its ``model`` is the ensemble, and it carries what later requests need. Secret.

    Attributes:
        member: the architecture of one member, with the original's numbers.
        checkpoints: stacked members (one a shard) before the first slice, after it, ..., after the last.
        alive: records that were trained on and not forgotten since, (n,); the others are never read again.
        slices: slices of each shard.
        epochs: passes in each stage.
        seed: root of assignment, initial weights and order.
        prepared: gradients of records that the training so far has cost.
        member_trainable: patterns of the names of a member's parameters that move.
        outbox: where a replay leaves the new checkpoints.
    """

    member: nn.Module = field(kw_only=True)
    checkpoints: tuple[State, ...] = field(kw_only=True)
    alive: np.ndarray[Any, np.dtype[np.bool_]] = field(kw_only=True)
    slices: int = field(kw_only=True)
    epochs: int = field(kw_only=True)
    seed: int = field(kw_only=True)
    prepared: int = field(kw_only=True, default=0)
    member_trainable: tuple[str, ...] = field(kw_only=True, default=("*",))
    outbox: list[tuple[State, ...]] = field(kw_only=True, default_factory=list, repr=False)

    @property
    def shards(self) -> int:
        """S."""
        return self.checkpoints[0].models

    def save(self, path: Path) -> str:
        """See :func:`save`."""
        return save(path, self)

    def load(self, path: Path, task: NetworkTask) -> "SisaTask":
        """See :func:`load`."""
        return load(path, task)

    def stages(self, alive: np.ndarray[Any, np.dtype[np.bool_]]) -> list[list[IntArray]]:
        """For each slice, and for each shard, positions of the records that are trained on in this stage (slices so far)."""
        shard, part = assignment(self, self.seed, self.shards, self.slices)
        return [
            [np.flatnonzero(alive & (shard == s) & (part <= r)) for s in range(self.shards)] for r in range(self.slices)
        ]


def assignment(task: NetworkTask, seed: int, shards: int, slices: int) -> tuple[IntArray, IntArray]:
    """Shard and slice of each record, from a hash of the seed and the record's id alone.

    Neither a record's content nor which other records there are plays a part. So the assignment of the retained records is the same
    whether or not the forgotten ones were ever there, which a balanced split (a permutation cut in pieces) cannot promise.
    """
    ids = range(len(task)) if task.ids is None else np.asarray(task.ids).tolist()
    key = stream(seed, "sisa/assignment").bytes(32)
    words = np.array(
        [
            np.frombuffer(hashlib.blake2b(repr(item).encode(), digest_size=16, key=key).digest(), dtype="<u8")
            for item in ids
        ]
    )
    return (words[:, 0] % np.uint64(shards)).astype(np.int64), (words[:, 1] % np.uint64(slices)).astype(np.int64)


def ensemble_of(member: nn.Module, members: State, trained: Sequence[bool]) -> Ensemble:
    """The module, on the device and in the mode of the member."""
    made = Ensemble(member, members.models)
    joined(members, trained).write_into(made)
    return made.train(member.training)


def save(path: Path, task: SisaTask) -> str:
    """Write the checkpoints and tombstones to one ``.safetensors`` file for the owner's eyes alone; returns its SHA-256.

    The records themselves are not in it. Files of states before a deletion hold checkpoints that the forgotten records shaped, and
    have to be destroyed by whoever kept them.
    """
    from safetensors.torch import save as dump

    tensors = _tensors(task.checkpoints)
    head = {
        "format": FORMAT,
        "shards": task.shards,
        "slices": task.slices,
        "epochs": task.epochs,
        "seed": str(task.seed),
        "prepared": task.prepared,
        "records": _names(task),
        "training": _training(task),
        "gone": np.flatnonzero(~task.alive).tolist(),
        "digests": [state.digest(s) for state in task.checkpoints for s in range(task.shards)],
    }
    text = json.dumps(head, sort_keys=True)
    content = dump(tensors, {"certify": text, "sha256": hashlib.sha256(text.encode()).hexdigest()})
    write_file(path, content, mode=0o600)
    return hashlib.sha256(content).hexdigest()


def load(path: Path, task: NetworkTask, digest: str | None = None) -> SisaTask:
    """Read what :func:`save` wrote, for the same task (architecture, records and ids).

    Args:
        path: the file.
        task: the member's task.
        digest: SHA-256 that the file must have; :func:`save` returned it. Without it, damage is found but no forgery.

    Raises:
        InputError: missing, damaged, not the file expected, or of another architecture, other records or another training.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as parse

    content, record = read_bytes(path)
    if digest is not None and record.sha256 != digest:
        raise InputError("has another digest than the one given", where=str(path), mend="it is not the file you saved")
    try:
        size = int.from_bytes(content[:8], "little")
        notes = json.loads(content[8 : 8 + size])["__metadata__"]
        head = json.loads(notes["certify"])
        tensors = parse(content)
        fine = hashlib.sha256(notes["certify"].encode()).hexdigest() == notes["sha256"] and head["format"] == FORMAT
        states = _states(tensors, int(head["slices"]) + 1) if fine else ()
        alive = np.ones(len(task), dtype=bool)
        foreign, otherwise = head["records"] != _names(task), head["training"] != _training(task)
        if not foreign:
            alive[np.array(head["gone"], dtype=np.int64)] = False
        fine = fine and head["digests"] == [state.digest(s) for state in states for s in range(int(head["shards"]))]
    except (SafetensorError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        raise InputError("is damaged, or no state of sisa", where=str(path), mend="prepare anew") from None
    if not fine:
        raise InputError("is damaged: a digest does not fit", where=str(path), mend="prepare anew")
    if foreign:
        raise InputError("is of other records than the task's", where=str(path), mend="load it with the task it is of")
    _check_member(path, task, states)
    if otherwise:
        raise InputError(
            "was trained by another recipe or loss, or moved other parameters, than the task says",
            where=str(path),
            mend="load it with the task it is of: a replay has to repeat that training",
        )
    return made(
        task,
        states,
        alive,
        epochs=int(head["epochs"]),
        seed=int(head["seed"]),
        prepared=int(head["prepared"]),
    )


def made(
    task: NetworkTask,
    checkpoints: tuple[State, ...],
    alive: np.ndarray[Any, np.dtype[np.bool_]],
    *,
    epochs: int,
    seed: int,
    prepared: int,
) -> SisaTask:
    """The ensemble's task from the member's (or from an earlier one of the ensemble)."""
    member = task.member if isinstance(task, SisaTask) else task.model
    shared = {
        name: getattr(task, name)
        for name in ("X", "y", "ids", "held_out", "loss", "recipe", "device", "backend", "name")
    }
    patterns = task.member_trainable if isinstance(task, SisaTask) else task.trainable
    shards, slices = checkpoints[0].models, len(checkpoints) - 1
    shard, _ = assignment(task, seed, shards, slices)
    trained = [bool((alive & (shard == s)).any()) for s in range(shards)]
    return SisaTask(
        model=ensemble_of(member, checkpoints[-1], trained),
        architecture=task.architecture,
        member=member,
        checkpoints=checkpoints,
        alive=alive,
        slices=slices,
        epochs=epochs,
        seed=seed,
        prepared=prepared,
        member_trainable=patterns,
        **shared,
    )


def _names(task: NetworkTask) -> str:
    """Digest of the records' ids."""
    ids = list(range(len(task))) if task.ids is None else np.asarray(task.ids).tolist()
    return hashlib.sha256(repr(ids).encode()).hexdigest()


def _training(task: NetworkTask) -> list[str]:
    """What a replay repeats, beside the state: the recipe, the loss, and the patterns of what moves."""
    patterns = task.member_trainable if isinstance(task, SisaTask) else task.trainable
    return [repr(task.recipe), task.loss, *patterns]


def _tensors(states: Sequence[State]) -> dict[str, torch.Tensor]:
    return {
        f"{place}/{kind}/{name}": value.cpu().contiguous().clone()
        for place, state in enumerate(states)
        for kind, tree in (("parameter", state.parameters), ("buffer", state.buffers))
        for name, value in tree.items()
    }


def _states(tensors: dict[str, torch.Tensor], count: int) -> tuple[State, ...]:
    if not 0 < count <= len(tensors):
        raise ValueError
    trees: list[dict[str, dict[str, torch.Tensor]]] = [{"parameter": {}, "buffer": {}} for _ in range(count)]
    for key, value in tensors.items():
        place, kind, name = key.split("/", 2)
        trees[int(place)][kind][name] = value
    return tuple(State(tree["parameter"], tree["buffer"]) for tree in trees)


def _check_member(path: Path, task: NetworkTask, states: tuple[State, ...]) -> None:
    model = State.of(task.member if isinstance(task, SisaTask) else task.model)
    for state in states:
        for own, theirs in ((state.parameters, model.parameters), (state.buffers, model.buffers)):
            if {n: v.shape[1:] for n, v in own.items()} != {n: v.shape[1:] for n, v in theirs.items()}:
                raise InputError("is of another architecture", where=str(path), mend="load it with the task it is of")
