"""What a method could leave changed in the process: looked at around every run, and put back."""

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Switch:
    """One thing of the process's.

    Attributes:
        name: for messages.
        look: its present value, comparable by ``==``.
        put: sets it.
    """

    name: str
    look: Callable[[], Any]
    put: Callable[[Any], object]


@contextmanager
def watched_process(changed: set[str]) -> Iterator[None]:
    """Add the names of what the block leaves changed, and put it back, so that one method's mistake is not the next one's."""
    before = [(switch, switch.look()) for switch in switches()]
    try:
        yield
    finally:
        for switch, value in before:
            if switch.look() != value:
                changed.add(switch.name)
                switch.put(value)


def switches() -> list[Switch]:
    """Generators, modes and flags. Torch's are looked at where it is loaded."""
    found = [
        Switch("NumPy's global generator", _numpy_state, np.random.set_state),
        Switch("Python's global generator", random.getstate, random.setstate),
        Switch("NumPy's error mode", np.geterr, lambda value: np.seterr(**value)),
    ]
    return [*found, *_of_torch()] if "torch" in sys.modules else found


def _of_torch() -> list[Switch]:
    import torch

    def flag(owner: Any, name: str) -> Switch:
        return Switch(f"cudnn.{name}", lambda: getattr(owner, name), lambda value: setattr(owner, name, value))

    return [
        Switch(
            "torch's global generator",
            lambda: tuple(torch.get_rng_state().tolist()),
            lambda value: torch.set_rng_state(torch.tensor(value, dtype=torch.uint8)),
        ),
        Switch("the grad mode", torch.is_grad_enabled, torch.set_grad_enabled),
        Switch("the default type", torch.get_default_dtype, torch.set_default_dtype),
        Switch("the number of threads", torch.get_num_threads, torch.set_num_threads),
        Switch(
            "deterministic algorithms",
            torch.are_deterministic_algorithms_enabled,
            torch.use_deterministic_algorithms,
        ),
        flag(torch.backends.cudnn, "benchmark"),
        flag(torch.backends.cudnn, "deterministic"),
    ]


def _numpy_state() -> tuple[Any, ...]:
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 - looked at because a method may have touched it
    return (kind, tuple(np.asarray(keys).tolist()), *rest)
