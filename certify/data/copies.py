"""Records that nearly repeat another one: stored again in lower precision, rounded, converted to another unit and back."""

import math
from collections.abc import Iterator

import numpy as np

from certify.core.arrays import AnyArray, FloatArray, IntArray
from certify.core.rows import blocks, stored_entries
from certify.data.dataset import Dataset
from certify.data.sparse_copies import sparse_near_copies

NEARNESS = 0.01
"""Two records are near copies when they differ by at most this many standard deviations in every feature and in the target."""

_DIRECTIONS, _FEATURES = 8, 64
_WORK = 2_000_000_000
"""Comparisons beyond which the search is not begun; within it is a matter of seconds."""


def near_copies(data: Dataset, other: Dataset) -> int | None:
    """Number of records that lie near some record of ``other`` without being equal to it; None where they were not searched for.

    Near records have near projections on any direction: of a few random ones, each of a few features so that windows stay narrow, the
    first is sorted and the others narrow down what is compared entry by entry. Nothing is missed, but for what rounds at a window's edge.
    Targets count as a feature; a feature without spread must be equal.

    Args:
        data: records to search; not searched when too many would have to be compared.
        other: records to look for, with the same features.
    """
    if stored_entries(data.X) is not None:
        return sparse_near_copies(data, other, NEARNESS, _WORK)
    centre, spread = _moments(data)
    directions = _directions(spread)
    widths = NEARNESS * (spread @ np.abs(directions)) * 1.001
    seen, wanted = _project(data, centre, directions), _project(other, centre, directions)
    order = np.argsort(seen[:, 0], kind="stable")
    seen = seen[order]
    first = np.searchsorted(seen[:, 0], wanted[:, 0] - widths[0], "left")
    last = np.searchsorted(seen[:, 0], wanted[:, 0] + widths[0], "right")
    if int(np.sum(last - first)) > _WORK:
        return None
    candidates = [
        order[start + _inside(seen[start:stop, 1:], record[1:], widths[1:])]
        for start, stop, record in zip(first.tolist(), last.tolist(), wanted, strict=True)
    ]
    if sum(map(len, candidates)) * data.X.shape[1] > _WORK:
        return None
    found = np.zeros(len(data), dtype=bool)
    for position, rows in enumerate(candidates):
        record = _columns(other, slice(position, position + 1))[0]
        for start in range(0, len(rows), 1024):
            chunk = np.sort(rows[start : start + 1024])
            found[chunk] |= _near(_columns(data, chunk), record, spread)
    return int(found.sum())


def _columns(data: Dataset, rows: slice | IntArray) -> FloatArray:
    """Features and target side by side, as float64."""
    return np.column_stack([data.X[rows], data.y[rows]]).astype(np.float64, copy=False)


def _all_columns(data: Dataset) -> Iterator[FloatArray]:
    return (_columns(data, rows) for rows in blocks(data.X))


@np.errstate(over="ignore", invalid="ignore")
def _moments(data: Dataset) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation of each column; a deviation that overflows, or is rounding alone, counts as none."""
    nothing = np.zeros(data.X.shape[1] + 1)
    centre = sum((block.sum(0) for block in _all_columns(data)), nothing) / len(data)
    spread = np.sqrt(sum((np.square(block - centre).sum(0) for block in _all_columns(data)), nothing) / len(data))
    usable = np.isfinite(spread) & (spread > np.abs(centre) * math.sqrt(len(data)) * 2.0**-50) & (spread > 1e-150)
    return np.where(usable, centre, 0.0), np.where(usable, spread, 0.0)


def _directions(spread: FloatArray) -> FloatArray:
    """Random directions in units of each feature's spread, of few features each; the same ones every time."""
    rng, varying = np.random.default_rng(0), np.flatnonzero(spread)
    directions = np.zeros((len(spread), _DIRECTIONS))
    for column in range(_DIRECTIONS):
        used = rng.permutation(varying)[:_FEATURES]
        directions[used, column] = rng.normal(size=len(used)) / spread[used]
    return directions


@np.errstate(over="ignore", invalid="ignore")
def _project(data: Dataset, centre: FloatArray, directions: FloatArray) -> FloatArray:
    # a column without spread may hold numbers that overflow: it is left out, not multiplied by zero
    used = np.flatnonzero(np.any(directions, axis=1))
    return np.concatenate([(block[:, used] - centre[used]) @ directions[used] for block in _all_columns(data)])


def _inside(seen: FloatArray, record: FloatArray, widths: FloatArray) -> IntArray:
    """Places in a window that are within every other width too."""
    places = np.arange(len(seen))
    for column, width in enumerate(widths):
        places = places[np.abs(seen[places, column] - record[column]) <= width]
    return places


def _near(rows: FloatArray, record: FloatArray, spread: FloatArray) -> AnyArray:
    """Which rows are near one record and not equal to it."""
    gap = np.abs(rows - record)
    near: AnyArray = np.all(gap <= NEARNESS * spread, axis=1) & np.any(gap > 0, axis=1)
    return near
