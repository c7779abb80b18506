"""The retrained weights by another route: the objective written out in NumPy, and SciPy's solvers."""

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize, root
from scipy.special import expit, logsumexp, softmax

LOSSES: dict[str, Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "logistic": lambda z, s: (np.logaddexp(0, -s * z), -s * expit(-s * z)),
    "squared": lambda z, y: ((z - y) ** 2 / 2, z - y),
    "poisson": lambda z, y: (np.exp(z) - y * z, np.exp(z) - y),
    "gamma": lambda z, y: (z + y * np.exp(-z), 1 - y * np.exp(-z)),
    "pseudo-huber": lambda z, y: (np.sqrt(1 + (z - y) ** 2) - 1, (z - y) / np.sqrt(1 + (z - y) ** 2)),
    "log-cosh": lambda z, y: (np.logaddexp(z - y, y - z) - np.log(2), np.tanh(z - y)),
    "squared-hinge": lambda z, s: (np.maximum(0, 1 - s * z) ** 2 / 2, -s * np.maximum(0, 1 - s * z)),
    "softplus-hinge": lambda z, s: (0.3 * np.logaddexp(0, (1 - s * z) / 0.3), -s * expit((1 - s * z) / 0.3)),
}
"""Value and slope of a record; softplus-hinge at temperature 0.3."""


class PlainMinimum:
    """The minimum of ``sum_i a_i loss(x_i . w, y_i) + (l2/2) ||w||^2`` on dense records.

    Attributes:
        w: (K, p).
        error: bound on the distance to the exact minimum, from the gradient there and the smallest eigenvalue of differences of it.
    """

    def __init__(self, loss, X, y, weights, *, l2, intercept=False, free=False, outputs=1, one_vs_rest=False):
        X = np.asarray(X, dtype=np.float64)
        self._X = np.column_stack([X, np.ones(len(X))]) if intercept else X
        self._loss, self._y, self._a, self._one_vs_rest = loss, np.asarray(y), np.asarray(weights, float), one_vs_rest
        self._penalty = np.full(self._X.shape[1], float(l2))
        if free:
            self._penalty[-1] = 0.0
        self._shape = (outputs, self._X.shape[1])
        self.w, self.error = self._solved()

    def _value(self, flat):
        w = flat.reshape(self._shape)
        z = self._X @ w.T
        with np.errstate(over="ignore"):
            if self._loss == "softmax":
                each = logsumexp(z, axis=1) - z[np.arange(len(z)), self._y.astype(int)]
            else:
                each = np.sum([LOSSES[self._loss](z[:, k], self._targets(k))[0] for k in range(z.shape[1])], axis=0)
            return float(self._a @ each + 0.5 * np.sum(self._penalty * w * w))

    def gradient(self, flat):
        w = flat.reshape(self._shape)
        z = self._X @ w.T
        with np.errstate(over="ignore"):
            if self._loss == "softmax":
                slope = softmax(z, axis=1)
                slope[np.arange(len(z)), self._y.astype(int)] -= 1
            else:
                slope = np.stack([LOSSES[self._loss](z[:, k], self._targets(k))[1] for k in range(z.shape[1])], axis=1)
            return ((self._a[:, None] * slope).T @ self._X + self._penalty * w).ravel()

    def _targets(self, k):
        if self._one_vs_rest:
            return np.where(self._y == k, 1.0, -1.0)
        if self._loss in {"logistic", "squared-hinge", "softplus-hinge"}:
            return np.where(self._y > 0, 1.0, -1.0)
        return self._y

    def _solved(self):
        start = minimize(self._value, np.zeros(self._shape).ravel(), jac=self.gradient, method="BFGS", tol=1e-8).x
        best = root(self.gradient, start, tol=1e-15).x
        if np.linalg.norm(self.gradient(best)) > np.linalg.norm(self.gradient(start)):
            best = start
        step = 1e-5 * np.eye(best.size)
        hessian = np.stack([(self.gradient(best + e) - self.gradient(best - e)) / 2e-5 for e in step])
        low = float(np.linalg.eigvalsh(hessian + hessian.T)[0]) / 2
        return best.reshape(self._shape), 2 * float(np.linalg.norm(self.gradient(best))) / low + 1e-14
