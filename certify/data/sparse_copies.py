"""Near copies among sparse records (CSR), by the definition of :mod:`certify.data.copies`, without a dense row but the one looked for.

An entry of the record looked for that is larger than its feature's width must be stored in whatever is near it. So only the rows that
store its rarest such feature are looked at, and of a record without one only the rows that have none either. Nothing is missed.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from certify.core.arrays import AnyArray, FloatArray, IntArray
from certify.core.rows import blocks
from certify.data.dataset import Dataset


def sparse_near_copies(data: Dataset, other: Dataset, nearness: float, work: int) -> int | None:
    """:func:`certify.data.copies.near_copies` of records in CSR; None where more than ``work`` entries would be compared."""
    stored, spread = _moments(data)
    widths = nearness * spread
    wanted = [record for block, y in _blocks(other) for record in _records(block, y, widths, stored)]
    looked_at = sum(stored[record.rarest] if record.rarest >= 0 else 0 for record in wanted)
    if looked_at > work:
        return None
    found = compared = 0
    for block, y in _blocks(data):
        columns, small = block.tocsc(), _small_rows(block, widths[:-1])
        near = np.zeros(block.shape[0], dtype=bool)
        for record in wanted:
            rows = _candidates(record, columns, small, widths, y)
            compared += int((block.indptr[rows + 1] - block.indptr[rows]).sum()) + len(record.columns)
            if compared > work:
                return None
            near[rows[_near(record, block, y, rows, widths)]] = True
        found += int(near.sum())
    return found


class _Record:
    """A record looked for: its entries other than zero, its target, those entries that a near record must store."""

    def __init__(
        self, columns: IntArray, values: FloatArray, target: float, widths: FloatArray, stored: IntArray
    ) -> None:
        held = values != 0
        self.columns, self.values, self.target = columns[held], values[held], target
        self.needed = self.columns[np.abs(self.values) > widths[self.columns]]
        self.rarest = int(self.needed[np.argmin(stored[self.needed])]) if len(self.needed) else -1


def _blocks(data: Dataset) -> Iterator[tuple[Any, FloatArray]]:
    """CSR blocks of the features as float64, and their targets."""
    for rows in blocks(data.X):
        yield data.X[rows].astype(np.float64), np.asarray(data.y[rows], dtype=np.float64)


def _records(block: Any, y: FloatArray, widths: FloatArray, stored: IntArray) -> Iterator[_Record]:
    for row in range(block.shape[0]):
        part = slice(block.indptr[row], block.indptr[row + 1])
        yield _Record(block.indices[part].astype(np.int64), block.data[part], float(y[row]), widths, stored)


@np.errstate(over="ignore", invalid="ignore")
def _moments(data: Dataset) -> tuple[IntArray, FloatArray]:
    """Entries stored in each column; standard deviation of each column, the target last, as in the dense search."""
    width, count = int(data.X.shape[1]), len(data)
    stored, total = np.zeros(width, dtype=np.int64), np.zeros(width + 1)
    for block, y in _blocks(data):
        stored += np.bincount(block.indices, minlength=width)
        total += np.append(np.bincount(block.indices, block.data, width), y.sum())
    centre = total / count
    squares = np.append((count - stored) * np.square(centre[:-1]), 0.0)
    for block, y in _blocks(data):
        apart = np.square(block.data - centre[block.indices])
        squares += np.append(np.bincount(block.indices, apart, width), np.square(y - centre[-1]).sum())
    spread = np.sqrt(squares / count)
    usable = np.isfinite(spread) & (spread > np.abs(centre) * math.sqrt(count) * 2.0**-50) & (spread > 1e-150)
    return stored, np.where(usable, spread, 0.0)


def _small_rows(block: Any, widths: FloatArray) -> IntArray:
    """Rows without an entry beyond twice its width: those that may be near a record without one beyond its width."""
    large = np.abs(block.data) > 2.001 * widths[block.indices]  # the rest is for rounding
    row_of = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
    return np.flatnonzero(np.bincount(row_of[large], minlength=block.shape[0]) == 0)


@np.errstate(over="ignore", invalid="ignore")
def _candidates(record: _Record, columns: Any, small: IntArray, widths: FloatArray, y: FloatArray) -> IntArray:
    """Rows of a block whose target is near, and whose rarest feature of the record is."""
    rows = small
    if record.rarest >= 0:
        part = slice(columns.indptr[record.rarest], columns.indptr[record.rarest + 1])
        value = record.values[record.columns == record.rarest][0]
        close = np.abs(columns.data[part] - value) <= widths[record.rarest]
        rows = columns.indices[part][close].astype(np.int64)
    return np.asarray(rows[np.abs(y[rows] - record.target) <= widths[-1]])


@np.errstate(over="ignore", invalid="ignore")
def _near(record: _Record, block: Any, y: FloatArray, rows: IntArray, widths: FloatArray) -> AnyArray:
    """Which of these rows are near the record and not equal to it."""
    lengths = block.indptr[rows + 1] - block.indptr[rows]
    row_of = np.repeat(np.arange(len(rows)), lengths)
    # places of the entries of these rows, one row after the other
    places = np.arange(len(row_of)) + np.repeat(block.indptr[rows] - (np.cumsum(lengths) - lengths), lengths)
    columns, values = block.indices[places], block.data[places]
    there = np.searchsorted(record.columns, columns)
    shared = np.zeros(len(columns), dtype=bool)
    if len(record.columns):
        shared = record.columns[np.minimum(there, len(record.columns) - 1)] == columns
    gap = np.abs(values - np.where(shared, np.append(record.values, 0.0)[np.where(shared, there, -1)], 0.0))

    def count(which: AnyArray) -> IntArray:
        return np.bincount(row_of[which], minlength=len(rows))

    needed = np.isin(columns, record.needed)
    near = (count(gap > widths[columns]) == 0) & (count(needed) == len(record.needed))
    differs = (count(gap > 0) > 0) | (count(shared) < len(record.columns)) | (y[rows] != record.target)
    return np.asarray(near & differs)
