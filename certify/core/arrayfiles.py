"""Reading arrays from files without running anything that is in them."""

import lzma
import struct
import tokenize
import zipfile
import zlib
from io import BufferedReader
from pathlib import Path

import numpy as np

from certify.core.arrays import AnyArray
from certify.core.errors import InputError
from certify.core.files import FileRecord, digest_stream, open_input, reason
from certify.core.rows import FileRows, Stamp, changed_meanwhile, stamp_of

LAZY_BYTES = 64_000_000
"""Size from which a matrix is worth leaving in its file."""

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


def _load_npz(path: Path, file: BufferedReader, lazy: tuple[str, ...], stamp: Stamp) -> dict[str, AnyArray | FileRows]:
    with np.load(file, allow_pickle=False) as archive:
        names = archive.files
        arrays: dict[str, AnyArray | FileRows] = {}
        for name in names:
            left = _in_place(path, file, archive.zip, name, stamp) if name in lazy else None
            arrays[name] = archive[name] if left is None else left
    if not all(isinstance(array, np.ndarray | FileRows) for array in arrays.values()):
        raise ValueError("a member is not an array")  # NumPy hands its bytes over instead
    return arrays


def _in_place(path: Path, file: BufferedReader, archive: zipfile.ZipFile, name: str, stamp: Stamp) -> FileRows | None:
    """A large uncompressed matrix of an .npz file, left where it is; None for what is better read at once."""
    member = archive.getinfo(name if name in archive.namelist() else f"{name}.npy")
    if member.compress_type != zipfile.ZIP_STORED or member.file_size < LAZY_BYTES:
        return None
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, kind = read_header(stream)
        header = stream.tell()
        checksum = 0
        stream.seek(0)
        while piece := stream.read(1 << 20):
            checksum = zlib.crc32(piece, checksum)
    if checksum != member.CRC:
        raise zipfile.BadZipFile("checksum")
    if len(shape) != 2 or by_columns or kind.kind != "f" or kind.itemsize > 8 or 0 in shape:
        return None
    file.seek(member.header_offset)
    local = file.read(30)
    offset = member.header_offset + 30 + sum(struct.unpack("<HH", local[26:30])) + header
    return FileRows(path, file.fileno(), offset, (shape[0], shape[1]), kind, stamp)


def _load(path: Path, file: BufferedReader, lazy: tuple[str, ...], stamp: Stamp) -> dict[str, AnyArray | FileRows]:
    kind = _kind(file)
    if kind == "pickle" or (kind == "zip" and _is_torch_archive(file)):
        raise _refuse_pickle(path)
    if kind == "unknown":
        raise InputError("is neither an .npz nor an .npy file", where=str(path), mend="save it with numpy.savez")
    try:
        return _load_npz(path, file, lazy, stamp) if kind == "zip" else {"": np.load(file, allow_pickle=False)}
    except _DAMAGED as error:
        if "allow_pickle" in str(error):
            raise _refuse_pickle(path) from None
        raise InputError("is truncated or damaged", where=str(path), mend="write it again with numpy.savez") from None


def read_arrays(path: Path) -> tuple[dict[str, AnyArray], FileRecord]:
    """Arrays of an .npz file by name, or the one of an .npy file under the name ``""``; and the file's digest.

    The digest is of the bytes that were read: the file is opened once, and must not change meanwhile.

    Raises:
        InputError: missing, unreadable, truncated, changed while it was read, or a pickle.
    """
    arrays, record = read_rows(path, ())
    return {name: array for name, array in arrays.items() if isinstance(array, np.ndarray)}, record


def read_rows(path: Path, lazy: tuple[str, ...]) -> tuple[dict[str, AnyArray | FileRows], FileRecord]:
    """:func:`read_arrays`, but large uncompressed matrices of these names stay in the file and are read in blocks."""
    with open_input(path) as file:
        stamp = stamp_of(file.fileno())
        record = record_of(path, file)
        arrays = _load(path, file, lazy, stamp)
        if stamp_of(file.fileno()) != stamp:
            raise changed_meanwhile(path)
        return arrays, record


def record_of(path: Path, file: BufferedReader) -> FileRecord:
    """Digest of an open file."""
    try:
        return FileRecord(str(path), *digest_stream(file))
    except OSError as error:
        raise InputError(f"cannot be read ({reason(error)})", where=str(path), mend="check the disk") from error
