"""Code of the user's, run inside a command: whatever it does, the command goes on from where it was."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from certify.core.errors import CertifyError, ConfigurationError


@contextmanager
def foreign(what: str, where: str, mend: str) -> Iterator[None]:
    """Run code of the user's: what it raises, or that it exits, is one line; the working directory is as it was.

    Args:
        what: what is run, for the message.
        where: place, for the message.
        mend: how to mend it.

    Raises:
        ConfigurationError: it raised something, named by its type alone, since its text may show a record.
    """
    here = None
    with suppress(OSError):  # the folder may be gone; the code is then free to go anywhere
        here = os.getcwd()  # noqa: PTH109 - a text, to go back to
    try:
        yield
    except (CertifyError, MemoryError):
        raise
    except SystemExit:
        raise ConfigurationError(f"{what} ends the program", where=where, mend=mend) from None
    except Exception as error:  # noqa: BLE001 - it may raise anything
        raise ConfigurationError(f"{what} raised {type(error).__name__}", where=where, mend=mend) from None
    finally:
        if here is not None:
            with suppress(OSError):
                os.chdir(here)
