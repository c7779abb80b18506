"""One-vs-rest heads: certified one by one, joined in the Frobenius norm, and never below the truth."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certify import Objective, bound_distance
from certify.convex import certificate, solve
from certify.convex.certificate import certify_parameters
from certify.convex.enclosure import enclose_gradient, enclose_hessian_product
from certify.convex.heads import heads
from certify.convex.losses import LOSSES, OneVsRest, TwoClassLoss, get_loss
from certify.convex.modulus import verified_modulus
from certify.convex.problem import bind
from certify.core.errors import AssumptionViolatedError

# the hinge loss itself has no derivatives to compare: its heads are in test_gap.py
HEADS = sorted(name for name, loss in LOSSES.items() if isinstance(loss, TwoClassLoss) and name != "hinge")
SMOOTHING = {"huber-hinge": 0.4, "softplus-hinge": 0.2}
BOUNDS = ("distance", "strong_convexity", "self_concordant", "refined", "duality_gap")


def declare(loss: str, l2: float = 1.0, intercept: str = "penalised") -> Objective:
    return Objective(loss, l2, intercept != "none", intercept != "free", SMOOTHING.get(loss), one_vs_rest=True)


def draw(seed: int, size: tuple[int, int], classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels in which every class appears, weights."""
    generator = np.random.default_rng(seed)
    X, y = generator.normal(size=size), generator.integers(0, classes, size[0]).astype(float)
    y[:classes] = np.arange(classes)
    return X, y, generator.uniform(0.2, 2, size[0])


def separately(objective: Objective, X: np.ndarray, y: np.ndarray, w: np.ndarray, weights: Any) -> list[Any]:
    """The certificates of the two-class problems a user would set up by hand."""
    alone = replace(objective, one_vs_rest=False)
    return [bound_distance(alone, X, (y == k).astype(float), w[k], weights) for k in range(len(w))]


@pytest.mark.parametrize("intercept", ["none", "penalised", "free"])
@pytest.mark.parametrize("size", [1e-6, 1e-2, 3.0])
@pytest.mark.parametrize("loss", HEADS)
def test_the_joint_distance_is_the_root_of_the_sum_of_squares_of_the_heads(
    loss: str, size: float, intercept: str, oracle: Any
) -> None:
    if loss in ("squared-hinge", "huber-hinge") and intercept == "free":
        return  # refused, see below
    objective = declare(loss, intercept=intercept)
    X, y, weights = draw(1, (40, 3), 4)
    best = np.array([float(v) for v in oracle.exact(objective, X, y, weights, 4).minimiser()]).reshape(4, -1)
    w = best + size * np.random.default_rng(2).normal(size=best.shape)
    joint, alone = bound_distance(objective, X, y, w, weights), separately(objective, X, y, w, weights)
    for name in (*BOUNDS[1:], "newton_decrement", "rounding", "residual_norm"):
        expected = math.sqrt(sum(float(getattr(bound, name)) ** 2 for bound in alone))
        assert float(getattr(joint, name)) == pytest.approx(expected, rel=1e-12)
    if len({min(BOUNDS[1:], key=lambda name: getattr(bound, name)) for bound in alone}) == 1:
        expected = math.sqrt(sum(float(bound.distance) ** 2 for bound in alone))
        assert joint.distance == pytest.approx(expected, rel=1e-12)
    assert joint.distance < 0.9 * sum(float(bound.distance) for bound in alone) or math.isinf(joint.distance)
    assert joint.modulus == min(bound.modulus for bound in alone)
    assert joint.radius == max(bound.radius for bound in alone)
    np.testing.assert_array_equal(joint.newton_step, np.vstack([bound.newton_step for bound in alone]))


cases = {
    "seed": st.integers(0, 2**32 - 1),
    "size": st.sampled_from([(8, 1), (12, 2), (20, 3)]),
    "classes": st.sampled_from([2, 3, 4]),
    "power": st.sampled_from([-2.0, 0.0, 2.0]),
    "intercept": st.sampled_from(["none", "penalised", "free"]),
}


