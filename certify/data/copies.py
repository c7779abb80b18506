"""Records that nearly repeat another one: stored again in lower precision, rounded, converted to another unit and back."""

import math
from collections.abc import Iterator

import numpy as np

from certify.core.arrays import AnyArray, FloatArray
from certify.data.dataset import Dataset

NEARNESS = 0.01
"""Two records are near copies when they differ by at most this many standard deviations in every feature and in the target."""

_BLOCK_BYTES = 1_000_000
_PAIRS = 2_000_000_000
"""Candidate pairs beyond which the search is not begun; within it is a matter of seconds."""


def near_copies(data: Dataset, other: Dataset) -> int | None:
    """Number of records that lie near some record of ``other`` without being equal to it; None where there are too many to search.

    Near records have near projections on any direction, so only those in a window of a sorted random projection are compared: nothing
    is missed, but for what rounds at the window's edge. Targets count as a feature; a feature without spread must be equal.

    Args:
        data: records to search.
        other: records to look for, with the same features.
    """
    centre, spread = _moments(data)
    scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
    directions = np.random.default_rng(0).normal(size=(len(scale), 2))
    widths = NEARNESS * np.abs(directions[scale > 0]).sum(0) * 1.001
    seen, wanted = _project(data, centre, scale, directions), _project(other, centre, scale, directions)
    order = np.argsort(seen[:, 0], kind="stable")
    seen = seen[order]
    first = np.searchsorted(seen[:, 0], wanted[:, 0] - widths[0], "left")
    last = np.searchsorted(seen[:, 0], wanted[:, 0] + widths[0], "right")
    if int(np.sum(last - first)) > _PAIRS:
        return None
    found = np.zeros(len(data), dtype=bool)
    for position in range(len(other)):
        window = slice(first[position], last[position])
        second = np.abs(seen[window, 1] - wanted[position, 1]) <= widths[1]
        candidates = order[window][second]
        found[candidates] |= _near(data, candidates, _columns(other, slice(position, position + 1))[0], spread)
    return int(found.sum())


def _columns(data: Dataset, rows: slice | AnyArray) -> FloatArray:
    """Features and target side by side, as float64."""
    return np.column_stack([data.X[rows], data.y[rows]]).astype(np.float64, copy=False)


def _blocks(data: Dataset) -> Iterator[FloatArray]:
    """The columns of all records, in pieces that stay in cache."""
    rows = max(64, _BLOCK_BYTES // (8 * data.X.shape[1]))
    return (_columns(data, slice(start, start + rows)) for start in range(0, len(data), rows))


@np.errstate(over="ignore", invalid="ignore")
def _moments(data: Dataset) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation of each column; a deviation that overflows, or is rounding alone, counts as none."""
    nothing = np.zeros(data.X.shape[1] + 1)
    centre = sum((block.sum(0) for block in _blocks(data)), nothing) / len(data)
    spread = np.sqrt(sum((np.square(block - centre).sum(0) for block in _blocks(data)), nothing) / len(data))
    usable = np.isfinite(spread) & (spread > np.abs(centre) * math.sqrt(len(data)) * 2.0**-50)
    return np.where(usable, centre, 0.0), np.where(usable, spread, 0.0)


def _project(data: Dataset, centre: FloatArray, scale: FloatArray, directions: FloatArray) -> FloatArray:
    """Two random projections of each record, in standard deviations."""
    turned = scale[:, None] * directions
    # a column without spread may hold numbers that overflow; it is left out, not multiplied by zero
    used = scale > 0
    return np.concatenate([(block[:, used] - centre[used]) @ turned[used] for block in _blocks(data)])


def _near(data: Dataset, candidates: AnyArray, record: FloatArray, spread: FloatArray) -> AnyArray:
    """Which candidates are near one record and not equal to it."""
    gap = np.abs(_columns(data, candidates) - record)
    near: AnyArray = np.all(gap <= NEARNESS * spread, axis=1) & np.any(gap > 0, axis=1)
    return near
