"""The ledger of releases: one SQLite file that only grows, and a key file beside it that remembers its head.

Each entry holds the SHA-256 of the entry before it, so that a changed, missing or reordered entry breaks the chain. Update and
delete are refused by triggers. Record ids are never stored: a record appears as HMAC-SHA256 under a key that lies in another file,
together with the sequence and digest of the last entry. A ledger that was replaced by an older copy of itself is thereby
noticed, as is one of another project.

Budget: a record pays for every release from the one on that first forgets it; its total is ``sqrt(sum mu_t^2)``, valid also when
releases are chosen after seeing earlier ones (certify.privacy.composition).
"""

import hashlib
import hmac
import json
import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from certify.core.errors import ConfigurationError, InputError, TamperedError
from certify.core.files import check_writable
from certify.gate.database import database_errors, lenient_text
from certify.gate.entries import GENESIS, SCHEMA, Entry, KeyFile, canonical, charges_digest, entry_digest, sealed
from certify.gate.schema_text import require_schema
from certify.privacy.composition import total_mu

_WAIT_SECONDS = 30.0


class Ledger:
    """An open ledger whose chain was verified when it was opened."""

    def __init__(self, path: Path, key_path: Path, connection: sqlite3.Connection, key: KeyFile) -> None:
        self.path, self._key_path, self._connection, self._key = path, key_path, connection, key
        self.committed = False
        """Whether this opening's entries count: from here on their files must stay."""

    @classmethod
    @contextmanager
    def open(cls, path: Path, key_path: Path, *, create: bool = False, write: bool = False) -> Iterator["Ledger"]:
        """Open and verify; with ``write`` hold the only lock for the whole block and commit at its end.

        Raises:
            InputError: there is no ledger, another process holds it, or the key is missing.
            TamperedError: the ledger is damaged, edited, of another project, or an older copy.
        """
        if path.resolve() == key_path.resolve():
            raise ConfigurationError(
                "ledger and key are the same file", where="ledger.key", mend="keep the key in another file"
            )
        if create and not path.exists() and not key_path.exists():
            _create(path, key_path)
        _require_both(path, key_path)
        connection = sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None)
        connection.text_factory = lenient_text
        try:
            with _database_errors(path):
                # Readers take the lock too, and the key is read under it: it changes with each release.
                connection.execute("BEGIN IMMEDIATE")
                ledger = cls(path, key_path, connection, KeyFile.load(key_path))
                ledger.verify()
                yield ledger
                if write:
                    ledger.commit()
        finally:
            connection.close()

    def entries(self) -> list[Entry]:
        """All entries in order."""
        rows = self._connection.execute(
            "SELECT sequence, kind, time, body, previous, digest FROM entries ORDER BY sequence"
        )
        return [Entry(row[0], row[1], row[2], json.loads(row[3]), row[4], row[5]) for row in rows]

    def head(self) -> tuple[int, str]:
        """Sequence and digest of the last entry."""
        row = self._connection.execute("SELECT sequence, digest FROM entries ORDER BY sequence DESC LIMIT 1").fetchone()
        return (0, GENESIS) if row is None else (row[0], row[1])

    @property
    def project(self) -> str:
        """The project's random name."""
        return self._key.project

    def pseudonym(self, identifier: object) -> str:
        """Keyed hash of a record id: the same record is recognised, nobody without the key can guess ids.

        The id counts as text: 7 in one file and "7" in the next are the same person.
        """
        text = str(identifier).encode("utf-8", "surrogatepass")
        return hmac.new(bytes.fromhex(self._key.key), text, hashlib.sha256).hexdigest()

    def totals(self) -> dict[str, float]:
        """Total mu of each record that was ever forgotten."""
        spent: dict[str, list[float]] = {}
        for record, mu in self._connection.execute("SELECT record, mu FROM charges ORDER BY sequence"):
            spent.setdefault(record, []).append(mu)
        return {record: total_mu(values) for record, values in spent.items()}

    def charges_of(self, sequence: int) -> list[tuple[str, float]]:
        """Who was charged how much by an entry."""
        rows = self._connection.execute(
            "SELECT record, mu FROM charges WHERE sequence = ? ORDER BY record", (sequence,)
        )
        return [(row[0], row[1]) for row in rows]

    def append(self, kind: str, body: dict[str, Any], charges: Iterable[tuple[str, float]] = ()) -> Entry:
        """Add an entry inside the open transaction; it counts from the commit on."""
        listed = sorted(charges)
        sequence, previous = self.head()
        text = canonical(body | {"charges": charges_digest(listed)})
        entry = sealed(self._key.project, sequence + 1, kind, text, previous)
        self._connection.execute(
            "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)",
            (entry.sequence, kind, entry.time, text, previous, entry.digest),
        )
        self._connection.executemany(
            "INSERT INTO charges VALUES (?, ?, ?)", [(entry.sequence, *item) for item in listed]
        )
        return entry

    def commit(self) -> None:
        """Commit, so that a kill at any instant leaves the old state or the new one.

        The key file first names the coming head as pending, then the database commits, then the key file takes it as its head.
        """
        if not self._connection.in_transaction:
            return
        sequence, digest = self.head()
        if (sequence, digest) == (self._key.sequence, self._key.digest):
            self._connection.execute("ROLLBACK")
            return
        self._save_key(self._key.sequence, self._key.digest, pending=digest)
        self._connection.execute("COMMIT")
        self.committed = True
        self._save_key(sequence, digest, pending=None)

    def _save_key(self, sequence: int, digest: str, pending: str | None) -> None:
        self._key = KeyFile(self._key.project, self._key.key, sequence, digest, pending)
        self._key.save(self._key_path)

    def verify(self) -> None:
        """Walk the chain, compare its head with the key file, and the tables and triggers with ours.

        Raises:
            TamperedError: with the first thing that is wrong.
        """
        previous, count = GENESIS, 0
        for row in self._connection.execute(
            "SELECT sequence, kind, time, body, previous, digest FROM entries ORDER BY sequence"
        ):
            count += 1
            self._verify_entry(row, count, previous)
            previous = row[5]
        self._verify_head(count, previous)
        require_schema(self._connection, SCHEMA, self.path, "restore the ledger")

    def _verify_entry(self, row: tuple[int, str, str, str, str, str], expected: int, previous: str) -> None:
        sequence, kind, time, body, before, digest = row
        if sequence != expected:
            raise TamperedError(
                f"entry {expected} is missing",
                where=str(self.path),
                mend="restore the ledger; a release is not accounted for",
            )
        if before != previous or digest != entry_digest(self._key.project, sequence, kind, time, body, before):
            raise TamperedError(
                f"entry {sequence} was changed, or belongs to another project",
                where=str(self.path),
                mend="restore the ledger",
            )
        if json.loads(body).get("charges") != charges_digest(self.charges_of(sequence)):
            raise TamperedError(
                f"the charges of entry {sequence} were changed", where=str(self.path), mend="restore the ledger"
            )

    def _verify_head(self, sequence: int, digest: str) -> None:
        key = self._key
        if (sequence, digest) == (key.sequence, key.digest):
            return
        if sequence == key.sequence + 1 and digest == key.pending:
            # a kill came between commit and key: the next commit must start from the entry that counts
            self._key = replace(key, sequence=sequence, digest=digest, pending=None)
            return
        what = (
            f"ends at entry {sequence}, the key knows {key.sequence}: an older copy was put in its place"
            if sequence < key.sequence
            else f"its last entry is not the one that the key {self._key_path.name} knows"
        )
        raise TamperedError(what, where=str(self.path), mend="restore the newest ledger together with its key")


