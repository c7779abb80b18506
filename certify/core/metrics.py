"""Distances between predictions, written out where public code has them wrong; natural logarithms throughout."""

import numpy as np

from certify.core.arrays import AnyArray, FloatArray, IntArray
from certify.core.errors import InputError


def js_divergence(p: AnyArray, q: AnyArray) -> FloatArray:
    """Jensen-Shannon divergence ``1/2 KL(p || m) + 1/2 KL(q || m)``, ``m = (p + q) / 2``, between rows of probabilities.

    It lies in [0, log 2] and is finite where probabilities are 0 (``0 log 0 = 0``). One number a row: averaging is the
    caller's, so no factor of the number of rows or classes can slip in.

    Args:
        p: probabilities, (..., C), each row summing to 1.
        q: the same.

    Returns:
        (...,), in nats.

    Raises:
        InputError: a row is no distribution, or shapes differ.

    >>> bool(js_divergence([1.0, 0.0], [0.0, 1.0]) == np.log(2.0))
    True
    """
    p, q = _distributions(p), _distributions(q)
    if p.shape != q.shape:
        raise InputError(f"shapes {p.shape} and {q.shape} differ", where="js_divergence", mend="compare like with like")
    middle = 0.5 * (p + q)
    total = 0.5 * (_kl(p, middle) + _kl(q, middle))
    return np.clip(total, 0.0, np.log(2.0))


def modified_entropy(p: AnyArray, labels: IntArray) -> FloatArray:
    """``-(1 - p_y) log p_y - sum_{j != y} p_j log(1 - p_j)`` of each record (Song, Mittal 2021), infinite where it is.

    Args:
        p: probabilities, (n, C).
        labels: classes, (n,).

    Raises:
        InputError: a row is no distribution, or a label is no class.

    >>> bool(modified_entropy([[0.5, 0.5]], [0]) == np.log(2.0))
    True
    """
    p, labels = _distributions(p), np.asarray(labels)
    if labels.shape != p.shape[:-1] or (labels.size and not (labels.min() >= 0 and labels.max() < p.shape[-1])):
        raise InputError("labels do not fit the probabilities", where="modified_entropy", mend="give one class a row")
    own = labels[..., None] == np.arange(p.shape[-1])
    chance = np.where(own, 1 - p, p)
    other = np.where(own, p, 1 - p)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(chance > 0, -chance * np.log(other), 0.0)
    return np.asarray(terms.sum(axis=-1))


def binned_divergence(left: AnyArray, right: AnyArray, *, bins: int = 20) -> float:
    """``KL(left || right)`` between histograms of two samples over their common range, the basis of KLOM (Georgiev et al. 2024).

    Both ends of the range are counted, and half a count is added to each bin. On two samples of one distribution it is above
    zero, the more the fewer there are: report it beside its value for retrained against retrained models.

    Args:
        left: one number a model, such as a margin, (n,).
        right: the same, (m,).
        bins: number of bins of equal width.

    Raises:
        InputError: a sample is empty or holds a number that is not finite.
    """
    left, right = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
    both = np.concatenate([left, right])
    if not left.size or not right.size or not np.isfinite(both).all():
        raise InputError("a sample is empty or not finite", where="binned_divergence", mend="give finite numbers")
    edges = np.linspace(both.min(), both.max() if both.max() > both.min() else both.min() + 1, bins + 1)
    counts = [np.histogram(side, edges)[0] + 0.5 for side in (left, right)]  # the last bin holds its right edge
    p, q = (count / count.sum() for count in counts)
    return float(np.sum(p * np.log(p / q)))


def _kl(p: FloatArray, q: FloatArray) -> FloatArray:
    ratio = np.divide(p, q, out=np.ones_like(p), where=p > 0)
    return np.asarray(np.sum(p * np.log(ratio), axis=-1))


def _distributions(p: AnyArray) -> FloatArray:
    values = np.asarray(p, dtype=np.float64)
    if not (np.all(values >= 0) and np.allclose(values.sum(axis=-1), 1.0, atol=1e-6)):
        raise InputError(
            "a row is no distribution", where="metrics", mend="give probabilities that sum to 1, not logits"
        )
    return values
