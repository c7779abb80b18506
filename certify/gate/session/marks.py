"""Keyed hashes by which a session recognises people and contents that it may not remember.

A mark is HMAC-SHA256 under the session's secret key: of an id as text, or of a record's features and target as float64. Without the key nobody
can guess ids or contents from marks. The sum of the marks of a set of records modulo 2^256 stands for the set, whatever its order (Clarke et
al. 2003, MSet-Add-Hash), and changes with a record at the cost of that record.
"""

import hashlib
import hmac
from collections.abc import Iterator
from typing import Any

import numpy as np

from certify.core.arrays import AnyArray
from certify.core.rows import is_sparse

MODULUS = 2**256
"""Sums of marks count modulo this."""


class Marks:
    """Marks under one key.

    Args:
        key: the secret, hexadecimal.
    """

    def __init__(self, key: str) -> None:
        self._key = bytes.fromhex(key)

    def _mark(self, kind: bytes, content: bytes) -> bytes:
        return hmac.digest(self._key, kind + b"\0" + content, hashlib.sha256)

    def of_id(self, identifier: str) -> str:
        """Mark of an id; ids count as text: 7 in one file and "7" in the next are the same person."""
        return self._mark(b"id", identifier.encode("utf-8", "surrogatepass")).hex()

    def of_contents(self, rows: Any, y: AnyArray) -> list[str]:
        """Marks of records' features and target, whoever they belong to."""
        return [self._mark(b"content", content).hex() for content in _contents(rows, y[:, None])]

    def of_state(self, text: str) -> str:
        """Mark of a session's state in canonical form."""
        return self._mark(b"state", text.encode()).hex()

    def total(self, ids: list[str], rows: Any, y: AnyArray, weight: AnyArray) -> int:
        """The sum of the marks of whole records: id, features, target and weight."""
        contents = _contents(rows, np.column_stack([y, weight]))
        pairs = zip(contents, ids, strict=True)
        marks = (self._mark(b"record", content + name.encode("utf-8", "surrogatepass")) for content, name in pairs)
        return sum(int.from_bytes(mark, "big") for mark in marks) % MODULUS


def _contents(rows: Any, numbers: AnyArray) -> Iterator[bytes]:
    """A record as bytes: how many features are not 0, which, their values, and some more numbers; -0 counts as 0."""
    for place, more in enumerate(numbers):
        row = rows[place : place + 1]
        row = np.asarray(row.toarray() if is_sparse(row) else row, dtype=np.float64)[0] + 0.0
        filled = np.flatnonzero(row)
        head = np.append(len(filled), filled).astype("<i8").tobytes()
        yield head + np.append(row[filled], np.asarray(more, dtype=np.float64) + 0.0).astype("<f8").tobytes()
