"""From a spec of ``kind = "torch"`` to a task for unlearners: code it names, data, weights."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from certify.core.arguments import shown
from certify.core.arrayfiles import read_arrays
from certify.core.arrays import AnyArray, IntArray
from certify.core.errors import CertifyError, ConfigurationError, InputError
from certify.core.files import FileRecord
from certify.core.foreign import foreign
from certify.data.dataset import Dataset
from certify.data.readers import read_forget_set
from certify.gate.load import LoadedSpec
from certify.models.networks.files import load_network
from certify.models.networks.generators import seeded_generators
from certify.models.networks.recipe import Recipe
from certify.unlearners import Request
from certify.unlearners.networks.shard_files import is_state
from certify.unlearners.networks.task import NetworkTask

if TYPE_CHECKING:
    from certify.gate.audits.ensembles import Ensembles


@dataclass(frozen=True, eq=False)
class NetworkInputs:
    """What a spec of ``kind = "torch"`` names, read.

    Attributes:
        task: the records, the model that methods start from, and how it was trained.
        request: which records to forget.
        build: makes an untrained module.
        data: digest of the records.
        forget: digest of the forget set.
        test: digest of the test records, where there are any.
        original: digest of the model before the deletion, where it is named.
        ensembles: how ensembles are read and trained, where the models are such; None where each is one network.
        left_out: what an audit cannot look at for what the spec names.
    """

    task: NetworkTask
    request: Request
    build: Callable[[], nn.Module]
    data: FileRecord
    forget: FileRecord
    test: FileRecord | None
    original: FileRecord | None
    ensembles: "Ensembles | None" = None
    left_out: tuple[str, ...] = ()


def read_network_task(loaded: LoadedSpec, device: str | None = None) -> tuple[NetworkTask, Request]:
    """The task and the request of a spec.

    Args:
        loaded: a spec of ``kind = "torch"``.
        device: instead of the spec's.

    Raises:
        ConfigurationError, InputError: with the file or key concerned.
    """
    found = read_network_inputs(loaded, device)
    return found.task, found.request


def read_network_inputs(loaded: LoadedSpec, device: str | None = None, *, needs_original: bool = True) -> NetworkInputs:
    """Everything a spec names but the models under review.

    Args:
        loaded: a spec of ``kind = "torch"``.
        device: instead of the spec's.
        needs_original: whether the model before the deletion has to be there; an audit can do without it, and the task's model is
            then an untrained one.

    Raises:
        ConfigurationError, InputError: with the file or key concerned.
    """
    build = architecture_of(loaded)
    original: tuple[nn.Module, FileRecord] | None = None
    if needs_original or loaded.spec.release.original is not None:
        original = filled(loaded, build, loaded.spec.release.original, "release.original")
    module, record = (untrained(loaded, build), None) if original is None else original
    return _inputs_with(loaded, build, module, record, device)


def read_member_inputs(loaded: LoadedSpec, device: str | None = None) -> NetworkInputs:
    """Everything a spec of an ensemble names but the ensembles: the task is that of a member before its training.

    Its model has the weights of ``training.initial`` where they are named, those of the architecture elsewhere.

    Raises:
        ConfigurationError, InputError: with the file or key concerned.
    """
    build = architecture_of(loaded)
    return _inputs_with(loaded, build, _before_training(loaded, build), None, device)


def read_member_task(loaded: LoadedSpec, device: str | None = None) -> NetworkTask:
    """The same without a request, which there need not be yet; errors as for :func:`read_member_inputs`."""
    build = architecture_of(loaded)
    return _task_with(loaded, build, _before_training(loaded, build), device)[0]


def _before_training(loaded: LoadedSpec, build: Callable[[], nn.Module]) -> nn.Module:
    initial = loaded.spec.training.initial
    return untrained(loaded, build).eval() if initial is None else filled(loaded, build, initial, "training.initial")[0]


def _inputs_with(
    loaded: LoadedSpec,
    build: Callable[[], nn.Module],
    module: nn.Module,
    original: FileRecord | None,
    device: str | None,
) -> NetworkInputs:
    task, data, test = _task_with(loaded, build, module, device)
    # names alone are needed here: targets may be vectors, which the task itself checks
    named = Dataset(np.asarray(task.X).reshape(len(task), -1), np.zeros(len(task)), task.ids, where=task.where)
    forgotten, forget = read_forget_set(loaded.resolve(loaded.spec.data.forget), named)
    return NetworkInputs(task, Request.at(task, forgotten), build, data, forget, test, original)


def _task_with(
    loaded: LoadedSpec, build: Callable[[], nn.Module], module: nn.Module, device: str | None
) -> tuple[NetworkTask, FileRecord, FileRecord | None]:
    """The task of a module, and the digests of the records and of the test records."""
    release, training, given = loaded.spec.release, loaded.spec.training, loaded.spec.data
    initial = None if training.initial is None else filled(loaded, build, training.initial, "training.initial")[0]
    X, y, ids, data = records_of(loaded.resolve(given.path))
    named = Dataset(X.reshape(len(X), -1), np.zeros(len(X)), ids, where=str(loaded.resolve(given.path)))
    test = None if given.test is None else records_of(loaded.resolve(given.test))
    train = None if release.train is None else function_of(loaded, release.train, "release.train")
    try:
        task = NetworkTask(
            module,
            X,
            y,
            ids,
            held_out=None if test is None else test[:2],
            loss=training.loss,
            recipe=recipe_of(loaded),
            architecture=build,
            initial=initial,
            head=release.head,
            trainable=tuple(release.trainable),
            device=device or loaded.spec.compute.device,
            train=train,
            name=named.where,
        )
    except CertifyError as error:
        raise type(error)(error.what, where=f"{loaded.path}: {error.where}", mend=error.mend) from None
    return task, data, None if test is None else test[3]


def recipe_of(loaded: LoadedSpec) -> Recipe | None:
    """How the original was trained, where [training] says."""
    training = loaded.spec.training
    if training.lr is None:
        return None
    given = training.model_dump(exclude={"loss", "initial"}, exclude_none=True)
    try:
        return Recipe(**given)
    except ConfigurationError as error:
        where = error.where.replace("recipe.", "training.")
        raise ConfigurationError(error.what, where=f"{loaded.path}: {where}", mend=error.mend) from None


def architecture_of(loaded: LoadedSpec) -> Callable[[], nn.Module]:
    """The function that makes an untrained module.

    Raises:
        ConfigurationError: none is named, or it cannot be imported.
    """
    name = loaded.spec.release.architecture
    if name is None:
        raise ConfigurationError(
            "a torch model needs its architecture",
            where=f"{loaded.path}: release.architecture",
            mend='name a function that makes the untrained module: architecture = "package.module:function"',
        )
    return function_of(loaded, name, "release.architecture")


def function_of(loaded: LoadedSpec, name: str, key: str) -> Callable[..., Any]:
    """The function ``package.module:function``, looked up beside the spec last of all.

    Raises:
        ConfigurationError: it cannot be imported, or is no function.
    """
    module, _, attribute = name.partition(":")
    where = f"{loaded.path}: {key}"
    if not module or not attribute:
        raise ConfigurationError(f"{name!r} is not package.module:function", where=where, mend="name a function so")
    with _beside(loaded.path.parent), foreign(f"importing {module}", where, "run the module by itself and mend it"):
        try:
            found = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            missing = error.name or module
            raise ConfigurationError(
                f"there is no module {missing!r}", where=where, mend="put it beside the spec, or install it"
            ) from None
        except AttributeError:
            raise ConfigurationError(f"{module} has no {attribute!r}", where=where, mend="correct the name") from None
    if not callable(found):
        raise ConfigurationError(f"{name} is no function", where=where, mend="name a function")
    return found  # type: ignore[no-any-return]


@contextmanager
def _beside(folder: Path) -> Iterator[None]:
    """The spec's folder as the last place to look for modules: nothing in it can stand in for an installed package."""
    place = str(folder.resolve())
    sys.path.append(place)
    try:
        yield
    finally:
        sys.path.remove(place)


