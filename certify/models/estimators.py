"""Estimators in skops files: read without running anything, and only where every type in the file is one that skops trusts."""

from pathlib import Path
from typing import Any

from certify.core.errors import InputError
from certify.core.files import FileRecord, read_bytes

SUFFIX = ".skops"
_SHOWN = 5


def load_estimator(path: Path) -> tuple[Any, FileRecord]:
    """Read the object of a skops file.

    Types that skops does not trust are refused with their names; none is ever trusted on the file's own word.

    Raises:
        InputError: missing, damaged, made by types that are not trusted, or skops is not installed.
    """
    content, record = read_bytes(path)
    try:
        from skops.io import get_untrusted_types, loads
    except ImportError:
        raise InputError(
            "needs skops to be read, which is not installed",
            where=str(path),
            mend="pip install 'certify-unlearning[sklearn]', or save plain arrays with numpy.savez (coef, intercept)",
        ) from None
    try:
        untrusted = get_untrusted_types(data=content)
    except Exception:  # noqa: BLE001 - a damaged archive fails in as many ways as it has parts
        raise _damaged(path) from None
    if untrusted:
        names = ", ".join(untrusted[:_SHOWN]) + (
            f" and {len(untrusted) - _SHOWN} more" if len(untrusted) > _SHOWN else ""
        )
        raise InputError(
            f"holds types that are not trusted, loading which could run code: {names}",
            where=str(path),
            mend="load it where you trust it and save plain arrays with numpy.savez (coef, intercept)",
        )
    try:
        return loads(content, trusted=[]), record
    except Exception:  # noqa: BLE001 - the same
        raise _damaged(path) from None


def _damaged(path: Path) -> InputError:
    return InputError("is damaged or no skops file", where=str(path), mend="write it again with skops.io.dump")
