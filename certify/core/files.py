"""Writing so that a file is there whole or not at all, and hashing what is read."""

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from certify.core.errors import InputError


def reason(error: OSError) -> str:
    """The operating system's words for an error, without the path."""
    return (error.strerror or type(error).__name__).lower()


def _write_error(path: Path, error: OSError) -> InputError:
    return InputError(f"cannot be written ({reason(error)})", where=str(path), mend="choose another path")


def _stage(path: Path, content: bytes, mode: int = 0o666) -> Path:
    """Write ``content`` beside ``path`` under a temporary name, flushed to disk."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(mode & ~umask)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)


def write_files(contents: Mapping[Path, bytes], *, mode: int = 0o666) -> None:
    """Write several files: all are staged before the first takes its place, so a full disk leaves none.

    Raises:
        InputError: a path cannot be written; no file of this call was replaced.
    """
    staged: dict[Path, Path] = {}
    try:
        for path, content in contents.items():
            check_writable(path)
            place = path.resolve()  # a link stays a link: what it points to is written
            try:
                staged[place] = _stage(place, content, mode)
            except OSError as error:
                raise _write_error(path, error) from error
        for path in list(staged):
            staged.pop(path).replace(path)
    finally:
        for temporary in staged.values():
            temporary.unlink(missing_ok=True)


def write_file(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write one file whole or not at all, with these permissions less the umask."""
    write_files({path: content}, mode=mode)


def check_writable(path: Path) -> None:
    """Refuse early a path whose folder is missing or that is a folder itself."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass  # not there yet, which is as it should be
    except OSError as error:  # a name too long, a folder that may not be searched
        raise _write_error(path, error) from error
    except ValueError:
        raise InputError("is not a valid path", where=repr(str(path)), mend="choose another path") from None
    try:
        path.resolve()
    except RuntimeError:
        raise InputError("is a link that leads in a circle", where=str(path), mend="choose another path") from None
    if path.is_dir():
        raise InputError("is a folder, not a file", where=str(path), mend="name a file in it")
    if path.exists() and not path.is_file():  # renaming over /dev/null would put a plain file in its place
        raise InputError("is not a plain file", where=str(path), mend="choose another path")
    if not path.parent.is_dir():
        raise InputError("its folder does not exist", where=str(path), mend=f"create {path.parent} first")
    if not os.access(path.parent, os.W_OK):
        raise InputError("its folder is not writable", where=str(path), mend="choose another path")


def make_folder(path: Path) -> Path:
    """Create a folder and its parents; one clear line when that is impossible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot be made a folder ({reason(error)})", where=str(path), mend="choose another path"
        ) from error
    except ValueError:
        raise InputError("is not a valid path", where=repr(str(path)), mend="choose another path") from None
    return path


def is_file(path: Path) -> bool:
    """Whether there is a file; a path that the system refuses, for its length say, leads to none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def open_input(path: Path) -> BufferedReader:
    """Open a file for reading, with a message a person can act on."""
    try:
        # non-blocking: a pipe without a writer would be waited for forever
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISREG(mode):
            return os.fdopen(descriptor, "rb")
        os.close(descriptor)
        what = "is a folder" if stat.S_ISDIR(mode) else "is a device or a pipe"
        raise InputError(f"{what}, not a file", where=str(path), mend="name a file")
    except FileNotFoundError:
        raise InputError("no such file", where=str(path), mend="check the path") from None
    except ValueError:
        raise InputError("is not a valid path", where=repr(str(path)), mend="check the path") from None
    except OSError as error:
        raise InputError(f"cannot be read ({reason(error)})", where=str(path), mend="check its permissions") from error


@dataclass(frozen=True)
class FileRecord:
    """A file by what it contained when it was read."""

    path: str
    sha256: str
    size: int


def read_bytes(path: Path) -> tuple[bytes, FileRecord]:
    """A file's content and the digest of that very content."""
    try:
        with open_input(path) as file:
            content = file.read()
    except OSError as error:
        raise InputError(f"cannot be read ({reason(error)})", where=str(path), mend="check the disk") from error
    return content, FileRecord(str(path), hashlib.sha256(content).hexdigest(), len(content))


def read_text(path: Path) -> tuple[str, FileRecord]:
    """The text of a UTF-8 file, and its digest."""
    content, record = read_bytes(path)
    return decode(content, path), record


def decode(content: bytes, path: Path) -> str:
    """UTF-8 text, without its byte-order mark."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError("is not UTF-8 text", where=str(path), mend="save it as UTF-8") from None


def digest_stream(file: BufferedReader) -> tuple[str, int]:
    """SHA-256 and length of a file from its start; the position is at the start again afterwards."""
    file.seek(0)
    value = hashlib.file_digest(file, "sha256").hexdigest()
    size = file.tell()
    file.seek(0)
    return value, size


def remove_quietly(path: Path) -> None:
    """Remove a file if it is there."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
