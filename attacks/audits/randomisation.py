"""Exact p-values from the auditor's own randomness: who was assigned what, and which of two exchangeable models is which."""

import numpy as np
from scipy.stats import permutation_test, rankdata

from certify.attacks.observations import Trials
from certify.core.arrays import FloatArray
from certify.core.streams import stream

_DRAWS = 1999
_BINS = 200


def assignment_p_value(trials: Trials, *, seed: int = 0, draws: int = _DRAWS) -> float:
    """p-value of "which records were given to forget does not show", two-sided, by permuting labels within each model.

    Where records were assigned by chance, a model that does not depend on that choice makes all assignments of its scored records
    with as many positives equally likely, whatever the scores are and however they depend on each other. The statistic is the sum
    over models of the mean rank of the positives; ranks are kept to 200 classes, so that an assignment is one multivariate
    hypergeometric draw.

    Args:
        trials: positive and negative records of each model.
        seed: of the permutations.
        draws: permutations; the p-value is at least 1 / (draws + 1).

    Returns:
        ``(1 + #{|T*| >= |T|}) / (draws + 1)``.
    """
    rng = stream(seed, "assignment")
    observed, drawn = 0.0, np.zeros(draws)
    for model in np.unique(trials.models):
        mine = trials.models == model
        positive = np.asarray(trials.positive)[mine].astype(bool)
        count = int(positive.sum())
        if count in {0, len(positive)}:
            continue
        ranks = rankdata(trials.scores[mine])
        level = np.minimum((ranks - 1) * _BINS // len(ranks), _BINS - 1).astype(int) if len(ranks) > _BINS else ranks
        levels, place, sizes = np.unique(level, return_inverse=True, return_counts=True)
        height = np.arange(len(levels)) if len(ranks) > _BINS else levels
        expected = float(np.average(height, weights=sizes))
        observed += float(height[place][positive].mean()) - expected
        chosen = rng.multivariate_hypergeometric(sizes, count, size=draws, method="marginals")
        drawn += chosen @ height / count - expected
    return float((1 + np.count_nonzero(np.abs(drawn) >= abs(observed) - 1e-9)) / (draws + 1))


def paired_p_value(first: FloatArray, second: FloatArray, *, seed: int = 0, draws: int = 9999) -> float:
    """p-value of "the two worlds are exchangeable, model by model", two-sided, by flipping signs of the differences.

    Args:
        first: one statistic a model of the first world, (K,).
        second: the same for its twin in the second world, (K,).
        seed: of the sign flips; all of them are tried where there are few.
        draws: sign flips.
    """
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if np.array_equal(first, second):
        return 1.0

    def statistic(a: FloatArray, b: FloatArray, axis: int = -1) -> FloatArray:
        return np.asarray(np.mean(a - b, axis=axis))

    result = permutation_test(
        (first, second),
        statistic,
        permutation_type="samples",
        vectorized=True,
        n_resamples=draws,
        alternative="two-sided",
        rng=stream(seed, "signs"),
    )
    return min(1.0, float(result.pvalue))
