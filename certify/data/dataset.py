"""Records with stable ids."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from certify.core.arrays import AnyArray, IntArray
from certify.core.errors import InputError
from certify.core.rows import Rows, Without, blocks, is_sparse, stored_entries


@dataclass(frozen=True, eq=False)
class Dataset:
    """Records: features, targets, ids and, optionally, sample weights.

    Attributes:
        X: features, (n, d): an array, a sparse CSR array, or a matrix in a file (:mod:`certify.core.rows`).
        y: targets, (n,).
        ids: one id a record, unique; whole numbers or strings, (n,).
        sample_weight: (n,) or None.
        where: name of the source, for messages.
        numbered: the ids are row numbers, which mean nothing in another file.

    Raises:
        InputError: shapes that do not fit, or ids that are not unique.
    """

    X: Rows
    y: AnyArray
    ids: AnyArray
    sample_weight: AnyArray | None = None
    where: str = "data"
    numbered: bool = False

    def __post_init__(self) -> None:
        if len(self.X.shape) != 2:
            raise InputError(
                f"X has shape {self.X.shape}, not (records, features)",
                where=self.where,
                mend="save X as a matrix",
            )
        for name, kind in (("X", self.X.dtype), ("y", self.y.dtype)):
            if kind.kind not in "fiub":
                raise InputError(
                    f"{name} has type {kind}, not real numbers",
                    where=self.where,
                    mend="encode it as numbers before training",
                )
        for name, column in (("y", self.y), ("ids", self.ids), ("sample_weight", self.sample_weight)):
            if column is not None and column.shape != (len(self),):
                raise InputError(
                    f"{name} has shape {column.shape}, X has {len(self)} rows",
                    where=self.where,
                    mend=f"save {name} with one entry a row of X",
                )
        if is_sparse(self.X) and not getattr(self.X, "has_canonical_format", False):
            raise InputError(
                "X lists an entry twice, or columns out of order",
                where=self.where,
                mend="call its sum_duplicates() before training",
            )
        if 0 in self.X.shape:
            what = "records" if len(self) == 0 else "features"
            raise InputError(f"holds no {what}", where=self.where, mend="check how the file was made")
        _check_ids(self.ids, self.where)

    def __len__(self) -> int:
        return int(self.X.shape[0])

    def take(self, positions: IntArray) -> "Dataset":
        """The records at these positions, in this order."""
        weight = None if self.sample_weight is None else self.sample_weight[positions]
        return Dataset(self.X[positions], self.y[positions], self.ids[positions], weight, self.where, self.numbered)

    def without(self, positions: IntArray) -> "Dataset":
        """All other records, in their order; the features are not copied."""
        kept = np.ones(len(self), dtype=bool)
        kept[positions] = False
        weight = None if self.sample_weight is None else self.sample_weight[kept]
        features = Without(self.X, np.flatnonzero(~kept))
        return Dataset(features, self.y[kept], self.ids[kept], weight, self.where, self.numbered)

    def positions(self, ids: Iterable[object]) -> IntArray:
        """Positions of these ids, -1 where an id is not in the data."""
        wanted = list(ids)
        asked = set(wanted)
        known: dict[object, int] = {}
        for start in range(0, len(self), _BLOCK):  # never all ids as Python objects at once
            block = self.ids[start : start + _BLOCK].tolist()
            known |= {identifier: start + place for place, identifier in enumerate(block) if identifier in asked}
        return np.array([known.get(identifier, -1) for identifier in wanted], dtype=np.int64)

    def digest(self) -> str:
        """SHA-256 of shapes, ids and contents in a canonical form (little-endian float64)."""
        form = (
            "" if stored_entries(self.X) is None else " csr"
        )  # apart from the start: no dense content can pass for a sparse one
        state = hashlib.sha256(f"certify-dataset-1 {self.X.shape}{form}".encode())
        # where blocks end must not show: of a sparse matrix, lengths, columns and entries are three streams
        lengths, columns = hashlib.sha256(b"csr"), hashlib.sha256()
        for rows in blocks(self.X):
            for stream, part in zip((state, columns, lengths), _canonical(self.X[rows]), strict=False):
                stream.update(part)
        if stored_entries(self.X) is not None:
            state.update(lengths.digest() + columns.digest())
        state.update(np.ascontiguousarray(self.y, dtype="<f8").tobytes())
        weight = np.ones(len(self)) if self.sample_weight is None else self.sample_weight
        state.update(np.ascontiguousarray(weight, dtype="<f8").tobytes())
        for start in range(0, len(self), _BLOCK):
            # JSON keeps 1 and "1", "a\nb" and "a", "b" apart
            text = json.dumps(self.ids[start : start + _BLOCK].tolist())[1:-1]
            state.update((("[" if start == 0 else ", ") + text).encode())
        state.update(b"]")
        return state.hexdigest()

    def copies_of(self, other: "Dataset") -> int:
        """Number of records here that equal some record of ``other`` in every feature and in the target."""
        wanted = {row for _, rows, _ in _records(other) for row in rows()}
        if not wanted:
            return 0
        keys = np.unique(np.concatenate([keys for keys, _, _ in _records(other)]))
        found = 0
        for block_keys, _, chosen in _records(self):
            likely = np.flatnonzero(np.isin(block_keys, keys))  # equal records have equal keys; few others do
            found += sum(row in wanted for row in chosen(likely))
        return found


_BLOCK = 65536


def _canonical(rows: Any) -> Iterator[bytes]:
    """Bytes of some rows: all entries; or those a sparse matrix stores, their columns, and how many each row has."""
    if is_sparse(rows):
        yield rows.data.astype("<f8").tobytes()
        yield rows.indices.astype("<i8").tobytes()
        yield np.diff(rows.indptr).astype("<i8").tobytes()
    else:
        yield np.ascontiguousarray(rows, dtype="<f8").tobytes()


_Record = tuple[IntArray, Callable[[], Iterator[bytes]], Callable[[IntArray], Iterator[bytes]]]


def _records(data: Dataset) -> Iterator[_Record]:
    """Block by block: one key a record, the bytes of all records, and the bytes of chosen ones."""
    for rows in blocks(data.X):
        features, y = data.X[rows], data.y[rows]

        def chosen(places: IntArray, features: Any = features, y: AnyArray = y) -> Iterator[bytes]:
            for place in places.tolist():
                yield _record_bytes(features[place : place + 1], y[place])

        yield record_keys(features, y), partial(chosen, np.arange(len(y))), chosen


def _record_bytes(row: Any, target: Any) -> bytes:
    """A record's entries that are not zero, and its target; -0 counts as 0."""
    values = row.toarray()[0] if is_sparse(row) else row[0]
    numbers = np.append(np.asarray(values, dtype=np.float64), float(target)) + 0.0
    places = np.flatnonzero(numbers)
    return places.tobytes() + numbers[places].tobytes()


