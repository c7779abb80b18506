"""What a record's phi is expected to be in one world, from few reference models: Gaussian or Student-t predictive."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from certify.core.arrays import AnyArray, FloatArray, IntArray

Variance = Literal["student", "record", "pooled"]
VARIANCES = ("student", "record", "pooled")
"""``student``: each record's own, shrunk towards the pooled one, with the tails that this leaves. ``record``: each record's own, as
published, for 64 references or more. ``pooled``: one for all records, the mean of those *within* records."""

LOST = 1e-8
"""Share of a scatter below which what is left of it after a subtraction is computed anew."""

_BLOCK = 2**21  # numbers looked at at once


@dataclass(frozen=True, eq=False)
class Moments:
    """Count, mean and scatter of each record over reference models; views of a record, if any, stand on the last axis.

    Attributes:
        count: references of each record, (N[, A]).
        mean: their mean, 0 where there are none.
        scatter: sum of squares about the mean, so that the variance is ``scatter / (count - 1)``.
    """

    count: IntArray
    mean: FloatArray
    scatter: FloatArray

    @classmethod
    def of(cls, values: AnyArray) -> "Moments":
        """Of values (K, N[, A]); NaN marks a model that is no reference for this record. Memory beyond the result is bounded."""
        shape, width = values.shape[1:], max(1, _BLOCK // max(1, values[:, :1].size))
        count, mean, scatter = np.zeros(shape, dtype=np.int64), np.zeros(shape), np.zeros(shape)
        for start in range(0, values.shape[1], width):
            part = slice(start, start + width)
            block = np.asarray(values[:, part], dtype=np.float64)
            there = ~np.isnan(block)
            count[part] = there.sum(axis=0)
            mean[part] = np.where(there, block, 0.0).sum(axis=0) / np.maximum(count[part], 1)
            scatter[part] = (np.where(there, block - mean[part], 0.0) ** 2).sum(axis=0)
        return cls(count, mean, scatter)

    def without(self, own: FloatArray) -> "Moments":
        """Without one model, whose values (N[, A]) were among them where they are not NaN.

        ``mean' = mean - d / (n - 1)``, ``scatter' = scatter - d^2 n / (n - 1)`` with ``d = value - mean``.
        """
        there = ~np.isnan(own)
        left = self.count - there
        step = np.where(there, own - self.mean, 0.0)
        mean = np.where(left > 0, self.mean - step / np.maximum(left, 1), 0.0)
        scatter = self.scatter - step**2 * self.count / np.maximum(left, 1)
        return Moments(left, mean, np.where(left > 1, np.maximum(scatter, 0.0), 0.0))

    def leaving_out(self, row: int, values: AnyArray) -> "Moments":
        """:meth:`without` row ``row`` of the values they are of, anew where that one was nearly all of the scatter.

        There, the difference would be rounding alone.
        """
        less = self.without(np.asarray(values[row], dtype=np.float64))
        lost = (less.scatter < LOST * self.scatter) & (less.count > 1)
        if lost.any():
            columns = np.flatnonzero(lost if lost.ndim == 1 else lost.any(axis=1))
            again = Moments.of(np.delete(values[:, columns], row, axis=0))
            less.mean[columns], less.scatter[columns] = again.mean, again.scatter
        return less

    def pooled(self) -> FloatArray:
        """Variance within records, over all of them: sum of scatters / sum of (count - 1); one number, or one a view.

        Not the spread of all values: that has the differences between records in it, which are no noise.
        """
        degrees = np.maximum(self.count - 1, 0).sum(axis=0)
        return np.asarray(self.scatter.sum(axis=0) / np.maximum(degrees, 1))


@dataclass(frozen=True, eq=False)
class Predictive:
    """The distribution of one more value of each record.

    Attributes:
        location: (N[, A]).
        scale: (N[, A]), above zero.
        df: degrees of freedom of the t distribution, (N[, A]); None for a Gaussian.
        peak: logarithm of the density of a standard one at 0, (N[, A]).
    """

    location: FloatArray
    scale: FloatArray
    df: FloatArray | None
    peak: FloatArray

    @classmethod
    def of(cls, moments: Moments, variance: Variance, prior_df: float) -> "Predictive":
        """Fit to moments.

        ``student`` is the posterior predictive under a flat prior of the mean and a scaled inverse chi-squared prior of the variance,
        with ``prior_df`` degrees of freedom at the pooled variance:
        ``t_df(mean, s^2 (1 + 1/n))``, ``df = n - 1 + prior_df``, ``s^2 = (scatter + prior_df pooled) / df``.
        """
        n, pooled = np.maximum(moments.count, 1), moments.pooled()
        df, peak = None, np.full(n.shape, -0.5 * np.log(2 * np.pi))
        if variance == "student":
            df = n - 1 + prior_df
            at = np.arange(n.max(initial=1)) + prior_df  # a table: there are few different numbers of references
            peak = (special.gammaln((at + 1) / 2) - special.gammaln(at / 2) - 0.5 * np.log(at * np.pi))[n - 1]
            square = (moments.scatter + prior_df * pooled) / df * (1 + 1 / n)
        elif variance == "record":
            square = moments.scatter / np.maximum(n - 1, 1)
        else:
            square = np.broadcast_to(pooled, moments.mean.shape)
        # constant values have no spread: a floor far below any difference that a float shows keeps equal worlds equal
        return cls(moments.mean, np.maximum(np.sqrt(square), 1e-8 * np.maximum(1.0, np.abs(moments.mean))), df, peak)

    def log_density(self, x: FloatArray) -> FloatArray:
        """At x, (..., N[, A])."""
        t = (x - self.location) / self.scale
        if self.df is None:
            return np.asarray(self.peak - np.log(self.scale) - 0.5 * t * t)
        return np.asarray(self.peak - np.log(self.scale) - (self.df + 1) / 2 * np.log1p(t * t / self.df))

    def log_upper(self, x: FloatArray) -> FloatArray:
        """Logarithm of the chance of a value of at least x, right far out in the tail."""
        t = (x - self.location) / self.scale
        return np.asarray(special.log_ndtr(-t)) if self.df is None else log_t_upper(t, self.df)


def log_t_upper(t: FloatArray, df: FloatArray) -> FloatArray:
    """``log P(T >= t)`` of a t distribution, also where the chance is below the smallest float.

    There it is ``I_x(df/2, 1/2) / 2`` with ``x = df / (df + t^2)``, and
    ``I_x(a, b) = x^a (1-x)^b 2F1(a+b, 1; a+1; x) / (a B(a, b))`` (DLMF 8.17.8), taken in logarithms.
    """
    t, df = np.broadcast_arrays(t, df)
    chance = special.stdtr(df, -t)
    tiny = chance < 1e-280
    result = np.log(np.where(tiny, 1.0, chance))
    if tiny.any():
        a, square = df[tiny] / 2, t[tiny] ** 2
        x = df[tiny] / (df[tiny] + square)
        log_x = -np.log1p(square / df[tiny])
        series = special.hyp2f1(a + 0.5, 1.0, a + 1.0, x)
        edge = 0.5 * np.log1p(-x) - np.log(a) - special.betaln(a, 0.5)
        result[tiny] = a * log_x + edge + np.log(series) - np.log(2.0)
    return np.asarray(result)
