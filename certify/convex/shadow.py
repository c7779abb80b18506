"""Records in single precision, beside those that count: products that read half as many bytes, with proven errors.

With ``u = 2^-24`` and ``gamma(k) = k u / (1 - k u)``, sums of float32 products obey in any order ``|fl(a.b) - a.b| <= gamma(k) |a|.|b|``, as those
of float64 do (:mod:`certify.convex.enclosure`). That is a million times as much as double precision owes, and nothing where the numbers multiplied
are themselves small: :mod:`certify.convex.trail` asks for no other products. Proofs: docs/theory.md, theorem 5c.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from certify.convex.blocks import as_block
from certify.convex.enclosure import gamma
from certify.convex.losses.base import TINY
from certify.convex.problem import Problem
from certify.core.arrays import AnyArray, FloatArray
from certify.core.stacked import Stacked

_UNIT = 2.0**-24
_LARGEST_BYTES = 512_000_000
"""Beyond this a second copy of the records is not made."""

_LARGEST, _SMALLEST = 2.0**60, 2.0**-60
"""Entries other than 0 lie between these, so that no product or sum overflows, and what underflows is next to nothing."""

_CHUNK_BYTES = 8_000_000
"""What is read once for both products: in cache for the second, and few enough chunks that the interpreter's share does not show."""

_SUMMED = 1024
"""Records whose products are added in single precision before the sum goes on in double."""

_PLAIN_EXPONENT = 900

_MOST_LATER = 4096
"""Records that came later, up to which they are kept as they are."""

_LONGEST = 2**18
"""Features up to which ``gamma`` is a small number."""


def gamma_single(k: int) -> float:
    """``k u / (1 - k u)`` for float32, rounded up, with room for the conversion of both factors and for underflow."""
    return (k + 4) * _UNIT / (1 - (k + 4) * _UNIT) * (1 + 2.0**-20)


class Passed(NamedTuple):
    """What a pass over a shadow found.

    Attributes:
        along: t, (n,).
        spread: the error of t_i is at most this times ``||x_i||``.
        shares: r as made from t, (n,).
        total: ``sum_i r_i x_i``, (p,).
        error: bound on the norm of its error.
    """

    along: FloatArray
    spread: float
    shares: FloatArray
    total: FloatArray
    error: float


