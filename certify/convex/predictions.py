"""What the certified distance says about predictions, without any noise.

If ``||w - w*|| <= D`` then ``|x.w - x.w*| <= ||x|| D`` for every input. A label whose margin is larger than that is
provably the retrained model's label; for softmax and one-vs-rest the gap between the two largest scores counts, which changes
by at most ``sqrt(2) ||x|| D`` (in the Frobenius norm of the weights).
"""

import math
from dataclasses import dataclass

import numpy as np

from certify.convex.blocks import Block, absolute, row_norms
from certify.convex.enclosure import dot_error, gamma
from certify.convex.losses.base import TINY, UNIT
from certify.convex.problem import Problem
from certify.core.arrays import FloatArray

CLASSIFIERS = ("logistic", "softmax", "squared-hinge", "huber-hinge", "softplus-hinge", "hinge")

_PROBABILITY_SLOPES = {"logistic": 0.25, "softmax": 0.5}
"""Change of a probability for one unit of change of its score; of a gap of scores for softmax."""


@dataclass(frozen=True)
class PredictionBound:
    """Predictions of these weights beside those of the retrained ones.

    Attributes:
        records: number of inputs.
        same_label: how many provably get the retrained model's label; None where there are no labels.
        score_change: upper bound on the change of any score.
        probability_change: upper bound on the change of any predicted probability, of each head by itself for one-vs-rest;
            None where there is none.
    """

    records: int
    same_label: int | None
    score_change: float
    probability_change: float | None


@np.errstate(over="ignore", invalid="ignore")
def bound_predictions(problem: Problem, w: FloatArray, distance: float) -> PredictionBound:
    """Bound how far predictions on the problem's records are from the retrained model's.

    Args:
        problem: the inputs to predict, bound to the model's objective.
        w: parameters (K, p).
        distance: certified distance of ``w`` to the retrained parameters.
    """
    loss = problem.objective.loss
    same, largest = 0, 0.0
    for _, block in problem.chunks():
        reach = _norms(block) * distance * (1 + 8 * UNIT)
        largest = max(largest, float(reach.max()))
        if loss in CLASSIFIERS:
            same += int(np.sum(_margins(block @ w.T) - _margin_error(block, w) > _spread(problem.outputs) * reach))
    slope = _PROBABILITY_SLOPES.get(loss)
    spread = (
        1.0 if problem.objective.one_vs_rest else _spread(problem.outputs)
    )  # a head's probability is its score's own
    probability = None if slope is None else min(1.0, slope * spread * largest * (1 + 8 * UNIT))
    return PredictionBound(problem.records, same if loss in CLASSIFIERS else None, largest, probability)


def _norms(block: Block) -> FloatArray:
    """Row norms, rounded up."""
    return row_norms(block) * (1 + gamma(block.shape[1] + 16)) + TINY


def _spread(outputs: int) -> float:
    """How much a gap of two scores can change for one unit of change of the weights times the row norm."""
    return math.nextafter(math.sqrt(2), 2) if outputs > 1 else 1.0


def _margins(z: FloatArray) -> FloatArray:
    """Distance of each prediction from the nearest decision."""
    if z.shape[1] == 1:
        return np.abs(z[:, 0])
    top = np.partition(z, -2, axis=1)[:, -2:]
    return np.asarray(top[:, 1] - top[:, 0])


def _margin_error(block: Block, w: FloatArray) -> FloatArray:
    """Rounding error of the margins: twice the largest error of a score, and one subtraction."""
    scores, error = np.abs(block @ w.T), dot_error(absolute(block), w)
    return np.asarray(2 * np.max(error, axis=1) + 4 * UNIT * np.max(scores, axis=1))
