"""SISA from the command line: an ensemble is prepared into ``release.original``, and each request goes on from such a file."""

from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from certify.core.errors import ConfigurationError, InputError
from certify.core.files import is_file
from certify.gate.load import LoadedSpec
from certify.gate.networks import read_member_inputs, read_member_task
from certify.unlearners import Request, Result, Unlearner
from certify.unlearners.methods.sisa import Sisa
from certify.unlearners.networks.checkpoint import Checkpoint
from certify.unlearners.networks.shard_files import SUFFIX, head_of, is_state
from certify.unlearners.networks.shards import SisaTask, load
from certify.unlearners.registry import get

_KNOBS = ("shards", "slices", "epochs")
_HOW = "prepare one, best when the model is trained: `certify unlearn --method sisa --prepare` writes release.original"


def require_sisa(name: str) -> None:
    """Refuse other methods with a model of their own: what they start from has no file that is known here.

    Raises:
        ConfigurationError: it is another one.
    """
    if not issubclass(get(name), Sisa):
        raise ConfigurationError(
            f"{name} makes a model of its own, which release.architecture cannot load",
            where="--method",
            mend="use it from Python (docs/unlearners.md)",
        )


def knobs_of(loaded: LoadedSpec) -> dict[str, int]:
    """Knobs of the ensemble that ``release.original`` holds; none where it holds no such."""
    name = loaded.spec.release.original
    path = None if name is None else loaded.resolve(name)
    head = head_of(path) if path is not None and is_file(path) else None
    return {} if head is None else {knob: head[knob] for knob in _KNOBS if isinstance(head.get(knob), int)}


def forget(
    unlearner: Unlearner, loaded: LoadedSpec, target: Path, seed: int, device: str | None, checkpoint: Checkpoint
) -> Result:
    """Replay without the forget set, from the ensemble in ``release.original``.

    What an earlier request deleted may be named again: it is gone already. What was not prepared is not prepared here: that would
    train on the very records that are to be forgotten, and the model that was in use would be another one all the same.

    Raises:
        ConfigurationError, InputError: with the file or key concerned.
    """
    name, key = loaded.spec.release.original, f"{loaded.path}: release.original"
    if name is None:
        raise InputError("sisa goes on from an ensemble of its own and none is named", where=key, mend=_HOW)
    path = loaded.resolve(name)
    _check_suffix(target)
    if not is_file(path):
        raise InputError("no such file, and sisa goes on from an ensemble of its own", where=str(path), mend=_HOW)
    if not is_state(path):
        raise InputError(
            "is no ensemble of sisa (but one network's weights, or damaged)",
            where=str(path),
            mend=f"name a new {SUFFIX} file in release.original; {_HOW}",
        )
    inputs = read_member_inputs(loaded, device)
    ready = load(path, inputs.task)
    forgotten = inputs.request.forgotten
    now, left = forgotten[ready.alive[forgotten]], int(np.count_nonzero(ready.alive))
    if not 0 < len(now) < left:
        what = f"all {left} records that are left" if len(now) else "no record that was not forgotten before"
        raise InputError(
            f"the forget set names {what}",
            where=str(loaded.resolve(loaded.spec.data.forget)),
            mend="name at least one of those that are left, and keep at least one",
        )
    result = unlearner.forget(ready, Request.at(ready, now), seed=seed, checkpoint=checkpoint)
    warnings = [f"{path.name} holds what the forgotten records shaped: destroy it, and every copy, once this is in use"]
    if len(now) < len(forgotten):
        warnings.append(f"{len(forgotten) - len(now)} records of the forget set were forgotten before")
    # the seed is a secret, which evidence, made to be shown, need not hold: the state does
    evidence = replace(result.evidence, warnings=(*result.evidence.warnings, *warnings), seed=None)
    return replace(result, evidence=evidence)


def place_to_prepare(loaded: LoadedSpec, *, force: bool) -> Path:
    """Where the ensemble goes: a new file, or with ``force`` the place of another ensemble.

    Raises:
        InputError: no file is named, it is no .safetensors file, or something is there.
    """
    name = loaded.spec.release.original
    if name is None:
        raise InputError(
            "the ensemble is written to release.original and none is named",
            where=f"{loaded.path}: release.original",
            mend=f"name a new {SUFFIX} file",
        )
    path = loaded.resolve(name)
    _check_suffix(path)
    if path.exists() and not (is_file(path) and is_state(path)):
        raise InputError(
            "is there and no ensemble of sisa: it is not overwritten",
            where=str(path),
            mend=f"name a new {SUFFIX} file in release.original",
        )
    if path.exists() and not force:
        raise InputError(
            "is already there",
            where=str(path),
            mend="use --force to train another one in its place, or name another release.original",
        )
    return path


def trained(
    unlearner: Unlearner, loaded: LoadedSpec, seed: int, device: str | None, checkpoint: Checkpoint
) -> SisaTask:
    """The ensemble, trained on all records of the spec.

    Raises:
        ConfigurationError, InputError: with the file or key concerned.
    """
    assert isinstance(unlearner, Sisa)
    task = read_member_task(loaded, device)
    frozen = [name for name, _ in task.model.named_parameters() if not _moves(name, task.trainable)]
    if frozen and task.initial is None:
        raise InputError(
            f"{frozen[0]} is not to be trained, and nothing says what it is before training",
            where=f"{loaded.path}: training.initial",
            mend="name the weights before training",
        )
    return unlearner.prepare(task, seed, checkpoint=checkpoint)


def _moves(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _check_suffix(path: Path) -> None:
    if path.suffix.lower() != SUFFIX:
        raise InputError(
            f"cannot write an ensemble to a {path.suffix or 'suffixless'} file", where=str(path), mend=f"use {SUFFIX}"
        )
