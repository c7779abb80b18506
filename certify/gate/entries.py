"""What a ledger holds: its tables, its entries with their digests, and the key file that knows its head."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Self

from certify.core.errors import InputError
from certify.core.files import read_text, write_file

GENESIS = "0" * 64
SCHEMA = """
CREATE TABLE entries (
    sequence INTEGER PRIMARY KEY, kind TEXT NOT NULL, time TEXT NOT NULL, body TEXT NOT NULL,
    previous TEXT NOT NULL, digest TEXT NOT NULL
) STRICT;
CREATE TABLE charges (
    sequence INTEGER NOT NULL REFERENCES entries (sequence), record TEXT NOT NULL, mu REAL NOT NULL,
    PRIMARY KEY (sequence, record)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER entries_keep BEFORE UPDATE ON entries BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END;
CREATE TRIGGER entries_stay BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END;
CREATE TRIGGER charges_keep BEFORE UPDATE ON charges BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END;
CREATE TRIGGER charges_stay BEFORE DELETE ON charges BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END;
"""


@dataclass(frozen=True)
class Entry:
    """One event.

    Attributes:
        sequence: 1, 2, 3, ...; the order that counts, whatever the clock said.
        kind: ``created`` or ``release``.
        time: UTC, as the machine's clock had it.
        body: what happened, without anything that identifies a record.
        previous: digest of the entry before.
        digest: of this entry.
    """

    sequence: int
    kind: str
    time: str
    body: dict[str, Any]
    previous: str
    digest: str


@dataclass(frozen=True)
class KeyFile:
    """The secret key, the project's name, and the head of the ledger as last known."""

    project: str
    key: str
    sequence: int
    digest: str
    pending: str | None = None
    version: int = 1
    kind: ClassVar[str] = "ledger"

    def save(self, path: Path) -> None:
        """Write it whole or not at all, readable by its owner alone."""
        write_file(path, _key_text(self).encode(), mode=0o600)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read it back.

        Raises:
            InputError: missing or damaged.
        """
        text, _ = read_text(path)
        try:
            raw = json.loads(text)
            raw["version"] = raw.pop(f"certify_{cls.kind}_key")
            found = cls(**raw)
            bytes.fromhex(found.key)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise InputError(
                f"is not a {cls.kind} key, or a damaged one", where=str(path), mend="restore it from where you keep it"
            ) from None
        return found


def _key_text(key: KeyFile) -> str:
    content = {f"certify_{key.kind}_key": key.version} | {
        name: value for name, value in key.__dict__.items() if name != "version"
    }
    return json.dumps(content, indent=2) + "\n"


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: one text for one value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def entry_digest(project: str, sequence: int, kind: str, time: str, body: str, previous: str) -> str:
    """SHA-256 of an entry: of the project, of what it says, and of the one before."""
    return hashlib.sha256(canonical([project, sequence, kind, time, body, previous]).encode()).hexdigest()


def charges_digest(charges: Iterable[tuple[str, float]]) -> str:
    """Digest of who is charged how much, in order of the records."""
    return hashlib.sha256("\n".join(f"{record} {mu!r}" for record, mu in sorted(charges)).encode()).hexdigest()


def sealed(project: str, sequence: int, kind: str, body: str, previous: str) -> Entry:
    """An entry of now, with its digest."""
    time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Entry(
        sequence, kind, time, json.loads(body), previous, entry_digest(project, sequence, kind, time, body, previous)
    )
