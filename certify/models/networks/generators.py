"""Torch's global generators, seeded for a while and then as they were."""

from collections.abc import Iterator
from contextlib import contextmanager

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


def generator_state(device: torch.device) -> torch.Tensor:
    """Where the device's generator stands."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()
