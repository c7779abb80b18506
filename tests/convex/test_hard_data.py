"""Soundness on data that break solvers: condition number 1e12 and beyond, separable classes, repeated and empty rows, n < d.

No bound is ever below the true distance, which is computed in 60 digits. Any failure here is a release blocker.
"""

import math
from typing import Any

import numpy as np
import pytest

from certify import Objective, bound_distance
from certify.convex.problem import bind

LOSSES = ["logistic", "squared", "poisson", "softmax"]
BOUNDS = ("distance", "strong_convexity", "self_concordant", "refined", "duality_gap")


def stretched(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Singular values from 1 to 1e-12, in no direction of the axes."""
    left, right = np.linalg.qr(rng.normal(size=(n, d)))[0], np.linalg.qr(rng.normal(size=(d, d)))[0]
    return np.asarray(left * np.logspace(0, -12, d) @ right)


def features(kind: str, rng: np.random.Generator) -> np.ndarray:
    n, d = (3, 5) if kind == "fewer records than features" else (16, 3)
    X = rng.normal(size=(n, d))
    if kind in {"condition 1e12", "condition 1e24"}:
        X = stretched(rng, n, d)
    if kind == "one row repeated":
        X = np.repeat(X[:1], n, axis=0)
    if kind == "rows repeated":
        X = np.repeat(X[: n // 4], 4, axis=0)
    if kind == "half the rows zero":
        X[::2] = 0.0
    if kind == "all rows zero":
        X[:] = 0.0
    if kind == "constant columns":
        X[:, 0], X[:, 1] = 1.0, 2.0
    if kind == "everything":
        X = np.repeat(stretched(rng, n // 2, d), 2, axis=0)
        X[::4], X[:, -1] = 0.0, 1.0
    return X


KINDS = {
    "condition 1e12": 1e-12,
    "condition 1e24": 1e-24,
    "separable": 1e-6,
    "one row repeated": 1e-8,
    "rows repeated": 1e-3,
    "fewer records than features": 1e-6,
    "half the rows zero": 1e-3,
    "all rows zero": 1e-3,
    "constant columns": 1e-9,
    "everything": 1e-12,
}
"""What is hard about the data, and the penalty beside it."""


def targets(loss: str, kind: str, X: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    classes = 3 if loss == "softmax" else 2
    y = np.arange(len(X)) % classes
    if kind == "separable":
        order = np.argsort(np.argsort(X[:, 0]))
        y = order * classes // len(X)
    return y + (rng.normal(size=len(X)) if loss == "squared" else 0.0)


def problem(oracle: Any, loss: str, kind: str, seed: int) -> tuple[Objective, np.ndarray, np.ndarray, Any]:
    rng = np.random.default_rng(seed)
    X = features(kind, rng)
    y = targets(loss, kind, X, rng)
    objective = Objective(loss, KINDS[kind])
    optimum = oracle.exact(objective, X, y, None, 3 if loss == "softmax" else 1).minimiser()
    return objective, X, y, optimum


def points(optimum: Any, shape: tuple[int, int], seed: int) -> list[np.ndarray]:
    """The rounded optimum, and points at relative distances from 1e-14 to 1 around it."""
    rng = np.random.default_rng([seed, 2])
    near = np.array([float(value) for value in optimum]).reshape(shape)
    size = max(float(np.linalg.norm(near)), 1.0)
    return [near, 0 * near] + [near + size * 10.0**power * rng.normal(size=shape) for power in (-14, -9, -5, -2, 0)]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", LOSSES)
def test_no_bound_is_below_the_true_distance_on_hard_data(oracle: Any, loss: str, kind: str, seed: int) -> None:
    objective, X, y, optimum = problem(oracle, loss, kind, seed)
    shape = (3 if loss == "softmax" else 1, X.shape[1])
    finite = 0
    for w in points(optimum, shape, seed):
        bound = bound_distance(objective, X, y, w)
        truth = oracle.distance(oracle.numbers(w), optimum)
        for name in BOUNDS:
            value = float(getattr(bound, name))
            assert oracle.mp.mpf(value) >= truth * (1 - oracle.mp.mpf(10) ** -30), (name, value, float(truth))
        finite += math.isfinite(bound.distance)
    # exp of the scores of a far point may overflow: no bound then, which is no wrong one
    assert finite >= (4 if loss == "poisson" else 7)


def unguarded(objective: Objective, X: np.ndarray, y: np.ndarray, w: np.ndarray) -> float:
    """The length of the Newton step as computed: what a certificate without rounding would report."""
    retained = bind(objective, X, y, len(w))
    return float(np.linalg.norm(np.linalg.solve(retained.hessian(w), retained.gradient(w).ravel())))


@pytest.mark.parametrize("kind", ["condition 1e12", "everything"])
def test_control_a_computed_newton_step_is_too_short_on_such_data(oracle: Any, kind: str) -> None:
    short = 0
    for seed in range(6):
        objective, X, y, optimum = problem(oracle, "squared", kind, seed)
        for w in points(optimum, (1, X.shape[1]), seed):
            short += unguarded(objective, X, y, w) < float(oracle.distance(oracle.numbers(w), optimum)) * (1 - 1e-6)
    assert short >= 3
