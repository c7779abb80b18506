"""Convex beds: ridge and logistic regression with originals from plain NumPy solvers, none of the toolkit's."""

import io
from dataclasses import dataclass, replace
from functools import cache
from typing import ClassVar

import numpy as np

from certify.convex.objective import Objective
from certify.convex.problem import Problem
from certify.core.arrays import AnyArray, FloatArray, IntArray
from certify.core.streams import stream
from certify.data.dataset import Dataset
from certify.models.weights import LinearWeights
from certify.unlearners.conformance.beds import Bed, Numbers, Which
from certify.unlearners.interface import Kind, Result
from certify.unlearners.task import ConvexTask, Request

L2 = 2.0
RECORDS, FEATURES, FORGOTTEN = 60, 4, 6


@dataclass(frozen=True, eq=False)
class ConvexBed(Bed):
    """A linear model with two classes or with real targets."""

    task: ConvexTask
    kind: Kind = "convex"

    @property
    def records(self) -> AnyArray:
        """Features."""
        return np.asarray(self.task.dataset.X)

    @property
    def named(self) -> Dataset:
        """The dataset."""
        return self.task.dataset

    @property
    def squared(self) -> bool:
        """Ridge rather than logistic regression."""
        return self.task.objective.loss == "squared"

    @property
    def quadratic(self) -> bool:  # type: ignore[override]
        """Whether one Newton step reaches the minimum."""
        return self.squared

    def copied(self) -> "ConvexBed":
        """Arrays of its own."""
        data, original = self.task.dataset, self.task.original
        assert original is not None
        dataset = Dataset(np.array(data.X), data.y.copy(), data.ids.copy())
        request = replace(self.request, forgotten=self.request.forgotten.copy())
        return replace(
            self, task=ConvexTask(self.task.objective, dataset, LinearWeights(original.coef.copy())), request=request
        )

    def forgetting(self, request: Request, name: str) -> "ConvexBed":
        """Another request."""
        return replace(self, name=f"{self.name}, {name}", request=request)

    def spoiled(self, rows: IntArray) -> "ConvexBed":
        """Large features of another direction, and other targets."""
        data = self.task.dataset
        X, y = np.array(data.X), data.y.copy()
        X[rows] = 5.0 - 3.0 * X[rows][:, ::-1]
        y[rows] = 2.0 - y[rows] if self.squared else -y[rows]
        name = f"{self.name}, {_digest(rows)} spoiled"
        return replace(self, name=name, task=replace(self.task, dataset=Dataset(X, y, data.ids)))

    def spoiled_original(self) -> "ConvexBed":
        """Other coefficients."""
        original = self.task.original
        assert original is not None
        coef = original.coef + 1.0 + np.arange(original.coef.size)
        return replace(
            self, name=f"{self.name}, another original", task=replace(self.task, original=LinearWeights(coef))
        )

    def permuted(self, order: IntArray) -> "ConvexBed":
        """Rows in another order; the request follows them."""
        data, place = self.task.dataset, np.argsort(order)
        dataset = Dataset(np.array(data.X)[order], data.y[order], data.ids[order])
        request = Request.at(dataset, place[self.request.forgotten])
        return replace(self, name=f"{self.name}, permuted", task=replace(self.task, dataset=dataset), request=request)

    def after(self, first: Result, then: Request, *, through_disk: bool = False) -> "ConvexBed":
        """The first result's parameters are the next original."""
        coef = np.asarray(first.state)[0]
        if through_disk:
            file = io.BytesIO()
            np.save(file, coef)
            file.seek(0)
            coef = np.load(file)
        name = f"{self.name}, then {_digest(then.forgotten)}"
        return replace(self, name=name, request=then, task=replace(self.task, original=LinearWeights(coef.copy())))

    def start(self) -> Numbers:
        """The original's coefficients."""
        assert self.task.original is not None
        return {"coef": self.task.original.coef.reshape(1, -1)}

    def numbers(self, result: Result) -> Numbers:
        """The parameters reached."""
        return {"coef": np.asarray(result.state)}

    def shipped(self, result: Result) -> Numbers:
        """The model's coefficients."""
        return {"coef": np.asarray(result.model.coef).reshape(1, -1)}

    def losses(self, result: Result | None, which: Which) -> FloatArray:
        """Losses without the regulariser."""
        if which == "held-out":
            X, y = _draw("held-out", squared=self.squared)
        else:
            rows = self.retained() if which == "retain" else self.request.forgotten
            X, y = self.records[rows], self.task.dataset.y[rows]
        w = (self.start() if result is None else self.numbers(result))["coef"][0]
        z = X @ w
        return np.asarray(0.5 * (z - y) ** 2 if self.squared else np.logaddexp(0.0, -y * z))

    def optimum(self, rows: IntArray) -> FloatArray:
        """The minimiser of the objective on some records, (1, d), by a solver of this file."""
        return minimiser(self.records[rows], self.task.dataset.y[rows], squared=self.squared)[None]


