"""The same work on several parts at once, in threads: NumPy lets go of the interpreter while it computes."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Part = TypeVar("Part")
Outcome = TypeVar("Outcome")


def cores() -> int:
    """Cores this process may use; OMP_NUM_THREADS, where it is a number, is respected as a limit."""
    # sched_getaffinity knows what a container was given, where the system has it
    given = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(given, int(limit))) if limit.isdecimal() else given


def run_all(work: Callable[[Part], Outcome], parts: Sequence[Part]) -> list[Outcome]:
    """``[work(part) for part in parts]``, in that order, whatever the number of threads."""
    workers = min(cores(), len(parts))
    if workers <= 1:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(work, parts))
