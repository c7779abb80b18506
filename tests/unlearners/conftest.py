"""Small tasks of every loss, and what every method is held to."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from certify import Objective, bound_distance, unlearners
from certify.data.dataset import Dataset
from certify.models.weights import LinearWeights
from certify.unlearners import ConvexTask, Request

FORGOTTEN = np.array([2, 11, 60, 61, 119])
CASES = {
    "logistic": Objective("logistic", l2=3.0),
    "logistic-intercept": Objective("logistic", l2=3.0, fit_intercept=True),
    "logistic-free-intercept": Objective("logistic", l2=3.0, fit_intercept=True, penalize_intercept=False),
    "squared": Objective("squared", l2=3.0),
    "squared-free-intercept": Objective("squared", l2=3.0, fit_intercept=True, penalize_intercept=False),
    "poisson": Objective("poisson", l2=3.0, fit_intercept=True),
    "softmax": Objective("softmax", l2=3.0, fit_intercept=True),
    "gamma": Objective("gamma", l2=3.0, fit_intercept=True, penalize_intercept=False),
    "pseudo-huber": Objective("pseudo-huber", l2=3.0),
    "log-cosh": Objective("log-cosh", l2=3.0, fit_intercept=True),
    "squared-hinge": Objective("squared-hinge", l2=3.0, fit_intercept=True),
    "huber-hinge": Objective("huber-hinge", l2=3.0, smoothing=0.5),
    "softplus-hinge": Objective("softplus-hinge", l2=3.0, smoothing=0.2),
    "one-vs-rest": Objective("logistic", l2=3.0, fit_intercept=True, penalize_intercept=False, one_vs_rest=True),
    "one-vs-rest-kinked": Objective("squared-hinge", l2=3.0, one_vs_rest=True),
}


def draw(loss: str, *, records: int = 120, features: int = 4, seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(records, features))
    score = X @ np.linspace(1.0, -1.0, features)

    def signs() -> np.ndarray:
        return np.where(rng.random(records) < 1 / (1 + np.exp(-score)), 1.0, -1.0)

    y = {
        "logistic": signs,
        "squared-hinge": signs,
        "huber-hinge": signs,
        "softplus-hinge": signs,
        "squared": lambda: score + rng.normal(size=records),
        "pseudo-huber": lambda: score + rng.standard_t(2, size=records),
        "log-cosh": lambda: score + rng.standard_t(2, size=records),
        "gamma": lambda: rng.gamma(2.0, np.exp(0.5 * score)) + 1e-3,
        "poisson": lambda: rng.poisson(np.exp(0.5 * score)).astype(float),
        "softmax": lambda: np.argmax(rng.gumbel(size=(records, 3)) + np.outer(score, [1.0, 0.0, -1.0]), axis=1),
    }[loss]()
    return Dataset(X, y, np.arange(1_000, 1_000 + records))


@dataclass(frozen=True)
class Case:
    """A trained model, its records, and a request."""

    objective: Objective
    dataset: Dataset
    original: LinearWeights
    request: Request

    @property
    def task(self) -> ConvexTask:
        return ConvexTask(self.objective, self.dataset, self.original)

    def distance(self, weights: LinearWeights) -> float:
        """The certified distance of weights to the retrained ones."""
        kept = self.dataset.without(self.request.forgotten)
        parameters = weights.coef if weights.intercept is None else weights.parts
        return float(bound_distance(self.objective, kept.X, kept.y, parameters, kept.sample_weight).distance)


def case(objective: Objective, dataset: Dataset, forgotten: np.ndarray = FORGOTTEN) -> Case:
    """Train on all records: the first is repeated, and the copy is what retraining is asked to forget."""
    padded = Dataset(
        np.vstack([dataset.X, dataset.X[:1]]), np.append(dataset.y, dataset.y[0]), np.arange(len(dataset) + 1)
    )
    last = Request.at(padded, np.array([len(dataset)]))
    original = unlearners.get("retrain")().forget(ConvexTask(objective, padded), last).model
    return Case(objective, dataset, original, Request.at(dataset, forgotten))


@pytest.fixture(scope="session")
def cases() -> dict[str, Case]:
    return {
        name: case(objective, draw("softmax" if objective.one_vs_rest else objective.loss))
        for name, objective in CASES.items()
    }


@pytest.fixture(params=CASES)
def any_case(request: pytest.FixtureRequest, cases: dict[str, Case]) -> Case:
    return cases[request.param]


@pytest.fixture(scope="session")
def make_case() -> Callable[..., Case]:
    return case


@pytest.fixture(scope="session")
def records() -> Callable[..., Dataset]:
    return draw


@pytest.fixture(
    params=["retrain", "newton", "identity", "newton-adaptive", "curenewton", "pinv-newton", "damped-newton"]
)
def method(request: pytest.FixtureRequest) -> Any:
    """Every registered method, and the adaptive form of Newton."""
    if request.param == "newton-adaptive":
        return unlearners.get("newton")(tolerance=1e-8)
    if request.param == "curenewton":
        return unlearners.get("curenewton")(L=1.0, steps=2)  # not every loss has a constant to derive L from
    return unlearners.get(request.param)()
