"""Arrays that come from outside: numeric, float64 exactly, finite, of the right shape."""

from typing import Any

import numpy as np

from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import InputError
from certify.core.rows import FileRows, MappedRows, Rows, Without, is_sparse


def as_numbers(values: Any, name: str) -> AnyArray:
    """Any array of real numbers; refuses masks, ragged rows and other types."""
    if isinstance(values, np.ma.MaskedArray):
        raise InputError(
            f"{name} is a masked array", where=name, mend="drop or fill the masked entries before training"
        )
    try:
        array = np.asarray(values)
    except ValueError:
        raise InputError(f"{name} has rows of different lengths", where=name, mend="give a numeric array") from None
    if array.dtype.kind not in "fiub":
        raise InputError(f"{name} has type {array.dtype}, not numbers", where=name, mend="give a numeric array")
    return array


def as_matrix(X: Any) -> Rows:
    """Features as a matrix of numbers, float64 or float32; finite or not is looked at by :func:`certify.convex.problem.bind`.

    A NumPy array, a SciPy sparse matrix (turned into CSR), or a lazy matrix of :mod:`certify.core.rows`. The pages of a
    memory map are given back after each block, so that they do not add up to the whole file.

    Raises:
        InputError: not a matrix of numbers, or numbers that float64 cannot hold exactly.
    """
    if isinstance(X, Without):
        return Without(as_matrix(X.matrix), X.omitted)
    if isinstance(X, FileRows | MappedRows):
        if X.dtype.kind != "f" or X.dtype.itemsize > 8:
            raise InputError(f"X has type {X.dtype}", where="X", mend="save it as float64 or float32")
        matrix: Rows = X
    elif is_sparse(X):
        matrix = _as_csr(X)
    elif isinstance(X, np.ndarray) and X.dtype in (np.float64, np.float32) and X.ndim == 2 and MappedRows.fits(X):
        matrix = MappedRows(X)
    else:
        matrix = as_numbers(X, "X")
    if len(matrix.shape) != 2 or 0 in matrix.shape:
        raise InputError(
            f"X has shape {matrix.shape}, not (records, features)",
            where="X",
            mend="give a matrix with at least one row and column",
        )
    if isinstance(matrix, np.ndarray):
        return matrix if matrix.dtype in (np.float64, np.float32) else exactly_float64(matrix, "X")
    return matrix


def _as_csr(X: Any) -> Rows:
    """CSR with each entry stored once."""
    from scipy import sparse

    matrix = sparse.csr_array(X)
    if matrix.dtype.kind not in "fiub":
        raise InputError(f"X has type {matrix.dtype}, not numbers", where="X", mend="give a numeric matrix")
    if not matrix.has_canonical_format:
        matrix = matrix.copy()
        stored = matrix.nnz
        matrix.sum_duplicates()
        if matrix.nnz != stored:  # their sum may be rounded, and then it is not what the model was trained on
            raise InputError("X lists an entry twice", where="X", mend="call its sum_duplicates() before training")
    if matrix.dtype not in (np.float64, np.float32):
        matrix = sparse.csr_array(
            (exactly_float64(matrix.data, "X"), matrix.indices, matrix.indptr), shape=matrix.shape
        )
    rows: Rows = matrix
    return rows


def exactly_float64(array: AnyArray, name: str) -> FloatArray:
    """The same numbers as float64; refuses what float64 cannot hold."""
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        raise InputError(
            f"has type {array.dtype}, wider than float64",
            where=name,
            mend="convert it to float64 before training and certifying",
        )
    converted = array.astype(np.float64)
    if array.dtype.kind in "iu":
        beyond = 2.0 ** (8 * array.dtype.itemsize - int(array.dtype.kind == "i"))  # what the type itself cannot hold
        if np.any(converted >= beyond) or not np.array_equal(converted.astype(array.dtype), array):
            raise InputError("holds whole numbers too large for float64", where=name, mend="rescale that column")
    return converted


def as_column(values: Any, name: str, records: int) -> FloatArray:
    """One finite number a record, (n,)."""
    array = as_numbers(values, name)
    if array.shape != (records,):
        raise InputError(
            f"{name} has shape {array.shape}, X has {records} rows",
            where=name,
            mend=f"give an array of shape ({records},)",
        )
    column = exactly_float64(array, name)
    require_finite(column, name)
    return column


def require_finite(array: Any, name: str, start: int = 0) -> None:
    """Refuse NaN and infinity, saying how many and where the first one is, never its row's content.

    ``start`` is the number of the array's first row in the whole.
    """
    bad = ~np.isfinite(array.data if is_sparse(array) else array)
    if bad.any():
        entry = int(np.argwhere(bad)[0][0])
        first = start + (int(np.searchsorted(array.indptr, entry, side="right")) - 1 if is_sparse(array) else entry)
        raise InputError(
            f"{name} has {int(bad.sum())} NaN or infinite entries (first in row {first})",
            where=name,
            mend="clean the data and train again",
        )
