"""Labels that are called unchanged are the retrained model's labels."""

import numpy as np
import pytest

from certify.convex.certificate import certify_parameters
from certify.convex.objective import Objective
from certify.convex.predictions import bound_predictions
from certify.convex.problem import Problem, bind
from certify.unlearners import Budget
from certify.unlearners.evidence import Meter
from certify.unlearners.retrain import Retrain


def problem(loss: str, seed: int, records: int = 120, outputs: int = 3) -> Problem:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(records, 4))
    y = {
        "logistic": (X[:, 0] + rng.logistic(size=records) > 0) * 1,
        "softmax": rng.integers(0, outputs, records),
        "poisson": rng.poisson(1.0, records),
    }[loss]
    return bind(Objective(loss, l2=2.0), X, y, outputs if loss == "softmax" else 1)


def retrained(train: Problem) -> np.ndarray:
    return Retrain().run(Meter(train, Budget()), np.zeros(train.shape))


@pytest.mark.parametrize("loss", ["logistic", "softmax"])
@pytest.mark.parametrize("size", [1e-6, 1e-2, 0.1])
def test_no_label_called_unchanged_is_changed(loss: str, size: float) -> None:
    train, test = problem(loss, 1), problem(loss, 2, records=4000)
    best = retrained(train)
    rng = np.random.default_rng(3)
    direction = rng.normal(size=best.shape)
    w = best + size * direction / np.linalg.norm(direction)
    distance = float(certify_parameters(train, w).distance)
    bound = bound_predictions(test, w, distance)
    before, now = test.scores(best), test.scores(w)
    labels = (lambda z: z[:, 0] > 0) if loss == "logistic" else (lambda z: np.argmax(z, axis=1))
    changed = int(np.sum(labels(before) != labels(now)))
    assert bound.same_label is not None
    assert changed <= test.records - bound.same_label
    assert np.abs(before - now).max() <= bound.score_change
    if size < 1e-5:
        assert bound.same_label > 0.99 * test.records


def test_an_exact_tie_is_never_called_unchanged() -> None:
    test = bind(Objective("logistic", l2=1.0), np.array([[1.0, -1.0], [1.0, 1.0]]), [0, 1])
    bound = bound_predictions(test, np.array([[2.0, 2.0]]), 1e-9)
    assert bound.same_label == 1


def test_probabilities_change_no_more_than_said() -> None:
    train, test = problem("softmax", 1), problem("softmax", 2)
    best = retrained(train)
    w = best + 0.01
    bound = bound_predictions(test, w, float(np.linalg.norm(w - best)))
    soft = [np.exp(z - z.max(axis=1, keepdims=True)) for z in (test.scores(best), test.scores(w))]
    p, q = (part / part.sum(axis=1, keepdims=True) for part in soft)
    assert bound.probability_change is not None
    assert np.abs(p - q).max() <= bound.probability_change


def test_a_regression_has_no_labels() -> None:
    train = problem("poisson", 1)
    bound = bound_predictions(train, np.zeros((1, 4)), 0.5)
    assert bound.same_label is None
    assert bound.probability_change is None
    assert bound.score_change > 0.5
