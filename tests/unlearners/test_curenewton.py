"""CureNewton and its two baselines on linear models: convergence to the retrained weights, certificates, and units."""

import numpy as np
import pytest
from scipy.special import expit

from certify import Objective, unlearners
from certify.core.errors import ConfigurationError, InputError
from certify.data.dataset import Dataset
from certify.models.weights import LinearWeights
from certify.unlearners import Claim, ConvexTask, Request
from certify.unlearners.methods.curenewton import hessian_lipschitz

CURE, PINV, DAMPED, NEWTON, RETRAIN = (
    unlearners.get(name) for name in ("curenewton", "pinv-newton", "damped-newton", "newton", "retrain")
)


def path(method, case):
    """The weights after each of eight steps, each step a run of its own, with its evidence."""
    task, found = case.task, []
    for _ in range(8):
        result = method(steps=1).forget(task, case.request)
        found.append(result)
        task = ConvexTask(task.objective, task.dataset, result.model)
    return found


@pytest.fixture(scope="module")
def logistic(make_case, records):
    """C9's size: 500 records, the 50 with the highest scores forgotten."""
    data = records("logistic", records=500, features=10)
    gone = np.argsort(data.X @ np.linspace(1, -1, 10))[-50:]
    return make_case(Objective("logistic", l2=2.5), data, np.sort(gone))


def test_the_constant_of_the_sum_is_the_sum_of_cubes(logistic):
    problem = logistic.task.retained_problem(logistic.request)
    direct = np.sum(np.linalg.norm(problem.X, axis=1) ** 3) / (6 * np.sqrt(3))
    assert hessian_lipschitz(problem) == pytest.approx(direct, rel=1e-9)
    assert hessian_lipschitz(problem) >= direct
    rng, w = np.random.default_rng(0), logistic.original.coef
    for size in (1e-3, 0.1, 1.0):  # it is one: no pair of Hessians differs by more
        other = w + size * rng.normal(size=w.shape)
        difference = problem.hessian(other[None]) - problem.hessian(w[None])
        assert np.linalg.norm(difference, 2) <= direct * np.linalg.norm(other - w)


def test_each_step_falls_as_far_as_promised_and_ends_where_promised(logistic, measured):
    """C7 and C9, recomputed from the weights: decrease, gradient, certificate."""
    problem = logistic.task.retained_problem(logistic.request)
    own, mu = hessian_lipschitz(problem), 2.5
    retrained = RETRAIN().forget(logistic.task, logistic.request).state
    before, errors = logistic.task.original_parameters(), []
    for result in path(CURE, logistic):
        after = result.state
        r = float(np.linalg.norm(after - before))
        assert result.evidence.traces["radius"] == (pytest.approx(r, rel=1e-6, abs=1e-15),)
        slope = np.linalg.norm(problem.gradient(after)) / (own * r**2) if r else 0.0
        if r > 1e-5:  # below, values of F no longer tell
            fall = problem.value(before) - problem.value(after)
            measured("C7", fall_over_bound=fall / (own / 12 * r**3), gradient_over_bound=slope)
            assert problem.value(after) <= problem.value(before) - own / 12 * r**3
        assert np.linalg.norm(problem.gradient(after)) <= own * r**2 + 1e-11
        errors.append(float(np.linalg.norm(after - retrained)))
        if r > 1e-10:  # below, the weights are too coarse to measure r by
            assert result.evidence.solver["certificate before rounding"] >= own * r**2 / mu * (1 - 1e-5)
        assert errors[-1] <= result.evidence.solver["certificate before rounding"] + 1e-11
        assert logistic.distance(result.model) >= errors[-1] - 1e-12
        before = after
    measured("C9", **{f"after {k}": error for k, error in enumerate(errors[:5], start=1)})
    assert errors[0] > 1e-4
    assert errors[-1] < 1e-9


def test_the_derived_L_falls_where_too_small_a_one_overshoots():
    """C7's control: from where the loss is flat, Newton's step and a small L leap and raise F; the derived L never does."""
    X = np.array([[1.0], [-1.0], [0.8]])
    data = Dataset(X, np.array([1.0, -1.0, 1.0]), np.arange(3))
    task = ConvexTask(Objective("logistic", l2=1e-3), data, LinearWeights(np.array([-12.0])))
    request = Request.at(data, np.array([2]))
    problem = task.retained_problem(request)
    own, before = hessian_lipschitz(problem), np.array([[-12.0]])
    for L, falls in ((None, True), (0.0, False), (1e-6 * own, False)):
        after = CURE(L=L, steps=1).forget(task, request).state
        assert (problem.value(after) < problem.value(before)) == falls
        if falls:
            length = float(np.linalg.norm(after - before))
            assert problem.value(after) <= problem.value(before) - own / 12 * length**3
            assert np.linalg.norm(problem.gradient(after)) <= own * length**2


@pytest.mark.parametrize("name", ["logistic", "logistic-intercept", "softmax", "pseudo-huber", "one-vs-rest"])
def test_it_converges_to_the_retrained_weights(cases, name):
    case = cases[name]
    result = CURE().forget(case.task, case.request)
    assert case.distance(result.model) < 1e-8
    assert result.claim is Claim.APPROXIMATE
    assert len(result.evidence.traces["damping"]) == result.evidence.counts["iterations"] == 10


