"""The tables and triggers of our SQLite files, as stored: text for text those that this version makes.

The triggers refuse to change what was written. Somebody who neutralises one and edits nothing yet would pass every other check.
Earlier versions made the same text; one that makes another keeps the old text here beside the new one.
"""

import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path

from certify.core.errors import TamperedError

_STORED = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"

Item = tuple[str, str]


@cache
def _made_by(script: str) -> dict[Item, str]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(script)
        return _stored(connection)


def _stored(connection: sqlite3.Connection) -> dict[Item, str]:
    return {(str(row[0]), str(row[1])): str(row[2]) for row in connection.execute(_STORED)}


def require_schema(connection: sqlite3.Connection, script: str, where: Path, mend: str) -> None:
    """Compare the stored text of every table, trigger, view and index with that of ``script``, letter by letter.

    Raises:
        TamperedError: naming the first one that is missing, changed, or not ours.
    """
    expected, found = _made_by(script), _stored(connection)
    for (kind, name), text in expected.items():
        if found.get((kind, name)) != text:
            what = "was changed" if (kind, name) in found else "is missing"
            raise TamperedError(f"its {kind} {name} {what}", where=str(where), mend=mend)
    if len(found) > len(expected):  # a name that somebody else chose is not repeated in a message
        kind = next(kind for kind, name in found if (kind, name) not in expected)
        raise TamperedError(f"has one {kind} too many: certify did not make it", where=str(where), mend=mend)
