"""Whether a ledger near a certificate booked it: what a certificate says of itself, damaged or not, is not asked."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from certify.core.errors import CertifyError, TamperedError
from certify.core.files import is_file
from certify.gate.ledger import Ledger
from certify.gate.load import load_spec
from certify.gate.release import booked_files
from certify.gate.spec import LedgerSpec

_SPECS = ("certify.toml", "pyproject.toml")


@dataclass(frozen=True)
class Booking:
    """What a ledger knows of a file.

    Attributes:
        ledger: the ledger.
        sequence: the entry that booked it.
        digest: SHA-256 of what was booked.
    """

    ledger: Path
    sequence: int
    digest: str


def booking_of(path: Path) -> Booking | None:
    """The newest entry that booked a file of this path, in a ledger of its folder, of one above it, or of the current one.

    Raises:
        TamperedError: nobody knows the file, and a ledger that might is itself changed.
    """
    place, tampered = _place(path), None
    for ledger, key in _ledgers(place):
        try:
            found = _booking_in(ledger, key, place)
        except TamperedError as error:
            tampered = tampered or error
        except CertifyError:
            continue  # without its key, say: it cannot be asked
        else:
            if found is not None:
                return found
    if tampered is not None:
        raise tampered
    return None


def _booking_in(path: Path, key: Path, file: Path) -> Booking | None:
    with Ledger.open(path, key) as ledger:
        for entry in reversed(ledger.entries()):
            for booked, digest in booked_files(ledger, entry).items():
                if _place(booked) == file:
                    return Booking(path, entry.sequence, digest)
    return None


def _ledgers(file: Path) -> Iterator[tuple[Path, Path]]:
    """Ledgers and keys of the specs in these folders, and of the default names, that are there; nearest first, each once."""
    seen: set[Path] = set()
    for folder in (*file.parents, Path.cwd()):
        for path, key in _named(folder):
            if path not in seen and is_file(path):
                seen.add(path)
                yield path, key


def _named(folder: Path) -> Iterator[tuple[Path, Path]]:
    for name in _SPECS:
        if is_file(folder / name):
            try:
                loaded = load_spec(folder / name)
            except CertifyError:
                continue
            yield _place(loaded.resolve(loaded.spec.ledger.path)), _place(loaded.resolve(loaded.spec.ledger.key))
    usual = LedgerSpec()
    yield _place(folder / usual.path), _place(folder / usual.key)


def _place(path: Path) -> Path:
    """The path without links in its folders and without dots: of the same file the same one."""
    return Path(os.path.realpath(path))
