"""The tables of a session's file and what goes into them.

Of deleted people they hold marks alone (:mod:`certify.gate.session.marks`): what stood of them is overwritten (``secure_delete``).
"""

import contextlib
import hashlib
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from certify.core.arrays import FloatArray
from certify.gate.database import lenient_text
from certify.gate.entries import KeyFile, canonical
from certify.gate.session.records import Later

WAIT_SECONDS = 30.0
GENESIS = "0" * 64
SCHEMA = """
CREATE TABLE log (
    sequence INTEGER PRIMARY KEY, time TEXT NOT NULL, body TEXT NOT NULL, previous TEXT NOT NULL, digest TEXT NOT NULL
) STRICT;
CREATE TABLE model (one INTEGER PRIMARY KEY CHECK (one = 1), parameters BLOB NOT NULL) STRICT;
CREATE TABLE later (id TEXT PRIMARY KEY, content BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE tombstones (mark TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE superseded (id TEXT NOT NULL, content TEXT NOT NULL, PRIMARY KEY (id, content)) STRICT, WITHOUT ROWID;
CREATE TABLE factor (
    one INTEGER PRIMARY KEY CHECK (one = 1), root BLOB NOT NULL, records INTEGER NOT NULL, changed INTEGER NOT NULL, digest TEXT NOT NULL
) STRICT;
CREATE TRIGGER log_keep BEFORE UPDATE ON log BEGIN SELECT RAISE(ABORT, 'the log only grows'); END;
CREATE TRIGGER log_stay BEFORE DELETE ON log BEGIN SELECT RAISE(ABORT, 'the log only grows'); END;
CREATE TRIGGER tombstones_keep BEFORE UPDATE ON tombstones BEGIN SELECT RAISE(ABORT, 'a tombstone stays'); END;
CREATE TRIGGER tombstones_stay BEFORE DELETE ON tombstones BEGIN SELECT RAISE(ABORT, 'a tombstone stays'); END;
"""


Kept = tuple[FloatArray, int, int]
"""A factor as it is stored: R, the records when it was made, the rows changed since."""


@dataclass(frozen=True)
class SessionKey(KeyFile):
    """The session's secret key and the head of its log as last known."""

    kind: ClassVar[str] = "session"


@dataclass(frozen=True)
class Step:
    """One request, done.

    Attributes:
        number: 1 for the start, then 2, 3, ...
        kind: ``start``, ``delete``, ``correct``, ``add`` or ``refresh``.
        records: how many records it was about.
        retained: how many records count after it.
        steps: chord steps taken.
        refactored: whether the factor was made anew.
        distance: certified distance to the minimiser on the records that count.
        contraction: largest quotient of successive residual norms; 0 without a step.
        seconds: wall-clock time of the computation.
    """

    number: int
    kind: str
    records: int
    retained: int
    steps: int
    refactored: bool
    distance: float
    contraction: float
    seconds: float


@dataclass(frozen=True, eq=False)
class Stored:
    """What the tables hold, the log and the factor aside.

    Attributes:
        parameters: (K, p).
        later: records that came or were corrected.
        tombstones: marks of ids and contents that may not come back.
        superseded: for the mark of an id, marks of contents it had before it was corrected.
    """

    parameters: FloatArray
    later: Later
    tombstones: frozenset[str]
    superseded: frozenset[tuple[str, str]]

    def canonical(self) -> str:
        """One text for one state."""
        rows = {
            identifier: to_bytes(np.concatenate([x, [y, weight]])).hex()
            for identifier, x, y, weight in zip(
                self.later.ids, self.later.X, self.later.y, self.later.weight, strict=True
            )
        }
        return canonical(
            [
                to_bytes(self.parameters).hex(),
                self.parameters.shape,
                rows,
                sorted(self.tombstones),
                sorted(self.superseded),
            ]
        )


def to_bytes(array: FloatArray) -> bytes:
    """Little-endian float64."""
    return bytes(np.ascontiguousarray(array, dtype="<f8").tobytes())


def to_floats(content: bytes) -> FloatArray:
    """The numbers again, flat."""
    return np.frombuffer(content, dtype="<f8").astype(np.float64)


def entry_digest(project: str, sequence: int, time: str, body: str, previous: str) -> str:
    """SHA-256 of an entry of the log."""
    return hashlib.sha256(canonical([project, sequence, time, body, previous]).encode()).hexdigest()


def connect(path: Path) -> sqlite3.Connection:
    """A connection that locks for its whole life, overwrites what it deletes, and leaves no journal with old content."""
    connection = sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None)
    connection.text_factory = lenient_text
    settings = ("secure_delete = ON", "synchronous = FULL", "locking_mode = EXCLUSIVE", "temp_store = MEMORY")
    for setting in (*settings, "journal_mode = TRUNCATE"):
        connection.execute(f"PRAGMA {setting}")
    return connection


def disconnect(connection: sqlite3.Connection) -> None:
    """Close, and leave no empty journal behind."""
    with contextlib.suppress(sqlite3.Error):
        connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()


def write_state(connection: sqlite3.Connection, state: Stored) -> None:
    """Make the tables hold a state; tombstones only come."""
    connection.execute("INSERT OR REPLACE INTO model VALUES (1, ?)", (to_bytes(state.parameters),))
    rows = {
        identifier: to_bytes(np.concatenate([x, [y, weight]]))
        for identifier, x, y, weight in zip(
            state.later.ids, state.later.X, state.later.y, state.later.weight, strict=True
        )
    }
    known = dict(connection.execute("SELECT id, content FROM later").fetchall())
    connection.executemany("DELETE FROM later WHERE id = ?", [(name,) for name in known if name not in rows])
    changed = [(name, content) for name, content in rows.items() if known.get(name) != content]
    connection.executemany("INSERT OR REPLACE INTO later VALUES (?, ?)", changed)
    connection.executemany(
        "INSERT OR IGNORE INTO tombstones VALUES (?)", [(mark,) for mark in sorted(state.tombstones)]
    )
    connection.execute("DELETE FROM superseded")
    connection.executemany("INSERT INTO superseded VALUES (?, ?)", sorted(state.superseded))


def append(connection: sqlite3.Connection, project: str, sequence: int, body: dict[str, Any], previous: str) -> str:
    """One more entry; returns its digest."""
    time, text = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), canonical(body)
    digest = entry_digest(project, sequence, time, text, previous)
    connection.execute("INSERT INTO log VALUES (?, ?, ?, ?, ?)", (sequence, time, text, previous, digest))
    return digest


def write_factor(connection: sqlite3.Connection, factor: Kept) -> None:
    """Replace the factor."""
    root, records, changed = factor
    content = to_bytes(root)
    digest = hashlib.sha256(content).hexdigest()
    connection.execute("INSERT OR REPLACE INTO factor VALUES (1, ?, ?, ?, ?)", (content, records, changed, digest))
