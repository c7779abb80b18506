"""Choosing a threshold honestly: on one half of the scores, measured on the other."""

from dataclasses import dataclass

import numpy as np

from certify.attacks.statistics.counts import Counts, as_confidence, as_delta
from certify.attacks.statistics.roc import roc
from certify.core.arguments import as_whole
from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import InputError
from certify.core.streams import stream


@dataclass(frozen=True, eq=False)
class Half:
    """Some of the trials.

    Attributes:
        scores: (m,).
        members: whether a trial is of the first world, (m,).
    """

    scores: FloatArray
    members: AnyArray


def split_halves(scores: FloatArray, members: AnyArray, seed: int) -> tuple[Half, Half]:
    """Independent trials split at random into a half to choose on and a half to measure on; each world is split evenly.

    Args:
        scores: (M,).
        members: whether a trial is of the first world, (M,).
        seed: of the split, fixed before the scores are seen: of many seeds the best would be a choice again.

    Raises:
        InputError: fewer than two trials of a world.
    """
    values, truth = np.asarray(scores), np.asarray(members).astype(bool)
    if values.ndim != 1 or values.shape != truth.shape:
        raise InputError(
            f"scores have shape {values.shape}, members {truth.shape}", where="scores", mend="give one of each a trial"
        )
    generator, first = stream(as_whole(seed, "seed"), "audit/halves"), np.zeros(len(values), dtype=bool)
    for world in (True, False):
        trials = generator.permutation(np.flatnonzero(truth == world))
        if len(trials) < 2:
            raise InputError(
                "a world has fewer than two trials", where="members", mend="give more trials of both worlds"
            )
        first[trials[: len(trials) // 2]] = True
    return Half(values[first], truth[first]), Half(values[~first], truth[~first])


def choose_threshold(half: Half, delta: float = 0.0, confidence: float = 0.95) -> float:
    """The threshold whose bound from Clopper-Pearson limits is the largest on these trials. Measure it on others.

    Raises:
        InputError: a world without trials.
    """
    from scipy.stats import beta

    curve, error = roc(half.scores, half.members), (1 - as_confidence(confidence)) / 2
    slack, n1, n0 = as_delta(delta), curve.positives, curve.negatives
    hits, rejections = curve.hits, n0 - curve.alarms
    tpr = np.where(hits > 0, beta.ppf(error, np.maximum(hits, 1), n1 - hits + 1), 0.0)
    tnr = np.where(rejections > 0, beta.ppf(error, np.maximum(rejections, 1), n0 - rejections + 1), 0.0)
    ratio = np.maximum((tpr - slack) / (1 - tnr), (tnr - slack) / (1 - tpr))
    return float(curve.thresholds[int(ratio.argmax())])


def counts_of_halves(
    scores: FloatArray, members: AnyArray, seed: int, delta: float = 0.0, confidence: float = 0.95
) -> Counts:
    """Counts on one half of the trials at the threshold chosen on the other: fit for every method that asks for a fixed test.

    Raises:
        InputError: fewer than two trials of a world.
    """
    choose, measure = split_halves(scores, members, seed)
    return roc(measure.scores, measure.members).counts_at(choose_threshold(choose, delta, confidence))
