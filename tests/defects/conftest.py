"""A workbench: logistic regression in plain NumPy that shares no code with the package, and the gate to bring its weights to."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from by_path import load
from scipy.special import expit

from certify.gate.check import CheckResult, check
from certify.reports.schema import CheckEntry

EPSILON, DELTA, NOISE_STD = 1.0, 1e-5, 0.005


@dataclass
class Bench:
    """Records, a request to forget some of them, and a project folder whose gate judges whatever weights a test makes.

    ``rows`` in the methods is a boolean mask; l2 is the total coefficient, sum convention.
    """

    project: Any
    X: np.ndarray
    y: np.ndarray
    gone: np.ndarray
    l2: float = 4.0
    ids: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.ids = np.array([f"person-{number:04d}" for number in range(len(self.X))])

    @property
    def kept(self) -> np.ndarray:
        return ~self.gone

    @property
    def everyone(self) -> np.ndarray:
        return np.ones(len(self.X), dtype=bool)

    def slope(self, w: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Gradient of the summed loss alone."""
        return np.asarray(self.X[rows].T @ (expit(self.X[rows] @ w) - self.y[rows]))

    def gradient(self, w: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return self.slope(w, rows) + self.l2 * w

    def curvature(self, w: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Hessian of the summed loss alone."""
        p = expit(self.X[rows] @ w)
        return np.asarray((self.X[rows].T * (p * (1 - p))) @ self.X[rows])

    def hessian(self, w: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return self.curvature(w, rows) + self.l2 * np.eye(self.X.shape[1])

    def newton(self, w: np.ndarray, rows: np.ndarray, steps: int = 1) -> np.ndarray:
        for _ in range(steps):
            w = w - np.linalg.solve(self.hessian(w, rows), self.gradient(w, rows))
        return w

    def minimise(self, rows: np.ndarray) -> np.ndarray:
        """The minimiser to rounding level; the data of these tests are tame enough for plain Newton."""
        w = self.newton(np.zeros(self.X.shape[1]), rows, 30)
        assert np.linalg.norm(self.gradient(w, rows)) < 1e-9 * (1 + self.l2)
        return w

    @cached_property
    def original(self) -> np.ndarray:
        return self.minimise(self.everyone)

    @cached_property
    def retrained(self) -> np.ndarray:
        return self.minimise(self.kept)

    def displaced(self, distance: float) -> np.ndarray:
        """Weights at a known distance of the retrained ones."""
        return self.retrained + distance * np.eye(self.X.shape[1])[0]

    def lay(self, w: np.ndarray, **put: Any) -> Path:
        """Write the project with these weights; ``policy__noise_std=1.0`` sets policy.noise_std."""
        self.project.data(X=self.X, y=self.y, ids=self.ids)
        self.project.write("forget.txt", "\n".join(self.ids[self.gone].tolist()))
        self.project.weights("original.npz", coef=self.original)
        self.project.weights(coef=w)
        for key, value in put.items():
            self.project.put(key.replace("__", "."), float(value) if isinstance(value, np.floating) else value)
        path: Path = self.project.put("objective.l2", put.get("objective__l2", self.l2)).path
        return path

    def gate(self, w: np.ndarray, **put: Any) -> CheckResult:
        """The gate's answer to these weights."""
        return check(self.lay(w, **put))


@pytest.fixture(scope="session")
def projects() -> ModuleType:
    return load("gate/projects")


@pytest.fixture
def make(tmp_path: Path, projects: ModuleType) -> Callable[..., Bench]:
    """A bench of its own size, row norm and penalty."""

    def build(
        records: int = 200, features: int = 3, *, forget: int = 10, l2: float = 4.0, scale: float = 1.0, seed: int = 0
    ) -> Bench:
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(records, features)) * scale
        y = (rng.random(records) < expit(X @ np.linspace(1.0, -0.5, features) / scale)).astype(float)
        return Bench(projects.Project(tmp_path / "project"), X, y, np.arange(records) < forget, l2)

    return build


@pytest.fixture
def bench(make: Callable[..., Bench]) -> Bench:
    return make()


@pytest.fixture
def entry() -> Callable[[CheckResult, str], CheckEntry]:
    """One check of a result by its id."""
    return lambda result, name: next(item for item in result.report.checks if item.id == name)
