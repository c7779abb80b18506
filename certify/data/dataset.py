"""Records with stable ids."""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from certify.core.arrays import AnyArray, IntArray
from certify.core.errors import InputError


@dataclass(frozen=True, eq=False)
class Dataset:
    """Records: features, targets, ids and, optionally, sample weights.

    Attributes:
        X: features, (n, d).
        y: targets, (n,).
        ids: one id a record, unique; whole numbers or strings, (n,).
        sample_weight: (n,) or None.
        where: name of the source, for messages.
        numbered: the ids are row numbers, which mean nothing in another file.

    Raises:
        InputError: shapes that do not fit, or ids that are not unique.
    """

    X: AnyArray
    y: AnyArray
    ids: AnyArray
    sample_weight: AnyArray | None = None
    where: str = "data"
    numbered: bool = False

    def __post_init__(self) -> None:
        if self.X.ndim != 2:
            raise InputError(
                f"X has shape {self.X.shape}, not (records, features)",
                where=self.where,
                mend="save X as a matrix",
            )
        for name, array in (("X", self.X), ("y", self.y)):
            if array.dtype.kind not in "fiub":
                raise InputError(
                    f"{name} has type {array.dtype}, not real numbers",
                    where=self.where,
                    mend="encode it as numbers before training",
                )
        for name, column in (("y", self.y), ("ids", self.ids), ("sample_weight", self.sample_weight)):
            if column is not None and column.shape != (len(self.X),):
                raise InputError(
                    f"{name} has shape {column.shape}, X has {len(self.X)} rows",
                    where=self.where,
                    mend=f"save {name} with one entry a row of X",
                )
        if 0 in self.X.shape:
            what = "records" if len(self.X) == 0 else "features"
            raise InputError(f"holds no {what}", where=self.where, mend="check how the file was made")
        _check_ids(self.ids, self.where)

    def __len__(self) -> int:
        return len(self.X)

    def take(self, positions: IntArray) -> "Dataset":
        """The records at these positions, in this order."""
        weight = None if self.sample_weight is None else self.sample_weight[positions]
        return Dataset(self.X[positions], self.y[positions], self.ids[positions], weight, self.where, self.numbered)

    def without(self, positions: IntArray) -> "Dataset":
        """All other records, in their order."""
        kept = np.ones(len(self), dtype=bool)
        kept[positions] = False
        return self.take(np.flatnonzero(kept))

    def positions(self, ids: Iterable[object]) -> IntArray:
        """Positions of these ids, -1 where an id is not in the data."""
        known = {identifier: position for position, identifier in enumerate(self.ids.tolist())}
        return np.array([known.get(identifier, -1) for identifier in ids], dtype=np.int64)

    def digest(self) -> str:
        """SHA-256 of shapes, ids and contents in a canonical form (little-endian float64)."""
        state = hashlib.sha256(f"certify-dataset-1 {self.X.shape}".encode())
        for start in range(0, len(self), 65536):
            state.update(np.ascontiguousarray(self.X[start : start + 65536], dtype="<f8").tobytes())
        state.update(np.ascontiguousarray(self.y, dtype="<f8").tobytes())
        weight = np.ones(len(self)) if self.sample_weight is None else self.sample_weight
        state.update(np.ascontiguousarray(weight, dtype="<f8").tobytes())
        state.update(json.dumps(self.ids.tolist()).encode())  # JSON keeps 1 and "1", "a\nb" and "a", "b" apart
        return state.hexdigest()

    def copies_of(self, other: "Dataset") -> int:
        """Number of records here that equal some record of ``other`` in every feature and in the target."""
        wanted = set(_row_bytes(other))
        return sum(row in wanted for row in _row_bytes(self)) if wanted else 0


def _row_bytes(data: Dataset) -> Iterable[bytes]:
    for start in range(0, len(data), 65536):
        rows = slice(start, start + 65536)
        block = np.column_stack([data.X[rows], data.y[rows]]).astype(np.float64) + 0.0  # + 0.0 turns -0 into 0
        yield from (row.tobytes() for row in block)


def _check_ids(ids: AnyArray, where: str) -> None:
    if ids.dtype.kind not in "iuU":
        raise InputError(
            f"ids have type {ids.dtype}, not whole numbers or strings",
            where=where,
            mend="save ids as integers or strings",
        )
    repeated = len(ids) - len(np.unique(ids))
    if repeated:
        raise InputError(
            f"ids are not unique: {repeated} of {len(ids)} repeat an earlier one",
            where=where,
            mend="give each record its own id",
        )


# how a whole number is written in a file of ids: one number, one spelling
WHOLE_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,19}")


def parse_ids(lines: Sequence[str], dataset: Dataset, where: str) -> IntArray:
    """Positions of the ids written one a line; empty lines are skipped.

    Raises:
        InputError: no id, an id that is not in the data, an id twice. Lines are named, ids are not: they may identify
            a person, and messages end in logs.
    """
    numbered = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise InputError("the forget set is empty: there is nothing to check", where=where, mend="write one id a line")
    values = [_as_id(text, dataset) for _, text in numbered]
    positions = dataset.positions(values)
    missing = [number for (number, _), position in zip(numbered, positions, strict=True) if position < 0]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(numbered)} ids are not in {dataset.where} (first: line {missing[0]})",
            where=where,
            mend="check that the ids are those of the training data",
        )
    _refuse_repeats([number for number, _ in numbered], positions, where)
    if len(positions) == len(dataset):
        raise InputError(
            "every record is to be forgotten: no retained record is left to compare with",
            where=where,
            mend="withdraw the model instead",
        )
    return positions


def _as_id(text: str, dataset: Dataset) -> object:
    if dataset.ids.dtype.kind == "U":
        return text
    # int() alone also takes 1_0, +3, 007 and digits of other scripts: a typing error would name another person's record
    return int(text) if WHOLE_NUMBER.fullmatch(text) else None


def _refuse_repeats(numbers: Sequence[int], positions: IntArray, where: str) -> None:
    seen: dict[int, int] = {}
    for number, position in zip(numbers, positions.tolist(), strict=True):
        if position in seen:
            raise InputError(
                f"line {number} repeats the id of line {seen[position]}",
                where=where,
                mend="list each record once",
            )
        seen[position] = number
