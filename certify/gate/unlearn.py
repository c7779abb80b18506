"""Running an unlearner on a spec: weights and evidence are written together or not at all."""

import hashlib
from pathlib import Path

from certify.core.errors import InputError
from certify.core.files import check_writable, write_files
from certify.gate.evidence import dump_evidence, evidence_path
from certify.gate.inputs import objective_of, read_data, read_model
from certify.gate.load import LoadedSpec, load_spec
from certify.models.weights import dump_weights
from certify.unlearners import ConvexTask, Request, Result
from certify.unlearners.registry import build


def unlearn(spec: str | Path | None, method: str, knobs: dict[str, str], *, force: bool = False) -> tuple[Result, Path]:
    """Unlearn the spec's forget set from its original model and write ``release.model``.

    Args:
        spec: path of the spec, or None for the default one.
        method: name of an unlearner.
        knobs: its settings, as text.
        force: overwrite weights that are already there.

    Raises:
        ConfigurationError, InputError: nothing was written.
        BudgetExceededError: the method stopped at its budget; nothing was written.
    """
    unlearner, loaded = build(method, knobs), load_spec(spec)
    objective = objective_of(loaded)
    target = loaded.resolve(loaded.spec.release.model)
    name = loaded.spec.release.original
    check_writable(target)
    _refuse_inputs(loaded, target)
    if target.exists() and not force:
        raise InputError(
            "is already there",
            where=str(target),
            mend="use --force to overwrite it, or name another release.model",
        )
    dataset, _, forgotten, _ = read_data(loaded)
    original = None if name is None else read_model(loaded, name, objective, dataset.X.shape[1]).weights
    task = ConvexTask(objective, dataset, original)
    result = unlearner.forget(task, Request.at(dataset, forgotten))
    content = dump_weights(target, result.model)
    digest = hashlib.sha256(content).hexdigest()
    write_files({target: content, evidence_path(target): dump_evidence(result.evidence, result.claim, digest)})
    return result, target


def _refuse_inputs(loaded: LoadedSpec, target: Path) -> None:
    """No input may be overwritten by the weights, with or without force: the records and the original have no copy here."""
    release, data = loaded.spec.release, loaded.spec.data
    inputs = {
        "the original": release.original,
        "the training data": data.path,
        "the forget set": data.forget,
        "the test data": data.test,
        "the spec": loaded.path.name,
    }
    for what, name in inputs.items():
        if name is not None and same_place(loaded.resolve(name), target):
            raise InputError(
                f"is both {what} and the model to write", where=str(target), mend="name another file in release.model"
            )


def same_place(path: Path, target: Path) -> bool:
    """Whether two paths lead to one file."""
    try:
        return path.resolve() == target.resolve()
    except (OSError, ValueError, RuntimeError):  # not a path at all; whoever reads it will say so
        return False
