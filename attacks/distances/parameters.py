"""How far apart the weights of models are: L2, relative and cosine, per layer and whole, parameters and buffers.

Two honest retrained models may differ in their weights: by their seed, and by the order of their hidden units, which changes no
prediction (:mod:`certify.attacks.distances.alignment` takes that part out of plain perceptrons). A distance says something only beside
that of retrained models among themselves, best from runs that share initialisation and order of records
(:mod:`certify.attacks.distances.null`); and closeness proves nothing about which data a model was trained on.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from certify.core.arrays import FloatArray
from certify.core.errors import InputError

Tensors = Mapping[str, Any]
"""Name to an array of numbers (K, ...) with one entry a model: NumPy arrays or torch tensors, on any device."""

Metric = Literal["l2", "relative", "cosine"]
METRICS: tuple[Metric, ...] = ("l2", "relative", "cosine")

COUNTERS = "counters"
"""Part that holds buffers of whole numbers (batches seen): they count steps, which unlearning and retraining take different numbers of,
and would drown everything else in a norm. They stand alone and are in no other part."""


class Weights(Protocol):
    """K models side by side; ``certify.models.networks.State`` is one, :class:`Stack` another."""

    @property
    def parameters(self) -> Tensors:
        """Parameters by name."""

    @property
    def buffers(self) -> Tensors:
        """Buffers by name: running means of normalisation layers and the like."""


@dataclass(frozen=True, eq=False)
class Stack:
    """K models as arrays.

    Attributes:
        parameters: by name, (K, ...).
        buffers: by name, (K, ...).
    """

    parameters: Tensors
    buffers: Tensors = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Moments:
    """Inner products that L2, relative and cosine distance are made of; those of a whole are the sums over its parts.

    Attributes:
        squared: ``||x - y||^2``, (K, L) for all pairs or (K,) for rows.
        left: ``||x||^2``, broadcast to the same shape.
        right: ``||y||^2``, likewise.
    """

    squared: FloatArray
    left: FloatArray
    right: FloatArray

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.squared + other.squared, self.left + other.left, self.right + other.right)

    def distance(self, metric: Metric) -> FloatArray:
        """The distance.

        ``l2``: ||x - y||. ``relative``: ||x - y|| / ||y||, y the right one. ``cosine``: 1 - <x, y> / (||x|| ||y||), written as
        ``(||x - y||^2 - (||x|| - ||y||)^2) / (2 ||x|| ||y||)`` so that equal weights give 0 and not rounding; of two zero vectors 0, of
        one 1.
        """
        apart = np.sqrt(self.squared)
        if metric == "l2":
            return apart
        one, two = np.sqrt(self.left), np.sqrt(self.right)
        with np.errstate(divide="ignore", invalid="ignore"):
            if metric == "relative":
                return np.where(apart == 0, 0.0, apart / two)
            angle = (self.squared - (one - two) ** 2) / (2 * one * two)
        alone = np.where(self.squared == 0, 0.0, 1.0)
        return np.where((one > 0) & (two > 0), np.clip(angle, 0.0, 2.0), alone)


def moments(
    left: Weights, right: Weights, *, pairs: Literal["rows", "all"] = "rows", by: Literal["layer", "tensor"] = "layer"
) -> dict[str, Moments]:
    """Inner products by part.

    Parts, in this order: ``whole`` (parameters and buffers, counters left out), ``parameters``, ``buffers`` (where there are any), ``counters``
    (likewise), then every layer or tensor: ``parameters/0.weight``, ``buffers/1.running_mean``, or for layers ``parameters/0``, ``buffers/1``.

    Args:
        left: K models.
        right: L models; L = K for rows.
        pairs: "rows": model k against model k, (K,). "all": (K, L).
        by: what the parts are.

    Raises:
        InputError: tensors that differ in name or shape, numbers of models that do not fit, a number that is not finite.
    """
    parts: dict[str, Moments] = {}

    def add(part: str, found: Moments) -> None:
        parts[part] = parts[part] + found if part in parts else found

    for kind, name, x, y, counts in _tensors(left, right):
        found = _moments(x, y, rows=pairs == "rows", name=name)
        if counts:
            add(COUNTERS, found)
            continue
        layer = name.rpartition(".")[0] or name
        for part in ("whole", kind, f"{kind}/{layer if by == 'layer' else name}"):
            add(part, found)
    if not parts:
        raise InputError("there are no tensors", where="weights", mend="give at least one parameter")
    order = ["whole", "parameters", "buffers", COUNTERS]
    return {part: parts[part] for part in (*[p for p in order if p in parts], *[p for p in parts if p not in order])}


def distances(
    left: Weights,
    right: Weights,
    metric: Metric = "l2",
    *,
    pairs: Literal["rows", "all"] = "rows",
    by: Literal["layer", "tensor"] = "layer",
) -> dict[str, FloatArray]:
    """Distances by part; arguments as for :func:`moments`.

    >>> near, far = Stack({"w": np.zeros((2, 3))}), Stack({"w": np.ones((2, 3))})
    >>> distances(near, far)["whole"].round(3).tolist()
    [1.732, 1.732]
    """
    return {part: found.distance(metric) for part, found in moments(left, right, pairs=pairs, by=by).items()}


def plain(value: Any) -> FloatArray:
    """A NumPy array in double precision of an array or a tensor."""
    if hasattr(value, "detach"):  # torch; bfloat16 has no NumPy type
        value = value.detach().cpu().double().numpy()
    return np.asarray(value, dtype=np.float64)


def is_count(value: Any) -> bool:
    """Whether an array or a tensor holds whole numbers."""
    if hasattr(value, "is_floating_point"):
        return not bool(value.is_floating_point())
    return not np.issubdtype(np.asarray(value).dtype, np.inexact)


def _tensors(left: Weights, right: Weights) -> Iterator[tuple[str, str, FloatArray, FloatArray, bool]]:
    for kind in ("parameters", "buffers"):
        one, two = getattr(left, kind), getattr(right, kind)
        if one.keys() != two.keys():
            odd = sorted(one.keys() ^ two.keys())[0]
            raise InputError(
                f"{kind} {odd!r} is in one of two sets of models", where="weights", mend="compare one architecture"
            )
        for name, value in one.items():
            counts = kind == "buffers" and is_count(value)
            yield kind, name, plain(value), plain(two[name]), counts


def _moments(x: FloatArray, y: FloatArray, *, rows: bool, name: str) -> Moments:
    if (
        x.ndim < 1
        or y.ndim < 1
        or x.shape[1:] != y.shape[1:]
        or (rows and len(x) != len(y))
        or not len(x)
        or not len(y)
    ):
        raise InputError(
            f"{name!r} has shapes {x.shape} and {y.shape}",
            where="weights",
            mend="give stacks (models, ...) of one architecture, with as many models in both where rows are compared",
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError(f"{name!r} holds numbers that are not finite", where="weights", mend="train again")
    x, y = x.reshape(len(x), -1), y.reshape(len(y), -1)
    one, two = (x**2).sum(axis=1), (y**2).sum(axis=1)
    if rows:
        return Moments(((x - y) ** 2).sum(axis=1), one, two)
    squared = np.stack(
        [((row - y) ** 2).sum(axis=1) for row in x]
    )  # not by products: near models would drown in rounding
    return Moments(squared, *np.broadcast_arrays(one[:, None], two[None, :]))
