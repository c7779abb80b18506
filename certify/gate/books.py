"""Reading the ledger: what was released, what it cost, whether it is whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from certify.core.errors import InputError
from certify.core.rounding import format_upper
from certify.gate.entries import Entry
from certify.gate.ledger import Ledger
from certify.gate.load import load_spec
from certify.gate.release import booked_files, recover, refuse_changed_files


@contextmanager
def _books(spec: str | Path | None) -> Iterator[Ledger]:
    loaded = load_spec(spec)
    path, key = loaded.resolve(loaded.spec.ledger.path), loaded.resolve(loaded.spec.ledger.key)
    with Ledger.open(path, key) as ledger:
        yield ledger


def _words(entry: Entry) -> str:
    if entry.kind != "release":
        return "ledger made"
    return f"release {entry.body['number']}: {entry.body['forgotten']} records forgotten, mu {format_upper(entry.body['mu'])}"


def summary(spec: str | Path | None) -> list[str]:
    """One line an entry, and the largest total."""
    with _books(spec) as ledger:
        lines = [f"{entry.sequence:>4}  {entry.time}  {_words(entry)}" for entry in ledger.entries()]
        totals = ledger.totals()
    largest = format_upper(max(totals.values(), default=0.0))
    return [*lines, f"      {len(totals):,} records ever forgotten; the most charged one has total mu {largest}"]


def entry_of(spec: str | Path | None, sequence: int) -> dict[str, Any]:
    """One entry as plain values.

    Raises:
        InputError: there is no such entry.
    """
    for entry in exported(spec):
        if entry["sequence"] == sequence:
            return entry
    raise InputError(f"there is no entry {sequence}", where="ledger", mend="see `certify ledger list`")


def exported(spec: str | Path | None) -> list[dict[str, Any]]:
    """All entries as plain values."""
    with _books(spec) as ledger:
        return [asdict(entry) for entry in ledger.entries()]


def verify_books(spec: str | Path | None) -> list[str]:
    """Verify the chain, the head, and every released file.

    Raises:
        TamperedError: with the first thing that is wrong.
    """
    with _books(spec) as ledger:
        recover(ledger)
        refuse_changed_files(ledger)
        entries = ledger.entries()
        files = [item for entry in entries for item in booked_files(ledger, entry).items()]
    lines = [f"{len(entries)} entries, unbroken, up to the head that the key knows"]
    lines += [f"not here: {path} (digest {digest[:16]}...)" for path, digest in files if not path.exists()]
    backwards = [new.sequence for old, new in pairwise(entries) if new.time < old.time]
    lines += [f"the clock went backwards before entry {sequence}" for sequence in backwards]
    return lines
