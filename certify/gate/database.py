"""What the ledger and the session share in dealing with SQLite: text that may have been damaged, errors in our words."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from certify.core.errors import InputError, TamperedError


def lenient_text(content: bytes) -> str:
    """Text of a column whatever its bytes: what is no UTF-8 was changed, and then its digest is wrong."""
    return content.decode("utf-8", "replace")


@contextmanager
def database_errors(path: Path, kind: str, holder: str, seconds: float, mend: str) -> Iterator[None]:
    """SQLite's errors as ours.

    Args:
        path: the file.
        kind: what it should be: "ledger", "session".
        holder: who else may hold it.
        seconds: how long it was waited for.
        mend: what to do when it was changed.
    """
    try:
        yield
    except UnicodeDecodeError:  # sqlite3 quotes the damaged schema in a message that is no text
        raise TamperedError("was changed or damaged", where=str(path), mend=mend) from None
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            raise TamperedError("is empty or truncated", where=str(path), mend=mend) from None
        if "locked" in str(error) or "busy" in str(error):
            raise InputError(
                f"another {holder} holds the {kind} (waited {seconds:.0f} s)",
                where=str(path),
                mend="try again when it is done",
            ) from None
        raise InputError(
            f"cannot be used ({error})", where=str(path), mend="check the disk and the file's permissions"
        ) from None
    except sqlite3.DatabaseError as error:
        raise TamperedError(f"is damaged or not a {kind} ({error})", where=str(path), mend=mend) from None
