"""Reading arrays from files without running anything that is in them."""

import lzma
import tokenize
import zipfile
import zlib
from io import BufferedReader
from pathlib import Path

import numpy as np

from certify.core.arrays import AnyArray
from certify.core.errors import InputError
from certify.core.files import FileRecord, digest_stream, open_input, reason

_DAMAGED = (
    ValueError,
    EOFError,
    KeyError,
    OSError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    tokenize.TokenError,  # a damaged .npy header
    RuntimeError,  # an encrypted member, and NotImplementedError
    OverflowError,
    MemoryError,
)


def _refuse_pickle(path: Path) -> InputError:
    return InputError(
        "is a pickle; loading one would run code, so pickles are never opened",
        where=str(path),
        mend="load it where you trust it and save plain arrays with numpy.savez (weights: coef, intercept; data: X, y, ids)",
    )


def _kind(file: BufferedReader) -> str:
    head = file.read(8)
    file.seek(0)
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    return "pickle" if head[:1] == b"\x80" else "unknown"


def _is_torch_archive(file: BufferedReader) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith(".pkl") for name in archive.namelist())
    except _DAMAGED:
        return False
    finally:
        file.seek(0)


def _load_npz(file: BufferedReader) -> dict[str, AnyArray]:
    with np.load(file, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise ValueError("a member is not an array")  # NumPy hands its bytes over instead
    return arrays


def _load(path: Path, file: BufferedReader) -> dict[str, AnyArray]:
    kind = _kind(file)
    if kind == "pickle" or (kind == "zip" and _is_torch_archive(file)):
        raise _refuse_pickle(path)
    if kind == "unknown":
        raise InputError("is neither an .npz nor an .npy file", where=str(path), mend="save it with numpy.savez")
    try:
        return _load_npz(file) if kind == "zip" else {"": np.load(file, allow_pickle=False)}
    except _DAMAGED as error:
        if "allow_pickle" in str(error):
            raise _refuse_pickle(path) from None
        raise InputError("is truncated or damaged", where=str(path), mend="write it again with numpy.savez") from None


def read_arrays(path: Path) -> tuple[dict[str, AnyArray], FileRecord]:
    """Arrays of an .npz file by name, or the one of an .npy file under the name ``""``; and the file's digest.

    The digest is of the bytes that were read: the file is opened once.

    Raises:
        InputError: missing, unreadable, truncated, or a pickle.
    """
    with open_input(path) as file:
        record = record_of(path, file)
        return _load(path, file), record


def record_of(path: Path, file: BufferedReader) -> FileRecord:
    """Digest of an open file."""
    try:
        return FileRecord(str(path), *digest_stream(file))
    except OSError as error:
        raise InputError(f"cannot be read ({reason(error)})", where=str(path), mend="check the disk") from error
