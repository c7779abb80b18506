"""How far apart models are in what they say: distances between stacks of predictions, one number a model.

Predictions are probabilities (K, N, C) of K models on N records in C classes; :func:`softmax` makes them of logits. ``used``, (K, N), tells
which records count for which model, where each model has its own forgotten records. Every number is a mean over records: none grows
with their number. Each stands beside the retrained models' own (:mod:`certify.attacks.distances.null`).
"""

from collections.abc import Callable

import numpy as np
from scipy.special import rel_entr
from scipy.special import softmax as _softmax

from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import InputError
from certify.core.metrics import js_divergence

Between = Callable[[FloatArray, FloatArray], FloatArray]
"""Distances between the rows of two stacks of predictions: (K, N, C) twice to (K,)."""


def softmax(logits: AnyArray) -> FloatArray:
    """Probabilities of logits (..., C), in double precision."""
    return np.asarray(_softmax(np.asarray(logits, dtype=np.float64), axis=-1))


def activation_mean_of_norms(p: AnyArray, q: AnyArray, used: AnyArray | None = None) -> FloatArray:
    """Activation distance as a mean of norms: ``mean_n ||p_n - q_n||_2`` (Chundawat et al. 2023, and Golatkar et al. before).

    Some public code takes the root mean square instead (:func:`activation_root_mean_square`), which is never smaller: values of one
    convention cannot stand beside those of the other.
    """
    p, q = _pair(p, q)
    return _mean(np.linalg.norm(p - q, axis=-1), used)


def activation_root_mean_square(p: AnyArray, q: AnyArray, used: AnyArray | None = None) -> FloatArray:
    """Activation distance as a root mean square: ``sqrt(mean_n ||p_n - q_n||_2^2)``."""
    p, q = _pair(p, q)
    return np.sqrt(_mean(((p - q) ** 2).sum(axis=-1), used))


def js(p: AnyArray, q: AnyArray, used: AnyArray | None = None) -> FloatArray:
    """Mean Jensen-Shannon divergence in nats, in [0, log 2]: the square of SciPy's ``jensenshannon``, averaged over records."""
    return _mean(js_records(p, q), used)


def js_records(p: AnyArray, q: AnyArray) -> FloatArray:
    """The divergence of each record, (K, N): means hide the few records that are far apart."""
    p, q = _pair(p, q)
    return js_divergence(p, q)


def kl(p: AnyArray, q: AnyArray, used: AnyArray | None = None) -> FloatArray:
    """Mean ``KL(q || p)`` in nats, q the retrained model's; infinite where p rules out what q allows."""
    p, q = _pair(p, q)
    return _mean(rel_entr(q, p).sum(axis=-1), used)


def churn(p: AnyArray, q: AnyArray, used: AnyArray | None = None) -> FloatArray:
    """Share of records that both models put into different classes; of equal probabilities the first class counts."""
    p, q = _pair(p, q)
    return _mean((p.argmax(axis=-1) != q.argmax(axis=-1)).astype(np.float64), used)


def completeness(p: AnyArray, q: AnyArray, used: AnyArray | None = None) -> FloatArray:
    """Share of records on which both models agree, 1 - churn (Cao, Yang 2015). Its ideal is that of two retrained models, not 1."""
    return np.asarray(1.0 - churn(p, q, used))


def zrf(p: AnyArray, random: AnyArray, used: AnyArray | None = None) -> FloatArray:
    """1 - mean JS to a network with random weights, on the forgotten records (zero retrain forgetting, Chundawat et al. 2023).

    The ideal is the *retrained model's* value, which may be anything in [1 - log 2, 1]: a retrained model still knows its task and does not
    answer like a random one. Compare ``zrf`` of unlearned with that of retrained models; 1 is no aim.
    """
    return np.asarray(1.0 - js(p, random, used))


def tow(
    unlearned: dict[str, FloatArray],
    retrained: dict[str, FloatArray],
    parts: tuple[str, ...] = ("forget", "retain", "test"),
) -> dict[str, FloatArray]:
    """ToW and its parts (Zhao et al. 2024): ``prod over parts of 1 - |accuracy - accuracy of the retrained model|``; 1 is best.

    Args:
        unlearned: accuracies in [0, 1] by part, (K,).
        retrained: the same.
        parts: which count.

    Returns:
        ``tow`` and, by part, ``1 - |difference|``. Two retrained models do not reach 1 either.

    Raises:
        InputError: an accuracy outside [0, 1].
    """
    found: dict[str, FloatArray] = {}
    for part in parts:
        one, two = np.asarray(unlearned[part], dtype=np.float64), np.asarray(retrained[part], dtype=np.float64)
        if not (np.all((one >= 0) & (one <= 1)) and np.all((two >= 0) & (two <= 1))):
            raise InputError("an accuracy is outside [0, 1]", where=f"tow.{part}", mend="give shares, not per cent")
        found[part] = np.asarray(1.0 - np.abs(one - two))
    return {"tow": np.prod(list(found.values()), axis=0), **found}


