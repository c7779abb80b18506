"""Plain perceptrons with their hidden units put into the same order: distances between weights without the permutation symmetry.

Exchanging hidden units changes every weight and no prediction. Where a network is a chain of fully connected layers with one elementwise
activation between them, the order of the units of one model can be matched to another's. Everything else (convolutions, normalisation,
skip connections, tied weights) is refused, or, where the tensors alone cannot tell, must not be given. Scale symmetries (a ReLU unit times
c, the next layer by 1 / c) remain.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.optimize import linear_sum_assignment

from certify.attacks.distances.parameters import Stack, Weights, plain
from certify.core.arrays import FloatArray, IntArray
from certify.core.errors import AssumptionViolatedError

_ROUNDS = 50


@dataclass(frozen=True, eq=False)
class _Layer:
    weight: str
    bias: str | None


def align(left: Weights, right: Weights) -> Stack:
    """The right models with their hidden units reordered to lie close to the left ones', row by row.

    Layer by layer, the order that maximises the inner product of a layer's incoming weights, bias and outgoing weights with the
    other model's is found by linear assignment (``scipy.optimize.linear_sum_assignment``), in rounds until no layer gains: the weight
    matching of Ainsworth, Hayase, Srinivasa (2023). It starts from the order given and never ends further away than that; the least
    distance over all orders may be smaller still (finding it is hard for more than one hidden layer).

    Args:
        left: K models.
        right: K models.

    Returns:
        The right models, each with the same predictions as before.

    Raises:
        AssumptionViolatedError: the tensors are no chain of fully connected layers.
    """
    chain = _chain(left)
    if [(layer.weight, layer.bias) for layer in _chain(right)] != [(layer.weight, layer.bias) for layer in chain]:
        raise _refused("the two sets of models have different layers")
    one = {name: plain(value) for name, value in left.parameters.items()}
    two = {name: plain(value).copy() for name, value in right.parameters.items()}
    for model in range(len(one[chain[0].weight])):
        own = {name: value[model] for name, value in two.items()}
        _align_one(chain, {name: value[model] for name, value in one.items()}, own)
        for name, value in own.items():
            two[name][model] = value
    return Stack(two)


def aligned_distances(left: Weights, right: Weights) -> FloatArray:
    """L2 distances of all pairs after alignment, (K, L): each right model is put in order for each left one.

    It depends on the two models alone, so that labels may be exchanged; K * L alignments of some milliseconds each.
    """
    one = {name: plain(value) for name, value in left.parameters.items()}
    count = len(next(iter(right.parameters.values())))
    rows = []
    for model in range(len(next(iter(one.values())))):
        repeated = Stack({n: np.repeat(v[model : model + 1], count, axis=0) for n, v in one.items()}, left.buffers)
        found = align(repeated, right)
        squared = sum(
            ((repeated.parameters[n] - v) ** 2).reshape(count, -1).sum(axis=1) for n, v in found.parameters.items()
        )
        rows.append(np.sqrt(squared))
    return np.asarray(rows)


def _align_one(chain: list[_Layer], one: dict[str, FloatArray], two: dict[str, FloatArray]) -> None:
    """Reorder the units of the second model in place."""
    for _ in range(_ROUNDS):
        moved = False
        for layer, following in pairwise(chain):
            gain = one[layer.weight] @ two[layer.weight].T + one[following.weight].T @ two[following.weight]
            if layer.bias is not None:
                gain = gain + np.outer(one[layer.bias], two[layer.bias])
            order: IntArray = linear_sum_assignment(gain, maximize=True)[1]
            now, then = float(np.trace(gain)), float(gain[np.arange(len(gain)), order].sum())
            if then <= now + 1e-12 * abs(now):
                continue
            moved = True
            two[layer.weight] = two[layer.weight][order]
            two[following.weight] = two[following.weight][:, order]
            if layer.bias is not None:
                two[layer.bias] = two[layer.bias][order]
        if not moved:
            return


def _chain(weights: Weights) -> list[_Layer]:
    if weights.buffers:
        raise _refused("there are buffers, whose units would have to move along")
    layers: list[_Layer] = []
    width: int | None = None
    for name, value in weights.parameters.items():
        shape = tuple(value.shape[1:])
        if len(shape) == 2 and width in (None, shape[1]):
            layers.append(_Layer(name, None))
            width = shape[0]
        elif shape == (width,) and layers and layers[-1].bias is None:
            layers[-1] = _Layer(layers[-1].weight, name)
        else:
            raise _refused(f"{name!r} of shape {shape} does not continue a chain of fully connected layers")
    if len(layers) < 2:
        raise _refused("there is no hidden layer")
    return layers


def _refused(what: str) -> AssumptionViolatedError:
    return AssumptionViolatedError(what, where="alignment", mend="compare the weights as they are, or the predictions")