def test_without_cubic_term_it_is_newton_and_exact_for_squared_error(cases):
    """seeds of the same step: squared error has a Hessian-Lipschitz constant of 0, so the derived L is 0."""
    for name in ("squared", "squared-free-intercept"):
        case = cases[name]
        newton = NEWTON().forget(case.task, case.request).state
        retrained = RETRAIN().forget(case.task, case.request).state
        for knobs in ({"L": None}, {"L": 1e-13}, {"L": 0.0}):
            result = CURE(steps=1, **knobs).forget(case.task, case.request)
            np.testing.assert_allclose(result.state, newton, rtol=0, atol=1e-10)
            np.testing.assert_allclose(result.state, retrained, rtol=0, atol=1e-10)
    small = CURE(steps=1, L=1e-10).forget(cases["logistic"].task, cases["logistic"].request).state
    newton = NEWTON().forget(cases["logistic"].task, cases["logistic"].request).state
    np.testing.assert_allclose(small, newton, rtol=0, atol=1e-9)


def test_L_is_that_of_the_mean(logistic):
    """Records counted twice, and twice the penalty, are the same mean: the same L gives the same weights."""
    data, request = logistic.dataset, logistic.request
    twice = Dataset(data.X, data.y, data.ids, np.full(len(data), 2.0))
    other = ConvexTask(Objective("logistic", l2=5.0), twice, logistic.original)
    for method in (CURE(L=0.3, steps=2), DAMPED(damping=0.1), PINV()):
        first, second = (method.forget(task, request).state for task in (logistic.task, other))
        np.testing.assert_allclose(first, second, rtol=1e-10, atol=1e-14)


def test_the_damping_is_found_and_the_step_is_the_damped_one(logistic):
    evidence = CURE(L=0.5, steps=1).forget(logistic.task, logistic.request)
    n = len(logistic.dataset) - 50
    told = evidence.evidence.solver
    assert told["damping"] == pytest.approx(0.5 * (0.5 * n) * told["radius"], rel=1e-12)
    same = DAMPED(damping=told["damping"] / n).forget(logistic.task, logistic.request)
    np.testing.assert_allclose(evidence.state, same.state, rtol=1e-9)


def test_pseudo_inverse_and_damped_steps_by_another_route(logistic):
    problem = logistic.task.retained_problem(logistic.request)
    w = logistic.task.original_parameters()
    X, y = logistic.dataset.X[np.setdiff1d(np.arange(500), logistic.request.forgotten)], problem.targets
    p = expit(X @ w[0])
    gradient = X.T @ (p - (y > 0)) + 2.5 * w[0]
    hessian = (X.T * (p * (1 - p))) @ X + 2.5 * np.eye(10)
    pinv = PINV().forget(logistic.task, logistic.request)
    damped = DAMPED(damping=0.2).forget(logistic.task, logistic.request)
    np.testing.assert_allclose(pinv.state[0] - w[0], -np.linalg.solve(hessian, gradient), rtol=1e-8)
    shifted = hessian + 0.2 * 450 * np.eye(10)
    np.testing.assert_allclose(damped.state[0] - w[0], -np.linalg.solve(shifted, gradient), rtol=1e-8)
    for result in (pinv, damped):
        told = result.evidence.solver
        assert told["step norm"] == pytest.approx(told["step norm by eigenvalues"], rel=1e-12)
        assert told["step norm"] == pytest.approx(result.evidence.moved, rel=1e-12)
        assert told["negative eigenvalues"] == 0
        assert told["smallest eigenvalue"] >= 2.5


def test_every_knob_changes_the_result(logistic):
    knobs = {
        CURE: {"L": 0.1, "steps": 3},
        PINV: {"rcond": 0.3, "steps": 2},
        DAMPED: {"damping": 1.0, "steps": 2},
    }
    for method, others in knobs.items():
        plain = method(steps=1).forget(logistic.task, logistic.request).state
        for knob, value in others.items():
            other = method(**{"steps": 1, knob: value}).forget(logistic.task, logistic.request).state
            assert not np.array_equal(plain, other), (method, knob)


def test_what_does_not_fit_is_refused_in_one_line(cases, make_case, records):
    poisson, logistic = cases["poisson"], cases["logistic"]
    with pytest.raises(
        ConfigurationError, match=r"curenewton\.L: the poisson loss has no bound on its third derivative"
    ):
        CURE().forget(poisson.task, poisson.request)
    assert poisson.distance(CURE(L=1.0).forget(poisson.task, poisson.request).model) < 1e-8
    for method in (CURE, PINV, DAMPED):
        with pytest.raises(ConfigurationError, match=rf"{method.name}\.max_parameters: the model has 4 parameters"):
            method(max_parameters=3).forget(logistic.task, logistic.request)
        sparse = make_case(Objective("squared", l2=3.0, l1=5.0), records("squared"))
        with pytest.raises(ConfigurationError, match="Newton steps need a second derivative"):
            method().forget(sparse.task, sparse.request)
    with pytest.raises(ConfigurationError, match=r"curenewton\.L: -1(\.0)? makes no sense"):
        CURE(L=-1.0)
    data = records("squared")
    flat = Dataset(np.hstack([data.X, data.X[:, :1]]), data.y, data.ids)
    singular = ConvexTask(Objective("squared", l2=0.0), flat, type(logistic.original)(np.zeros(5)))
    with pytest.raises(InputError, match="L = 0 leaves the model without a minimum"):
        CURE().forget(singular, Request.at(flat, np.array([3])))


def test_a_penalty_that_leaves_a_parameter_out_gives_no_certificate(cases):
    case = cases["logistic-free-intercept"]
    result = CURE().forget(case.task, case.request)
    assert result.evidence.solver["certificate before rounding"] == np.inf
    assert case.distance(result.model) < 1e-8
