"""Readers of datasets: .npz (dense, or sparse as CSR), .csv and, with the extra ``parquet``, .parquet."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from certify.core.arrayfiles import read_rows
from certify.core.arrays import AnyArray
from certify.core.errors import ConfigurationError, InputError
from certify.core.files import FileRecord, decode, read_bytes, read_text
from certify.core.names import did_you_mean
from certify.core.rows import Rows
from certify.data.dataset import WHOLE_NUMBER, Dataset, parse_ids


@dataclass(frozen=True)
class Columns:
    """Which column of a table is what. Features are all the others when they are not named."""

    target: str
    features: tuple[str, ...] | None = None
    id: str | None = None
    sample_weight: str | None = None


def read_dataset(path: Path, columns: Columns | None = None) -> tuple[Dataset, FileRecord]:
    """Read records by the file's suffix.

    Raises:
        InputError: the file is missing, damaged, of unknown kind, or makes no sense.
        ConfigurationError: a named column does not exist, or a table comes without [data.columns].
    """
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return _from_npz(path)
    if suffix not in (".csv", ".parquet"):
        raise InputError(
            f"cannot read data from a {suffix or 'suffixless'} file",
            where=str(path),
            mend="use .npz (arrays X, y, ids), .csv or .parquet",
        )
    if columns is None:
        raise ConfigurationError(
            "a table needs [data.columns]",
            where=str(path),
            mend='name at least its target: [data.columns] target = "..."',
        )
    content, record = read_bytes(path)
    table = _csv_table(path, content) if suffix == ".csv" else _parquet_table(path, content)
    return _from_table(path, table, columns), record


_SPARSE = ("X_data", "X_indices", "X_indptr", "X_shape")


def _from_npz(path: Path) -> tuple[Dataset, FileRecord]:
    arrays, record = read_rows(path, ("X",))
    sparse = all(name in arrays for name in _SPARSE) and "X" not in arrays
    for name in ("y",) if sparse else ("X", "y"):
        if name not in arrays:
            raise InputError(
                f"has no array {name!r} (it has: {', '.join(sorted(arrays)) or 'none'})",
                where=str(path),
                mend="save it with numpy.savez(path, X=..., y=..., ids=...)",
            )
    for name in ("X", "y", "ids", "sample_weight"):
        if name in arrays and not arrays[name].shape:
            raise InputError(
                f"{name} is a single value, not an array",
                where=str(path),
                mend="save it with one entry a record",
            )
    X = _sparse_features(path, arrays) if sparse else arrays["X"]
    plain = {name: array for name, array in arrays.items() if isinstance(array, np.ndarray)}
    ids = plain.get("ids", np.arange(X.shape[0]))
    weight = plain.get("sample_weight")
    return Dataset(X, plain["y"], ids, weight, str(path), numbered="ids" not in arrays), record


def _sparse_features(path: Path, arrays: Mapping[str, Any]) -> Rows:
    """The parts of a CSR array, put together and looked through."""
    from scipy.sparse import csr_array

    data, indices, indptr, shape = (arrays[name] for name in _SPARSE)
    try:
        matrix = csr_array((data, indices, indptr), shape=tuple(np.asarray(shape).tolist()))
        matrix.check_format(full_check=True)
    except (ValueError, TypeError, IndexError):
        raise InputError(
            f"{', '.join(_SPARSE)} do not make up a CSR matrix",
            where=str(path),
            mend="save X.data, X.indices, X.indptr and X.shape of a scipy.sparse.csr_array X",
        ) from None
    if not matrix.has_canonical_format:
        raise InputError(
            "X lists an entry twice, or columns out of order",
            where=str(path),
            mend="call its sum_duplicates() before training and saving",
        )
    rows: Rows = matrix
    return rows


def _csv_table(path: Path, content: bytes) -> dict[str, AnyArray]:
    try:
        rows = [row for row in csv.reader(io.StringIO(decode(content, path), newline="")) if row]
    except csv.Error:  # a field of more than 131,072 characters: an opening quote that nothing closes
        raise InputError("is not readable as CSV", where=str(path), mend="check the file's quoting") from None
    if len(rows) < 2:
        raise InputError("has no records under its header line", where=str(path), mend="check how the file was made")
    header = [name.strip() for name in rows[0]]
    if len(set(header)) != len(header):
        raise InputError(
            "two columns have the same name in the header line",
            where=str(path),
            mend="rename one of them, or write a header line if there is none",
        )
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(header):
            raise InputError(
                f"record {number - 1} has {len(row)} fields, the header has {len(header)}",
                where=str(path),
                mend="check the file's quoting and line ends",
            )
    return {name: np.array([row[index] for row in rows[1:]]) for index, name in enumerate(header)}


def _parquet_table(path: Path, content: bytes) -> dict[str, AnyArray]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise InputError(
            "reading .parquet needs pyarrow", where=str(path), mend="install certify-unlearning[parquet]"
        ) from None
    try:
        table = pq.read_table(io.BytesIO(content))
    except (pa.ArrowException, OSError):
        raise InputError("is not a readable parquet file", where=str(path), mend="write it again") from None
    if not table.num_rows:
        raise InputError("holds no records", where=str(path), mend="check how the file was made")
    for name in table.column_names:
        if table[name].null_count:
            raise InputError(
                f"column {name!r} has {table[name].null_count} missing values",
                where=str(path),
                mend="fill or drop them before training",
            )
    return {name: table[name].to_numpy() for name in table.column_names}


def _from_table(path: Path, table: dict[str, AnyArray], columns: Columns) -> Dataset:
    special = {columns.target, columns.id, columns.sample_weight} - {None}
    features = columns.features or tuple(name for name in table if name not in special)
    _check_columns(path, table, columns, features)
    if not features:
        raise ConfigurationError("no feature column is left", where="data.columns.features", mend="name the features")
    X = np.column_stack([_numbers(path, name, table[name]) for name in features])
    ids = np.arange(len(X)) if columns.id is None else _ids(path, columns.id, table[columns.id])
    weight = (
        None if columns.sample_weight is None else _numbers(path, columns.sample_weight, table[columns.sample_weight])
    )
    y = _numbers(path, columns.target, table[columns.target])
    return Dataset(X, y, ids, weight, str(path), numbered=columns.id is None)


def _check_columns(path: Path, table: dict[str, AnyArray], columns: Columns, features: tuple[str, ...]) -> None:
    """Every column that is named exists, and is named for one purpose."""
    named = [("target", columns.target), ("id", columns.id), ("sample_weight", columns.sample_weight)]
    seen: set[str] = set()
    for key, name in [*named, *(("features", name) for name in features)]:
        if name is not None and name not in table:
            raise ConfigurationError(
                f"{path.name} has no column {name!r}", where=f"data.columns.{key}", mend=_nearest(name, table)
            )
        if name in seen:
            raise ConfigurationError(
                f"column {name!r} is named twice", where=f"data.columns.{key}", mend="name each column for one purpose"
            )
        seen |= {name} if name is not None else set()


def _nearest(name: str, table: dict[str, AnyArray]) -> str:
    """The nearest column name; never all of them: without a header line they are somebody's record."""
    hint = did_you_mean(name, table)
    return hint if hint.startswith("did you mean") else f"check the names of its columns ({len(table)})"


