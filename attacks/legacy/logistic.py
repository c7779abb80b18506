"""Logistic regression on one feature as scikit-learn has it by default: what several published attacks fit."""

import numpy as np
from scipy.special import expit

from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import InputError

_STEPS = 100


def fit(x: AnyArray, y: AnyArray, *, balanced: bool = False) -> tuple[float, float]:
    """Slope and intercept that minimise ``w^2 / 2 + sum_i s_i log(1 + exp(-(+-1)_i (w x_i + b)))``, by damped Newton steps.

    Args:
        x: one feature, (n,).
        y: true for the positive class, (n,); both classes occur.
        balanced: weights ``s_i = n / (2 n_class)`` in place of 1.

    Raises:
        InputError: one class alone, or a feature that is not finite.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=bool)
    if x.shape != y.shape or x.ndim != 1 or y.all() or not y.any() or not np.isfinite(x).all():
        raise InputError(
            "needs finite numbers of two classes", where="logistic regression", mend="give records of both kinds"
        )
    weights = np.where(y, len(y) / (2 * y.sum()), len(y) / (2 * (~y).sum())) if balanced else np.ones(len(y))
    design, at = np.stack([x, np.ones_like(x)], axis=1), np.zeros(2)
    value = _objective(at, design, y, weights)
    for _ in range(_STEPS):
        p = expit(design @ at)
        gradient = design.T @ (weights * (p - y)) + [at[0], 0.0]
        hessian = (design * (weights * p * (1 - p))[:, None]).T @ design + np.diag([1.0, 1e-12])
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while _objective(at - size * step, design, y, weights) > value and size > 1e-10:
            size /= 2
        at = at - size * step
        now = _objective(at, design, y, weights)
        if value - now <= 1e-14 * abs(value):
            break
        value = now
    return float(at[0]), float(at[1])


def predict(model: tuple[float, float], x: AnyArray) -> AnyArray:
    """Whether each is called positive."""
    return np.asarray(np.asarray(x, dtype=np.float64) * model[0] + model[1] > 0)


def _objective(at: FloatArray, design: FloatArray, y: AnyArray, weights: FloatArray) -> float:
    margin = np.where(y, 1.0, -1.0) * (design @ at)
    return float(0.5 * at[0] ** 2 + (weights * np.logaddexp(0.0, -margin)).sum())
