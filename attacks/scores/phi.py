"""The signal that attacks read: phi = log p_y - log(1 - p_y), from logits, without the rounding of probabilities."""

import warnings
from typing import Any

import numpy as np

from certify.core.arguments import as_array, as_number
from certify.core.arrays import AnyArray, FloatArray, IntArray
from certify.core.errors import InputError


def phi(logits: Any, labels: Any) -> FloatArray:
    """``z_y - log sum_{j != y} exp(z_j)`` of each record: the log odds of its own class.

    Logits are subtracted before anything is raised to a power, in float64, so that the value is right however large the gap is (a
    softmax in float32 is one from a gap of 17 on). Adding a constant to all logits of a record changes nothing.

    Args:
        logits: (..., n, C), C >= 2 classes; or one logit a record of a two-class head, (..., n, 1) or of the shape of ``labels``,
            the log odds of the class 1. NumPy or torch, any float type.
        labels: classes 0 to C - 1, (n,) or with some of the leading axes; for one logit 0 and 1, or -1 and 1.

    Returns:
        (..., n), natural logarithm.

    Raises:
        InputError: a logit that is not finite, a label that is no class, shapes that do not fit.

    >>> phi([[1000.0, 0.0, -1000.0]], [0]).tolist(), phi([3.0], [0]).tolist(), phi([[3.0]], [1]).tolist()
    ([1000.0], [-3.0], [3.0])
    """
    z, y = _classes(logits, labels, "phi")
    return _odds(z, y)


def phi_of_regression(predictions: Any, targets: Any) -> FloatArray:
    """``-(prediction - target)^2`` of each record, summed over outputs: the signal where targets are numbers.

    Up to a scale and a constant it is the log-likelihood under Gaussian errors.

    Args:
        predictions: (..., n), or (..., n, d) for d outputs.
        targets: (n,) or (n, d).

    Returns:
        (..., n).

    Raises:
        InputError: shapes that do not fit, a number that is not finite.

    >>> phi_of_regression([1.0, 2.0], [1.0, 4.0]).tolist()
    [-0.0, -4.0]
    """
    found, wanted = to_numpy(predictions).astype(np.float64), to_numpy(targets).astype(np.float64)
    if wanted.ndim not in {1, 2} or found.shape[max(0, found.ndim - wanted.ndim) :] != wanted.shape:
        raise InputError(
            f"predictions of shape {found.shape} do not fit targets of shape {wanted.shape}",
            where="phi_of_regression",
            mend="give one prediction a target, models on the first axis",
        )
    _finite(found, "phi_of_regression", "predictions")
    _finite(wanted, "phi_of_regression", "targets")
    squares = (found - wanted) ** 2
    return -(squares.sum(axis=-1) if wanted.ndim == 2 else squares)


def phi_from_probability(p: Any, *, floor: float | None = None) -> FloatArray:
    """``log p - log(1 - p)`` of confidences made elsewhere; use :func:`phi` where logits are at hand.

    A probability that was rounded to 0 or 1 has lost its phi: without ``floor`` it is refused. With it, probabilities are clipped to
    [floor, 1 - floor], which makes ties, and a warning says how many.

    Args:
        p: probabilities of the record's own class, any shape.
        floor: smallest probability, and largest complement, that is kept; above 2^-53, the smallest complement float64 holds.

    Raises:
        InputError: a number outside [0, 1], or saturated ones and no floor.

    >>> phi_from_probability([0.5, 0.25]).round(4).tolist()
    [0.0, -1.0986]
    """
    values = to_numpy(p, "p").astype(np.float64)
    where = "phi_from_probability"
    if not ((values >= 0) & (values <= 1)).all():
        raise InputError("a number is no probability", where=where, mend="give confidences in [0, 1], or logits to phi")
    if floor is not None:
        low = as_number(floor, "floor")
        if not 2.0**-53 <= low < 0.5:
            raise InputError("floor is outside [2^-53, 0.5)", where=where, mend="give a small one, such as 1e-9")
        clipped = np.clip(values, low, 1 - low)
        lost = int(np.count_nonzero(clipped != values))
        if lost:
            warnings.warn(
                f"{lost} of {values.size} probabilities were clipped at {low:g}: those are ties now", stacklevel=2
            )
        values = clipped
    saturated = int(np.count_nonzero((values == 0) | (values == 1)))
    if saturated:
        raise InputError(
            f"{saturated} of {values.size} probabilities are exactly 0 or 1, so their phi is lost",
            where=where,
            mend="give the logits to phi, or say where to clip with floor",
        )
    return np.asarray(np.log(values) - np.log1p(-values))