def _numbers(path: Path, name: str, column: AnyArray) -> AnyArray:
    if column.dtype.kind in "mM":
        column = column.astype(str)  # a date is no number before somebody has chosen its unit
    try:
        if column.dtype.kind == "U" and np.any(np.char.find(column, "_") >= 0):
            raise ValueError  # Python reads 1_000 as a thousand; nobody else does  # noqa: TRY301
        return np.asarray(column.astype(np.float64))
    except (ValueError, TypeError, OverflowError):
        row = next((index for index, value in enumerate(column.tolist(), 1) if not _is_number(value)), 1)
        raise InputError(
            f"column {name!r} is not a number in record {row}",
            where=str(path),
            mend="encode or clean that column before training",
        ) from None


def _is_number(value: Any) -> bool:
    if isinstance(value, str) and "_" in value:
        return False
    try:
        float(value)
    except (ValueError, TypeError, OverflowError):
        return False
    return True


def _ids(path: Path, name: str, column: AnyArray) -> AnyArray:
    """Ids as whole numbers where all of them are, otherwise as strings; spaces around an id do not count."""
    if column.dtype.kind in "iu":
        return column
    given = [str(value) for value in column.tolist()]
    texts = [text.strip() for text in given]
    same = len(set(given)) - len(set(texts))
    if same:
        raise InputError(
            f"{same} ids in column {name!r} equal another one but for spaces around it, which do not count",
            where=str(path),
            mend="give each record its own id",
        )
    if all(WHOLE_NUMBER.fullmatch(text) and len(text) < 19 for text in texts):
        return np.array([int(text) for text in texts])
    return np.array(texts)


def read_forget_set(path: Path, dataset: Dataset) -> tuple[AnyArray, FileRecord]:
    """Positions of the records to forget, from a text file with one id a line."""
    text, record = read_text(path)
    return parse_ids(text.splitlines(), dataset, str(path)), record
