"""What an audit of so many trials could prove at best: an audit that cannot refute a claim says nothing by not refuting it."""

import math

from scipy.stats import binom, norm

from certify.attacks.statistics.bands import lower_limits
from certify.attacks.statistics.counts import as_confidence, as_delta, as_rate
from certify.core.arguments import as_whole, at_least, shown
from certify.core.errors import ArgumentError

METHODS = ("clopper-pearson", "exact", "bands")
"""Two limits of one threshold, the exact test of one threshold, or every threshold at once."""


def _largest_error(trials: int, alpha: float, method: str) -> float:
    """u: what both error rates are shown to be below where n trials a world go without an error."""
    if method == "exact":
        # no error in either world has the chance (1 - p0)^n p1^n, at most (1 - u)^(2n) under the guarantee
        return -math.expm1(math.log(alpha) / (2 * trials))
    if method == "bands":
        return 1 - float(lower_limits(trials, alpha / 2)[-1])
    return -math.expm1(math.log(alpha / 2) / trials)


def epsilon_ceiling(
    trials: int, delta: float = 0.0, confidence: float = 0.95, method: str = "clopper-pearson"
) -> float:
    """The lower bound on epsilon that ``trials`` trials of each world prove when not one is called wrong: no result gives more.

    ``log((1 - delta - u)/u)``, u the limit of the error rates: ``1 - (alpha/2)^(1/n)`` for two Clopper-Pearson limits, ``1 - alpha^(1/(2n))``
    for the exact test, ``1 - eta^(1/n)`` for bands of local level eta (:mod:`certify.attacks.statistics.bands`); never below 0.

    Args:
        trials: n, of each world.
        delta: of the guarantee.
        confidence: of the bound.
        method: one of :data:`METHODS`.

    Raises:
        ArgumentError: no trials, a level or a method that makes no sense.

    >>> [round(epsilon_ceiling(n, 1e-5), 2) for n in (50, 100, 500, 1000, 10000)]
    [2.57, 3.28, 4.91, 5.6, 7.9]
    """
    count, slack, alpha = as_whole(trials, "trials"), as_delta(delta), 1 - as_confidence(confidence)
    if count < 1:
        raise ArgumentError(f"there are {shown(count)} trials", where="trials", mend="give at least one")
    if method not in METHODS:
        raise ArgumentError(
            f"there is no method {shown(method)}", where="method", mend=f"use one of {', '.join(METHODS)}"
        )
    error = _largest_error(count, alpha, method)
    return math.log((1 - slack - error) / error) if 1 - slack > 2 * error else 0.0


def trials_needed(epsilon: float, delta: float = 0.0, confidence: float = 0.95, method: str = "clopper-pearson") -> int:
    """The fewest trials of each world that could prove a lower bound of ``epsilon``: the inverse of :func:`epsilon_ceiling`.

    Args:
        epsilon: claim to be refuted, at least 0.
        delta: of the guarantee.
        confidence: of the bound.
        method: one of :data:`METHODS`.

    Raises:
        ArgumentError: an epsilon, level or method that makes no sense; more than 2^40 trials (2^20 with bands).

    >>> trials_needed(4.0, 1e-5)
    204
    """
    claimed, most = at_least(epsilon, "epsilon"), 2**20 if method == "bands" else 2**40
    if not claimed >= 0:
        raise ArgumentError(
            f"epsilon must be at least 0, not {shown(claimed)}", where="epsilon", mend="correct the value"
        )

    def reached(trials: int) -> bool:
        ceiling = epsilon_ceiling(trials, delta, confidence, method)
        return ceiling >= claimed and ceiling > 0

    low, high = 0, 1
    while not reached(high):
        low, high = high, 2 * high
        if high > most:
            raise ArgumentError(
                f"no number of trials up to {most} proves an epsilon of {shown(claimed)}",
                where="epsilon",
                mend="ask for a smaller one",
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def negatives_needed(fpr: float, confidence: float = 0.95, false_positives: int = 0) -> int:
    """How many non-members it takes to show a false-positive rate below ``fpr``, where so many false positives turn up.

    The least n whose one-sided Clopper-Pearson upper limit is at most ``fpr``.

    Raises:
        ArgumentError: a rate, confidence or count that makes no sense.

    >>> [negatives_needed(rate) for rate in (1e-2, 1e-3, 1e-4)]
    [299, 2995, 29956]
    """
    rate, error, found = (
        as_rate(fpr, "fpr"),
        1 - as_confidence(confidence),
        as_whole(false_positives, "false_positives"),
    )
    if found < 0:
        raise ArgumentError(f"is {found}", where="false_positives", mend="give a count")
    low, high = found, found + 1
    while binom.cdf(found, high, rate) > error:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if binom.cdf(found, middle, rate) <= error else (middle, high)
    return high


def negatives_for_precision(fpr: float, relative: float = 0.2, confidence: float = 0.95) -> int:
    """How many non-members it takes to know a rate of about ``fpr`` to within a share ``relative`` of itself.

    ``(z/relative)^2 (1 - fpr)/fpr``, from the normal approximation: a rule for planning, no bound.

    Raises:
        ArgumentError: a rate, share or confidence that makes no sense.

    >>> [negatives_for_precision(rate) for rate in (1e-2, 1e-3, 1e-4)]
    [9508, 95941, 960269]
    """
    rate, share = as_rate(fpr, "fpr"), as_rate(relative, "relative")
    z = float(norm.isf((1 - as_confidence(confidence)) / 2))
    return math.ceil((z / share) ** 2 * (1 - rate) / rate)
