"""The user's module at work: whatever it raises is one line, but for a shortage of memory, which is explained elsewhere."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from certify.core.foreign import explained

_SHORTAGES = ("can't allocate memory", "not enough memory", "out of memory", "_STATUS_ALLOC_FAILED")
"""In torch's messages: the allocators of Linux and Windows, CUDA, and its libraries."""


def is_shortage(error: BaseException) -> bool:
    """Whether an error says that memory has run out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(part in str(error) for part in _SHORTAGES)


_HINTS = {
    "setup_context": "give its autograd.Function a setup_context, which torch.func needs",
    "saved tensor hooks": "switch its gradient checkpointing off, which torch.func cannot run",
    "doesn't have storage": "keep to torch in its forward: there are no arrays inside torch.func",
    "forward AD": "a part of it has no second derivatives: use a method that needs none, or another part",
}
"""What torch says of what its function transforms cannot run, and what to do about it."""


def _mend(error: BaseException) -> str:
    known = [hint for words, hint in _HINTS.items() if isinstance(error, RuntimeError) and words in str(error)]
    return known[0] if known else "mend its forward, or what it calls"


def theirs(what: str = "a pass through the model") -> AbstractContextManager[None]:
    """Run the user's module.

    Raises:
        ConfigurationError: it raised something, named by its type and line alone.
    """
    return explained(what, "model", _mend, is_shortage)


@contextmanager
def differentiable_attention() -> Iterator[None]:
    """Inside, attention is computed as it is written: the quick kernels have one derivative, and none in forward mode."""
    quick = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(quick)
