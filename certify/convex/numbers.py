"""Arrays that come from outside: numeric, float64 exactly, finite, of the right shape."""

from typing import Any

import numpy as np

from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import InputError


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


def as_matrix(X: Any) -> AnyArray:
    """Features as a numeric matrix, float64 or float32; whether they are finite is checked by :func:`certify.convex.problem.bind`.

    Raises:
        InputError: not a matrix of numbers, or numbers that float64 cannot hold exactly.
    """
    array = as_numbers(X, "X")
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(
            f"X has shape {array.shape}, not (records, features)",
            where="X",
            mend="give a matrix with at least one row and column",
        )
    if array.dtype not in (np.float64, np.float32):
        array = exactly_float64(array, "X")
    return array


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


def require_finite(array: AnyArray, name: str, start: int = 0) -> None:
    """Refuse NaN and infinity, saying how many and where the first one is, never its row's content.

    ``start`` is the number of the array's first row in the whole.
    """
    bad = ~np.isfinite(array)
    if bad.any():
        first = start + int(np.argwhere(bad)[0][0])
        raise InputError(
            f"{name} has {int(bad.sum())} NaN or infinite entries (first in row {first})",
            where=name,
            mend="clean the data and train again",
        )