@pytest.mark.parametrize("loss", HEADS)
@settings(max_examples=25)
@given(**cases)
def test_no_joint_bound_is_ever_below_the_true_distance(
    oracle: Any, loss: str, seed: int, size: tuple[int, int], classes: int, power: float, intercept: str
) -> None:
    if loss in ("squared-hinge", "huber-hinge") and intercept == "free":
        intercept = "penalised"
    objective = declare(loss, 10.0**power, intercept)
    X, y, weights = draw(seed, size, classes)
    optimum = oracle.exact(objective, X, y, weights, classes).minimiser()
    best = np.array([float(value) for value in optimum]).reshape(classes, -1)
    generator = np.random.default_rng([seed, 1])
    for scale in (0.0, 1e-9, 1e-4, 1e-1, 3.0):
        w = best + scale * generator.normal(size=best.shape)
        try:
            bound = bound_distance(objective, X, y, w, weights)
        except AssumptionViolatedError:
            assert intercept == "free"
            continue
        truth = oracle.distance(oracle.numbers(w), optimum)
        for name in BOUNDS:
            value = float(getattr(bound, name))
            assert not math.isnan(value)
            assert oracle.mp.mpf(value) >= truth - oracle.mp.mpf(10) ** -42
        assert bound.distance == min(getattr(bound, name) for name in BOUNDS[1:])
        if scale <= 1e-4 and intercept != "free" and power >= 0 and loss == "logistic":
            assert float(bound.distance) <= float(truth) * 1.2 + 1e-12


def test_control_the_largest_head_alone_is_exposed(oracle: Any) -> None:
    # heads that all move by the same length: the largest of their distances is half of the joint one
    objective = declare("logistic")
    X, y, weights = draw(3, (40, 3), 4)
    optimum = oracle.exact(objective, X, y, weights, 4).minimiser()
    best = np.array([float(value) for value in optimum]).reshape(4, -1)
    w = best + 1e-6
    truth = float(oracle.distance(oracle.numbers(w), optimum))
    alone = separately(objective, X, y, w, weights)
    assert max(float(bound.distance) for bound in alone) < 0.6 * truth
    assert truth <= bound_distance(objective, X, y, w, weights).distance < 1.01 * truth


@pytest.mark.parametrize("loss", ["squared-hinge", "huber-hinge"])
def test_kinked_heads_with_a_free_intercept_are_refused(loss: str) -> None:
    X, y, _ = draw(4, (30, 2), 3)
    with pytest.raises(AssumptionViolatedError, match="jumps"):
        bound_distance(declare(loss, intercept="free"), X, y, np.zeros((3, 3)))


def test_the_modulus_of_free_intercepts_is_the_smallest_over_the_heads(oracle: Any) -> None:
    objective = declare("logistic", 0.5, "free")
    X, y, weights = draw(5, (60, 3), 3)
    w = np.random.default_rng(6).normal(size=(3, 4)) * 0.3
    bound = bound_distance(objective, X, y, w, weights)
    exact = oracle.exact(objective, X, y, weights, 3).hessian(oracle.numbers(w))
    truth = min(oracle.mp.eigsy(exact, eigvals_only=True))
    assert 0.99 * truth <= bound.modulus <= truth
    problem = bind(objective, X, y, 3, weights)
    assert verified_modulus(problem, enclose_gradient(problem, w)[1], problem.hessian(w)) == 0.0  # heads, or nothing


@pytest.mark.parametrize("loss", HEADS)
def test_gradient_and_product_of_all_heads_are_enclosed(loss: str, oracle: Any) -> None:
    X, y, weights = draw(7, (50, 3), 3)
    problem = bind(declare(loss), X, y, 3, weights)
    exact = oracle.exact(problem.objective, X, y, weights, 3)
    generator = np.random.default_rng(8)
    for size in (1e-3, 1.0, 30.0):
        w, direction = size * generator.normal(size=(2, *problem.shape))
        gradient, scores = enclose_gradient(problem, w)
        product = enclose_hessian_product(problem, scores, direction)
        point = oracle.numbers(w)
        truths = exact.gradient(point), exact.hessian_product(point, oracle.numbers(direction))
        for found, truth in zip((gradient, product), truths, strict=True):
            error = oracle.distance(oracle.numbers(found.value), truth)
            assert error <= oracle.mp.mpf(found.error)
            assert found.error < 1e-9 * (1 + float(oracle.norm(truth)))