@dataclass(frozen=True, eq=False)
class Shadow:
    """The rows of a problem, the column of ones included, rounded to float32.

    Attributes:
        source: the matrix they were copied from; it must not change as long as they are used.
        rows: (n, p), float32.
        tail: rows that came later, as they are, (m, p).
        lengths: upper bounds on the norms of all rows before they were rounded, (n + m,).
        reach: their sum.
    """

    source: object
    rows: AnyArray
    tail: FloatArray
    lengths: FloatArray
    reach: float

    @classmethod
    def of(cls, problem: Problem) -> "Shadow | None":
        """The shadow of a problem's records; None where they lie in a file, are sparse, too many for memory, or out of scale.

        The products are tried on the records themselves: None, too, where one is not within its bound.
        """
        if not _in_memory(problem.X) or problem.shape[1] > _LONGEST:
            return None
        if 4 * problem.records * problem.shape[1] > _LARGEST_BYTES:
            return None
        try:
            rows = np.empty((problem.records, problem.shape[1]), dtype=np.float32)
        except MemoryError:
            return None
        for part, block in problem.chunks():
            size = np.abs(block)
            if not np.all((size == 0) | ((size >= _SMALLEST) & (size <= _LARGEST))):
                return None
            rows[part] = block
        shadow = cls(problem.X, rows, np.zeros((0, problem.shape[1])), problem.norms, float(np.sum(problem.norms)))
        return shadow if shadow._holds(problem) else None

    def beneath(self, problem: Problem) -> "Shadow | None":
        """The shadow of a problem of the same records, or of these and a few that came later; None for others."""
        X = problem.X
        if X is self.source:
            lower = self.tail[:0]
        elif isinstance(X, Stacked) and X.upper is self.source and len(X.lower) <= _MOST_LATER:
            lower = as_block(X.lower, intercept=problem.objective.fit_intercept)
        else:
            return None
        if problem.shape[1] != self.rows.shape[1]:
            return None
        return replace(self, tail=lower, lengths=problem.norms, reach=float(np.sum(problem.norms)))

    @cached_property
    def _ranges(self) -> list[slice]:
        """Chunks of records, each a whole number of sums."""
        records, width = self.rows.shape
        step = _SUMMED * max(1, _CHUNK_BYTES // (4 * width * _SUMMED))
        return [slice(start, min(start + step, records)) for start in range(0, records, step)]

    @np.errstate(over="ignore", under="ignore", invalid="ignore")
    def passed(self, step: FloatArray, share: Callable[[slice, FloatArray], FloatArray]) -> Passed:
        """Both products with the records, which are read once: ``t_i = x_i . step``, and ``sum_i r_i x_i`` for r made from t.

        Args:
            step: a vector, (p,).
            share: from some records and their t as computed, (m,), to their r, (m,).
        """
        scaled, scale = _in_scale(step)
        direction, total = scaled.astype(np.float32), np.zeros(len(step))
        along, shares, largest = np.empty(len(self.lengths)), np.empty(len(self.lengths)), 0.0
        for part in self._ranges:
            block = self.rows[part]
            # to double precision first: the scale may be none of single precision
            along[part] = t = scale * np.asarray(block @ direction, dtype=np.float64)
            shares[part] = share(part, t)
            scaled_shares, size = _in_scale(shares[part])
            single = scaled_shares.astype(np.float32)
            for low in range(0, len(block), _SUMMED):
                some = single[low : low + _SUMMED] @ block[low : low + _SUMMED]
                total += size * np.asarray(some, dtype=np.float64)
            largest = max(largest, size)
        if len(self.tail):  # double precision errs less than either bound below
            part = slice(len(self.rows), len(self.lengths))
            along[part] = t = self.tail @ step
            shares[part] = share(part, t)
            total += shares[part] @ self.tail
        width, raised = len(step), 1 + 2.0**-20
        spread = gamma_single(width) * float(np.sqrt(scaled @ scaled)) * scale * raised
        error = gamma_single(_SUMMED) * float(np.abs(shares) @ self.lengths)
        # each share, and each of its products with an entry of x_i, may have lost 2^-126 of its chunk's scale; entries are 0 or above 2^-60
        error += 2.0**-64 * math.sqrt(width) * self.reach * largest
        # one multiplication and one addition a sum, in double precision
        error += gamma(len(self.rows) // _SUMMED + len(self._ranges) + 8) * float(np.abs(shares) @ self.lengths)
        return Passed(along, spread, shares, total, error * raised + width * TINY)

    def _holds(self, problem: Problem) -> bool:
        """Whether both products keep their bounds for one direction without a pattern: a library may multiply in lower precision still."""
        step = np.cos(np.arange(1.0, problem.shape[1] + 1) ** 2)
        signs = np.cos(np.arange(1.0, problem.records + 1) ** 2)
        exact = problem.scores(np.vstack([step] * problem.outputs))[:, 0]
        found = self.passed(step, lambda part, t: signs[part] + t)
        truth = problem.over_records(lambda part, block: np.asarray(found.shares[part] @ block))
        # double precision errs, too, by a millionth of what is allowed
        within = np.all(np.abs(found.along - exact) <= found.spread * self.lengths * (1 + 2.0**-20))
        return bool(within) and float(np.linalg.norm(found.total - truth)) <= found.error * (1 + 2.0**-20)


def _in_memory(X: object) -> bool:
    """Whether a matrix is an array of this process alone: what lies in a file may be too large, or change."""
    if not isinstance(X, np.ndarray):
        return False
    while isinstance(X, np.ndarray) and not isinstance(X, np.memmap):
        X = X.base
    return X is None


def _in_scale(array: FloatArray) -> tuple[FloatArray, float]:
    """The array over a power of two, its largest entry between 1/2 and 1, and that power; 0 for nothing but zeros."""
    largest = float(np.max(np.abs(array), initial=0.0))
    if largest == 0:
        return array, 0.0
    exponent = int(np.frexp(largest)[1]) if np.isfinite(largest) else 0
    if abs(exponent) < _PLAIN_EXPONENT:  # as exact, and several times as fast
        return array * 2.0**-exponent, 2.0**exponent
    return np.ldexp(array, -exponent), float(np.ldexp(1.0, exponent))
