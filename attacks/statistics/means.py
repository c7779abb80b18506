"""Rates, AUC and epsilon of an attack on several models, where the MODEL is the independent unit.

Scores of one model depend on each other: a model that happens to fit badly flags many records at once. What is independent is one
number a model, such as the share of its forgotten records that are flagged; it lies in [0, 1], and
:mod:`certify.attacks.statistics.betting` bounds its mean without any further assumption.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import rankdata

from certify.attacks.estimates import Estimate
from certify.attacks.observations import Trials
from certify.attacks.statistics.betting import as_level, log_slack, log_wealth, mean_interval
from certify.attacks.statistics.counts import as_delta
from certify.core.arguments import as_number
from certify.core.arrays import AnyArray, FloatArray
from certify.core.bounds import LowerBound
from certify.core.errors import ArgumentError, InputError
from certify.core.rounding import down
from certify.core.streams import stream

# What flags positives, and what spares negatives, gets 0.45 of the wealth each; the reverse, which shows a record forgotten more
# than a retrained model forgets it, 0.05 each.
_SIDES = np.log([0.45, 0.45, 0.05, 0.05])


@dataclass(frozen=True)
class Rates:
    """Rates of one test, each with its interval over models; the two intervals hold one by one at their confidence.

    Attributes:
        tpr: expected share of a model's positive records that are flagged.
        fpr: of its negative records.
        threshold: records with a score of at least this are flagged.
    """

    tpr: Estimate
    fpr: Estimate
    threshold: float


def truth(trials: Trials) -> AnyArray:
    """Which trials are positive, as booleans.

    Raises:
        InputError: other values than 0 and 1, or no trial at all.
    """
    positive = np.asarray(trials.positive)
    if not positive.size or not np.isin(positive, (0, 1)).all():
        raise InputError(
            "the truth is not 0 or 1 in every trial", where="trials", mend="mark each trial positive or negative"
        )
    return positive.astype(bool)


def shares(trials: Trials, threshold: float) -> tuple[FloatArray, FloatArray]:
    """Share of each model's positive and negative records with a score of at least ``threshold``, (K,) each; NaN where it has none."""
    positive = truth(trials)
    _, model = np.unique(trials.models, return_inverse=True)
    count, flagged = int(model.max()) + 1, trials.scores >= threshold
    both = []
    for side in (positive, ~positive):
        total = np.bincount(model[side], minlength=count)
        hits = np.bincount(model[side & flagged], minlength=count)
        both.append(np.where(total > 0, hits / np.maximum(total, 1), np.nan))
    return both[0], both[1]


def _mean(values: FloatArray, confidence: float, what: str) -> Estimate:
    known = values[~np.isnan(values)]
    if not known.size:
        raise InputError(f"no model has {what}", where="trials", mend="score records of both kinds")
    found = mean_interval(known, confidence)
    return Estimate(found.value, found.lower, found.upper, confidence, "betting, over models", found.units)


def _as_threshold(value: object) -> float:
    number = as_number(value, "threshold")
    if math.isnan(number):
        raise ArgumentError("is not a number", where="threshold", mend="give the score from which a record is flagged")
    return number


def rate_over_models(trials: Trials, threshold: float, confidence: float = 0.95) -> Rates:
    """True and false positive rate of the test ``score >= threshold``, with models as the independent units.

    Each rate is the mean over models of the share of a model's records that are flagged. Models must be independent of each
    other; records of one may depend on each other in any way. The threshold must not have been chosen on these trials
    (:func:`threshold_at` on other models, see :func:`split_models`).

    Args:
        trials: an attack's scores.
        threshold: fixed beforehand.
        confidence: of each interval, two-sided.

    Raises:
        InputError: no model has positive, or negative, records.
    """
    positive, negative = shares(trials, _as_threshold(threshold))
    return Rates(
        _mean(positive, confidence, "positive records"),
        _mean(negative, confidence, "negative records"),
        float(threshold),
    )


def auc_of_models(trials: Trials) -> FloatArray:
    """AUC of each model's positive against its negative records, ties counting half, (K,); NaN where one kind is missing."""
    positive = truth(trials)
    names, model = np.unique(trials.models, return_inverse=True)
    order = np.argsort(model, kind="stable")
    ends = np.searchsorted(model[order], np.arange(len(names) + 1))
    found = np.full(len(names), np.nan)
    for k, (start, stop) in enumerate(itertools.pairwise(ends)):
        chosen = order[start:stop]
        own = positive[chosen]
        first, second = int(own.sum()), int((~own).sum())
        if first and second:
            ranks = rankdata(trials.scores[chosen])
            found[k] = (ranks[own].sum() - first * (first + 1) / 2) / (first * second)
    return np.asarray(np.clip(found, 0, 1))


def auc_over_models(trials: Trials, confidence: float = 0.95) -> Estimate:
    """Mean over models of the AUC within a model, with models as the independent units.

    Raises:
        InputError: no model has both kinds of records.
    """
    return _mean(auc_of_models(trials), confidence, "both positive and negative records")


def threshold_at(trials: Trials, fpr: float) -> float:
    """The lowest score that flags at most a share ``fpr`` of the negative trials, all models together.

    To be used on other trials than these. Infinite where not even the highest score will do.
    """
    return float(thresholds_at(trials, [fpr])[0])


