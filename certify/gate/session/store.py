"""The file of a session: one SQLite database that is after any kill as it was before a request or after it.

It holds the weights, the records that came or were corrected, marks (:mod:`certify.gate.session.marks`) of who was deleted, a log whose entries
hold the digest of the entry before, and a factor, which is untrusted. Of deleted people it holds marks alone: what stood of them is overwritten
(``secure_delete``). The key file beside it knows the head of the log, so that an older copy put in its place is noticed: in it the deleted were
still there. The order of a commit is the ledger's (:mod:`certify.gate.ledger`).
"""

import hashlib
import json
import sqlite3
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from certify.core.errors import ConfigurationError, InputError, TamperedError
from certify.core.files import check_writable
from certify.gate.database import database_errors as shared_errors
from certify.gate.schema_text import require_schema
from certify.gate.session import tables
from certify.gate.session.marks import Marks
from certify.gate.session.records import Later
from certify.gate.session.tables import GENESIS, Kept, SessionKey, Stored

_MEND = "restore the newest state together with its key"


class Store:
    """An open file of a session, locked against every other process until it is closed."""

    def __init__(self, path: Path, key_path: Path, connection: sqlite3.Connection, key: SessionKey) -> None:
        self.path, self._key_path, self._connection, self._key = path, key_path, connection, key
        self.marks = Marks(key.key)

    @classmethod
    def open(cls, path: Path, key_path: Path) -> "Store":
        """Open, lock and verify.

        Raises:
            InputError: there is no session, another process holds it, or the key is missing.
            TamperedError: the file is damaged, edited, of another session, or an older copy.
        """
        _require_both(path, key_path)
        with database_errors(path):
            connection = tables.connect(path)
        try:
            with database_errors(path):
                connection.execute("BEGIN EXCLUSIVE")
                connection.execute("COMMIT")  # the lock stays, in this mode, until the connection closes
                store = cls(path, key_path, connection, SessionKey.load(key_path))
                store.verify()
                return store
        except BaseException:
            tables.disconnect(connection)
            raise

    def close(self) -> None:
        """Let go of the file."""
        tables.disconnect(self._connection)

    def bodies(self) -> list[dict[str, Any]]:
        """What the log says, in order."""
        with database_errors(self.path):
            rows = self._connection.execute("SELECT body, time FROM log ORDER BY sequence").fetchall()
        return [json.loads(body) | {"time": time} for body, time in rows]

    def head(self) -> tuple[int, str]:
        """Sequence and digest of the last entry."""
        row = self._connection.execute("SELECT sequence, digest FROM log ORDER BY sequence DESC LIMIT 1").fetchone()
        return (0, GENESIS) if row is None else (row[0], row[1])

    def read(self) -> Stored:
        """The state in the tables."""
        first, ask = self.bodies()[0], self._connection.execute
        with database_errors(self.path):
            parameters = tables.to_floats(ask("SELECT parameters FROM model").fetchone()[0]).reshape(first["shape"])
            rows = ask("SELECT id, content FROM later ORDER BY id").fetchall()
            tombstones = frozenset(row[0] for row in ask("SELECT mark FROM tombstones"))
            superseded = frozenset((row[0], row[1]) for row in ask("SELECT id, content FROM superseded"))
        later = Later.none(first["features"])
        if rows:
            numbers = np.vstack([tables.to_floats(content) for _, content in rows])
            later = Later(tuple(row[0] for row in rows), numbers[:, :-2], numbers[:, -2], numbers[:, -1])
        return Stored(parameters, later, tombstones, superseded)

    def write(self, state: Stored, body: dict[str, Any], factor: Kept | None) -> None:
        """One request, whole: the state, its entry in the log and, where it changed, the factor."""
        ask = self._connection.execute
        with database_errors(self.path):
            try:
                ask("BEGIN IMMEDIATE")
                tables.write_state(self._connection, state)
                if factor is not None:
                    tables.write_factor(self._connection, factor)
                sequence, previous = self.head()
                body = body | {"state": self.marks.of_state(state.canonical())}
                digest = tables.append(self._connection, self._key.project, sequence + 1, body, previous)
                self._commit(sequence + 1, digest)
            except BaseException:
                if self._connection.in_transaction:
                    ask("ROLLBACK")
                raise

    def _commit(self, sequence: int, digest: str) -> None:
        """The key file first names the coming head, then the database commits, then the key file takes it as its head."""
        key = self._key
        SessionKey(key.project, key.key, key.sequence, key.digest, pending=digest).save(self._key_path)
        self._connection.execute("COMMIT")
        self._key = SessionKey(key.project, key.key, sequence, digest)
        self._key.save(self._key_path)

    def save_factor(self, factor: Kept) -> None:
        """Keep a factor for the next opening."""
        with database_errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            tables.write_factor(self._connection, factor)
            self._connection.execute("COMMIT")

    def factor(self, size: int) -> Kept | None:
        """The factor that was kept; None when there is none or it is damaged: it is made anew then."""
        with database_errors(self.path):
            row = self._connection.execute("SELECT root, records, changed, digest FROM factor").fetchone()
        if row is None or hashlib.sha256(row[0]).hexdigest() != row[3] or len(row[0]) != 8 * size * size:
            return None
        root = tables.to_floats(row[0]).reshape(size, size)
        return (root, row[1], row[2]) if np.all(np.isfinite(root)) and np.all(np.diag(root) > 0) else None

    def verify(self) -> None:
        """Walk the log, compare its head with the key file and the tables with its last entry.

        Raises:
            TamperedError: with the first thing that is wrong.
        """
        previous, count, body = GENESIS, 0, ""
        rows = self._connection.execute("SELECT sequence, time, body, previous, digest FROM log ORDER BY sequence")
        for sequence, time, body, before, digest in rows:
            count += 1
            if (sequence, before) != (count, previous) or digest != tables.entry_digest(
                self._key.project, sequence, time, body, before
            ):
                raise _tampered(
                    self.path, f"entry {count} of its log is missing, was changed, or is of another session"
                )
            previous = digest
        key = self._key
        if count == key.sequence + 1 and previous == key.pending:  # a kill came between commit and key
            # said at once: until the key says so, a copy from before that request would pass for the newest
            self._key = replace(key, sequence=count, digest=previous, pending=None)
            self._key.save(self._key_path)
        elif (count, previous) != (key.sequence, key.digest):
            older = count < key.sequence
            what = "an older copy was put in its place" if older else "its last entry is not the one that the key knows"
            raise _tampered(self.path, f"ends at entry {count}, the key knows {key.sequence}: {what}")
        try:
            state = self.marks.of_state(self.read().canonical())
        except (ValueError, TypeError, KeyError, IndexError):
            state = ""
        if not count or json.loads(body)["state"] != state:
            raise _tampered(self.path, "its tables are not those that its log tells of")
        require_schema(self._connection, tables.SCHEMA, self.path, _MEND)


