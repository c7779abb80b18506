"""What comes with a request: ids, and rows that are checked as training data is."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from certify.convex.numbers import as_column, as_matrix, as_numbers, require_finite
from certify.core.arrays import FloatArray
from certify.core.errors import InputError
from certify.core.rows import FileRows, is_sparse
from certify.gate.session.records import DataFile, Later, all_of, as_ids


def as_texts(ids: object, what: str) -> tuple[str, ...]:
    """The ids of a request as text: one id or several.

    Raises:
        InputError: none, one of another type, one twice.
    """
    given: Iterable[Any] = [ids] if isinstance(ids, str | int | np.integer) else ids  # type: ignore[assignment]
    texts = []
    for number, identifier in enumerate(given, 1):
        if isinstance(identifier, bool) or not isinstance(identifier, str | int | np.integer):
            raise InputError(
                f"id {number} is neither text nor a whole number", where=what, mend="give ids as the data has them"
            )
        texts.append(str(identifier))
    if not texts:
        raise InputError("names no record", where=what, mend="give at least one id")
    if len(set(texts)) != len(texts):
        raise InputError("names a record twice", where=what, mend="list each record once")
    return tuple(texts)


def as_later(ids: tuple[str, ...], X: Any, y: Any, weight: Any, file: DataFile, what: str) -> Later:
    """Checked rows of a request.

    Raises:
        InputError: shapes that do not fit, entries that are not finite, targets outside the loss's domain.
    """
    try:
        matrix: Any = as_matrix(np.atleast_2d(as_numbers(_dense(X), "X")))
        require_finite(matrix, "X")
        _require_shape(tuple(matrix.shape), (len(ids), int(file.dataset.X.shape[1])))
        rows = np.asarray(matrix, dtype=np.float64).copy()
        y = as_column(np.atleast_1d(as_numbers(y, "y")), "y", len(ids)).copy()
        weights = as_column(np.atleast_1d(as_numbers(weight, "sample_weight")), "sample_weight", len(ids)).copy()
        _require_weights(weights)
        as_ids(ids, file.dataset)
    except InputError as error:
        raise InputError(error.what, where=f"{what}: {error.where}", mend=error.mend) from None
    later = Later(ids, rows, y, weights)
    all_of(file).prepared(y)  # refuses targets outside the loss's domain
    return later


def _dense(X: Any) -> Any:
    """Rows as an array: a request is small."""
    if is_sparse(X):
        return X.toarray()
    return X[0 : len(X)] if isinstance(X, FileRows) else X


def _require_shape(shape: tuple[int, ...], expected: tuple[int, int]) -> None:
    if shape != expected:
        raise InputError(
            f"X has shape {shape}, the request names {expected[0]} records of {expected[1]} features",
            where="X",
            mend="give one row a record, prepared as for training",
        )


def _require_weights(weights: FloatArray) -> None:
    if np.any(weights < 0):
        raise InputError("sample weights must be at least 0", where="sample_weight", mend="correct them")
