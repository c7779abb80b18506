"""The user's module at work: whatever it raises is one line, but for a shortage of memory, which is explained elsewhere."""

from contextlib import AbstractContextManager

import torch

from certify.core.foreign import foreign

_SHORTAGES = ("can't allocate memory", "not enough memory", "out of memory", "_STATUS_ALLOC_FAILED")
"""In torch's messages: the allocators of Linux and Windows, CUDA, and its libraries."""


def is_shortage(error: BaseException) -> bool:
    """Whether an error says that memory has run out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(part in str(error) for part in _SHORTAGES)


def theirs(what: str = "a pass through the model") -> AbstractContextManager[None]:
    """Run the user's module.

    Raises:
        ConfigurationError: it raised something, named by its type and line alone.
    """
    return foreign(what, "model", "mend its forward, or what it calls", is_shortage)
