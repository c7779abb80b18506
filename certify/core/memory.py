"""Peak memory of a block of work, where the system tells."""

from pathlib import Path
from types import TracebackType

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """Largest memory in a ``with`` block above that at its start.

    On a GPU, which is named as torch names it, what torch allocated there; otherwise the resident memory of the process, whose high-water mark Linux lets a process
    reset. Elsewhere it is not known.

    Attributes:
        above_start: bytes, or None where it cannot be measured; set when the block ends.
    """

    def __init__(self, gpu: str | None = None) -> None:
        self.above_start: int | None = None
        self._gpu, self._start = gpu, 0

    def __enter__(self) -> "PeakMemory":
        if self._gpu is not None:
            import torch

            torch.cuda.reset_peak_memory_stats(self._gpu)
            self._start = torch.cuda.memory_allocated(self._gpu)
            return self
        try:
            _RESET.write_text("5")
            self._start = _high_water()
        except (OSError, ValueError):
            self._start = -1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._gpu is not None:
            import torch

            self.above_start = torch.cuda.max_memory_allocated(self._gpu) - self._start
        elif self._start >= 0:
            self.above_start = max(0, _high_water() - self._start)


def _high_water() -> int:
    """VmHWM in bytes."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise ValueError("no VmHWM")
