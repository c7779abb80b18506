"""The unlearning method under audit, as a function from a block of original models to unlearned ones."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certify.core.errors import ConfigurationError
from certify.core.files import is_file
from certify.gate.evidence import evidence_path, read_evidence_file
from certify.gate.load import LoadedSpec
from certify.unlearners import Request, Unlearner
from certify.unlearners.interface import Kind
from certify.unlearners.registry import build, names

if TYPE_CHECKING:
    from certify.attacks.fleets.blocks import Block
    from certify.models.networks.state import State
    from certify.unlearners.networks.task import NetworkTask


@dataclass(frozen=True, eq=False)
class Method:
    """A registered method at work on a fleet. Processes can be handed it: it holds values alone.

    Attributes:
        unlearner: the method with its knobs.
        task: the records of all models and how they were trained.
    """

    unlearner: Unlearner
    task: "NetworkTask"

    def __call__(self, block: "Block") -> "State":
        """The block's models, each without the records it was asked to forget."""
        from certify.models.networks.state import State

        requests = [
            Request.at(self.task, forget, members) for forget, members in zip(block.forget, block.members, strict=True)
        ]
        task = replace(self.task, device=str(block.device))
        results = self.unlearner.forget_fleet(
            task, requests, seeds=[seed % 2**53 for seed in block.seeds], starts=block.originals
        )
        return State.join([result.state for result in results])

    @property
    def identity(self) -> str:
        """Name and knobs, for caches and reports: two methods of one identity do the same."""
        return described(self.unlearner)


def described(unlearner: Unlearner) -> str:
    """Name and knobs in one line."""
    knobs = ", ".join(f"{name}={json.dumps(value, default=str)}" for name, value in unlearner.knobs().items())
    return f"{unlearner.name}({knobs})"


def method_of(loaded: LoadedSpec, kind: Kind = "network") -> Unlearner:
    """The method that the spec names, or the one that the evidence beside the model says made it.

    Args:
        loaded: the spec.
        kind: of models it must be for.

    Raises:
        ConfigurationError: none is named, an unknown one is, a knob makes no sense, another method or other knobs made the model, or
            it is not for such models.
    """
    release, where = loaded.spec.release, f"{loaded.path}: release.unlearner"
    told = told_method(loaded)
    name = release.unlearner or (None if told is None else told[0])
    if name is None:
        raise ConfigurationError(
            "the audit trains models and unlearns them again, and no method is named",
            where=where,
            mend='name it, as in unlearner = "fine-tune"; `certify list unlearners` has them all',
        )
    if release.unlearner is not None and told is not None and told[0] != release.unlearner:
        raise ConfigurationError(
            f"is {release.unlearner!r}, and the evidence beside the model says that {told[0]!r} made it",
            where=where,
            mend="name the method that made this model",
        )
    own = loaded.spec.audit.knobs if loaded.spec.audit else {}
    knobs = own or ({} if told is None else told[1])
    if name not in names():
        raise ConfigurationError(
            f"unknown unlearner {name!r}", where=where, mend="`certify list unlearners` names them all"
        )
    try:
        unlearner = build(name, knobs)
        made = unlearner if told is None else build(name, told[1])
    except ConfigurationError as error:
        raise ConfigurationError(error.what, where=f"{loaded.path}: audit.knobs", mend=error.mend) from None
    if described(made) != described(unlearner):
        raise ConfigurationError(
            f"are not those that made this model, by the evidence beside it: {described(made)}",
            where=f"{loaded.path}: audit.knobs",
            mend="leave them out, or unlearn with them",
        )
    if unlearner.own_model:
        raise ConfigurationError(
            f"{name} makes a model of its own, and release.model is no file of one",
            where=where,
            mend=f"name the file that `certify unlearn --method {name}` wrote, or audit scores made elsewhere",
        )
    if kind not in unlearner.kinds:
        others = "networks" if kind == "network" else "linear models"
        raise ConfigurationError(f"{name} is not for {others}", where=where, mend="name one that is")
    return unlearner


def told_method(loaded: LoadedSpec) -> tuple[str, dict[str, Any]] | None:
    """Method and knobs by the evidence file, where there is one."""
    named = loaded.spec.release.evidence
    path = Path(loaded.resolve(named)) if named else evidence_path(loaded.resolve(loaded.spec.release.model))
    if named is None and not is_file(path):
        return None
    content, _ = read_evidence_file(path)
    return content.method, dict(content.knobs)
