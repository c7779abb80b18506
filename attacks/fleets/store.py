"""Where blocks of a fleet are kept: found again by what made them, written whole or not at all."""

import hashlib
import json
import platform
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from certify.attacks.fleets.blocks import Job, Made
from certify.attacks.fleets.fingerprint import fingerprint, source_digest
from certify.attacks.fleets.fresh import blueprint
from certify.attacks.fleets.plan import FleetPlan, FleetTask
from certify.core.files import is_file, make_folder, read_bytes, write_file
from certify.models.networks.files import dump_network
from certify.models.networks.state import State, tensor_digest

_FORMAT = 1


def _warn(line: str) -> None:
    warnings.warn(line, UserWarning, stacklevel=4)


@dataclass(eq=False)
class FleetStore:
    """A folder with blocks.

    A block's file is named after a digest of all that made it: data, labels, rows of the assignment, numbers of the models, code and weights of the
    architecture, recipe, seeds, precision, device, backend, the unlearner with its knobs. In the file stand the versions of this software, torch, NumPy and Python, and a
    digest of the content: a file of other versions, or a damaged one, is named and made again.

    Attributes:
        folder: where; made when it is not there.
        tell: called with one line about each file that is there and cannot be used.
        weights: files with the weights of the models that were made or found, by world and number, when the plan keeps them.
    """

    folder: Path
    tell: Callable[[str], None] = _warn
    weights: dict[str, dict[int, Path]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder = Path(self.folder)
        make_folder(self.folder)

    def load(self, job: Job, fleet: str) -> Made | None:
        """The block of a fleet (:func:`fleet_key`), if it is there."""
        path = self._path(job, fleet)
        if not is_file(path):
            return None
        content = read_bytes(path)[0]
        found = _unpack(content)
        if found is None:
            self.tell(f"{path}: is damaged; {job.name} is made again")
            return None
        head, tensors = found
        if head["versions"] != versions():
            other = sorted(k for k, v in versions().items() if head["versions"].get(k) != v)
            self.tell(f"{path}: was made by another version of {', '.join(other)}; {job.name} is made again")
            return None
        if head["key"] != path.stem or head["models"] != list(job.models):
            self.tell(f"{path}: is another block's; {job.name} is made again")
            return None
        if not self._weights_are_there(head["weights"]):
            self.tell(f"{path}: weights that belong to it are missing or changed; {job.name} is made again")
            return None
        signals: dict[str, dict[str, Any]] = {}
        for name, value in tensors.items():
            world, _, signal = name.partition("/")
            signals.setdefault(world, {})[signal] = value.numpy()
        self._remember(head["weights"])
        return Made(signals, {}, head["device"], head["seconds"])

    def save(self, task: FleetTask, job: Job, made: Made, fleet: str) -> None:
        """Keep a block; the weights of its models first, so that a block is there only with all that belongs to it.

        Raises:
            InputError: the folder cannot be written to.
        """
        path = self._path(job, fleet)
        weights = self._save_weights(task, job, made, path.stem)
        head = {
            "format": _FORMAT,
            "key": path.stem,
            "models": list(job.models),
            "versions": versions(),
            "device": made.device,
            "seconds": made.seconds,
            "weights": weights,
        }
        tensors = {
            f"{world}/{name}": torch.from_numpy(np.ascontiguousarray(values))
            for world, found in made.signals.items()
            for name, values in found.items()
        }
        write_file(path, _pack(head, tensors))
        self._remember(weights)

    def choice(self, name: str) -> dict[str, Any] | None:
        """What an earlier run of a fleet chose (backend, models in a block), so that one that is taken up goes on as it began."""
        path = self.folder / f"choice-{name}.json"
        if not is_file(path):
            return None
        try:
            found = json.loads(read_bytes(path)[0])
            whole = dict(found["choice"])
        except (ValueError, KeyError, TypeError):
            self.tell(f"{path}: is damaged; it is made again")
            return None
        return whole if found["versions"] == versions() else None

    def save_choice(self, name: str, choice: dict[str, Any]) -> None:
        """Keep what was chosen."""
        content = {"versions": versions(), "choice": choice}
        write_file(self.folder / f"choice-{name}.json", json.dumps(content, indent=1).encode())

    def _path(self, job: Job, fleet: str) -> Path:
        """A block is what it is by its fleet, the numbers of its models, their rows, and how they run."""
        own = f"{fleet};{job.backend};{list(job.models)};{job.rows.shape}".encode() + job.rows.astype(np.int8).tobytes()
        return self.folder / f"{hashlib.sha256(own).hexdigest()[:40]}.safetensors"

    def _save_weights(self, task: FleetTask, job: Job, made: Made, key: str) -> dict[str, dict[str, list[str]]]:
        if not made.states:
            return {}
        module = blueprint(task)
        found: dict[str, dict[str, list[str]]] = {}
        for world, state in made.states.items():
            folder = make_folder(self.folder / "weights" / key / world)
            for place, model in enumerate(job.models):
                path = folder / f"{model}.safetensors"
                content = dump_network(path, state.write_into(module, place))
                write_file(path, content)
                found.setdefault(world, {})[str(model)] = [
                    str(path.relative_to(self.folder)),
                    hashlib.sha256(content).hexdigest(),
                ]
        return found

    def _weights_are_there(self, weights: dict[str, dict[str, Any]]) -> bool:
        return all(
            is_file(self.folder / place) and hashlib.sha256(read_bytes(self.folder / place)[0]).hexdigest() == digest
            for of_world in weights.values()
            for place, digest in of_world.values()
        )

    def _remember(self, weights: dict[str, dict[str, Any]]) -> None:
        for world, of_world in weights.items():
            for model, (place, _) in of_world.items():
                self.weights.setdefault(world, {})[int(model)] = self.folder / place


def fleet_key(task: FleetTask, plan: FleetPlan, unlearn: Any, worlds: tuple[str, ...]) -> str:
    """Digest of all that makes a fleet's models but their numbers and rows.

    Raises:
        ConfigurationError: something the user gave cannot be read, see :func:`~certify.attacks.fleets.fingerprint.fingerprint`.
    """
    first = State.of(blueprint(task))
    parts = {
        "X": tensor_digest(torch.as_tensor(task.X)),
        "y": tensor_digest(torch.as_tensor(task.y)),
        "loss": task.loss,
        "architecture": fingerprint(task.architecture, "the architecture", task.identity),
        "initial": first.digest() if task.initial is None else State.of(task.initial).digest(),
        "same start": task.initial is not None,
        "train": fingerprint(task.train, "the train function", task.identity),
        "unlearn": fingerprint(unlearn, "the unlearner", task.identity),
        "identity": task.identity,
        "plan": repr(replace(plan, block=None, backend="auto", worlds=None)),
        "worlds": worlds,
        "device": task.device,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def versions() -> dict[str, str]:
    """What may change numbers without the user's doing."""
    own = "".join(source_digest(f"certify.{part}") for part in ("core", "models", "attacks.fleets"))
    return {
        "format": str(_FORMAT),
        "certify": hashlib.sha256(own.encode()).hexdigest()[:16],
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _pack(head: dict[str, Any], tensors: dict[str, Tensor]) -> bytes:
    from safetensors.torch import save

    text = json.dumps(head, sort_keys=True)
    return bytes(save(tensors, {"fleet": text, "sha256": _digest(text, tensors)}))


def _unpack(content: bytes) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """What :func:`_pack` was given; None where the bytes are not what it made."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        size = int.from_bytes(content[:8], "little")
        head = json.loads(content[8 : 8 + size])["__metadata__"]
        tensors = dict(load(content))
        whole = head["sha256"] == _digest(head["fleet"], tensors)
        return (dict(json.loads(head["fleet"])), tensors) if whole else None
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _digest(text: str, tensors: dict[str, Tensor]) -> str:
    parts = (f"{name}:{tensor_digest(tensors[name])};" for name in sorted(tensors))
    return hashlib.sha256((text + "".join(parts)).encode()).hexdigest()
