"""Two matrices of records, one under the other, read as one."""

from typing import Any

import numpy as np

from certify.core.arrays import AnyArray
from certify.core.rows import Rows, is_sparse, stored_entries


class Stacked:
    """The rows of ``upper`` followed by those of ``lower``; only a block across the seam is copied.

    Args:
        upper: any matrix of records (n, d).
        lower: some more of them (m, d); as a sparse array where ``upper`` is one.
    """

    def __init__(self, upper: Rows, lower: AnyArray) -> None:
        stored = stored_entries(upper)
        self.upper, self._seam = upper, int(upper.shape[0])
        self.lower: Any = lower if stored is None else _sparse(lower)
        self.shape = (self._seam + len(lower), int(upper.shape[1]))
        self.dtype = np.dtype(np.float64)
        self.nnz = None if stored is None else stored + int(np.count_nonzero(lower))

    @property
    def ndim(self) -> int:
        """2."""
        return 2

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Any:
        if not isinstance(rows, slice):
            positions = np.asarray(rows, dtype=np.int64)
            above = positions < self._seam
            order = np.argsort(np.argsort(~above, kind="stable"), kind="stable")
            both = joined(self.upper[positions[above]], self.lower[positions[~above] - self._seam])
            return both[order]
        start, stop, _ = rows.indices(self.shape[0])
        if stop <= self._seam:
            return self.upper[start:stop]
        if start >= self._seam:
            return self.lower[start - self._seam : stop - self._seam]
        return joined(self.upper[start : self._seam], self.lower[: stop - self._seam])


def same_rows(X: Rows, other: Rows) -> bool:
    """Whether two matrices are one object, or the same upper rows over equal lower ones."""
    if X is other:
        return True
    if not (isinstance(X, Stacked) and isinstance(other, Stacked)) or X.upper is not other.upper:
        return False
    return not (is_sparse(X.lower) or is_sparse(other.lower)) and np.array_equal(X.lower, other.lower)


def _sparse(array: AnyArray) -> Any:
    from scipy.sparse import csr_array

    return csr_array(array)


def joined(upper: Any, lower: Any) -> Any:
    """One block under another, both dense or both sparse."""
    if is_sparse(upper):
        from scipy.sparse import vstack

        return vstack([upper, lower if is_sparse(lower) else _sparse(lower)], format="csr")
    return np.concatenate([upper, lower])