def record_keys(features: Any, y: AnyArray) -> IntArray:
    """A 64-bit key of each record, the same for equal records whatever block or form they stand in."""
    width = features.shape[1]
    mixers = np.random.default_rng(0).integers(0, 2**63, width + 1, dtype=np.uint64) | np.uint64(1)
    if is_sparse(features):
        bits = (features.data.astype(np.float64) + 0.0).view(np.uint64) * mixers[features.indices]
        running = np.concatenate([np.zeros(1, np.uint64), np.cumsum(bits, dtype=np.uint64)])
        keys = running[features.indptr[1:]] - running[features.indptr[:-1]]
    else:
        bits = (np.asarray(features, dtype=np.float64) + 0.0).view(np.uint64)
        keys = np.sum(bits * mixers[:-1], axis=1, dtype=np.uint64)  # the bits of 0 are 0: nothing is added
    keys = keys + (np.asarray(y, dtype=np.float64) + 0.0).view(np.uint64) * mixers[-1]
    return np.asarray(keys.view(np.int64))


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


def parse_ids(lines: Sequence[str], dataset: Dataset, where: str, *, all_may_go: bool = False) -> IntArray:
    """Positions of the ids written one a line; empty lines are skipped.

    Args:
        lines: the file's.
        dataset: whose ids they must be.
        where: the file, for messages.
        all_may_go: whether they may be all ids, as where the data holds the forgotten records alone.

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
        unknown = [value for value, position in zip(values, positions, strict=True) if position < 0]
        spaced = spaced_ids(dataset.ids, unknown)
        raise InputError(
            f"{len(missing)} of {len(numbered)} ids are not in {dataset.where} (first: line {missing[0]})"
            + (f"; {len(spaced)} of them would match but for {_SPACES}" if spaced else ""),
            where=where,
            mend=f"take the spaces off the ids in {dataset.where}: in a file of lines they do not count"
            if spaced
            else "check that the ids are those of the training data",
        )
    _refuse_spaced_twins(lines, numbered, dataset, where)
    _refuse_repeats([number for number, _ in numbered], positions, where)
    if len(positions) == len(dataset) and not all_may_go:
        raise InputError(
            "every record is to be forgotten: no retained record is left to compare with",
            where=where,
            mend="withdraw the model instead",
        )
    return positions


_SPACES = "spaces around the id there"


def spaced_ids(ids: AnyArray, asked: Iterable[object]) -> set[str]:
    """Those of the asked ids, without spaces around them, that stand in the data with spaces around them."""
    texts = {identifier for identifier in asked if isinstance(identifier, str)}
    if ids.dtype.kind != "U" or not texts:
        return set()
    found: set[str] = set()
    for start in range(0, len(ids), _BLOCK):
        block = ids[start : start + _BLOCK].tolist()
        found |= {stripped for text in block if (stripped := text.strip()) != text and stripped in texts}
    return found


def _refuse_spaced_twins(
    lines: Sequence[str], numbered: Sequence[tuple[int, str]], dataset: Dataset, where: str
) -> None:
    """Two ids that differ in spaces around them alone are two people to the data, and one to a file of lines."""
    outer = {text: number for number, text in numbered if lines[number - 1] != text}
    twins = spaced_ids(dataset.ids, outer)
    if twins:
        raise InputError(
            f"line {min(outer[text] for text in twins)} has spaces around its id, and {dataset.where} knows that id both with and without",
            where=where,
            mend="take the spaces off the ids in the data, so that no two people have the same one",
        )


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
