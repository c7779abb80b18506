"""Code of the user's, run inside a command: whatever it does, the command goes on from where it was."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from traceback import walk_tb

from certify.core.errors import CertifyError, ConfigurationError

_NOT_THE_USERS = sys.stdlib_module_names | {"certify", "numpy", "scipy", "torch"}


@contextmanager
def foreign(what: str, where: str, mend: str) -> Iterator[None]:
    """Run code of the user's: what it raises, or that it exits, is one line; the working directory is as it was.

    Args:
        what: what is run, for the message.
        where: place, for the message.
        mend: how to mend it.

    Raises:
        ConfigurationError: as for :func:`explained`.
    """
    here = None
    with suppress(OSError):  # the folder may be gone; the code is then free to go anywhere
        here = os.getcwd()  # noqa: PTH109 - a text, to go back to
    try:
        with explained(what, where, mend):
            yield
    finally:
        if here is not None:
            with suppress(OSError):
                os.chdir(here)


@contextmanager
def explained(
    what: str,
    where: str,
    mend: str | Callable[[BaseException], str],
    passing: Callable[[BaseException], bool] = lambda _: False,
) -> Iterator[None]:
    """Whatever a block raises, or that it exits, is one line.

    Args:
        what: what is run, for the message.
        where: place, for the message.
        mend: how to mend it, or what finds that out from what was raised.
        passing: says of an error that somebody else explains it.

    Raises:
        ConfigurationError: it raised something, named by its type and line alone, since its text may show a record.
    """
    try:
        yield
    except (CertifyError, MemoryError, KeyboardInterrupt):
        raise
    except BaseException as error:
        if passing(error):
            raise
        did = "ends the program" if isinstance(error, SystemExit) else f"raised {type(error).__name__}"
        how = mend if isinstance(mend, str) else mend(error)
        raise ConfigurationError(f"{what} {did}{_place(error)}", where=where, mend=how) from None


def _place(error: BaseException) -> str:
    """File and line of the user's code that an error comes from, `` (net.py, line 12)``; empty where that is not known."""
    places = [
        (frame.f_code.co_filename, line)
        for frame, line in walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] not in _NOT_THE_USERS
    ]
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        places.append((error.filename, error.lineno))
    return f" ({Path(places[-1][0]).name}, line {places[-1][1]})" if places else ""
