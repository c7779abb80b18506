"""The untrusted solvers: good on good problems, harmless on bad ones."""

from typing import Any

import numpy as np
import pytest

from certify import Objective
from certify.convex import solve
from certify.convex.problem import Problem, bind
from certify.convex.solve import conjugate_gradient, exact_line_search, line_search, newton_step

LOSSES = ["logistic", "squared", "poisson", "softmax", "gamma", "pseudo-huber", "log-cosh"]
LOSSES += ["squared-hinge", "huber-hinge", "softplus-hinge", "logistic one-vs-rest", "huber-hinge one-vs-rest"]


def make(loss: str) -> tuple[Problem, np.ndarray]:
    name, _, rest = loss.partition(" ")
    generator, outputs = np.random.default_rng(0), 3 if loss == "softmax" or rest else 1
    X, y = generator.normal(size=(60, 3)), generator.integers(0, max(2, outputs), 60) + (loss == "gamma")
    smoothing = 0.4 if name in ("huber-hinge", "softplus-hinge") else None
    problem = bind(Objective(name, 0.8, True, smoothing=smoothing, one_vs_rest=bool(rest)), X, y, outputs)
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


@pytest.mark.parametrize("loss", LOSSES)
def test_the_exact_line_search_ends_where_the_slope_does(loss: str) -> None:
    problem, w = make(loss)
    step = newton_step(problem, w * 4, problem.gradient(w * 4))
    found = exact_line_search(problem, w * 4, step)
    assert found is not None
    steepest = float(np.sum(problem.gradient(w * 4) * step))
    assert abs(float(np.sum(problem.gradient(found) * step))) < 1e-9 * steepest
    assert problem.value(found) <= min(problem.value(w * 4 - length * step) for length in (0.0, 0.5, 1.0, 2.0)) + 1e-9


def test_the_exact_line_search_gives_up_where_nothing_falls() -> None:
    problem, w = make("huber-hinge")
    gradient = problem.gradient(w)
    assert exact_line_search(problem, w, -gradient) is None
    assert exact_line_search(problem, w, np.zeros_like(w)) is None
    assert exact_line_search(problem, w, np.full_like(w, np.nan)) is None


def test_heads_are_solved_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    # two blocks of 4 parameters are within a limit of 4; the whole Hessian of 12 is never formed
    problem, w = make("logistic one-vs-rest")
    monkeypatch.setattr(solve, "DENSE_LIMIT", 4)
    sizes = []
    hessian = Problem.hessian
    monkeypatch.setattr(Problem, "hessian", lambda self, point: sizes.append(self.size) or hessian(self, point))
    gradient = problem.gradient(w)
    step = newton_step(problem, w, gradient)
    np.testing.assert_allclose(problem.hessian_product(w, step), gradient, rtol=1e-9, atol=1e-9)
    assert sizes == [4, 4, 4]
