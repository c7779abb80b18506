"""Exact p-values from the auditor's own randomness: who was assigned what, and which of two exchangeable models is which."""

import math
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy.stats import rankdata

from certify.attacks.observations import Trials
from certify.core.arrays import FloatArray, IntArray
from certify.core.streams import stream

_DRAWS = 1999
_CLASSES = 64


def assignment_p_value(trials: Trials, *, seed: int = 0, draws: int = _DRAWS) -> float:
    """p-value of "which records were given to forget does not show", two-sided, by permuting labels within each model.

    Where records were assigned by chance, a model that does not depend on that choice makes all assignments of its scored records
    with as many positives equally likely, whatever the scores are and however they depend on each other. The statistic is the sum
    over models of the mean rank of the positives; ranks are kept to 64 classes, which costs a four-thousandth of their variance, so that an
    assignment is one multivariate hypergeometric draw.

    Args:
        trials: positive and negative records of each model.
        seed: of the permutations.
        draws: permutations; the p-value is at least 1 / (draws + 1).

    Returns:
        ``(1 + #{|T*| >= |T|}) / (draws + 1)``.
    """
    observed, drawn = 0.0, np.zeros(draws)
    order = np.argsort(trials.models, kind="stable")
    models, starts = np.unique(np.asarray(trials.models)[order], return_index=True)
    for place, mine in zip(range(len(models)), np.split(order, starts[1:]), strict=True):
        positive = np.asarray(trials.positive)[mine].astype(bool)
        count = int(positive.sum())
        if count in {0, len(positive)}:
            continue
        heights, own, sizes = _classes(trials.scores[mine])
        expected = float(np.average(heights, weights=sizes))
        observed += float(heights[own][positive].mean()) - expected
        drawn += _sums(seed, place, tuple(sizes.tolist()), tuple(heights.tolist()), count, draws) / count - expected
    return float((1 + np.count_nonzero(np.abs(drawn) >= abs(observed) - 1e-9)) / (draws + 1))


def _classes(scores: FloatArray) -> tuple[FloatArray, IntArray, IntArray]:
    """Heights of the classes of ranks, each score's class, and how many are in each."""
    ranks = rankdata(scores)
    if len(ranks) > _CLASSES:
        ranks = np.floor((ranks - 1) * _CLASSES / len(ranks))
    heights, own, sizes = np.unique(ranks, return_inverse=True, return_counts=True)
    return heights.astype(np.float64), own, sizes


@lru_cache(maxsize=1024)
def _sums(
    seed: int, place: int, sizes: tuple[int, ...], heights: tuple[float, ...], count: int, draws: int
) -> FloatArray:
    """Summed heights of ``count`` records drawn from classes of these sizes, (draws,).

    Without ties every attack on a model asks for the same draws: they are made once. p-values of several attacks then hang together,
    which they do anyhow, and which Holm's correction allows.
    """
    # shuffling costs by the record, drawing class by class by the class
    method: Literal["count", "marginals"] = "count" if count < 10 * len(sizes) else "marginals"
    rng = stream(seed, f"assignment/{place}")
    chosen = rng.multivariate_hypergeometric(sizes, count, size=draws, method=method)
    found = np.asarray(chosen @ np.array(heights))
    found.setflags(write=False)
    return found


def paired_p_value(first: FloatArray, second: FloatArray, *, seed: int = 0, draws: int = 9999) -> float:
    """p-value of "the two worlds are exchangeable, model by model", two-sided, by flipping signs of the differences.

    Args:
        first: one statistic a model of the first world, (K,).
        second: the same for its twin in the second world, (K,). Twins of which one has no statistic (NaN) are left out: who has one
            depends on the assignment alone.
        seed: of the sign flips; all of them are tried where they are no more than ``draws``.
        draws: sign flips.

    Returns:
        ``(1 + #{|T*| >= |T|}) / (draws + 1)``, T the sum of differences; the share of all flips where all are tried.
    """
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    known = ~np.isnan(first - second)
    first, second = first[known], second[known]
    if np.array_equal(first, second):  # no twins at all among them
        return 1.0

    gaps, rng = first - second, stream(seed, "signs")
    if len(gaps) <= math.log2(draws):
        every = np.arange(2 ** len(gaps))[:, None] >> np.arange(len(gaps)) & 1
        drawn, known_one = (1.0 - 2.0 * every) @ gaps, 0
    else:
        drawn, known_one = (1.0 - 2.0 * rng.integers(0, 2, (draws, len(gaps)), dtype=np.int8)) @ gaps, 1
    far = np.abs(drawn) >= abs(gaps.sum()) - 1e-12 * np.abs(gaps).sum()
    return float((known_one + np.count_nonzero(far)) / (known_one + len(drawn)))
