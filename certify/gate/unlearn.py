"""Running an unlearner on a spec: weights and evidence are written together or not at all."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from certify.core.errors import CertifyError, ConfigurationError, InputError
from certify.core.files import check_writable, inode, is_file, remove_quietly, write_files
from certify.core.interrupts import when_interrupted
from certify.gate.evidence import dump_evidence, evidence_path
from certify.gate.inputs import objective_of, read_data, read_model
from certify.gate.load import LoadedSpec, load_spec
from certify.models.weights import dump_weights
from certify.unlearners import ConvexTask, Request, Result, Unlearner
from certify.unlearners.registry import build, check_kind, get

if TYPE_CHECKING:
    from certify.unlearners.networks.checkpoint import Checkpoint
    from certify.unlearners.networks.shards import SisaTask


def unlearn(
    spec: str | Path | None,
    method: str,
    knobs: dict[str, str],
    *,
    force: bool = False,
    seed: int = 0,
    device: str | None = None,
    restart: bool = False,
) -> tuple[Result, Path]:
    """Unlearn the spec's forget set from its original model and write ``release.model``.

    A run on a network is kept beside the weights while it lasts (``<model>.checkpoint``): one that was killed goes on where it
    was, and ends with the bits it would have ended with.

    Args:
        spec: path of the spec, or None for the default one.
        method: name of an unlearner.
        knobs: its settings, as text.
        force: overwrite weights that are already there.
        seed: root of the method's random streams.
        device: for networks, instead of the spec's.
        restart: throw away what a killed run left.

    Raises:
        ConfigurationError, InputError: nothing was written.
        BudgetExceededError: the method stopped at its budget; nothing was written.
    """
    loaded = load_spec(spec)
    on_networks = loaded.spec.release.kind == "torch"
    check_kind(method, "network" if on_networks else "convex")
    own = on_networks and get(method).own_model
    unlearner = build(method, {**_prepared_with(loaded, method), **knobs} if own else knobs)
    target = loaded.resolve(loaded.spec.release.model)
    if not on_networks:
        objective_of(loaded)
    check_writable(target)
    _refuse_inputs(loaded, target)
    if target.exists() and not force:
        raise InputError(
            "is already there",
            where=str(target),
            mend="use --force to overwrite it, or name another release.model",
        )
    before = inode(target)
    with when_interrupted(lambda: _left(target, before)), _kept(target):
        run = _ensemble if own else _network if on_networks else _convex
        result, dump, done = run(unlearner, loaded, target, seed, device, restart=restart)
        content = dump(target)
        digest = hashlib.sha256(content).hexdigest()
        evidence = dump_evidence(result.evidence, result.claim, digest, result.reason)
        # the weights last: where a kill comes between the two, evidence is there that belongs to no weights, and says so
        write_files({evidence_path(target): evidence, target: content}, mode=0o600 if own else 0o666)
        done()
    return result, target


def _left(target: Path, before: int | None) -> str:
    """What an interrupt leaves, for its message."""
    if inode(target) != before:
        return f"the weights are written ({target})"
    path = checkpoint_path(target)
    return f"no weights were written; {_how_to_go_on(path)}" if is_file(path) else "nothing was written"


def _how_to_go_on(path: Path) -> str:
    return f"{path} is left: the same command goes on from it, --restart throws it away"


@contextmanager
def _kept(target: Path) -> Iterator[None]:
    """An error that leaves a checkpoint says so."""
    path = checkpoint_path(target)
    try:
        yield
    except CertifyError as error:
        # what is wrong with the checkpoint itself says how to mend it
        if not is_file(path) or error.where == str(path):
            raise
        mend = "; ".join(part for part in (error.mend, _how_to_go_on(path)) if part)
        raise type(error)(error.what, where=error.where, mend=mend) from None


_Run = tuple[Result, Callable[[Path], bytes], Callable[[], None]]
"""The result, what makes the bytes of its weights, and what to do once they are written."""


def _convex(
    unlearner: Unlearner, loaded: LoadedSpec, target: Path, seed: int, device: str | None, *, restart: bool
) -> _Run:
    del target, device, restart
    objective = objective_of(loaded)
    name = loaded.spec.release.original
    dataset, _, forgotten, _ = read_data(loaded)
    original = None if name is None else read_model(loaded, name, objective, dataset.X.shape[1]).weights
    task = ConvexTask(objective, dataset, original)
    result = unlearner.forget(task, Request.at(dataset, forgotten), seed=seed)
    return result, lambda path: dump_weights(path, result.model), lambda: None


def _network(
    unlearner: Unlearner, loaded: LoadedSpec, target: Path, seed: int, device: str | None, *, restart: bool
) -> _Run:
    from certify.gate.networks import read_network_task
    from certify.models.networks.files import check_suffix, dump_network

    check_suffix(target)
    task, request = read_network_task(loaded, device)
    checkpoint = _checkpoint(target, restart=restart)
    result = unlearner.forget(task, request, seed=seed, checkpoint=checkpoint)
    return result, lambda path: dump_network(path, result.model), checkpoint.remove


def _ensemble(
    unlearner: Unlearner, loaded: LoadedSpec, target: Path, seed: int, device: str | None, *, restart: bool
) -> _Run:
    from certify.gate.ensembles import forget
    from certify.unlearners.networks.shards import dump

    checkpoint = _checkpoint(target, restart=restart)
    result = forget(unlearner, loaded, target, seed, device, checkpoint)
    return result, lambda _: dump(result.state), checkpoint.remove


def _prepared_with(loaded: LoadedSpec, method: str) -> dict[str, int]:
    """Knobs of the preparation, which need not be named again."""
    from certify.gate.ensembles import knobs_of, require_sisa

    require_sisa(method)
    return knobs_of(loaded)


def prepare(
    spec: str | Path | None,
    method: str,
    knobs: dict[str, str],
    *,
    force: bool = False,
    seed: int = 0,
    device: str | None = None,
    restart: bool = False,
) -> tuple["SisaTask", Path]:
    """Train what a method with a model of its own starts from on all records, and write ``release.original``.

    Neither the forget set nor ``release.model`` need be there yet. Other arguments and errors as for :func:`unlearn`; what is
    overwritten is an ensemble at most, never other weights.
    """
    loaded = load_spec(spec)
    if loaded.spec.release.kind != "torch" or not get(method).own_model:
        check_kind(method, "network" if loaded.spec.release.kind == "torch" else "convex")
        raise ConfigurationError(f"{method} has nothing to prepare", where="--prepare", mend="leave it out")
    from certify.gate.ensembles import place_to_prepare, require_sisa, trained
    from certify.unlearners.networks.shards import dump

    require_sisa(method)
    unlearner = build(method, knobs)
    target = place_to_prepare(loaded, force=force)
    check_writable(target)
    _refuse_inputs(loaded, target, but="the original", also={"the model to write": loaded.spec.release.model})
    before = inode(target)
    with when_interrupted(lambda: _left(target, before)), _kept(target):
        checkpoint = _checkpoint(target, restart=restart)
        ready = trained(unlearner, loaded, seed, device, checkpoint)
        write_files({target: dump(ready)}, mode=0o600)
        checkpoint.remove()
    return ready, target


def _checkpoint(target: Path, *, restart: bool) -> "Checkpoint":
    from certify.unlearners.networks.checkpoint import Checkpoint

    checkpoint = Checkpoint(checkpoint_path(target))
    if restart:
        remove_quietly(checkpoint.path)
    return checkpoint


def checkpoint_path(model: Path) -> Path:
    """Where a run that makes a model is kept while it lasts: beside it."""
    return model.with_name(model.name + ".checkpoint")


def _refuse_inputs(loaded: LoadedSpec, target: Path, *, but: str = "", also: dict[str, str] | None = None) -> None:
    """No input may be overwritten by the weights, with or without force: the records and the original have no copy here."""
    release, data = loaded.spec.release, loaded.spec.data
    inputs = {
        "the original": release.original,
        "the initial weights": loaded.spec.training.initial,
        "the training data": data.path,
        "the forget set": data.forget,
        "the test data": data.test,
        "the spec": loaded.path.name,
        **(also or {}),
    }
    key = "release.original" if but else "release.model"
    for what, name in inputs.items():
        if what != but and name is not None and same_place(loaded.resolve(name), target):
            written = "the ensemble" if but else "the model"
            raise InputError(
                f"is both {what} and {written} to write", where=str(target), mend=f"name another file in {key}"
            )


def same_place(path: Path, target: Path) -> bool:
    """Whether two paths lead to one file."""
    try:
        return path.resolve() == target.resolve()
    except (OSError, ValueError, RuntimeError):  # not a path at all; whoever reads it will say so
        return False