def signals(logits: Any, labels: Any) -> dict[str, FloatArray]:
    """The four signals of :data:`certify.attacks.observations.SIGNALS` from logits, finite for every finite logit.

    ``entropy`` is ``-sum p_j log p_j``; ``modified-entropy`` ``-(1 - p_y) log p_y - sum_{j != y} p_j log(1 - p_j)`` (Song, Mittal
    2021), with ``log(1 - p_j)`` from the logits of the other classes and not from ``p_j``; ``correct`` is 1 where the largest logit is
    the record's own class alone, 0 elsewhere: a tie is no right answer.

    Args:
        logits: as for :func:`phi`.
        labels: the same.

    Returns:
        By name, each (..., n).

    Raises:
        InputError: as for :func:`phi`.
    """
    z, y = _classes(logits, labels, "signals")
    odds = _odds(z, y)
    shifted = z - z.max(axis=-1, keepdims=True)
    powers = np.exp(shifted)
    log_p = shifted - np.log(powers.sum(axis=-1, keepdims=True))
    # log(1 - p) is taken as log(sum of others / sum of all); for the largest class, whose p may round to 1, through its log odds
    with np.errstate(divide="ignore"):
        log_rest = np.log1p(-np.exp(log_p))
    largest = z.argmax(axis=-1)[..., None]
    top = -np.logaddexp(0.0, _odds(z, largest[..., 0]))
    np.put_along_axis(log_rest, largest, top[..., None], axis=-1)
    p = np.exp(log_p)
    own_p, own_rest = np.take_along_axis(p * log_rest, y[..., None], -1)[..., 0], -np.logaddexp(0.0, odds)
    modified = np.exp(own_rest) * np.logaddexp(0.0, -odds) - ((p * log_rest).sum(axis=-1) - own_p)
    return {
        "phi": odds,
        "entropy": np.maximum(-(p * log_p).sum(axis=-1), 0.0),
        "modified-entropy": np.maximum(modified, 0.0),
        "correct": (_gaps(z, y).max(axis=-1) < 0).astype(np.float64),
    }


def to_numpy(values: Any, name: str = "values") -> AnyArray:
    """:func:`certify.core.arguments.as_array`."""
    return as_array(values, name)


def _gaps(z: FloatArray, y: IntArray) -> FloatArray:
    """``z_j - z_y``, minus infinity at the own class."""
    gaps = z - np.take_along_axis(z, y[..., None], axis=-1)
    np.put_along_axis(gaps, y[..., None], -np.inf, axis=-1)
    return gaps


def _odds(z: FloatArray, y: IntArray) -> FloatArray:
    gaps = _gaps(z, y)
    top = gaps.max(axis=-1)
    return np.asarray(-(top + np.log(np.exp(gaps - top[..., None]).sum(axis=-1))))


def _classes(logits: Any, labels: Any, where: str) -> tuple[FloatArray, IntArray]:
    """Logits (..., n, C) and labels of the shape (..., n), one logit made two classes."""
    z, y = to_numpy(logits, f"{where}: logits"), to_numpy(labels, f"{where}: labels")
    if z.dtype.kind not in "fiu" or y.dtype.kind not in "fiub":
        raise InputError("logits and labels must be numbers", where=where, mend="give float logits and whole labels")
    z = z.astype(np.float64)
    _finite(z, where, "logits")
    single = z.shape == y.shape or (z.ndim > 0 and z.shape[-1] == 1)
    if single:
        z = z[..., None] if z.shape == y.shape else z
        z = np.concatenate([np.zeros_like(z), z], axis=-1)
    if not y.ndim or z.shape[: z.ndim - 1][-y.ndim :] != y.shape:
        raise InputError(
            f"logits of shape {np.shape(logits)} do not fit labels of shape {y.shape}",
            where=where,
            mend="give logits (..., records, classes) and one label a record",
        )
    if single and np.isin(y, (-1, 1)).all():
        y = y > 0
    classes = np.asarray(y).astype(np.int64)
    if (classes != y).any() or (classes < 0).any() or (classes >= z.shape[-1]).any():
        raise InputError(
            f"a label is no class from 0 to {z.shape[-1] - 1}", where=where, mend="number the classes as the logits are"
        )
    return z, np.broadcast_to(classes, z.shape[:-1])


def _finite(values: FloatArray, where: str, name: str) -> None:
    wrong = int(np.count_nonzero(~np.isfinite(values)))
    if wrong:
        raise InputError(
            f"{wrong} of {values.size} {name} are not finite",
            where=where,
            mend="look for a model that diverged, or leave it out",
        )
