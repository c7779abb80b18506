"""Writing so that a file is there whole or not at all, and hashing what is read."""

import contextlib
import errno
import glob
import hashlib
import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from certify.core.errors import InputError

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

_NO_ROOM = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


def reason(error: OSError) -> str:
    """The operating system's words for an error, without the path."""
    return (error.strerror or type(error).__name__).lower()


def _write_error(path: Path, error: OSError) -> InputError:
    mend = "make room, or choose another path" if error.errno in _NO_ROOM else "choose another path"
    return InputError(f"cannot be written ({reason(error)})", where=str(path), mend=mend)


def _temporary_prefix(path: Path) -> str:
    return f".{path.name[:40]}."


def _stage(path: Path, content: bytes, mode: int, held: contextlib.ExitStack) -> Path:
    """Write ``content`` beside ``path`` under a temporary name, flushed to disk; locked while ``held`` is open."""
    descriptor, name = tempfile.mkstemp(prefix=_temporary_prefix(path), dir=path.parent)
    held.callback(remove_quietly, Path(name))
    with contextlib.ExitStack() as opened:
        file = opened.enter_context(os.fdopen(descriptor, "wb"))
        _try_lock(descriptor)
        file.write(content)
        file.flush()
        os.fsync(descriptor)
        held.push(opened.pop_all())
    umask = os.umask(0)
    os.umask(umask)
    Path(name).chmod(mode & ~umask)
    return Path(name)


def _try_lock(descriptor: int) -> bool:
    """Lock a file for as long as it is open; the system unlocks what a killed process held."""
    if fcntl is None:
        return False  # type: ignore[unreachable]  # on systems without it
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # somebody else's, or a file system without locks
        return False
    return True


def sweep(path: Path) -> None:
    """Remove the temporary files that killed writers of ``path`` left beside it; those of living ones are locked."""
    with contextlib.suppress(OSError):
        for found in path.parent.glob(f"{glob.escape(_temporary_prefix(path))}????????"):
            with contextlib.suppress(OSError), found.open("rb") as file:
                if _try_lock(file.fileno()):
                    found.unlink()


def write_files(contents: Mapping[Path, bytes], *, mode: int = 0o666) -> None:
    """Write several files: all are staged before the first takes its place, so a full disk leaves none.

    They take their places in the order given. What a killed call left under temporary names is removed by the next.

    Raises:
        InputError: a path cannot be written; no file of this call was replaced.
    """
    staged: dict[Path, Path] = {}
    with contextlib.ExitStack() as held:
        for path, content in contents.items():
            check_writable(path)
            place = path.resolve()  # a link stays a link: what it points to is written
            try:
                sweep(place)
                staged[place] = _stage(place, content, mode, held)
            except OSError as error:
                raise _write_error(path, error) from error
        for place, temporary in staged.items():
            temporary.replace(place)


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


def inode(path: Path) -> int | None:
    """Which file is there; another one after it was replaced. None where there is none."""
    try:
        return path.stat().st_ino
    except (OSError, ValueError):
        return None


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
