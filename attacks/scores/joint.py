"""Several numbers of a record at once (views of it, or two releases), with the correlation between them: Gaussian or multivariate t."""

from dataclasses import dataclass

import numpy as np
from scipy import special

from certify.attacks.scores.student import LOST, Variance
from certify.core.arrays import AnyArray, FloatArray, IntArray

_BLOCK = 2**21


@dataclass(frozen=True, eq=False)
class JointMoments:
    """As :class:`~certify.attacks.scores.student.Moments`, with scatter matrices.

    Attributes:
        count: references of each record, (N,).
        mean: (N, A).
        scatter: sum of outer products about the mean, (N, A, A).
    """

    count: IntArray
    mean: FloatArray
    scatter: FloatArray

    @classmethod
    def of(cls, values: AnyArray) -> "JointMoments":
        """Of values (K, N, A); a model with a NaN in one view is no reference for this record."""
        _, records, views = values.shape
        width = max(1, _BLOCK // max(1, values[:, :1].size))
        count = np.zeros(records, dtype=np.int64)
        mean, scatter = np.zeros((records, views)), np.zeros((records, views, views))
        for start in range(0, records, width):
            part = slice(start, start + width)
            block = np.asarray(values[:, part], dtype=np.float64)
            all_there = ~np.asarray(np.isnan(block).any(axis=2))
            count[part], there = all_there.sum(axis=0), all_there[..., None]
            mean[part] = np.where(there, block, 0.0).sum(axis=0) / np.maximum(count[part], 1)[:, None]
            centred = np.where(there, block - mean[part], 0.0)
            scatter[part] = np.einsum("kna,knb->nab", centred, centred)
        return cls(count, mean, scatter)

    def without(self, own: FloatArray) -> "JointMoments":
        """Without one model, whose values (N, A) were among them where they are not NaN."""
        there = ~np.asarray(np.isnan(own).any(axis=1))
        left = self.count - there
        step, some = np.where(there[:, None], own - self.mean, 0.0), np.maximum(left, 1)
        mean = np.where(left[:, None] > 0, self.mean - step / some[:, None], 0.0)
        scatter = self.scatter - (self.count / some)[:, None, None] * step[:, :, None] * step[:, None, :]
        return JointMoments(left, mean, np.where(left[:, None, None] > 1, scatter, 0.0))

    def leaving_out(self, row: int, values: AnyArray) -> "JointMoments":
        """:meth:`without` row ``row`` of the values they are of, anew where that one was nearly all of the scatter."""
        less = self.without(np.asarray(values[row], dtype=np.float64))
        after, before = (np.trace(one, axis1=1, axis2=2) for one in (less.scatter, self.scatter))
        lost = np.flatnonzero((after < LOST * before) & (less.count > 1))
        if lost.size:
            again = JointMoments.of(np.delete(values[:, lost], row, axis=0))
            less.mean[lost], less.scatter[lost] = again.mean, again.scatter
        return less

    def pooled(self) -> FloatArray:
        """Covariance within records, over all of them, (A, A)."""
        return np.asarray(self.scatter.sum(axis=0) / max(int(np.maximum(self.count - 1, 0).sum()), 1))


@dataclass(frozen=True, eq=False)
class JointPredictive:
    """The distribution of one more vector of each record.

    Attributes:
        location: (N, A).
        shape: covariance of a Gaussian, or shape matrix of a t, (N, A, A).
        df: degrees of freedom, (N,); None for a Gaussian.
    """

    location: FloatArray
    shape: FloatArray
    df: FloatArray | None

    @classmethod
    def of(cls, moments: JointMoments, variance: Variance, prior_df: float) -> "JointPredictive":
        """Fit to moments; with one view, :class:`~certify.attacks.scores.student.Predictive`.

        ``student``: flat prior of the mean, inverse Wishart prior of the covariance with ``prior_df + A - 1`` degrees of freedom and
        scale ``prior_df * pooled``, so that the predictive has ``n - 1 + prior_df`` whatever A is.
        """
        n, pooled, df = np.maximum(moments.count, 1), moments.pooled(), None
        if variance == "student":
            df = n - 1 + prior_df
            shape = (moments.scatter + prior_df * pooled) * ((1 + 1 / n) / df)[:, None, None]
        elif variance == "record":
            shape = moments.scatter / np.maximum(n - 1, 1)[:, None, None]
        else:
            shape = np.broadcast_to(pooled, moments.scatter.shape)
        views = shape.shape[-1]
        # views that say the same have a singular covariance: a ridge at the level of rounding
        ridge = 1e-12 * np.trace(shape, axis1=1, axis2=2) + 1e-16 * np.maximum(1.0, (moments.mean**2).sum(axis=1))
        return cls(moments.mean, shape + ridge[:, None, None] * np.eye(views), df)

    def log_density(self, x: FloatArray) -> FloatArray:
        """At x (..., N, A); result (..., N)."""
        records, views = self.location.shape
        width = max(1, _BLOCK // views**2)
        result = np.empty(x.shape[:-1])
        for start in range(0, records, width):
            part = slice(start, start + width)
            root = np.linalg.cholesky(self.shape[part])
            gap = (x[..., part, :] - self.location[part])[..., None]
            square = (np.linalg.solve(root, gap)[..., 0] ** 2).sum(axis=-1)
            half_log_det = np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=-1)
            if self.df is None:
                result[..., part] = -0.5 * square - half_log_det - 0.5 * views * np.log(2 * np.pi)
                continue
            df = self.df[part]
            peak = special.gammaln((df + views) / 2) - special.gammaln(df / 2) - 0.5 * views * np.log(df * np.pi)
            result[..., part] = peak - half_log_det - (df + views) / 2 * np.log1p(square / df)
        return result
