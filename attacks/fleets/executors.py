"""Where blocks are made: here, or by anything with the interface of ``concurrent.futures.Executor``."""

import importlib
import multiprocessing
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from certify.attacks.fleets.blocks import Job, Made, make_block
from certify.attacks.fleets.plan import FleetTask
from certify.core.errors import ConfigurationError, InputError

_AHEAD = 64
"""Blocks that wait at the executor, at most."""
_LARGE = 1 << 20
"""Bytes of records from which a cluster is given them once, and not with every block."""
_ONE_AT_A_TIME = Lock()
"""Blocks seed torch's global generator while they run, which the threads of a process share."""


@dataclass(frozen=True, eq=False)
class Workplace:
    """Where functions of a task run.

    Attributes:
        task: what models are trained on.
        pool: an executor; None is here.
        shared: the task as the pool's workers hold it; the task itself where they are given it with every call.
    """

    task: FleetTask
    pool: Any = None
    shared: Any = None

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The function of the task and the arguments."""
        if self.pool is None:
            return function(self.task, *arguments)
        return self.pool.submit(_alone, function, self.shared, *arguments).result()

    def make(self, jobs: Sequence[Job]) -> Generator[tuple[Job, Made], None, None]:
        """Blocks in the order of the jobs, made as the pool has room.

        A worker that is lost, or raises, gives a failed block; the others go on. Closed early, what has not begun is cancelled.
        """
        if self.pool is None:
            for job in jobs:
                yield job, make_block(self.task, job)
            return
        waiting: list[Future[Made]] = []
        try:
            for job in jobs[:_AHEAD]:
                waiting.append(self._submit(job))  # noqa: PERF401 - what was submitted is cancelled if one submission fails
            for place, job in enumerate(jobs):
                made = _result(waiting[place])
                if len(waiting) < len(jobs):
                    waiting.append(self._submit(jobs[len(waiting)]))
                yield job, made
        finally:
            for future in waiting:
                future.cancel()

    def _submit(self, job: Job) -> "Future[Made]":
        found: Future[Made] = self.pool.submit(_alone, make_block, self.shared, job)
        return found


@contextmanager
def workplace(task: FleetTask, executor: Any = None) -> Iterator[Workplace]:
    """Where to work on a task.

    Args:
        task: what models are trained on.
        executor: anything with ``submit`` that returns futures, or a dask ``Client``, whose workers are given large records once; None is here.

    Raises:
        ConfigurationError: it is neither.
    """
    if executor is None:
        yield Workplace(task)
    elif hasattr(executor, "get_executor") and hasattr(executor, "scatter"):  # a dask client
        large = getattr(task.X, "nbytes", 0) >= _LARGE
        shared = executor.scatter(task, broadcast=True, hash=False) if large else task
        with executor.get_executor(pure=False) as pool:
            yield Workplace(task, pool, shared)
    elif hasattr(executor, "submit"):
        yield Workplace(task, executor, task)
    else:
        raise ConfigurationError(
            "has no submit", where="executor", mend="give a concurrent.futures.Executor, or a dask Client"
        )


def processes(workers: int, threads: int = 1) -> ProcessPoolExecutor:
    """Processes of this machine, started afresh, with so many threads of torch each.

    Functions that they are given must be importable by name: no lambdas, nothing of an interactive session.
    """
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_set_threads, initargs=(threads,))


def dask_client(address: str) -> Any:
    """The client of a running dask scheduler (``tcp://host:8786``).

    Raises:
        ConfigurationError: dask distributed is not installed; InputError: nothing answers there.
    """
    try:
        from distributed import Client
    except ImportError:
        raise ConfigurationError(
            "dask distributed is not installed", where="cluster", mend="pip install 'certify-unlearning[cluster]'"
        ) from None
    try:
        return Client(address, timeout="10s")  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TimeoutError):
        raise InputError("no dask scheduler answers", where=address[:80], mend="start one: dask scheduler") from None


def prepare_workers(client: Any, folder: str, modules: Sequence[str]) -> None:
    """Let a cluster's workers import the user's own modules, those that join later included.

    A worker that cannot read what it is sent drops it without a word and is waited for without end: so it is asked beforehand.

    Args:
        client: dask's.
        folder: put on the path of workers where it exists.
        modules: names.

    Raises:
        InputError: there is no worker, or one cannot import a module.
    """
    from distributed.diagnostics.plugin import WorkerPlugin

    class _Path(WorkerPlugin):
        name = f"certify {folder}"

        def setup(self, worker: Any) -> None:  # noqa: ARG002
            _add_path(folder)

    try:
        client.wait_for_workers(1, timeout="10s")
    except TimeoutError:
        raise InputError("has no worker", where="compute.scheduler", mend="start one: dask worker") from None
    client.register_plugin(_Path())
    missing = {one for some in client.run(_missing, folder, list(modules)).values() for one in some}
    if missing:
        raise InputError(
            f"its workers cannot import {', '.join(sorted(missing))}",
            where="compute.scheduler",
            mend="put the module on their PYTHONPATH, or the project on a disk that they share",
        )


def _add_path(folder: str) -> None:
    if Path(folder).is_dir() and folder not in sys.path:
        sys.path.insert(0, folder)


def _missing(folder: str, modules: list[str]) -> list[str]:
    """Which modules cannot be imported here."""
    _add_path(folder)
    found = []
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception:  # noqa: BLE001 - whatever a stranger's module raises
            found.append(name)
    return found


def _alone(function: Callable[..., Any], *arguments: Any) -> Any:
    with _ONE_AT_A_TIME:
        return function(*arguments)


def _result(future: "Future[Made]") -> Made:
    try:
        return future.result()
    except Exception as error:  # noqa: BLE001 - whatever the executor raises when a worker is gone
        what = f"its worker failed ({type(error).__name__})"
        return Made({}, failure=(what, "the executor", "look at the worker's log"))


def _set_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
