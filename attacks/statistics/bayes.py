r"""A credible interval of epsilon from counts (Zanella-Beguelin and others 2023). A belief, not a bound at a stated confidence.

False-negative and false-positive rate get independent Jeffreys posteriors ``Beta(1/2 + errors, 1/2 + successes)``. The chance that epsilon is at most e is
the posterior mass of the region of (e, delta) guarantees (Kairouz, Oh, Viswanath 2015), with ``k = exp(e)``:

    FNR + k FPR >= 1 - delta,    FPR + k FNR >= 1 - delta,    and both with the rates replaced by one minus them.

For a given FPR the region is an interval of FNR, whose mass is a difference of Beta distribution functions: one integral remains. It is taken over
``FPR = sin^2(a)``, where the Jeffreys posterior is smooth, by Gauss and Legendre between the kinks of the region.
"""

import math

import numpy as np
from scipy.optimize import brentq
from scipy.special import betainc, betaln, xlogy
from scipy.stats import beta

from certify.attacks.estimates import Estimate
from certify.attacks.statistics.counts import Counts, as_confidence, as_delta
from certify.core.arguments import at_least, shown
from certify.core.arrays import FloatArray
from certify.core.errors import ArgumentError

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(48)
_LARGEST = 700.0


def _mass_given(fpr: FloatArray, counts: Counts, ratio: float, delta: float) -> FloatArray:
    """Posterior mass of the false-negative rates that the region allows beside ``fpr``."""
    low = np.maximum(1 - delta - ratio * fpr, (1 - delta - fpr) / ratio)
    high = np.minimum(1 - (1 - delta - ratio * (1 - fpr)), 1 - (fpr - delta) / ratio)
    low, high = np.clip(low, 0, 1), np.clip(high, 0, 1)
    a, b = 0.5 + counts.false_negatives, 0.5 + counts.true_positives
    return np.maximum(0.0, np.where(high > low, betainc(a, b, high) - betainc(a, b, low), 0.0))


def epsilon_posterior(counts: Counts, epsilon: float, delta: float = 0.0) -> float:
    """Posterior chance that the test's epsilon at ``delta`` is at most ``epsilon``.

    Raises:
        ArgumentError: an epsilon or delta that makes no sense.
    """
    claimed, slack = at_least(epsilon, "epsilon"), as_delta(delta)
    if not claimed >= 0:
        raise ArgumentError(
            f"epsilon must be at least 0, not {shown(claimed)}", where="epsilon", mend="correct the value"
        )
    ratio = math.exp(min(claimed, _LARGEST))
    a, b = 0.5 + counts.false_positives, 0.5 + counts.true_negatives
    kink = (1 - slack) / (1 + ratio)
    rates = np.array([kink, 1 - kink, slack, 1 - slack, (1 - slack) / ratio, 1 - (1 - slack) / ratio])
    # and where the mass lies, so that no panel is much wider than it
    spread = np.concatenate([beta.ppf([1e-12, 1e-6, 0.01, 0.25, 0.5], a, b), beta.isf([1e-12, 1e-6, 0.01, 0.25], a, b)])
    angles = np.arcsin(np.sqrt(np.clip(np.concatenate([rates, spread, [0.0, 1.0]]), 0, 1)))
    edges = np.unique(angles)
    half = 0.5 * np.diff(edges)[:, None]
    angle = 0.5 * (edges[1:] + edges[:-1])[:, None] + half * _NODES
    fpr = np.sin(angle) ** 2
    density = 2 * np.exp(xlogy(2 * a - 1, np.sin(angle)) + xlogy(2 * b - 1, np.cos(angle)) - betaln(a, b))
    return min(1.0, float(np.sum(half * _WEIGHTS * density * _mass_given(fpr, counts, ratio, slack))))


def credible_interval(counts: Counts, delta: float = 0.0, confidence: float = 0.95) -> Estimate:
    """Equal-tailed credible interval of the test's epsilon at ``delta``, with the posterior median as its value.

    Args:
        counts: of independent trials of a test that was fixed before them.
        delta: of the guarantee.
        confidence: posterior mass of the interval. Nothing is promised of how often such intervals hold the truth.

    Returns:
        The estimate; its ``method`` says "credible".

    Raises:
        ArgumentError: a level that makes no sense.

    >>> found = credible_interval(Counts(487, 487, 512, 513), delta=1e-5, confidence=0.9)
    >>> round(found.lower, 2), round(found.upper, 2)
    (0.14, 6.42)
    """
    slack, tail = as_delta(delta), (1 - as_confidence(confidence)) / 2

    def quantile(chance: float) -> float:
        if epsilon_posterior(counts, 0.0, slack) >= chance:
            return 0.0
        high = 1.0
        while epsilon_posterior(counts, high, slack) < chance:
            high *= 2
            if high > _LARGEST:
                return math.inf
        return float(brentq(lambda e: epsilon_posterior(counts, e, slack) - chance, 0.0, high, xtol=1e-9))

    low, middle, high = (quantile(chance) for chance in (tail, 0.5, 1 - tail))
    return Estimate(
        middle,
        low,
        high,
        confidence,
        "credible, not confidence: joint posterior of both rates, Jeffreys priors",
        counts.positives + counts.negatives,
    )
