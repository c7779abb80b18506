"""The untrusted solvers: good on good problems, harmless on bad ones."""

from typing import Any

import numpy as np
import pytest

from certify import Objective
from certify.convex import solve
from certify.convex.problem import Problem, bind
from certify.convex.solve import conjugate_gradient, line_search, newton_step

LOSSES = ["logistic", "squared", "poisson", "softmax"]


def make(loss: str) -> tuple[Problem, np.ndarray]:
    generator, outputs = np.random.default_rng(0), 3 if loss == "softmax" else 1
    X, y = generator.normal(size=(60, 3)), generator.integers(0, max(2, outputs), 60)
    problem = bind(Objective(loss, 0.8, True), X, y, outputs)
    return problem, generator.normal(size=problem.shape) * 0.3


@pytest.mark.parametrize("limit", [0, 2500])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_step_solves_the_newton_equation(monkeypatch: pytest.MonkeyPatch, loss: str, limit: int) -> None:
    monkeypatch.setattr(solve, "DENSE_LIMIT", limit)
    problem, w = make(loss)
    gradient = problem.gradient(w)
    step = newton_step(problem, w, gradient)
    np.testing.assert_allclose(problem.hessian_product(w, step), gradient, rtol=1e-9, atol=1e-9)


def test_a_hessian_that_is_passed_is_the_one_used() -> None:
    problem, w = make("logistic")
    gradient = problem.gradient(w)
    np.testing.assert_allclose(newton_step(problem, w, gradient, 2 * np.eye(problem.size)), gradient / 2)


@pytest.mark.parametrize("fill", [np.nan, np.inf, -1.0])
def test_a_hessian_that_cannot_be_factored_falls_back_on_products(fill: float) -> None:
    problem, w = make("logistic")
    gradient = problem.gradient(w)
    step = newton_step(problem, w, gradient, np.full((problem.size, problem.size), fill))
    np.testing.assert_allclose(problem.hessian_product(w, step), gradient, rtol=1e-9)


@pytest.mark.parametrize("fill", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_gives_no_step(fill: float) -> None:
    problem, w = make("logistic")
    assert not newton_step(problem, w, np.full(problem.shape, fill)).any()


def test_conjugate_gradients_that_break_down_give_no_step() -> None:
    gradient = np.ones((1, 3))
    with np.errstate(invalid="ignore"):
        assert not conjugate_gradient(lambda v: v * np.nan, gradient).any()


def test_conjugate_gradients_are_asked_for_far_more_than_the_default_tolerance() -> None:
    generator = np.random.default_rng(1)
    basis = generator.normal(size=(30, 30))
    matrix, gradient = basis @ basis.T + np.eye(30), generator.normal(size=(2, 15))
    found = conjugate_gradient(lambda v: (matrix @ v.ravel()).reshape(2, 15), gradient)
    residual = np.linalg.norm(matrix @ found.ravel() - gradient.ravel())
    assert residual < 1e-10 * np.linalg.norm(gradient)


@pytest.mark.parametrize("loss", LOSSES)
def test_line_search_descends_and_newton_with_it_converges(oracle: Any, loss: str) -> None:
    problem, w = make(loss)
    w = w * 4  # far enough for the full step to overshoot in some losses
    for _ in range(40):
        gradient = problem.gradient(w)
        if np.linalg.norm(gradient) < 1e-9:
            break
        following = line_search(problem, w, newton_step(problem, w, gradient), gradient)
        if following is None:
            break
        assert problem.value(following) < problem.value(w) + 1e-12
        w = following
    assert np.linalg.norm(problem.gradient(w)) < 1e-5


def test_line_search_gives_up_on_a_direction_that_ascends() -> None:
    problem, w = make("logistic")
    gradient = problem.gradient(w)
    assert line_search(problem, w, -gradient, gradient) is None


def test_line_search_gives_up_where_the_objective_overflows() -> None:
    problem, w = make("poisson")
    assert line_search(problem, w * 1e5, w, w) is None
