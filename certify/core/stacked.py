"""Two matrices of records, one under the other, read as one."""

from typing import Any

import numpy as np

from certify.core.arrays import AnyArray
from certify.core.rows import Rows


class Stacked:
    """The rows of ``upper`` followed by those of ``lower``; only a block across the seam is copied.

    Args:
        upper: a dense matrix (n, d), float64 or float32.
        lower: a dense matrix (m, d), float64.
    """

    def __init__(self, upper: Rows, lower: AnyArray) -> None:
        self._upper, self._lower, self._seam = upper, lower, int(upper.shape[0])
        self.shape = (self._seam + len(lower), int(upper.shape[1]))
        self.dtype = np.dtype(np.float64)

    @property
    def ndim(self) -> int:
        """2."""
        return 2

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> AnyArray:
        if not isinstance(rows, slice):
            positions = np.asarray(rows, dtype=np.int64)
            result = np.empty((len(positions), self.shape[1]))
            above = positions < self._seam
            result[above] = self._upper[positions[above]]
            result[~above] = self._lower[positions[~above] - self._seam]
            return result
        start, stop, _ = rows.indices(self.shape[0])
        if stop <= self._seam:
            return np.asarray(self._upper[start:stop])
        if start >= self._seam:
            return self._lower[start - self._seam : stop - self._seam]
        return np.concatenate([self._upper[start : self._seam], self._lower[: stop - self._seam]])