def cka(x: AnyArray, y: AnyArray) -> FloatArray:
    """Linear centred kernel alignment of features, unbiased: 1 for equal representations up to rotation, about 0 for unrelated ones.

    ``HSIC_1(K, L) / sqrt(HSIC_1(K, K) HSIC_1(L, L))`` with the unbiased estimator of Song et al. (2012) and linear kernels. The usual, biased
    estimator is far above 0 for unrelated features as soon as there are as many of them as records. May be slightly below 0.

    Args:
        x: features or outputs of K models on the same records, (K, N, P).
        y: the same, (K, N, Q).

    Raises:
        InputError: fewer than four records, shapes that differ, features that are not finite or the same for all records.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 3 or y.ndim != 3 or x.shape[:2] != y.shape[:2] or x.shape[1] < 4:
        raise InputError(
            f"features have shapes {x.shape} and {y.shape}",
            where="cka",
            mend="give (models, records, features) twice, with four records or more",
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError("a feature is not finite", where="cka", mend="train again")
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)  # HSIC_1 does not change; rounding does
    cross, own, other = _hsic(x, y), _hsic(x, x), _hsic(y, y)
    if not (np.all(own > 0) and np.all(other > 0)):
        raise InputError(
            "features do not vary enough over the records", where="cka", mend="take another layer, or more records"
        )
    return np.asarray(cross / np.sqrt(own * other))


def _hsic(x: FloatArray, y: FloatArray) -> FloatArray:
    """HSIC_1 up to the common factor 1 / (n (n - 3)), without forming the kernels (n, n)."""
    n = x.shape[1]
    on_x, on_y = (x**2).sum(axis=-1), (y**2).sum(axis=-1)  # the kernels' diagonals, which the estimator leaves out
    sums_x = np.einsum("knp,kp->kn", x, x.sum(axis=1)) - on_x
    sums_y = np.einsum("knq,kq->kn", y, y.sum(axis=1)) - on_y
    trace = (np.einsum("knp,knq->kpq", x, y) ** 2).sum(axis=(1, 2)) - (on_x * on_y).sum(axis=1)
    totals = sums_x.sum(axis=1) * sums_y.sum(axis=1) / ((n - 1) * (n - 2))
    return np.asarray(trace + totals - 2.0 / (n - 2) * (sums_x * sums_y).sum(axis=1))


DISTANCES: dict[str, Callable[..., FloatArray]] = {
    "activation-mean-of-norms": activation_mean_of_norms,
    "activation-root-mean-square": activation_root_mean_square,
    "js": js,
    "kl": kl,
    "churn": churn,
}
"""Distances by name: the larger, the further apart; 0 for equal predictions."""


def all_pairs(between: Between, left: FloatArray, right: FloatArray) -> FloatArray:
    """Distances of each model on the left to each on the right, (K, L)."""
    return np.stack([between(np.broadcast_to(row, right.shape), right) for row in left])


def _pair(p: AnyArray, q: AnyArray) -> tuple[FloatArray, FloatArray]:
    p, q = np.asarray(p, dtype=np.float64), np.asarray(q, dtype=np.float64)
    if p.ndim != 3 or p.shape != q.shape or not p.size:
        raise InputError(
            f"predictions have shapes {p.shape} and {q.shape}",
            where="predictions",
            mend="give (models, records, classes) twice",
        )
    for values in (p, q):
        if not (np.all(values >= 0) and np.allclose(values.sum(axis=-1), 1.0, atol=1e-6)):
            raise InputError(
                "a row is no distribution", where="predictions", mend="give probabilities; softmax makes them of logits"
            )
    return p, q


def _mean(records: FloatArray, used: AnyArray | None) -> FloatArray:
    """Mean over the records of each model."""
    if used is None:
        return np.asarray(records.mean(axis=1))
    chosen = np.asarray(used, dtype=bool)
    if chosen.shape != records.shape or not chosen.any(axis=1).all():
        raise InputError(
            f"used has shape {chosen.shape}, or leaves a model without records",
            where="predictions.used",
            mend="give one row a model, one column a record, and at least one record a model",
        )
    return np.asarray(np.where(chosen, records, 0.0).sum(axis=1) / chosen.sum(axis=1))