def refuse_existing(path: Path, key_path: Path) -> None:
    """Refuse early where a session is already, or none can be written.

    Raises:
        ConfigurationError, InputError: saying which.
    """
    for place in (path, key_path):
        check_writable(place)
    if path.resolve() == key_path.resolve():
        raise ConfigurationError(
            "state and key are the same file", where="session.key", mend="keep the key in another file"
        )
    if path.exists() or (key_path.exists() and SessionKey.load(key_path).sequence > 0):
        raise InputError(
            "there is a session already",
            where=str(path if path.exists() else key_path),
            mend="go on with it, or move both files away",
        )


def create(path: Path, key_path: Path, key: SessionKey, state: Stored, body: dict[str, Any]) -> None:
    """A new session: the database is made whole under another name, then the key file is written, then it gets its name.

    A kill before the last step leaves a key that knows no entry yet: the next start makes both anew.
    """
    refuse_existing(path, key_path)
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    connection = tables.connect(temporary)
    with database_errors(path):
        connection.executescript(tables.SCHEMA)
        connection.execute("BEGIN IMMEDIATE")
        tables.write_state(connection, state)
        body = body | {"state": Marks(key.key).of_state(state.canonical())}
        digest = tables.append(connection, key.project, 1, body, GENESIS)
        connection.execute("COMMIT")
    tables.disconnect(connection)
    temporary.chmod(0o600)  # it holds traces of deleted records until the session is refreshed
    SessionKey(key.project, key.key, 0, GENESIS, pending=digest).save(key_path)
    temporary.replace(path)
    SessionKey(key.project, key.key, 1, digest).save(key_path)


def _tampered(path: Path, what: str) -> TamperedError:
    return TamperedError(what, where=str(path), mend=_MEND)


def _require_both(path: Path, key_path: Path) -> None:
    if not path.exists() and (not key_path.exists() or SessionKey.load(key_path).sequence == 0):
        raise InputError("there is no session yet", where=str(path), mend="begin one with `certify session start`")
    if not path.exists():
        raise _tampered(path, "the session's state is gone, its key is still there")
    if not key_path.exists():
        raise InputError(
            "no such file: the session's key is missing",
            where=str(key_path),
            mend="restore it, or name it in [session] key",
        )


def database_errors(path: Path) -> AbstractContextManager[None]:
    """SQLite's errors in our words."""
    return shared_errors(path, "session", "process", tables.WAIT_SECONDS, "restore it with its key")
