"""SISA's memory: which shard and slice each record belongs to, the checkpoints, the tombstones; on disk without pickle."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from certify.core.arrays import IntArray
from certify.core.errors import InputError
from certify.core.files import write_file
from certify.core.streams import stream
from certify.models.networks.network import Network
from certify.models.networks.state import State, tensor_digest
from certify.unlearners.networks.ensemble import Ensemble, joined
from certify.unlearners.networks.shard_files import Saved, pack, read
from certify.unlearners.networks.task import NetworkTask, OwnTask


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
        gone: tombstones of records that were forgotten before the task was read from a file, whether or not they are in it.
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
    gone: tuple[str, ...] = field(kw_only=True, default=(), repr=False)
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

    The records themselves are not in it, but for a digest of those that are left, and keyed hashes of the ids of the others; the key
    follows from the seed in the file, so that whoever holds it can test whether an id was deleted. Files of
    states before a deletion hold checkpoints that the forgotten records shaped, and have to be destroyed by whoever kept them.
    """
    content = dump(task)
    write_file(path, content, mode=0o600)
    return hashlib.sha256(content).hexdigest()


def dump(task: SisaTask) -> bytes:
    """The bytes of the file that :func:`save` writes."""
    head = {
        "shards": task.shards,
        "slices": task.slices,
        "epochs": task.epochs,
        "seed": str(task.seed),
        "prepared": task.prepared,
        "records": _content(task, task.alive),
        "training": _training(task),
        "gone": sorted({*task.gone, *_tombstones(task.seed, _ids(task, ~task.alive))}),
        "blank": _blank(task.member, task, task.checkpoints[0]),
    }
    return pack(head, task.checkpoints)


def load(path: Path, task: NetworkTask, digest: str | None = None) -> SisaTask:
    """Read what :func:`save` wrote, for the same task (architecture, records and ids).

    Records that were forgotten before may be missing from the task, or still be in it: they are never read.

    Args:
        path: the file.
        task: the member's task.
        digest: SHA-256 that the file must have; :func:`save` returned it. Without it, damage is found but no forgery.

    Raises:
        InputError: missing, damaged, not the file expected, or of another architecture, other records or another training.
    """
    return taken_up(path, read(path, digest), task)


def taken_up(path: Path, saved: Saved, task: NetworkTask) -> SisaTask:
    """The ensemble's task from what a file holds and the member's task; errors as for :func:`load`."""
    try:
        head, seed = saved.head, int(saved.head["seed"])
        gone = tuple(str(one) for one in head["gone"])
        alive = ~np.isin(_tombstones(seed, _ids(task)), gone)
        foreign, otherwise = head["records"] != _content(task, alive), head["training"] != _training(task)
        numbers = {name: int(head[name]) for name in ("epochs", "prepared")}
        blank = [float(value) for value in head["blank"]]
    except (ValueError, KeyError, TypeError):
        raise InputError("is damaged, or no state of sisa", where=str(path), mend="prepare anew") from None
    if foreign:
        raise InputError(
            "is of other records than the task's",
            where=str(path),
            mend="give it the records it was prepared on; only those that it forgot may be missing",
        )
    _check_member(path, task, saved.states, blank)
    if otherwise:
        raise InputError(
            "was trained by another recipe or loss, or moved other parameters, than the task says",
            where=str(path),
            mend="load it with the task it is of: a replay has to repeat that training",
        )
    return made(task, saved.states, alive, seed=seed, gone=gone, **numbers)


def made(
    task: NetworkTask,
    checkpoints: tuple[State, ...],
    alive: np.ndarray[Any, np.dtype[np.bool_]],
    *,
    epochs: int,
    seed: int,
    prepared: int,
    gone: tuple[str, ...] = (),
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
        gone=gone,
        member_trainable=patterns,
        **shared,
    )


def _ids(task: NetworkTask, which: np.ndarray[Any, np.dtype[np.bool_]] | None = None) -> list[Any]:
    """Ids of some records, or of all."""
    ids = np.arange(len(task)) if task.ids is None else np.asarray(task.ids)
    return (ids if which is None else ids[which]).tolist()


def _content(task: NetworkTask, alive: np.ndarray[Any, np.dtype[np.bool_]]) -> str:
    """Digest of the records that are left: ids, inputs and targets as training reads them, in their order."""
    total = hashlib.sha256(repr(_ids(task, alive)).encode())
    rows = torch.from_numpy(np.flatnonzero(alive))
    for values in task.tensors(torch.device("cpu")):
        total.update(tensor_digest(values[rows]).encode())
    return total.hexdigest()


def _tombstones(seed: int, ids: Sequence[object]) -> list[str]:
    """What is kept of the ids of forgotten records: enough to know them again."""
    key = stream(seed, "sisa/tombstones").bytes(32)
    return [hashlib.blake2b(repr(one).encode(), digest_size=16, key=key).hexdigest() for one in ids]


def _blank(member: nn.Module, task: NetworkTask, state: State) -> list[float]:
    """What the first member, untrained, makes of an input of zeros: it tells one forward from another of the same tensors."""
    X, _ = task.tensors(torch.device("cpu"))
    state = state.pick([0]).to(X.device)
    found = Network.of(member).outputs(state, torch.zeros_like(X[:1])[None])
    return [float(value) for value in found.flatten()]


def _training(task: NetworkTask) -> list[str]:
    """What a replay repeats, beside the state: the recipe, the loss, and the patterns of what moves."""
    patterns = task.member_trainable if isinstance(task, SisaTask) else task.trainable
    return [repr(task.recipe), task.loss, *patterns]


def _check_member(path: Path, task: NetworkTask, states: tuple[State, ...], blank: list[float]) -> None:
    member = task.member if isinstance(task, SisaTask) else task.model
    model = State.of(member)
    fits = all(
        {n: (v.shape[1:], v.dtype) for n, v in own.items()} == {n: (v.shape[1:], v.dtype) for n, v in theirs.items()}
        for state in states
        for own, theirs in ((state.parameters, model.parameters), (state.buffers, model.buffers))
    )
    if fits:  # another machine may round otherwise
        found = _blank(member, task, states[0])
        fits = len(found) == len(blank) and np.allclose(found, blank, rtol=1e-2, atol=1e-4, equal_nan=True)
    if not fits:
        raise InputError("is of another architecture", where=str(path), mend="load it with the task it is of")
