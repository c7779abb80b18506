"""Interrupted work says what it leaves behind, since not all of it leaves nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class InterruptedWorkError(KeyboardInterrupt):
    """An interrupt (exit 130) with a line on what is left."""


@contextmanager
def when_interrupted(left: Callable[[], str]) -> Iterator[None]:
    """Run a block; an interrupt that ends it says what ``left`` finds then. Of blocks one inside the other the innermost speaks.

    Raises:
        InterruptedWorkError: the block was interrupted.
    """
    try:
        yield
    except InterruptedWorkError:
        raise
    except KeyboardInterrupt:
        raise InterruptedWorkError(left()) from None
