"""An oracle that shares no code with the package: objectives, derivatives and minimisers in 60 digits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
import pytest

# A context of its own: mpmath's global precision is left as found.
MP = mpmath.MPContext()
MP.dps = 60


def _logistic(z: Any, y: Any) -> tuple[Any, Any, Any]:
    s = 1 if y == 1 else -1
    # both tails on their own: 1 - tail would cancel beyond 138
    tail, other = 1 / (1 + MP.exp(s * z[0])), 1 / (1 + MP.exp(-s * z[0]))
    return MP.log1p(MP.exp(-s * z[0])), [-s * tail], [[tail * other]]


def _squared(z: Any, y: Any) -> tuple[Any, Any, Any]:
    gap = z[0] - MP.mpf(float(y))
    return gap * gap / 2, [gap], [[MP.mpf(1)]]


def _poisson(z: Any, y: Any) -> tuple[Any, Any, Any]:
    rate, y = MP.exp(z[0]), MP.mpf(float(y))
    return rate - y * z[0], [rate - y], [[rate]]


def _softmax(z: Any, y: Any) -> tuple[Any, Any, Any]:
    top = max(z)
    powers = [MP.exp(score - top) for score in z]
    total = sum(powers)
    p = [power / total for power in powers]
    slope = [pk - (1 if k == int(y) else 0) for k, pk in enumerate(p)]
    curve = [[(pj if j == k else 0) - pj * pk for k, pk in enumerate(p)] for j, pj in enumerate(p)]
    return MP.log(total) + top - z[int(y)], slope, curve


def _gamma(z: Any, y: Any) -> tuple[Any, Any, Any]:
    y = MP.mpf(float(y))
    return z[0] + y * MP.exp(-z[0]), [1 - y * MP.exp(-z[0])], [[y * MP.exp(-z[0])]]


def _pseudo_huber(z: Any, y: Any) -> tuple[Any, Any, Any]:
    t = z[0] - MP.mpf(float(y))
    root = MP.sqrt(1 + t * t)
    return t * t / (root + 1), [t / root], [[1 / root**3]]


def _log_cosh(z: Any, y: Any) -> tuple[Any, Any, Any]:
    t = z[0] - MP.mpf(float(y))
    return MP.log(MP.cosh(t)), [MP.tanh(t)], [[MP.sech(t) ** 2]]


def _hinge(z: Any, y: Any) -> tuple[Any, Any, Any]:
    s = 1 if y == 1 else -1
    slack = 1 - s * z[0]
    return max(slack, MP.mpf(0)), [MP.mpf(-s if slack > 0 else 0)], [[MP.mpf(0)]]


def _squared_hinge(z: Any, y: Any) -> tuple[Any, Any, Any]:
    s = 1 if y == 1 else -1
    short = 1 - s * z[0]
    return (short**2 / 2, [-s * short], [[MP.mpf(1)]]) if short > 0 else (MP.mpf(0), [MP.mpf(0)], [[MP.mpf(0)]])


def _huber_hinge(z: Any, y: Any, h: Any) -> tuple[Any, Any, Any]:
    s = 1 if y == 1 else -1
    margin = s * z[0]
    if margin > 1 + h:
        return MP.mpf(0), [MP.mpf(0)], [[MP.mpf(0)]]
    if margin < 1 - h:
        return 1 - margin, [MP.mpf(-s)], [[MP.mpf(0)]]
    return (1 + h - margin) ** 2 / (4 * h), [-s * (1 + h - margin) / (2 * h)], [[1 / (2 * h)]]


def _softplus_hinge(z: Any, y: Any, T: Any) -> tuple[Any, Any, Any]:
    s = 1 if y == 1 else -1
    v = (1 - s * z[0]) / T
    tail, other = 1 / (1 + MP.exp(-v)), 1 / (1 + MP.exp(v))
    return T * MP.log1p(MP.exp(v)), [-s * tail], [[tail * other / T]]


_LOSSES = {
    "hinge": _hinge,
    "logistic": _logistic,
    "squared": _squared,
    "poisson": _poisson,
    "softmax": _softmax,
    "gamma": _gamma,
    "pseudo-huber": _pseudo_huber,
    "log-cosh": _log_cosh,
    "squared-hinge": _squared_hinge,
    "huber-hinge": _huber_hinge,
    "softplus-hinge": _softplus_hinge,
}
_SMOOTHED = ("huber-hinge", "softplus-hinge")
_KINKED = ("squared-hinge", "huber-hinge")


def _loss(name: str, z: Any, y: Any, smoothing: Any = 1) -> tuple[Any, Any, Any]:
    return _LOSSES[name](z, y, MP.mpf(smoothing)) if name in _SMOOTHED else _LOSSES[name](z, y)


def _one_vs_rest(name: str, z: Any, y: Any, smoothing: Any) -> tuple[Any, Any, Any]:
    """A two-class loss for each class, summed."""
    parts = [_loss(name, [score], 1 if k == int(y) else -1, smoothing) for k, score in enumerate(z)]
    curve = [[parts[j][2][0][0] if j == k else MP.mpf(0) for k in range(len(z))] for j in range(len(z))]
    return MP.fsum(part[0] for part in parts), [part[1][0] for part in parts], curve


@dataclass
class Exact:
    """The sum-convention objective on given records, every operation in 60 digits."""

    loss: str
    X: list[list[Any]]
    y: list[Any]
    weights: list[Any]
    penalty: list[Any]
    outputs: int
    smoothing: Any = None
    one_vs_rest: bool = False

    @property
    def size(self) -> int:
        return self.outputs * len(self.penalty)

    def _rows(self, w: list[Any]) -> list[tuple[Any, Any, Any, Any, Any]]:
        p = len(self.penalty)
        result = []
        for x, y, a in zip(self.X, self.y, self.weights, strict=True):
            if a == 0:
                continue
            z = [MP.fdot(x, w[k * p : (k + 1) * p]) for k in range(self.outputs)]
            found = (_one_vs_rest if self.one_vs_rest else _loss)(self.loss, z, y, self.smoothing)
            result.append((x, a, *found))
        return result

    def value(self, w: list[Any]) -> Any:
        ridge = MP.fsum(c * v * v for c, v in zip(self.penalty * self.outputs, w, strict=True)) / 2
        return MP.fsum(a * value for _, a, value, _, _ in self._rows(w)) + ridge

    def gradient(self, w: list[Any]) -> list[Any]:
        return self._derivatives(w, second=False)[0]

    def hessian(self, w: list[Any]) -> Any:
        return self._derivatives(w)[1]

    def _derivatives(self, w: list[Any], *, second: bool = True) -> tuple[list[Any], Any]:
        p, rows = len(self.penalty), self._rows(w)
        columns = [[row[0][j] for row in rows] for j in range(p)]
        gradient = []
        for k in range(self.outputs):
            slope = [row[1] * row[3][k] for row in rows]
            gradient += [MP.fdot(slope, columns[j]) + self.penalty[j] * w[k * p + j] for j in range(p)]
        if not second:
            return gradient, None
        hessian = MP.zeros(self.size)
        for k in range(self.outputs):
            for m in range(k, self.outputs):
                curve = [row[1] * row[4][k][m] for row in rows]
                for j in range(p):
                    scaled = [c * x for c, x in zip(curve, columns[j], strict=True)]
                    for i in range(j if k == m else 0, p):
                        entry = MP.fdot(scaled, columns[i])
                        if k == m and i == j:
                            entry += self.penalty[j]
                        hessian[k * p + j, m * p + i] = hessian[m * p + i, k * p + j] = entry
        return gradient, hessian

    def hessian_product(self, w: list[Any], direction: list[Any]) -> list[Any]:
        return list(self.hessian(w) * MP.matrix(direction))

    def minimiser(self, start: np.ndarray | None = None) -> list[Any]:
        """Newton with backtracking until the step has no more than 45 leading zeros to add.

        Where the second derivative jumps this is Newton's method on one piece after another, which ends exactly; whether it
        has ended is then seen from the gradient, which strong convexity turns into a distance.
        """
        w, kinked = numbers(np.zeros(self.size) if start is None else start), self.loss in _KINKED
        for _ in range(400):
            gradient, hessian = self._derivatives(w)
            if kinked and norm(gradient) <= min(self.penalty) * MP.mpf(10) ** -45:
                return w
            step = list(MP.lu_solve(hessian, MP.matrix(gradient)))
            decrement = MP.fdot(gradient, step)
            if not kinked and norm(step) <= MP.mpf(10) ** -45 * (MP.mpf(10) ** -5 + norm(w)):
                return [a - b for a, b in zip(w, step, strict=True)]
            length = MP.mpf(1)
            # near the optimum the full step is right, and differences of F would lose half the digits
            if decrement > MP.mpf(10) ** (-40 if kinked else -8):
                here = self.value(w)
                while (
                    self.value([a - length * b for a, b in zip(w, step, strict=True)]) > here - length * decrement / 4
                ):
                    length /= 2
            w = [a - length * b for a, b in zip(w, step, strict=True)]
        raise AssertionError("the oracle did not converge")


def numbers(values: Any) -> list[Any]:
    """Floats as exact multiple-precision numbers, flat."""
    return [MP.mpf(float(value)) for value in np.asarray(values, dtype=np.float64).ravel()]


def norm(values: Any) -> Any:
    return MP.sqrt(MP.fsum(value * value for value in values))


def distance(first: Any, second: Any) -> Any:
    return norm([a - b for a, b in zip(first, second, strict=True)])


def exact(objective: Any, X: Any, y: Any, weights: Any = None, outputs: int = 1) -> Exact:
    """The objective (an ``Objective``, read as plain data) on given records."""
    X = np.asarray(X)
    rows = [[MP.mpf(float(value)) for value in row] + [MP.mpf(1)] * objective.fit_intercept for row in X]
    penalty = [MP.mpf(objective.l2)] * len(rows[0])
    if objective.fit_intercept and not objective.penalize_intercept:
        penalty[-1] = MP.mpf(0)
    weights = np.ones(len(X)) if weights is None else weights
    smoothing, one_vs_rest = getattr(objective, "smoothing", None), getattr(objective, "one_vs_rest", False)
    return Exact(objective.loss, rows, list(y), numbers(weights), penalty, outputs, smoothing, one_vs_rest)


class Oracle:
    """What the tests take from this file."""

    mp = MP
    exact = staticmethod(exact)
    numbers = staticmethod(numbers)
    norm = staticmethod(norm)
    distance = staticmethod(distance)

    @staticmethod
    def loss(name: str, z: Any, y: Any, smoothing: Any = 1) -> tuple[Any, Any, Any]:
        """Value, gradient and second derivative of one record's loss at its scores."""
        return _loss(name, z, y, smoothing)


@pytest.fixture(scope="session")
def oracle() -> Oracle:
    return Oracle()
