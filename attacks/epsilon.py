"""Lower bounds on epsilon from the success of one attack."""

import math

from certify.attacks.statistics.counts import Counts, as_confidence, as_delta, lowest_rate
from certify.core.arguments import shown
from certify.core.arrays import AnyArray, FloatArray
from certify.core.bounds import LowerBound
from certify.core.errors import ArgumentError
from certify.core.rounding import down

METHODS = ("clopper-pearson", "exact")
"""How :func:`epsilon_lower_bound` bounds both rates: one limit each, or one exact test of the two together."""

SCORE_METHODS = ("bands", "split")
"""How :func:`epsilon_from_scores` pays for choosing the threshold."""


def _log_ratio(numerator: float, denominator: float) -> float:
    return math.log(numerator / denominator) if numerator > denominator else 0.0


def epsilon_lower_bound(
    true_positives: int,
    positives: int,
    false_positives: int,
    negatives: int,
    delta: float = 0.0,
    confidence: float = 0.95,
    method: str = "clopper-pearson",
) -> LowerBound:
    """The epsilon that a test's success refutes: no (epsilon, ``delta``) guarantee below it can hold.

    Under such a guarantee every test has ``TPR <= exp(epsilon) FPR + delta`` and ``TNR <= exp(epsilon) FNR + delta``
    (Kairouz, Oh, Viswanath 2015). With ``clopper-pearson`` TPR is bounded from below and FPR from above by exact limits, each at
    half the allowed error; ``exact`` inverts one exact test of both inequalities
    (:func:`certify.attacks.statistics.exact.exact_lower_bound`): usually a larger bound from the same counts, in seconds above 20,000
    trials. Either holds with probability ``confidence`` over the draw of the trials. The test and the method must have been fixed before
    these trials were looked at: a threshold chosen on them needs a correction (:mod:`certify.attacks.statistics.bands`).

    Args:
        true_positives: trials of the first world that the test calls so, of ``positives`` independent ones.
        positives: trials in the first world.
        false_positives: trials of the second world that the test calls first, of ``negatives``.
        negatives: trials in the second world.
        delta: of the guarantee tested.
        confidence: of the bound.
        method: one of :data:`METHODS`.

    Raises:
        ArgumentError: counts, levels or a method that make no sense (an InputError, and a ValueError).

    >>> print(epsilon_lower_bound(1000, 1000, 0, 1000), epsilon_lower_bound(1000, 1000, 0, 1000, method="exact"))
    5.6 6.5
    """
    counts = Counts(true_positives, positives, false_positives, negatives)
    delta, confidence = as_delta(delta), as_confidence(confidence)
    if method == "exact":
        from certify.attacks.statistics.exact import exact_lower_bound

        return exact_lower_bound(counts, delta, confidence)
    if method != "clopper-pearson":
        raise ArgumentError(
            f"there is no method {shown(method)}", where="method", mend=f"use one of {', '.join(METHODS)}"
        )
    error = (1 - confidence) / 2
    tpr = lowest_rate(counts.true_positives, counts.positives, error)
    tnr = lowest_rate(counts.true_negatives, counts.negatives, error)
    found = max(_log_ratio(tpr - delta, 1 - tnr), _log_ratio(tnr - delta, 1 - tpr))
    return LowerBound(max(0.0, down(found)))


def epsilon_from_scores(
    scores: FloatArray,
    members: AnyArray,
    delta: float = 0.0,
    confidence: float = 0.95,
    method: str = "bands",
    seed: int = 0,
) -> LowerBound:
    """The epsilon that an attack's scores refute, with the threshold chosen from them and the choice accounted for.

    ``bands`` uses limits that hold at every threshold at once (:mod:`certify.attacks.statistics.bands`); ``split`` chooses the threshold on one
    random half and measures it by the exact test on the other (:mod:`certify.attacks.statistics.halves`). Choose the method before the scores
    are seen: the better of both is a choice again. Trials must be independent: one score a model.

    Args:
        scores: the higher the more like the first world, (M,).
        members: whether a trial is of the first world, (M,).
        delta: of the guarantee tested.
        confidence: of the bound.
        method: one of :data:`SCORE_METHODS`.
        seed: of the split.

    Raises:
        ArgumentError: a level or a method that makes no sense.
        InputError: scores and truths that do not fit together, or too few of them.
    """
    if method not in SCORE_METHODS:
        raise ArgumentError(
            f"there is no method {shown(method)}", where="method", mend=f"use one of {', '.join(SCORE_METHODS)}"
        )
    if method == "bands":
        from certify.attacks.statistics.roc import roc

        return roc(scores, members).epsilon_lower_bound(delta, confidence)
    from certify.attacks.statistics.exact import exact_lower_bound
    from certify.attacks.statistics.halves import counts_of_halves

    return exact_lower_bound(counts_of_halves(scores, members, seed, delta, confidence), delta, confidence)
