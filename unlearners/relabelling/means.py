"""Relabelling for generalised linear models with a ridge penalty: what the retrained model predicts in the mean.

Let ``F_R(w) = sum_R weight_i loss(x_i . w, y_i) + (l2/2) ||w||^2`` and w_r its minimiser. Give each forgotten record the label at
which its own loss is stationary at w_r, ``loss'(x_u . w_r, label) = 0``: for a canonical loss ``A(z) - label z`` the retrained
model's mean prediction ``A'(x_u . w_r)``. The gradient of ``F_R + sum_U weight_u loss(x_u . w, label_u)`` at w_r is then zero, and
the function is convex, so w_r minimises it too: training on all records, relabelled, *is* retraining. The same ``l2`` in sum
convention belongs to both. Soft labels are needed: the nearest class loses this.

A soft label of a classifier is written as the weights of its classes: the record stands once for each class, weighted by the
class's probability, so the relabelled objective is an ordinary :class:`~certify.convex.problem.Problem`.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.special import expit, softmax

from certify.convex.problem import Problem
from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import ConfigurationError
from certify.core.rows import Rows, is_sparse, stored_entries
from certify.core.stacked import Stacked, joined


def _exp(z: FloatArray) -> FloatArray:
    return np.asarray(np.exp(z))


_MEANS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "squared": lambda z: z,
    "pseudo-huber": lambda z: z,
    "log-cosh": lambda z: z,
    "poisson": _exp,
    "gamma": _exp,
    "logistic": lambda z: np.asarray(expit(z)),
    "softmax": lambda z: np.asarray(softmax(z, axis=1)),
}
"""Label at which the loss is stationary, by loss; of classifiers, the probabilities of the classes."""


def has_mean(problem: Problem) -> bool:
    """Whether a label can make the problem's loss stationary wherever the score lies; for the hinges none can.

    One-vs-rest problems go head by head (:func:`certify.convex.heads.heads`): a record stands for each head with other weights.
    """
    return problem.objective.loss in _MEANS and not problem.objective.bent and not problem.objective.one_vs_rest


def mean_prediction(problem: Problem, w: FloatArray) -> FloatArray:
    """Mean predictions (n, K) of the problem's records at weights (K, p): labels that leave ``w`` where it is.

    Raises:
        ConfigurationError: as for :func:`require_mean`.
    """
    require_mean(problem)
    with np.errstate(over="ignore"):
        return np.asarray(_MEANS[problem.objective.loss](problem.scores(w)))


def require_mean(problem: Problem) -> None:
    """Refuse a loss that no label can make stationary.

    Raises:
        ConfigurationError: names the loss.
    """
    if not has_mean(problem):
        raise ConfigurationError(
            f"no label stands for what a model with the {problem.objective.loss} loss predicts in the mean",
            where="--method",
            mend="relabelling takes logistic, softmax, squared, poisson, gamma, pseudo-huber and log-cosh without l1",
        )


def relabelled(retained: Problem, forgotten: Problem, labels: FloatArray) -> Problem:
    """The objective on all records, the forgotten ones with labels as :func:`mean_prediction` gives them.

    Args:
        retained: the objective on the records to keep; its penalty is the one that counts.
        forgotten: the same objective on the records to forget.
        labels: (m, K).
    """
    rows, targets, weights = _as_records(forgotten, labels)
    return replace(
        retained,
        X=_below(retained.X, forgotten.X[rows]),
        targets=np.concatenate([retained.targets, targets]),
        weights=np.concatenate([retained.weights, weights]),
    )


def _as_records(forgotten: Problem, labels: FloatArray) -> tuple[AnyArray, AnyArray, FloatArray]:
    """Positions, prepared targets and weights of the ordinary records that stand for the relabelled ones."""
    loss, places = forgotten.objective.loss, np.arange(forgotten.records)
    if loss == "softmax":
        classes = np.arange(labels.shape[1])
        return (
            np.repeat(places, len(classes)),
            np.tile(classes, len(places)),
            (forgotten.weights[:, None] * labels).ravel(),
        )
    if loss == "logistic":
        signs = np.tile([1.0, -1.0], len(places))
        shares = np.hstack([labels, 1 - labels])
        return np.repeat(places, 2), signs, (forgotten.weights[:, None] * shares).ravel()
    return places, labels[:, 0], forgotten.weights


def _below(upper: Rows, lower: AnyArray) -> Rows:
    if stored_entries(upper) is None and not is_sparse(lower):
        return Stacked(upper, lower)
    return joined(upper[: upper.shape[0]], lower)  # type: ignore[no-any-return]