def _create(path: Path, key_path: Path) -> None:
    """A new, empty ledger: the database is made complete under another name first."""
    check_writable(path)
    check_writable(key_path)
    project, temporary = secrets.token_hex(16), path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    connection = sqlite3.connect(temporary, isolation_level=None)
    with _database_errors(path):
        connection.executescript(SCHEMA)
        body = canonical({"project": project, "charges": charges_digest(())})
        entry = sealed(project, 1, "created", body, GENESIS)
        connection.execute(
            "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", (1, "created", entry.time, body, GENESIS, entry.digest)
        )
    connection.close()
    KeyFile(project, secrets.token_hex(32), 1, entry.digest).save(key_path)
    temporary.replace(path)


def _require_both(path: Path, key_path: Path) -> None:
    if not path.exists() and not key_path.exists():
        raise InputError("there is no ledger yet", where=str(path), mend="the first `certify release` makes it")
    if not path.exists():
        raise TamperedError(
            "the ledger is gone, its key is still there",
            where=str(path),
            mend="restore the ledger; without it releases are not accounted for",
        )
    if not key_path.exists():
        raise InputError(
            "no such file: the ledger's key is missing",
            where=str(key_path),
            mend="restore it, or name it in [ledger] key",
        )


def _database_errors(path: Path) -> AbstractContextManager[None]:
    return database_errors(path, "ledger", "release", _WAIT_SECONDS, "restore it")
