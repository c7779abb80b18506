"""Labels that are called unchanged are the retrained model's labels."""

import math

import numpy as np
import pytest

from certify.convex.certificate import certify_parameters
from certify.convex.objective import Objective
from certify.convex.predictions import bound_predictions
from certify.convex.problem import Problem, bind
from certify.unlearners import Budget
from certify.unlearners.evidence import Meter
from certify.unlearners.methods.retrain import Retrain

SMOOTHING = {"huber-hinge": 0.5, "softplus-hinge": 0.3}


def problem(loss: str, seed: int, records: int = 120, outputs: int = 3, *, one_vs_rest: bool = False) -> Problem:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(records, 4))
    several = loss == "softmax" or one_vs_rest
    two = (X[:, 0] + rng.logistic(size=records) > 0) * 1
    y = two
    if loss in ("softmax", "poisson") or one_vs_rest:
        y = rng.poisson(1.0, records) if loss == "poisson" else rng.integers(0, outputs, records)
    objective = Objective(loss, l2=2.0, smoothing=SMOOTHING.get(loss), one_vs_rest=one_vs_rest)
    return bind(objective, X, y, outputs if several else 1)


def retrained(train: Problem) -> np.ndarray:
    return Retrain().run(Meter(train, Budget()), np.zeros(train.shape))


@pytest.mark.parametrize(
    ("loss", "one_vs_rest"),
    [("softmax", False)]
    + [
        (loss, several)
        for loss in ("logistic", "squared-hinge", "huber-hinge", "softplus-hinge")
        for several in (False, True)
    ],
)
@pytest.mark.parametrize("size", [1e-6, 1e-2, 0.1])
def test_no_label_called_unchanged_is_changed(loss: str, size: float, one_vs_rest: bool) -> None:
    train = problem(loss, 1, one_vs_rest=one_vs_rest)
    test = problem(loss, 2, records=4000, one_vs_rest=one_vs_rest)
    best = retrained(train)
    rng = np.random.default_rng(3)
    direction = rng.normal(size=best.shape)
    w = best + size * direction / np.linalg.norm(direction)
    distance = float(certify_parameters(train, w).distance)
    bound = bound_predictions(test, w, distance)
    before, now = test.scores(best), test.scores(w)
    labels = (lambda z: z[:, 0] > 0) if train.outputs == 1 else (lambda z: np.argmax(z, axis=1))
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


def test_the_probability_of_a_head_changes_no_more_than_said() -> None:
    train, test = problem("logistic", 1, one_vs_rest=True), problem("logistic", 2, one_vs_rest=True)
    best = retrained(train)
    w = best + 0.01
    bound = bound_predictions(test, w, float(np.linalg.norm(w - best)))
    p, q = (1 / (1 + np.exp(-test.scores(point))) for point in (best, w))
    assert bound.probability_change is not None
    assert np.abs(p - q).max() <= bound.probability_change < 0.5 * bound.score_change


def test_a_gap_of_two_heads_that_move_apart_is_bounded_with_the_root_of_two() -> None:
    # both heads move by the same length in opposite directions: the gap changes by root two times the joint distance
    test = bind(Objective("squared-hinge", l2=1.0, one_vs_rest=True), np.array([[1.0]]), [0], 2)
    w, best = np.array([[1.0], [0.0]]), np.array([[0.49], [0.51]])  # the label changes
    distance = float(np.linalg.norm(w - best))
    assert distance < 1.0 < math.sqrt(2) * distance
    assert bound_predictions(test, w, distance).same_label == 0


def test_a_regression_has_no_labels() -> None:
    train = problem("poisson", 1)
    bound = bound_predictions(train, np.zeros((1, 4)), 0.5)
    assert bound.same_label is None
    assert bound.probability_change is None
    assert bound.score_change > 0.5
