"""Chord steps propose, the certificate decides: what is kept of a factor, when it is made anew, what is refused."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from certify.convex.certificate import certify_parameters
from certify.convex.chord import CONTRACTION_LIMIT, Goal, certified, factored, follow, settle
from certify.convex.enclosure import max_row_norm
from certify.convex.kept import KeptFactor, residual_of
from certify.convex.objective import Objective
from certify.convex.problem import Problem, bind
from certify.convex.solve import newton_step
from certify.core.errors import AssumptionViolatedError

LOSSES = ("logistic", "squared", "poisson", "softmax")


def drawn(loss: str, seed: int, records: int = 60, features: int = 3, **options: Any) -> Problem:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(records, features)) / 2
    score = X @ np.linspace(1.0, -1.0, features)
    y = {
        "logistic": lambda: (score + rng.logistic(size=records) > 0).astype(float),
        "squared": lambda: score + rng.normal(size=records),
        "poisson": lambda: rng.poisson(np.exp(score)).astype(float),
        "softmax": lambda: rng.integers(0, 3, records).astype(float),
    }[loss]()
    weight = rng.uniform(0.5, 2.0, records) if options.pop("weighted", False) else None
    objective = Objective(loss, l2=options.pop("l2", 1.0), **options)
    return bind(objective, X, y, 3 if loss == "softmax" else 1, weight)


def part(problem: Problem, rows: Any) -> Problem:
    positions = np.asarray(rows)
    return replace(
        problem, X=problem.X[positions], targets=problem.targets[positions], weights=problem.weights[positions]
    )


def without(problem: Problem, rows: Any) -> Problem:
    weights = problem.weights.copy()
    weights[np.asarray(rows, dtype=int)] = 0.0
    return replace(problem, weights=weights)


def optimum(problem: Problem, w: np.ndarray | None = None, steps: int = 30) -> np.ndarray:
    w = np.zeros(problem.shape) if w is None else w
    for _ in range(steps):
        w = w - newton_step(problem, w, problem.gradient(w))
    return w


def prepared(loss: str, seed: int, **options: Any) -> tuple[Problem, np.ndarray, KeptFactor]:
    problem = drawn(loss, seed, **options)
    w = settle(problem, np.zeros(problem.shape), factored(problem, np.zeros(problem.shape)), Goal(1e-8, 50), 100.0)
    factor = factored(problem, w.parameters)
    assert factor is not None
    return problem, w.parameters, factor


@settings(max_examples=40)
@given(
    loss=st.sampled_from(LOSSES),
    seed=st.integers(0, 10**6),
    left=st.integers(0, 4),
    came=st.integers(0, 4),
    intercept=st.booleans(),
    sparse=st.booleans(),
)
def test_a_changed_factor_is_a_new_one_up_to_rounding(
    loss: str, seed: int, left: int, came: int, intercept: bool, sparse: bool
) -> None:
    problem = drawn(loss, seed, fit_intercept=intercept, weighted=True)
    if sparse:
        problem = replace(problem, X=csr_array(problem.X))
    w = np.random.default_rng(seed).normal(size=problem.shape) / 3
    gone, fresh = list(range(left)), list(range(20, 20 + came))
    before, after = without(problem, fresh), without(problem, gone)
    factor = factored(before, w)
    assert factor is not None
    changed = factor.changed_by(part(problem, gone) if gone else None, part(problem, fresh) if fresh else None, w)
    assert changed is not None
    whole, hessian, g = changed.absorbed(), after.hessian(w), problem.gradient(w + 1)
    assert whole is not None
    assert whole.changed == left + came
    np.testing.assert_allclose(whole.root.T @ whole.root, hessian, rtol=0, atol=1e-12 * np.abs(hessian).max())
    np.testing.assert_allclose(changed(g).ravel(), np.linalg.solve(hessian, g.ravel()), rtol=1e-9, atol=1e-12)
    if gone or fresh:  # the control: the old factor is another one
        assert np.abs(factor.root.T @ factor.root - hessian).max() > 1e-9 * np.abs(hessian).max()


def test_many_changes_one_after_the_other_stay_a_new_factor_up_to_rounding() -> None:
    problem, w, factor = prepared("softmax", 3, records=400)
    kept: KeptFactor | None = factor
    for row in range(60):
        assert kept is not None
        kept = kept.changed_by(part(problem, [row]), None, w)
    assert kept is not None
    assert kept.changes <= max(8, problem.size)  # worked into the root now and then
    hessian, g = without(problem, range(60)).hessian(w), problem.gradient(w + 1)
    np.testing.assert_allclose(kept(g).ravel(), np.linalg.solve(hessian, g.ravel()), rtol=1e-9)


@pytest.mark.parametrize("loss", ["logistic", "softmax"])
def test_changes_worked_into_the_inverse_are_the_same_factor(monkeypatch: pytest.MonkeyPatch, loss: str) -> None:
    monkeypatch.setattr("certify.convex.kept._APART", 2)
    problem, w, factor = prepared(loss, 3, records=400, features=9)
    kept: KeptFactor | None = factor
    for row in range(3):
        assert kept is not None
        kept = kept.changed_by(part(problem, [row]), None, w, places=[row])
    assert kept is not None
    assert kept.changes >= 3
    assert kept.worked
    assert kept.inverse is not None
    assert kept.solved.shape[1] <= 2
    hessian, g = without(problem, range(3)).hessian(w), problem.gradient(w + 1)
    np.testing.assert_allclose(kept(g).ravel(), np.linalg.solve(hessian, g.ravel()), rtol=1e-9)
    whole = kept.absorbed()
    assert whole is not None
    np.testing.assert_allclose(whole.root.T @ whole.root, hessian, rtol=0, atol=1e-12 * np.abs(hessian).max())
    np.testing.assert_allclose(whole(g), kept(g), rtol=1e-9)


def test_so_many_changed_rows_call_for_a_new_factor() -> None:
    problem, w, factor = prepared("logistic", 0)
    assert factor.changed_by(part(problem, range(10)), None, w) is not None
    assert factor.changed_by(part(problem, range(11)), None, w) is None


def test_a_downdate_that_leaves_nothing_positive_is_noticed() -> None:
    problem, w, _ = prepared("squared", 0, l2=1e-9)
    alien = part(problem, range(3))
    alien = replace(alien, X=np.asarray(alien.X[:]) * 100)
    factor = factored(problem, w)
    assert factor is not None
    changed = factor.changed_by(alien, None, w)
    assert changed is None or changed.absorbed() is None


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_rows_whose_scores_overflow_call_for_a_new_factor() -> None:
    problem, w, factor = prepared("poisson", 0)
    huge = replace(part(problem, [1]), X=np.full((1, 3), 1e6))
    assert factor.changed_by(None, huge, np.ones_like(w)) is None


@pytest.mark.parametrize("loss", LOSSES)
def test_the_residual_after_a_deletion_is_known_before_any_pass(loss: str) -> None:
    problem = drawn(loss, 1, fit_intercept=True, weighted=True)
    w = np.random.default_rng(0).normal(size=problem.shape)
    predicted = problem.gradient(w) - residual_of(part(problem, [4, 7]), w)
    np.testing.assert_allclose(predicted, without(problem, [4, 7]).gradient(w), rtol=1e-12, atol=1e-12)


@settings(max_examples=12)
@given(loss=st.sampled_from(LOSSES), seed=st.integers(0, 10**6), intercept=st.booleans(), count=st.integers(1, 3))
def test_a_certified_distance_is_never_below_the_true_one(
    oracle: Any, loss: str, seed: int, intercept: bool, count: int
) -> None:
    problem, w, factor = prepared(loss, seed, records=18, features=2, fit_intercept=intercept)
    retained = without(problem, range(count))
    goal, row_norm = Goal(1e-4, 30), max_row_norm(problem)
    residual = problem.gradient(w) - residual_of(part(problem, range(count)), w)
    run = follow(retained, w, residual, factor, goal, row_norm)
    exact = oracle.exact(problem.objective, retained.X[:], _raw(retained), retained.weights, problem.outputs)
    true = oracle.distance(oracle.numbers(run.parameters), exact.minimiser(run.parameters))
    assert true <= oracle.mp.mpf(float(run.bound.distance)) <= goal.tolerance
    # the control: where the run began, the same tolerance would be a lie, and the certificate knows
    started = oracle.distance(oracle.numbers(w), exact.minimiser(run.parameters))
    assert certified(retained, w, factor, row_norm).distance >= started


def _raw(problem: Problem) -> np.ndarray:
    """Targets as the oracle takes them."""
    return np.where(problem.targets == 1, 1, 0) if problem.objective.loss == "logistic" else problem.targets


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("scale", [30.0, 1 / 30])
def test_a_poor_factor_is_made_anew_and_a_good_one_is_kept(loss: str, scale: float) -> None:
    problem, w, factor = prepared(loss, 5)
    retained, goal = without(problem, [1, 2]), Goal(1e-9, 40)
    poor = KeptFactor.of(scale * problem.hessian(w), problem.records)
    residual = retained.gradient(w)
    first, second = (follow(retained, w, residual, start, goal, 100.0) for start in (poor, factor))
    assert first.refactored
    assert first.contraction > CONTRACTION_LIMIT
    assert not second.refactored
    assert second.contraction < CONTRACTION_LIMIT
    true = optimum(retained, first.parameters, 3)
    for run in (first, second):
        assert np.linalg.norm(run.parameters - true) <= run.bound.distance <= 1e-9


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_a_stale_factor_contracts_by_f_after_deletions_and_by_f_over_1_minus_f_after_additions(share: float) -> None:
    rng = np.random.default_rng(0)
    X = np.tile(rng.normal(size=(20, 3)), (20, 1))  # every deletion takes away rows like those that stay
    problem = bind(Objective("squared", l2=1e-6), X, rng.normal(size=400))
    few = without(problem, range(int(400 * share)))
    w = rng.normal(size=(1, 3))
    for now, then, expected in ((few, problem, share), (problem, few, share / (1 - share))):
        stale = factored(then, w)
        assert stale is not None
        moved = w - stale(now.gradient(w))
        ratio = np.linalg.norm(now.gradient(moved)) / np.linalg.norm(now.gradient(w))
        assert ratio == pytest.approx(expected, rel=1e-4)


def test_far_from_the_minimum_steps_are_cut() -> None:
    problem = drawn("poisson", 2)
    start = np.full(problem.shape, 6.0)
    run = settle(problem, start, factored(problem, start), Goal(1e-8, 60), max_row_norm(problem))
    assert np.linalg.norm(run.parameters - optimum(problem, run.parameters, 3)) <= run.bound.distance <= 1e-8


def test_what_is_near_enough_is_left_as_it_is() -> None:
    problem, w, factor = prepared("logistic", 0)
    run = settle(problem, w, factor, Goal(1e-6, 5), max_row_norm(problem))
    assert run.steps == 0
    assert run.parameters is w


@pytest.mark.parametrize(("goal", "words"), [(Goal(1e-300, 40), "rounding"), (Goal(1e-10, 1), "after 1 steps")])
def test_a_tolerance_that_is_not_reached_is_refused(goal: Goal, words: str) -> None:
    problem, w, factor = prepared("logistic", 0)
    retained = without(problem, [0, 1, 2])
    with pytest.raises(AssumptionViolatedError, match=words) as caught:
        follow(retained, w, retained.gradient(w), factor, goal, 100.0)
    assert caught.value.exit_code == 4


def test_an_intercept_without_penalty_is_certified_with_a_hessian_of_its_own() -> None:
    problem, w, factor = prepared("logistic", 0, fit_intercept=True, penalize_intercept=False)
    retained = without(problem, [3])
    run = follow(retained, w, retained.gradient(w), factor, Goal(1e-6, 20), max_row_norm(problem))
    assert run.bound.modulus > 0
    assert np.linalg.norm(run.parameters - optimum(retained, run.parameters, 3)) <= run.bound.distance


def test_beyond_the_dense_limit_steps_are_iterative(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, w, _ = prepared("logistic", 0)
    for place in ("certify.convex.chord", "certify.convex.certificate", "certify.convex.solve"):
        monkeypatch.setattr(f"{place}.DENSE_LIMIT", 2)
    assert factored(problem, w) is None
    retained = without(problem, [3, 4])
    run = follow(retained, w, retained.gradient(w), None, Goal(1e-8, 20), max_row_norm(problem))
    assert run.factor is None
    assert np.linalg.norm(run.parameters - optimum(retained, run.parameters, 3)) <= run.bound.distance <= 1e-8


def test_a_factor_of_nothing_finite_is_none_and_a_gradient_that_is_not_finite_gives_no_step() -> None:
    assert KeptFactor.of(np.full((2, 2), np.inf), 3) is None
    assert KeptFactor.of(-np.eye(2), 3) is None
    factor = KeptFactor.of(np.eye(2), 3)
    assert factor is not None
    assert np.array_equal(factor(np.array([[np.nan, 1.0]])), np.zeros((1, 2)))


def test_the_certificate_does_not_believe_the_factor() -> None:
    problem, w, factor = prepared("logistic", 0)
    away = w + 0.01
    for lie in (factor, KeptFactor.of(1e9 * np.eye(3), 60), KeptFactor.of(1e-9 * np.eye(3), 60)):
        assert certified(problem, away, lie, max_row_norm(problem)).distance >= np.linalg.norm(
            away - optimum(problem, w, 3)
        )
    assert certify_parameters(problem, away).distance >= np.linalg.norm(away - optimum(problem, w, 3))
