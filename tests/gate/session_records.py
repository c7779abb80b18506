"""Records and sessions for the tests of sessions, and a plain model of what a session should hold."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from certify.convex.certificate import certify_parameters
from certify.convex.objective import Objective
from certify.convex.problem import bind
from certify.convex.solve import newton_step
from certify.data.dataset import Dataset
from certify.gate.session import Session

LOSSES = ("logistic", "squared", "poisson", "softmax")


def draw(loss: str, seed: int = 0, records: int = 60, features: int = 3, *, weighted: bool = False) -> Dataset:
    """Records p-0, p-1, ... of a loss."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(records, features)) / 2
    score = X @ np.linspace(1.0, -1.0, features)
    y = {
        "logistic": lambda: (score + rng.logistic(size=records) > 0).astype(float),
        "squared": lambda: score + rng.normal(size=records),
        "poisson": lambda: rng.poisson(np.exp(score)).astype(float),
        "softmax": lambda: rng.integers(0, 3, records).astype(float),
    }[loss]()
    weight = rng.uniform(0.5, 2.0, records) if weighted else None
    return Dataset(X, y, np.array([f"p-{row}" for row in range(records)]), weight)


def objective(loss: str, **options: Any) -> Objective:
    return Objective(loss, **{"l2": 1.0, "fit_intercept": True} | options)


def outputs(loss: str) -> int:
    return 3 if loss == "softmax" else 1


def begin(folder: Path, data: Dataset, loss: str = "logistic", tolerance: float = 1e-6, **options: Any) -> Session:
    declared = objective(loss, **options)
    zeros = np.zeros((outputs(loss), data.X.shape[1] + int(declared.fit_intercept)))
    return Session.start(folder / "s.sqlite", folder / "s.key", declared, data, zeros, tolerance)


def again(folder: Path, data: Dataset) -> Session:
    return Session.open(folder / "s.sqlite", folder / "s.key", data)


def retrained(
    declared: Objective, data: Dataset, start: np.ndarray, classes: int | None = None
) -> tuple[np.ndarray, float]:
    """A retrain polished to rounding, and its own certified distance: it shares the objective, not the path."""
    problem, w = bind(declared, data.X, data.y, classes or outputs(declared.loss), data.sample_weight), start
    for _ in range(4):
        w = w - newton_step(problem, w, problem.gradient(w))
    return w, float(certify_parameters(problem, w).distance)


@dataclass
class Book:
    """What a session should hold: records by id, and who may not come back."""

    live: dict[str, tuple[np.ndarray, float]]
    dead: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, data: Dataset) -> "Book":
        return cls({str(name): (data.X[row], float(data.y[row])) for row, name in enumerate(data.ids)})

    def matches(self, session: Session) -> bool:
        held = session.records.retained()
        rows = {str(name): (held.X[row], float(held.y[row])) for row, name in enumerate(held.ids)}
        return rows.keys() == self.live.keys() and all(
            np.array_equal(rows[name][0], x) and rows[name][1] == y for name, (x, y) in self.live.items()
        )


def request(session: Session, book: Book, data: Dataset, rng: np.random.Generator, fresh: int) -> str:
    """One random request, carried out in the session and in the book."""
    kind = str(rng.choice(["delete", "correct", "add"]))
    count = int(rng.integers(1, 4))
    names = [str(name) for name in rng.choice(sorted(book.live), count, replace=False)]
    rows, y = rng.normal(size=(count, data.X.shape[1])) / 2, rng.choice(data.y, count)
    if kind == "delete":
        session.delete(names)
        for name in names:
            del book.live[name]
        book.dead |= set(names)
        return kind
    if kind == "add":
        names = [f"new-{fresh}-{number}" for number in range(count)]
        session.add(names, rows, y)
    else:
        session.correct(names, rows, y)
    book.live |= {name: (rows[number], float(y[number])) for number, name in enumerate(names)}
    return kind
