"""Writing records as a data file that the readers take."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from certify.core.errors import InputError
from certify.core.rows import is_sparse
from certify.data.dataset import Dataset


def dump_dataset(path: Path, data: Dataset) -> bytes:
    """The bytes of an .npz file of records.

    Raises:
        InputError: the path has another suffix.
    """
    if path.suffix.lower() != ".npz":
        raise InputError("an export of records is an .npz file", where=str(path), mend="name one in data.path")
    X: Any = data.X
    parts = {"X": X}
    if is_sparse(X):
        parts = {"X_data": X.data, "X_indices": X.indices, "X_indptr": X.indptr, "X_shape": np.array(X.shape)}
    weight = {} if data.sample_weight is None else {"sample_weight": data.sample_weight}
    buffer = io.BytesIO()
    np.savez(buffer, **parts, y=data.y, ids=data.ids, **weight)  # type: ignore[arg-type]  # NumPy types its keywords as flags
    return buffer.getvalue()
