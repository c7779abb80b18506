"""Matrices of records that are looked at in blocks of rows: arrays, sparse arrays, files, and any of them less some rows."""

import mmap
import os
import weakref
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from certify.core.arrays import AnyArray, IntArray
from certify.core.errors import InputError

BLOCK_BYTES = 8_000_000
"""What one block read from a matrix may hold, where the reader is free to choose."""


class Rows(Protocol):
    """What is asked of a matrix of records: its shape, its type, and some of its rows in memory.

    NumPy arrays, memory maps and SciPy's CSR arrays have it; rows of the last are CSR arrays again.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """(records, features)."""

    @property
    def dtype(self) -> Any:
        """Type of an entry."""

    def __getitem__(self, rows: Any, /) -> Any:
        """The rows of a slice or of an array of positions."""


def is_sparse(matrix: object) -> bool:
    """Whether a matrix or a block of one is one of SciPy's, without importing SciPy for one that is not."""
    return hasattr(matrix, "tocsr")


def stored_entries(matrix: Rows) -> int | None:
    """How many entries a sparse matrix stores; None for a dense one."""
    stored = getattr(matrix, "nnz", None)
    return None if stored is None else int(stored)


def blocks(matrix: Rows) -> list[slice]:
    """Consecutive slices of rows, each of about ``BLOCK_BYTES``."""
    records, width = matrix.shape
    stored = stored_entries(matrix)
    entries = width if stored is None else max(1, stored // max(1, records))
    step = max(64, BLOCK_BYTES // (8 * max(1, entries)))
    return [slice(start, min(start + step, records)) for start in range(0, records, step)]


def _bounds(rows: slice, records: int) -> tuple[int, int]:
    """First row and the one after the last, of a slice without a step."""
    start, stop, step = rows.indices(records)
    if step != 1:
        raise IndexError("rows are given in order, one after the other")
    return start, stop


def _positions(rows: Any) -> IntArray:
    """Positions counted from the first row."""
    positions = np.asarray(rows)
    if positions.size and (positions.dtype.kind not in "iu" or positions.min() < 0):
        raise IndexError("rows are given by a slice or by positions from 0 up")
    return positions.astype(np.int64)


class Without:
    """A matrix less some of its rows; nothing is copied but the rows asked for.

    Args:
        matrix: all rows.
        omitted: positions of the rows left out, increasing, each once.
    """

    def __init__(self, matrix: Rows, omitted: IntArray) -> None:
        self.matrix, self.omitted = matrix, np.asarray(omitted, dtype=np.int64)
        # position p here is position p + (number of omitted rows at or before it) there
        self._shift = self.omitted - np.arange(len(self.omitted))
        self.shape = (int(matrix.shape[0]) - len(self.omitted), int(matrix.shape[1]))
        self.dtype = matrix.dtype
        self.nnz = stored_entries(matrix)  # of the whole matrix: it only sizes blocks

    @property
    def ndim(self) -> int:
        """2."""
        return 2

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: Any = None) -> AnyArray:
        """All rows in memory."""
        del copy  # always one
        return np.array(self[: self.shape[0]], dtype=dtype)

    def _there(self, positions: IntArray) -> IntArray:
        return np.asarray(positions + np.searchsorted(self._shift, positions, side="right"), dtype=np.int64)

    def __getitem__(self, rows: Any) -> Any:
        if not isinstance(rows, slice):
            return self.matrix[self._there(_positions(rows))]
        start, stop = _bounds(rows, self.shape[0])
        if stop <= start:
            return self.matrix[0:0]
        first, last = self._there(np.array([start, stop - 1])).tolist()
        block = self.matrix[first : last + 1]
        if last - first == stop - 1 - start:
            return block
        low, high = np.searchsorted(self.omitted, [first, last])
        kept = np.ones(last + 1 - first, dtype=bool)
        kept[self.omitted[low:high] - first] = False
        return block[kept]


class MappedRows:
    """A memory-mapped matrix whose pages are given back once a block of them was copied out.

    Args:
        matrix: a whole map as :func:`numpy.load` or :class:`numpy.memmap` makes it, see :meth:`fits`.
    """

    def __init__(self, matrix: AnyArray) -> None:
        self._matrix = matrix
        self._map = cast("Any", matrix.base)  # NumPy's type stubs know arrays alone
        self.shape, self.dtype = (int(matrix.shape[0]), int(matrix.shape[1])), matrix.dtype
        start: int = np.frombuffer(self._map, dtype=np.uint8).ctypes.data
        self._offset = int(matrix.ctypes.data) - start

    @staticmethod
    def fits(matrix: AnyArray) -> bool:
        """Whether the array is itself a read-only map with its rows one after the other, and the system can give back pages."""
        base: Any = matrix.base
        return (
            isinstance(matrix, np.memmap)
            and isinstance(base, mmap.mmap)
            and hasattr(base, "madvise")
            and not matrix.flags.writeable
            and matrix.flags.c_contiguous
        )

    @property
    def ndim(self) -> int:
        """2."""
        return 2

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> AnyArray:
        block = np.array(self._matrix[rows])
        if isinstance(rows, slice) and len(block):
            row = self.shape[1] * self.dtype.itemsize
            start = self._offset + rows.indices(self.shape[0])[0] * row
            first = start - start % mmap.PAGESIZE
            self._map.madvise(mmap.MADV_DONTNEED, first, min(start + len(block) * row, len(self._map)) - first)
        return block


Stamp = tuple[int, ...]


def stamp_of(descriptor: int) -> Stamp:
    """What changes when the content of an open file does: its identity, size and time of modification."""
    state = os.fstat(descriptor)
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


def changed_meanwhile(path: Path) -> InputError:
    """What was read before belongs to another content: nothing computed from both would be true of either."""
    return InputError("changed while it was being read", where=str(path), mend="let it be written, then run again")


class FileRows:
    """A C-ordered matrix in an open file, read in blocks: the process holds no more of it than it looks at.

    A memory map would do the same until the file is cut short under it, which kills the process; a read says so.

    Args:
        path: where it is, for messages.
        descriptor: the file, open for reading; a duplicate of it is kept.
        offset: bytes before the first entry.
        shape: (records, features).
        dtype: type of an entry.
        stamp: what :func:`stamp_of` said when the file was first looked at.
    """

    def __init__(
        self, path: Path, descriptor: int, offset: int, shape: tuple[int, int], dtype: "np.dtype[Any]", stamp: Stamp
    ) -> None:
        self.path, self._offset, self.shape, self.dtype, self._stamp = path, offset, shape, dtype, stamp
        self._file = os.dup(descriptor)
        weakref.finalize(self, os.close, self._file)

    @property
    def ndim(self) -> int:
        """2."""
        return 2

    def __len__(self) -> int:
        return self.shape[0]

    def _read(self, start: int, stop: int) -> AnyArray:
        row = self.shape[1] * self.dtype.itemsize
        block: AnyArray = np.empty((stop - start, self.shape[1]), dtype=self.dtype)
        if not block.size:
            return block
        view, position = block.data.cast("B"), self._offset + start * row
        done = 0
        while done < len(view):
            got = os.preadv(self._file, [view[done : done + (1 << 30)]], position + done)
            if got == 0:
                break
            done += got
        if done < len(view) or stamp_of(self._file) != self._stamp:
            raise changed_meanwhile(self.path)
        return block

    def __getitem__(self, rows: Any) -> AnyArray:
        if isinstance(rows, slice):
            start, stop = _bounds(rows, self.shape[0])
            return self._read(start, max(start, stop))
        positions = _positions(rows)
        if positions.size == 0:
            return self._read(0, 0)
        return np.concatenate([self._read(position, position + 1) for position in positions.tolist()])
