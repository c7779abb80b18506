"""Progress on standard error: only for work over about two seconds, only on a terminal, never when switched off."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Item = TypeVar("Item")

_PATIENCE = 2.0
_enabled: ContextVar[bool] = ContextVar("certify_progress", default=False)


@contextmanager
def progress_shown(*, enabled: bool) -> Iterator[None]:
    """Allow progress bars inside this block, when standard error is a terminal."""
    token = _enabled.set(enabled and sys.stderr.isatty())
    try:
        yield
    finally:
        _enabled.reset(token)


def track(items: Iterable[Item], description: str) -> Iterator[Item]:
    """The same items, with a progress bar once they have taken two seconds."""
    if not _enabled.get():
        yield from items
        return
    yield from _tracked(items, description)


def _tracked(items: Iterable[Item], description: str) -> Iterator[Item]:
    from rich.console import Console
    from rich.progress import Progress

    total = len(items) if isinstance(items, Sized) else None
    started = time.monotonic()
    with Progress(console=Console(stderr=True), transient=True, auto_refresh=False) as bar:
        task = bar.add_task(description, total=total, visible=False)
        for item in items:
            yield item
            bar.update(task, advance=1, visible=time.monotonic() - started > _PATIENCE, refresh=True)
