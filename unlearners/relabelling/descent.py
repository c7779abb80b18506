"""Gradient descent on squared loss, written out: what the closed-form limits are checked against."""

from typing import Literal

import numpy as np

from certify.core.arrays import FloatArray
from certify.core.streams import stream

Order = Literal["full", "cyclic", "random"]


def descend(
    Z: FloatArray,
    y: FloatArray,
    start: FloatArray,
    *,
    order: Order = "full",
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    lr: float | None = None,
    passes: int = 1000,
    seed: int = 0,
) -> FloatArray:
    """Weights after some passes of gradient descent on ``||Z w - y||^2 / 2``.

    Args:
        Z: features (N, D).
        y: targets (N,) or (N, C).
        start: weights (D,) or (D, C).
        order: one step a pass with all records, or one a record, in the order given or in a new random one each pass.
        momentum: of the heavy ball, ``v = momentum v + g``, ``w = w - lr v``.
        weight_decay: added to the gradient as ``weight_decay w``; with it the limit is no interpolation any more.
        lr: step size. None is one that converges: ``1 / ||Z||^2`` (times ``1 - momentum`` for single records, where it is
            ``1 / max ||z_i||^2``).
        passes: over the records.
        seed: root of the random orders.
    """
    w, velocity = start.copy(), np.zeros_like(start)
    size = lr or _safe(Z, order, momentum)
    for number in range(passes):
        for rows in _parts(len(Z), order, seed, number):
            z = Z[rows]
            velocity = momentum * velocity + z.T @ (z @ w - y[rows]) + weight_decay * w
            w = w - size * velocity
    return w


def _safe(Z: FloatArray, order: Order, momentum: float) -> float:
    if order == "full":
        return float(1 / np.linalg.norm(Z, 2) ** 2)
    return float((1 - momentum) / np.max(np.sum(Z * Z, axis=1)))


def _parts(records: int, order: Order, seed: int, number: int) -> list[slice]:
    if order == "full":
        return [slice(None)]
    places = range(records) if order == "cyclic" else stream(seed, f"descent/{number}").permutation(records)
    return [slice(int(place), int(place) + 1) for place in places]
