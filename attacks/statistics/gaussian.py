r"""Bounds that lean on a Gaussian model of the attack's scores: far larger than assumption-free ones, and only as good as the model.

Two normal worlds whose means lie mu standard deviations apart are exactly mu-GDP: ``TPR = Phi(mu + Phi^-1(FPR))`` (Dong, Roth, Su 2022).

* From counts at a threshold fixed beforehand: ``mu >= Phi^-1(TPR) - Phi^-1(FPR)`` with Clopper-Pearson limits. This refutes a claim of mu-GDP
  without any model. That the mechanism's *epsilon* is at least that of mu-GDP does suppose that its trade-off curve is Gaussian.
* From scores: with normal scores of one variance, the two-sample t statistic is noncentral t with ``n1 + n0 - 2`` degrees of freedom and
  noncentrality ``mu sqrt(n1 n0/(n1 + n0))``, which is bounded from below by inverting its distribution.

Every bound is clamped at 0: a test that points the wrong way shows nothing, its absolute value least of all. Every result names its model,
and results from scores carry what speaks against it.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri
from scipy.stats import chi2, f

from certify.attacks.statistics.counts import Counts, as_confidence, as_rate, lowest_rate
from certify.core.arrays import AnyArray, FloatArray
from certify.core.bounds import LowerBound
from certify.core.errors import InputError
from certify.core.rounding import down
from certify.privacy import gaussian

_CURVE = 1 + 2.0**-36
"""More than the relative error of the privacy curve (certify.privacy.gaussian raises it by less)."""
_ROUNDING = 1e-9
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(32)


@dataclass(frozen=True)
class Normality:
    """What speaks against normal scores of one variance.

    Attributes:
        first: Anderson-Darling p-value of the first world's scores, mean and variance estimated.
        second: of the second world's.
        first_qq: correlation of the first world's sorted scores with normal quantiles; 1 on a straight line.
        second_qq: of the second world's.
        variance: two-sided p-value of equal variances, by the ratio of the two (F).
    """

    first: float
    second: float
    first_qq: float
    second_qq: float
    variance: float

    @property
    def doubtful(self) -> bool:
        """Whether one of the three p-values is below 0.01: the model should not be relied on."""
        return min(self.first, self.second, self.variance) < 0.01


@dataclass(frozen=True)
class GaussianBound:
    """A bound under the Gaussian model.

    Attributes:
        mu: distance of the two worlds in standard deviations is at least this.
        epsilon: that mu-GDP has at ``delta``, from below.
        delta: of the conversion.
        confidence: of the bound, if the model holds.
        method: how it was made, and what it supposes.
        normality: what speaks against the model; ``None`` where only counts were seen.
    """

    mu: LowerBound
    epsilon: LowerBound
    delta: float
    confidence: float
    method: str
    normality: Normality | None = None


def epsilon_of_mu(mu: float, delta: float) -> LowerBound:
    """Epsilon of mu-GDP at ``delta``, rounded down (:func:`certify.privacy.gaussian.epsilon` rounds up).

    Args:
        mu: at least 0.
        delta: in (0, 1); at 0 no Gaussian mechanism has an epsilon.

    Raises:
        ArgumentError: an argument out of range.
    """
    rate = as_rate(delta, "delta")
    raised = rate * _CURVE
    return LowerBound(max(0.0, down(gaussian.epsilon(mu, raised)))) if raised < 1 else LowerBound(0.0)


def mu_lower_bound(counts: Counts, confidence: float = 0.95) -> LowerBound:
    """The mu that a test's success refutes: no claim of less than mu-GDP can hold. No model is supposed.

    Args:
        counts: of independent trials of a test that was fixed before them.
        confidence: one minus the chance that the bound exceeds the truth.

    Raises:
        ArgumentError: a confidence that makes no sense.
    """
    error = down(1 - as_confidence(confidence)) / 2
    tpr = lowest_rate(counts.true_positives, counts.positives, error)
    tnr = lowest_rate(counts.true_negatives, counts.negatives, error)
    # Phi^-1(TPR) - Phi^-1(FPR), the second by the symmetry of the normal distribution; -inf where a limit is 0
    return LowerBound(max(0.0, down(float(ndtri(tpr) + ndtri(tnr)))))


def gaussian_from_counts(counts: Counts, delta: float, confidence: float = 0.95) -> GaussianBound:
    """Epsilon at ``delta`` from counts at a threshold fixed beforehand, if the mechanism's trade-off curve is Gaussian.

    Raises:
        ArgumentError: a level that makes no sense.
    """
    mu = mu_lower_bound(counts, confidence)
    return GaussianBound(
        mu, epsilon_of_mu(mu, delta), delta, confidence, "model: Gaussian trade-off curve; threshold fixed beforehand"
    )


def noncentrality_lower_bound(statistic: float, freedom: int, error: float) -> float:
    """The least noncentrality at which a t statistic as large as ``statistic`` still has the chance ``error``; may be negative.

    ``P(T >= t) = E Phi(nc - t s)`` with ``freedom s^2`` chi-squared, integrated by Gauss and Legendre on 64 panels: positive terms, so that
    large noncentralities do not cancel.
    """
    low, high = (math.sqrt(float(q) / freedom) for q in (chi2.ppf(1e-16, freedom), chi2.isf(1e-16, freedom)))
    edges = np.linspace(low, high, 65)
    s = (0.5 * (edges[1:, None] + edges[:-1, None]) + 0.5 * np.diff(edges)[:, None] * _NODES).ravel()
    weights = (0.5 * np.diff(edges)[:, None] * _WEIGHTS).ravel()
    weights = weights * chi2.pdf(freedom * s**2, freedom) * 2 * freedom * s

    def excess(noncentrality: float) -> float:
        return float(weights @ ndtr(noncentrality - statistic * s)) - error * (1 - _ROUNDING)

    reach = 40 + abs(statistic) * high
    return float(brentq(excess, -reach, reach, xtol=1e-10)) - 1e-9


def gaussian_from_scores(
    scores: FloatArray, members: AnyArray, delta: float, confidence: float = 0.95
) -> GaussianBound:
    """Epsilon at ``delta`` from the difference of mean scores, if scores are normal with one variance in both worlds.

    Args:
        scores: of independent trials, the higher the more like the first world, (M,).
        members: whether a trial is of the first world, (M,).
        delta: of the conversion, in (0, 1).
        confidence: of the bound, if the model holds.

    Raises:
        ArgumentError: a level that makes no sense.
        InputError: fewer than three trials of a world, scores that are not finite or do not vary.
    """
    error = down(1 - as_confidence(confidence))
    first, second = _worlds(scores, members)
    n1, n0 = len(first), len(second)
    squares = float(np.sum((first - first.mean()) ** 2) + np.sum((second - second.mean()) ** 2))
    if not squares > 0:
        raise InputError(
            "scores do not vary within a world, which no normal scores do",
            where="scores",
            mend="use a bound from counts or bands",
        )
    size, freedom = math.sqrt(n1 * n0 / (n1 + n0)), n1 + n0 - 2
    statistic = float(first.mean() - second.mean()) / math.sqrt(squares / freedom) * size
    mu = LowerBound(max(0.0, down(noncentrality_lower_bound(statistic, freedom, error) / size)))
    return GaussianBound(
        mu,
        epsilon_of_mu(mu, delta),
        delta,
        confidence,
        "model: normal scores of one variance; noncentral t on the mean difference",
        normality(first, second),
    )


def _worlds(scores: FloatArray, members: AnyArray) -> tuple[FloatArray, FloatArray]:
    values, truth = np.asarray(scores, dtype=float), np.asarray(members).astype(bool)
    if values.ndim != 1 or values.shape != truth.shape:
        raise InputError(
            f"scores have shape {values.shape}, members {truth.shape}", where="scores", mend="give one of each a trial"
        )
    if not np.isfinite(values).all():
        raise InputError("a score is not finite", where="scores", mend="use a bound from counts or bands")
    first, second = values[truth], values[~truth]
    if min(len(first), len(second)) < 3:
        raise InputError("a world has fewer than three trials", where="members", mend="give more trials of both worlds")
    return first, second


def normality(first: FloatArray, second: FloatArray) -> Normality:
    """Checks of the model on the scores of both worlds. A world whose scores do not vary is as far from normal as can be."""
    ratio = float(np.var(first, ddof=1) / np.var(second, ddof=1)) if np.ptp(second) > 0 else math.inf
    spread = f(len(first) - 1, len(second) - 1)
    return Normality(
        _anderson_darling(first),
        _anderson_darling(second),
        _straightness(first),
        _straightness(second),
        min(1.0, 2 * float(min(spread.cdf(ratio), spread.sf(ratio)))),
    )


def _anderson_darling(world: FloatArray) -> float:
    from statsmodels.stats.diagnostic import normal_ad

    return float(normal_ad(world)[1]) if np.ptp(world) > 0 else 0.0


def _straightness(world: FloatArray) -> float:
    if not np.ptp(world) > 0:
        return 0.0
    n = len(world)
    expected = ndtri((np.arange(1, n + 1) - 0.375) / (n + 0.25))  # Blom's positions
    return float(np.corrcoef(np.sort(world), expected)[0, 1])