@cache
def convex_beds() -> tuple[ConvexBed, ...]:
    """Ridge and logistic regression."""
    return tuple(_bed(squared=squared) for squared in (True, False))


def minimiser(X: FloatArray, y: FloatArray, *, squared: bool) -> FloatArray:
    """``argmin sum loss + (L2 / 2) ||w||^2``: the normal equations, or 50 Newton iterations from zero."""
    ridge = L2 * np.eye(X.shape[1])
    if squared:
        return np.asarray(np.linalg.solve(X.T @ X + ridge, X.T @ y), dtype=np.float64)
    w = np.zeros(X.shape[1])
    for _ in range(50):
        wrong = 1 / (1 + np.exp(y * (X @ w)))
        gradient = -X.T @ (y * wrong) + L2 * w
        w = w - np.linalg.solve(X.T @ (X * (wrong * (1 - wrong))[:, None]) + ridge, gradient)
    return np.asarray(w, dtype=np.float64)


def _bed(*, squared: bool) -> ConvexBed:
    X, y = _draw("training", squared=squared)
    dataset = Dataset(X, y, np.arange(1_000, 1_000 + RECORDS))
    objective = Objective("squared" if squared else "logistic", l2=L2)
    task = ConvexTask(objective, dataset, LinearWeights(minimiser(X, y, squared=squared)))
    return ConvexBed("ridge" if squared else "logistic", task, Request.at(dataset, np.arange(0, RECORDS, 10)))


def _draw(part: str, *, squared: bool) -> tuple[FloatArray, FloatArray]:
    rng = stream(0, f"conformance/{part}")
    X = rng.normal(size=(RECORDS, FEATURES))
    score = X @ np.linspace(1.0, -1.0, FEATURES)
    noise = rng.normal(size=RECORDS)
    return X, score + noise if squared else np.where(score + noise > 0, 1.0, -1.0)


def _digest(rows: IntArray) -> str:
    return f"records {rows.min(initial=0)} to {rows.max(initial=0)} ({len(rows)})"


def watched(bed: ConvexBed) -> tuple[ConvexBed, dict[str, int]]:
    """The bed with problems that count passes over their records by themselves, and the counts."""
    seen = {"gradients": 0, "hessians": 0}

    class Task(ConvexTask):
        def retained_problem(self, request: Request) -> Problem:
            return _Watched.of(super().retained_problem(request), seen)

        def forgotten_problem(self, request: Request) -> Problem:
            return _Watched.of(super().forgotten_problem(request), seen)

    return replace(bed, task=Task(bed.task.objective, bed.task.dataset, bed.task.original)), seen


class _Watched(Problem):
    """A problem that counts its gradients and Hessians."""

    seen: ClassVar[dict[str, int]]

    @classmethod
    def of(cls, plain: Problem, seen: dict[str, int]) -> Problem:
        kind = type("Watched", (cls,), {"seen": seen})
        return kind(plain.objective, plain.X, plain.targets, plain.weights, plain.outputs)  # type: ignore[no-any-return]

    def smooth_gradient(self, w: FloatArray) -> FloatArray:
        self.seen["gradients"] += 1
        return super().smooth_gradient(w)

    def hessian(self, w: FloatArray) -> FloatArray:
        self.seen["hessians"] += 1
        return super().hessian(w)