def thresholds_at(trials: Trials, rates: Sequence[float] | FloatArray) -> FloatArray:
    """:func:`threshold_at` for several rates, for one sorting."""
    negative = np.sort(trials.scores[~truth(trials)])
    allowed = np.array([math.floor(as_number(rate, "fpr") * negative.size * (1 + 1e-12)) for rate in rates], dtype=int)
    most = np.clip(negative.size - 1 - allowed, 0, max(negative.size - 1, 0))
    # one above the first score too many: records that tie with it are not flagged either
    above = np.nextafter(negative[most], math.inf) if negative.size else np.full(len(allowed), -math.inf)
    return np.asarray(np.where(allowed >= negative.size, -math.inf, above))


def split_models(trials: Trials, share: float = 0.5, seed: int = 0) -> tuple[Trials, Trials]:
    """Trials of a random ``share`` of the models, and of the others.

    Raises:
        InputError: one part would have no model.
    """
    names = np.unique(trials.models)
    first = round(as_level(share, "share") * len(names))
    if not 0 < first < len(names):
        raise InputError(f"{len(names)} models cannot be split", where="trials", mend="give two models or more")
    chosen = np.isin(trials.models, stream(seed, "split of models").permutation(names)[:first])
    return pick(trials, chosen), pick(trials, ~chosen)


def pick(trials: Trials, chosen: AnyArray) -> Trials:
    """Some trials, by a mask or by their numbers."""
    return Trials(
        trials.scores[chosen], np.asarray(trials.positive)[chosen], trials.models[chosen], trials.records[chosen]
    )


def _log_evidence(hits: FloatArray, alarms: FloatArray, ratio: float, delta: float) -> float:
    """Log of an e-value against ``mean(hits) <= ratio * mean(alarms) + delta``, no larger at any smaller ratio of at least 1.

    The wealth multiplies by ``1 - c + c (hits + ratio (1 - alarms))/(ratio + delta)``. That falls with the ratio but for models with
    ``hits < delta (1 - alarms)``, where going down to any smaller ratio costs at most a factor ``1 + delta``: it is taken off here.
    """
    wealth = log_wealth((hits + ratio * (1 - alarms)) / (ratio + delta))
    return wealth - float((hits < delta * (1 - alarms)).sum()) * math.log1p(delta)


def epsilon_lower_bound_over_models(
    trials: Trials, threshold: float, delta: float = 0.0, confidence: float = 0.95
) -> LowerBound:
    """The epsilon that the test ``score >= threshold`` refutes, with models as the independent units.

    Refuted is: for every record i, ``P(flag i | i positive) <= exp(epsilon) P(flag i | i negative) + delta``, and the same for "not
    flagged" and with the two sides exchanged (forgetting too much shows as well). The inequality is linear, so it holds for the averages over records too, whatever the
    dependence among the records of a model: ``E[T_k - exp(epsilon) F_k] <= delta``, T_k and F_k the shares of model k. That is
    tested by betting on the pairs (T_k, F_k), all four forms averaged, with no split of the error between the two rates.

    Positive and negative records must be the same ones in the long run: either each model's are the same (retrained in the
    unlearned one's place), or which of a model's records are positive was drawn at random, anew for each model.

    Args:
        trials: an attack's scores; models without positive or without negative records are left out.
        threshold: fixed beforehand, not on these trials.
        delta: of the guarantee tested.
        confidence: of the bound, one-sided.

    Raises:
        InputError: no model with both kinds, or no record that is positive in one model and negative in another, or both in one.
    """
    slack, level = as_delta(delta), as_level(confidence)
    positive = truth(trials)
    if not np.isin(trials.records[positive], trials.records[~positive]).any():
        raise InputError(
            "no record is seen on both sides: hard records cannot be told from remembered ones",
            where="trials",
            mend="draw anew for each model which records are forgotten, or compare with retrained models on the same records",
        )
    hits, alarms = shares(trials, _as_threshold(threshold))
    known = ~np.isnan(hits) & ~np.isnan(alarms)
    if not known.any():
        raise InputError("no model has both kinds of records", where="trials", mend="score records of both kinds")
    return epsilon_of_shares(hits[known], alarms[known], slack, level)


def epsilon_of_shares(hits: FloatArray, alarms: FloatArray, delta: float, confidence: float) -> LowerBound:
    """:func:`epsilon_lower_bound_over_models` from the two shares of each model, (K,) each."""
    target = -math.log1p(-confidence) + log_slack(4 * hits.size)
    sides = ((hits, alarms), (1 - alarms, 1 - hits), (alarms, hits), (1 - hits, 1 - alarms))

    def evidence(epsilon: float) -> float:
        """Log of the averaged e-value, less what refuting takes; cut off above for the root finder."""
        ratio = math.exp(epsilon)
        found = [weight + _log_evidence(*pair, ratio, delta) for weight, pair in zip(_SIDES, sides, strict=True)]
        return min(float(np.logaddexp.reduce(found)) - target, 5.0)

    if evidence(0.0) < 0:
        return LowerBound(0.0)
    high = max(0.0, -math.log(math.expm1(target / hits.size))) + 1.0  # not even a perfect attack refutes it
    # each epsilon found refuted refutes all below it: it does not matter by which path it was found
    low, step = brentq(evidence, 0.0, high, xtol=1e-12, rtol=1e-12), 1e-12
    while low > 0 and evidence(low) < 0:
        low, step = low - step, 2 * step
    return LowerBound(max(0.0, down(low)))
