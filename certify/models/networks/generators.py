"""Global generators, seeded for a while and then as they were."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded_generators(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """The generators of the CPU and of a device seeded inside; of every GPU in use, where user's code may draw from any.

    Args:
        seed: of all of them.
        device: where the block draws; None where that is not known.
    """
    if device is None:  # a GPU that nobody uses is not woken for it: its context takes memory
        gpus = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    else:
        gpus = [torch.cuda.current_device() if device.index is None else device.index] if device.type == "cuda" else []
    with torch.random.fork_rng(gpus):
        torch.default_generator.manual_seed(seed)
        for gpu in gpus:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(seed)
        yield


@contextmanager
def seeded_elsewhere(seed: int) -> Iterator[None]:
    """NumPy's and Python's own generators seeded inside, and torch's default type of numbers kept: for user's code that may use any."""
    drawn, theirs, kind = np.random.get_state(), random.getstate(), torch.get_default_dtype()  # noqa: NPY002 - put back
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(drawn)  # noqa: NPY002
        random.setstate(theirs)
        torch.set_default_dtype(kind)


def generator_state(device: torch.device) -> torch.Tensor:
    """Where the device's generator stands."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()
