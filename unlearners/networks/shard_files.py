"""SISA's memory as one ``.safetensors`` file: a head in JSON, the checkpoints as tensors, a digest of each; no pickle, no record."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from certify.core.errors import InputError
from certify.core.files import FileRecord, open_input, read_bytes
from certify.models.networks.state import State

FORMAT = "certify-sisa/2"
_KIND = FORMAT.partition("/")[0] + "/"
SUFFIX = ".safetensors"
_LARGEST_HEAD = 100_000_000
"""Bytes, as safetensors itself has it."""


@dataclass(frozen=True, eq=False)
class Saved:
    """What a file holds, each part as its own digest says.

    Attributes:
        head: shards, slices, epochs, seed, what it was trained by and on, what is gone.
        states: stacked members before the first slice, after it, ..., after the last.
        record: the file.
    """

    head: dict[str, Any]
    states: tuple[State, ...]
    record: FileRecord


def pack(head: dict[str, Any], states: Sequence[State]) -> bytes:
    """The file's bytes."""
    from safetensors.torch import save

    head = {**head, "format": FORMAT, "digests": _digests(states)}
    # one entry: of several, safetensors writes now this one first, now that one, and equal states would be unequal files
    text = json.dumps({"head": head, "sha256": _sha256(head)}, sort_keys=True)
    return bytes(save(_tensors(states), {"certify": text}))


def read(path: Path, digest: str | None = None) -> Saved:
    """Read what :func:`pack` made.

    Raises:
        InputError: missing, not the file expected, damaged, of another version, or no such file at all.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as parse

    content, record = read_bytes(path)
    if digest is not None and record.sha256 != digest:
        raise InputError("has another digest than the one given", where=str(path), mend="it is not the file you saved")
    try:
        told = _told(content)
        head = told["head"]
        if head["format"] != FORMAT and head["format"].startswith(_KIND):
            raise InputError("is a state of another version of sisa", where=str(path), mend="prepare anew")
        fine = _sha256(head) == told["sha256"] and head["format"] == FORMAT
        states = _states(parse(content), int(head["slices"]) + 1) if fine else ()
        fine = fine and _stacked(states, int(head["shards"])) and head["digests"] == _digests(states)
    except (SafetensorError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        raise InputError("is damaged, or no state of sisa", where=str(path), mend="prepare anew") from None
    if not fine:
        raise InputError("is damaged: a digest does not fit", where=str(path), mend="prepare anew")
    if not all(bool(state.is_finite().all()) for state in states):
        raise InputError("holds NaN or infinite numbers", where=str(path), mend="prepare anew")
    return Saved(head, states, record)


def is_state(path: Path) -> bool:
    """Whether a file says that it is a state of SISA; errors as for :func:`head_of`."""
    return head_of(path) is not None


def head_of(path: Path) -> dict[str, Any] | None:
    """The head of a file that says that it is a state of SISA, unchecked (:func:`read` checks); None of any other file.

    Raises:
        InputError: it cannot be read.
    """
    if path.suffix.lower() != SUFFIX:
        return None
    with open_input(path) as file:
        size = int.from_bytes(file.read(8), "little")
        if size > _LARGEST_HEAD:
            return None
        file.seek(0)
        content = file.read(8 + size)
    try:
        head: dict[str, Any] = _told(content)["head"]
        return head if str(head["format"]).startswith(_KIND) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _told(content: bytes) -> dict[str, Any]:
    size = int.from_bytes(content[:8], "little")
    return json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["certify"])  # type: ignore[no-any-return]


def _sha256(head: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(head, sort_keys=True).encode()).hexdigest()


def _stacked(states: Sequence[State], shards: int) -> bool:
    """Whether each stage has parameters, and each tensor as many entries as there are shards."""
    trees = [tree for state in states for tree in (state.parameters, state.buffers)]
    full = all(state.parameters for state in states)
    return full and all(value.shape[0] == shards for tree in trees for value in tree.values())


def _digests(states: Sequence[State]) -> list[str]:
    return [state.digest(shard) for state in states for shard in range(state.models)]


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
