"""Mean probabilities of records over reference models, in logarithms, with one model left out or not: what RMIA divides by."""

from dataclasses import dataclass

import numpy as np

from certify.core.arrays import AnyArray, FloatArray


@dataclass(frozen=True, eq=False)
class LogMean:
    """Logarithm of the mean probability of each record over references, with one of them left out or not.

    Everything is relative to the largest one, so that references that all say the same have that as their mean to the last bit:
    ties stay ties.

    Attributes:
        phi: of the references, (K, N), NaN where one is none; not copied.
        top: logarithm of the largest probability, (N,).
        total: sum of probabilities divided by the largest, (N,).
        count: references, (N,).
    """

    phi: FloatArray
    top: FloatArray
    total: FloatArray
    count: AnyArray

    @classmethod
    def of(cls, phi: FloatArray) -> "LogMean":
        """Of references (K, N); beyond phi itself memory for a few rows."""
        highest = np.full(phi.shape[1], -np.inf)
        count = np.zeros(phi.shape[1], dtype=np.int64)
        for row in phi:  # a row at a time: no second array of this size
            np.fmax(highest, row, out=highest)
            count += ~np.isnan(row)
        top = log_p(np.where(count > 0, highest, 0.0))
        total = np.zeros(phi.shape[1])
        for row in phi:
            total += _relative(row, top)
        return cls(phi, top, total, count)

    def without(self, row: int | None) -> FloatArray:
        """``log p(x)``, (N,), of all references or without one; NaN where none is left."""
        if row is None:
            return self._log(self.top, self.total, self.count)
        own = _relative(self.phi[row], self.top)
        left, total, top = self.count - ~np.isnan(self.phi[row]), self.total - own, self.top
        lost = np.flatnonzero((own > 0) & (total < 1e-3 * self.total) & (left > 0))
        if lost.size:  # nearly all of the sum was this model's: subtracting it would leave rounding alone
            others = np.delete(self.phi[:, lost], row, axis=0)
            again = LogMean.of(others)
            top, total = top.copy(), total.copy()
            top[lost], total[lost] = again.top, again.total
        return self._log(top, total, left)

    @staticmethod
    def _log(top: FloatArray, total: FloatArray, count: AnyArray) -> FloatArray:
        with np.errstate(divide="ignore"):
            means = top + np.log(np.maximum(total, 0.0) / np.maximum(count, 1))
        return np.asarray(np.where(count > 0, means, np.nan))


def log_p(phi: FloatArray) -> FloatArray:
    """``log 1 / (1 + exp(-phi))``."""
    return np.asarray(np.minimum(phi, 0.0) - np.log1p(np.exp(-np.abs(phi))))


def _relative(phi: FloatArray, top: FloatArray) -> FloatArray:
    """Probabilities divided by the largest; 0 where a model is no reference."""
    there = ~np.isnan(phi)
    return np.where(there, np.exp(log_p(np.where(there, phi, 0.0)) - np.where(there, top, 0.0)), 0.0)