def filled(
    loaded: LoadedSpec, build: Callable[[], nn.Module], name: str | None, key: str
) -> tuple[nn.Module, FileRecord]:
    """A module of the architecture with the weights in a file, in evaluation mode; and the file's digest."""
    if name is None:
        raise InputError(
            "unlearning starts from the original model and none is given",
            where=f"{loaded.path}: {key}",
            mend="name its weights",
        )
    path = loaded.resolve(name)
    if is_state(path):
        raise InputError(
            "holds an ensemble of sisa, not the weights of one network",
            where=f"{path} ({key})",
            mend="name one network's weights, or use the method sisa, which goes on from it",
        )
    module, record = load_network(path, untrained(loaded, build))
    return module.eval(), record


def untrained(loaded: LoadedSpec, build: Callable[[], nn.Module]) -> nn.Module:
    """A module of the architecture; torch's global generator is left as found.

    Raises:
        ConfigurationError: the architecture is no function of no arguments that returns a module.
    """
    where = f"{loaded.path}: release.architecture"
    mend = "it is called without arguments and returns the untrained module"
    with seeded_generators(0), foreign("the architecture", where, mend):
        module = build()
    if not isinstance(module, nn.Module):
        raise ConfigurationError(
            f"the architecture returned {shown(module)}, not a torch module", where=where, mend=mend
        )
    return module


def records_of(path: Path) -> tuple[AnyArray, AnyArray, IntArray | AnyArray, FileRecord]:
    """Arrays X (n, ...), y (n, ...) and ids (n,) of an .npz file, row numbers where there are no ids; and the file's digest."""
    arrays, record = read_arrays(path)
    for name in ("X", "y"):
        if name not in arrays:
            raise InputError(
                f"has no array {name!r} (it has: {', '.join(sorted(arrays)) or 'none'})",
                where=str(path),
                mend="save it with numpy.savez(path, X=..., y=..., ids=...)",
            )
    X, y = arrays["X"], arrays["y"]
    for name, array in (("X", X), ("y", y)):
        if array.dtype.kind not in "fiub" or array.ndim < 1 or len(array) == 0:
            raise InputError(
                f"{name} has type {array.dtype} and shape {array.shape}, not numbers with one entry a record",
                where=str(path),
                mend="save it with numpy.savez(path, X=..., y=..., ids=...)",
            )
    return X, y, arrays.get("ids", np.arange(len(X))), record
