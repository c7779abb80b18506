"""Keyed hashes by which a session recognises people and contents that it may not remember.

A mark is HMAC-SHA256 under the session's secret key: of an id as text, or of a record's features and target as float64. Without the key nobody
can guess ids or contents from marks. The sum of the marks of a set of records modulo 2^256 stands for the set, whatever its order (Clarke et
al. 2003, MSet-Add-Hash), and changes with a record at the cost of that record.
"""

import hashlib
import hmac

import numpy as np

from certify.core.arrays import AnyArray

MODULUS = 2**256


class Marks:
    """Marks under one key.

    Args:
        key: the secret, hexadecimal.
    """

    def __init__(self, key: str) -> None:
        self._key = bytes.fromhex(key)

    def _mark(self, kind: bytes, content: bytes) -> str:
        return hmac.digest(self._key, kind + b"\0" + content, hashlib.sha256).hex()

    def of_id(self, identifier: str) -> str:
        """Mark of an id; ids count as text: 7 in one file and "7" in the next are the same person."""
        return self._mark(b"id", identifier.encode("utf-8", "surrogatepass"))

    def of_content(self, x: AnyArray, y: float) -> str:
        """Mark of a record's features and target, whoever it belongs to."""
        return self._mark(b"content", content(x, y))

    def of_state(self, text: str) -> str:
        """Mark of a session's state in canonical form."""
        return self._mark(b"state", text.encode())

    def total(self, ids: list[str], X: AnyArray, y: AnyArray, weight: AnyArray) -> int:
        """The sum of the marks of whole records: id, features, target and weight."""
        rows = zip(ids, X, y, weight, strict=True)
        marks = (
            self._mark(b"record", content(x, target, a) + identifier.encode("utf-8", "surrogatepass"))
            for identifier, x, target, a in rows
        )
        return sum(int(mark, 16) for mark in marks) % MODULUS


def content(x: AnyArray, *numbers: float) -> bytes:
    """A row and some numbers as little-endian float64; + 0.0 turns -0 into 0."""
    return bytes((np.append(np.asarray(x, dtype=np.float64), numbers) + 0.0).astype("<f8").tobytes())
