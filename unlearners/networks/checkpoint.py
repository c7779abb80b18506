"""A run that was killed goes on: what a method carries is kept at the beginning of its passes over the records."""

import hashlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from certify.core.errors import InputError
from certify.core.files import is_file, read_bytes, remove_quietly, sweep, write_file
from certify.models.networks.optimisers import Memory
from certify.models.networks.state import State

_VERSION = "1"
_INTERVAL = 20.0


@dataclass
class Checkpoint:
    """Where a run keeps what it needs to go on, and which run it is.

    Attributes:
        path: file; written whole or not at all, removed when the run is done.
        identity: method, knobs, seeds, the task's settings, the version, and digests of data, network and start: another run's
            checkpoint is refused.
        interval: seconds between two writes.
        saved: what was found in the file; None when nothing was, or once it has been taken up.
    """

    path: Path
    identity: dict[str, Any] = field(default_factory=dict)
    interval: float = _INTERVAL
    saved: dict[str, Any] | None = None
    _written: float = field(default_factory=time.monotonic)

    def open(self, identity: dict[str, Any], device: torch.device) -> None:
        """Look for what an earlier run left.

        Raises:
            InputError: the file is damaged, or of another run.
        """
        self.identity = identity
        sweep(self.path)
        if not is_file(self.path):
            return
        found = unpack(read_bytes(self.path)[0], str(self.path), device)
        if found.pop("identity", None) != identity:
            raise InputError(
                "is the checkpoint of another run (other method, knobs, seed, data, original, settings or version)",
                where=str(self.path),
                mend="run that one to its end, or start afresh with --restart",
            )
        self.saved = found

    @property
    def due(self) -> bool:
        """Whether it is time to write."""
        return time.monotonic() - self._written >= self.interval

    def save(self, content: dict[str, Any]) -> None:
        """Write, in place of what was written before.

        Raises:
            InputError: it cannot be written; what was written before is still there.
        """
        try:
            write_file(self.path, pack({"identity": self.identity, **content}), mode=0o600)
        except InputError as error:
            then = "; the same command then goes on from what it holds" if is_file(self.path) else ", and run again"
            raise InputError(error.what, where=error.where, mend=f"make room there{then}") from None
        self._written = time.monotonic()

    def require_taken_up(self) -> None:
        """Passes that an earlier run did were skipped: the result is one only if what that run carried came in their place.

        Raises:
            InputError: the method no longer makes the pass at which the checkpoint was written.
        """
        if self.saved is not None:
            raise InputError(
                "was written at a pass that this run does not make",
                where=str(self.path),
                mend="start afresh with --restart",
            )

    def remove(self) -> None:
        """The run is done."""
        remove_quietly(self.path)


def pack(content: dict[str, Any]) -> bytes:
    """Nested mappings, sequences, states, optimisers' memories, tensors and plain values as the bytes of a safetensors file."""
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}
    structure = json.dumps({"version": _VERSION, "content": _describe(content, tensors)})
    return bytes(save(tensors, {"certify": structure, "sha256": _digest(structure, tensors)}))


def unpack(content: bytes, where: str, device: torch.device) -> dict[str, Any]:
    """The inverse of :func:`pack`.

    Raises:
        InputError: truncated, changed, or of another version.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        size = int.from_bytes(content[:8], "little")
        head = json.loads(content[8 : 8 + size])["__metadata__"]
        tensors = load(content)
        described = json.loads(head["certify"])
        if head["sha256"] != _digest(head["certify"], tensors) or described["version"] != _VERSION:
            raise ValueError("digest or version")  # noqa: TRY301 - one message for all that is wrong with the file
        return dict(_rebuild(described["content"], tensors, device))
    except (SafetensorError, ValueError, KeyError, TypeError, IndexError, RecursionError):
        raise InputError(
            "is a damaged checkpoint, or one of another version", where=where, mend="start afresh with --restart"
        ) from None


def _digest(structure: str, tensors: dict[str, Tensor]) -> str:
    total = hashlib.sha256(structure.encode())
    for name in sorted(tensors, key=int):
        total.update(tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _describe(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[str(len(tensors))] = value.detach().cpu().contiguous().clone()
        return {"tensor": str(len(tensors) - 1)}
    if isinstance(value, State):
        return {"state": [_describe(value.parameters, tensors), _describe(value.buffers, tensors)]}
    if isinstance(value, Memory):
        return {"memory": [_describe(value.steps, tensors), _describe(value.slots, tensors)]}
    if isinstance(value, dict):
        return {"dict": [[key, _describe(item, tensors)] for key, item in value.items()]}
    if isinstance(value, tuple | list):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_describe(item, tensors) for item in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return {"plain": value}
    raise TypeError(f"cannot keep a {type(value).__name__}")


def _rebuild(described: dict[str, Any], tensors: dict[str, Tensor], device: torch.device) -> Any:
    ((kind, content),) = described.items()
    if kind == "tensor":
        return tensors[content].to(device)
    if kind == "plain":
        return content
    if kind == "dict":
        return {key: _rebuild(item, tensors, device) for key, item in content}
    items = [_rebuild(item, tensors, device) for item in content]
    if kind == "state":
        return State(*items)
    if kind == "memory":
        return Memory(*items)
    return tuple(items) if kind == "tuple" else items
