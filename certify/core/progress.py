"""Progress on standard error: only for work over about two seconds, only on a terminal, never when switched off."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

Item = TypeVar("Item")

_PATIENCE = 2.0
_PAUSE = 0.1
"""Seconds between two drawings: a loop of many short steps is not slowed by its bar."""


class _Bars:
    """The bars of a block, one under the other while loops are nested. Nothing is drawn before the first is due."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._drawn = 0.0

    def add(self, description: str, total: int | None, done: int) -> int:
        if self._progress is None:
            from rich.console import Console
            from rich.progress import Progress

            console = Console(stderr=True)
            self._progress = Progress(
                console=console, transient=True, auto_refresh=False, disable=console.is_dumb_terminal
            )
            self._progress.start()
        return int(self._progress.add_task(description, total=total, completed=done))

    def update(self, task: int, done: int) -> None:
        if self._progress is not None:
            from rich.progress import TaskID

            due = time.monotonic() - self._drawn >= _PAUSE
            self._drawn = time.monotonic() if due else self._drawn
            self._progress.update(TaskID(task), completed=done, refresh=due)

    def remove(self, task: int) -> None:
        if self._progress is None:
            return
        from rich.progress import TaskID

        self._progress.remove_task(TaskID(task))
        if not self._progress.tasks:
            self.close()

    def close(self) -> None:
        """The terminal as it was, the cursor too: an interrupted loop does not come to its own end."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


_bars: ContextVar[_Bars | None] = ContextVar("certify_progress", default=None)


@contextmanager
def progress_shown(*, enabled: bool) -> Iterator[None]:
    """Allow progress bars inside this block, when standard error is a terminal; none is left when it ends, however it ends."""
    bars = _Bars() if enabled and sys.stderr.isatty() else None
    token = _bars.set(bars)
    try:
        yield
    finally:
        _bars.reset(token)
        if bars is not None:
            bars.close()


def track(items: Iterable[Item], description: str) -> Iterator[Item]:
    """The same items, with a progress bar once they have taken two seconds."""
    bars = _bars.get()
    if bars is None:
        yield from items
        return
    yield from _tracked(items, description, bars)


def _length(items: Iterable[object]) -> int | None:
    """Their number, where it is known and a length can be that large."""
    try:
        return len(items) if isinstance(items, Sized) else None
    except OverflowError:
        return None


def _tracked(items: Iterable[Item], description: str, bars: _Bars) -> Iterator[Item]:
    total = _length(items)
    started, task = time.monotonic(), None
    try:
        for done, item in enumerate(items, start=1):
            yield item
            if task is None and time.monotonic() - started > _PATIENCE:
                task = bars.add(description, total, done)
            if task is not None:
                bars.update(task, done)
    finally:
        if task is not None:
            bars.remove(task)