@pytest.mark.parametrize("loss", HEADS)
def test_the_loss_is_its_head_class_by_class(loss: str) -> None:
    generator = np.random.default_rng(9)
    head = get_loss(loss, SMOOTHING.get(loss))
    several = get_loss(loss, SMOOTHING.get(loss), one_vs_rest=True)
    assert isinstance(several, OneVsRest)
    z, u, dz, du = generator.normal(size=(4, 30, 3))
    dz, du = np.abs(dz) * 1e-9, np.abs(du) * 1e-9
    y = several.prepare(generator.integers(0, 3, 30), 3)
    blocks = list(several.curvature_blocks(z, y))
    assert [(j, k) for j, k, _ in blocks] == [(0, 0), (1, 1), (2, 2)]
    total, trace = np.zeros(30), np.zeros(30)
    for k in range(3):
        one, signs = z[:, [k]], np.where(y == k, 1.0, -1.0)
        total += head.value(one, signs)
        trace += head.curvature_trace(one, dz[:, [k]], signs)
        np.testing.assert_array_equal(several.gradient(z, y)[:, [k]], head.gradient(one, signs))
        np.testing.assert_array_equal(blocks[k][2], next(head.curvature_blocks(one, signs))[2])
        found = several.curvature_product(z, y, u)[:, [k]]
        np.testing.assert_array_equal(found, head.curvature_product(one, signs, u[:, [k]]))
        found = several.gradient_error(z, dz, y)[:, [k]]
        np.testing.assert_array_equal(found, head.gradient_error(one, dz[:, [k]], signs))
        found = several.curvature_product_error(z, dz, y, u, du)[:, [k]]
        expected = head.curvature_product_error(one, dz[:, [k]], signs, u[:, [k]], du[:, [k]])
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(several.value(z, y), total, rtol=1e-13)
    assert np.all(several.curvature_trace(z, dz, y) >= trace)


@pytest.mark.parametrize("loss", HEADS)
def test_a_kept_factor_of_all_heads_may_propose(loss: str, oracle: Any) -> None:
    objective = declare(loss)
    X, y, weights = draw(10, (40, 3), 3)
    problem = bind(objective, X, y, 3, weights)
    optimum = oracle.exact(objective, X, y, weights, 3).minimiser()
    w = np.array([float(value) for value in optimum]).reshape(3, -1) + 1e-5
    truth = oracle.distance(oracle.numbers(w), optimum)
    stale = certify_parameters(problem, w, solve.Factor(problem.hessian(w + 0.01)))
    assert truth <= oracle.mp.mpf(float(stale.distance))
    if loss == "logistic":
        assert stale.distance < 1.1 * float(truth)
    nonsense = certify_parameters(problem, w, lambda gradient: 3.0 * np.ones_like(gradient))
    assert truth <= oracle.mp.mpf(float(nonsense.distance))


def test_many_heads_are_certified_without_the_joint_hessian(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y, weights = draw(11, (60, 3), 3)
    problem = bind(declare("logistic"), X, y, 3, weights)
    for module in (certificate, solve):
        monkeypatch.setattr(module, "DENSE_LIMIT", 4)  # a head is dense, all of them together would not be
    bound = certify_parameters(problem, np.zeros(problem.shape))
    assert len(heads(problem)) == 3
    assert bound.modulus > problem.objective.l2  # verified on the heads' own Hessians


def test_a_scikit_learn_machine_of_several_classes_is_its_minimiser() -> None:
    from sklearn.svm import LinearSVC

    X, y, _ = draw(12, (90, 3), 3)
    model = LinearSVC(C=0.5, dual=False, tol=1e-9, max_iter=10_000).fit(X, y)
    assert model.coef_.shape == (3, 3)
    assert bound_distance(declare("squared-hinge"), X, y, model).distance < 1e-5
