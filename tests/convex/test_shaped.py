"""Soundness of the bound in the noise's norm, and of the noise's shape. The truth is computed in 60 digits.

Any failure here is a release blocker.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import sparse

from certify import Objective
from certify.convex import curvature, shaped
from certify.convex.certificate import certify_parameters
from certify.convex.curvature import NoiseShape, curvature_shape
from certify.convex.problem import Problem, bind
from certify.convex.ratio import verified_ratio
from certify.convex.shaped import ShapedBound, bound_shaped
from certify.convex.solve import DENSE_LIMIT
from certify.core.errors import AssumptionViolatedError, ConfigurationError

BOUNDS = ("distance", "plain", "self_concordant", "refined")
LOSSES = ("logistic", "squared", "poisson", "softmax")
NEWER = ("gamma", "pseudo-huber", "log-cosh", "squared-hinge", "huber-hinge", "softplus-hinge")
HEADS = ("logistic one-vs-rest", "squared-hinge one-vs-rest", "softplus-hinge one-vs-rest")
SMOOTHING = {"huber-hinge": 1.5, "softplus-hinge": 0.5}


def make(
    seed: int,
    loss: str,
    size: tuple[int, int],
    power: float = 0.0,
    *,
    intercept: str = "none",
    features: str = "plain",
    weighted: bool = False,
) -> tuple[Problem, dict[str, Any]]:
    """A problem, and the plain arrays that the oracle takes."""
    loss, _, rest = loss.partition(" ")
    generator, (n, d), outputs = np.random.default_rng(seed), size, 3 if loss == "softmax" or rest else 1
    X = generator.normal(size=size)
    if features == "graded":  # ill-conditioned by the scale of the columns
        X = X * 10.0 ** np.linspace(-4, 1, d)
    elif features == "collinear":
        X[:, -1] = X[:, 0] * (1 + 1e-7)
    elif features == "repeated":
        X = X[generator.integers(0, max(1, n // 4), n)]
    y = generator.integers(0, max(outputs, 2), n).astype(float)
    y[:2] = [0.0, 1.0]
    if loss == "gamma":
        y += 0.5
    if loss in ("squared", "pseudo-huber", "log-cosh"):
        y = y * 3 + generator.normal(size=n)
    weights = generator.uniform(0.1, 3, n) * (generator.uniform(size=n) > 0.2) if weighted else np.ones(n)
    weights[:2] = np.maximum(weights[:2], 0.5)
    objective = Objective(
        loss, 10.0**power, intercept != "none", intercept != "free", SMOOTHING.get(loss), one_vs_rest=bool(rest)
    )
    plain = {"X": X, "y": y, "weights": weights, "outputs": outputs}
    return bind(objective, X, y, outputs, weights), plain


def norm_of(oracle: Any, shape: NoiseShape, values: Any) -> Any:
    """``||R' e||`` in 60 digits, R as stored."""
    factor = [oracle.numbers(row) for row in shape.factor]
    size = len(factor)
    return oracle.norm([oracle.mp.fdot([factor[i][j] for i in range(size)], values) for j in range(size)])


def assert_sound(oracle: Any, problem: Problem, w: np.ndarray, optimum: Any) -> tuple[float, ShapedBound]:
    """Every bound dominates the truth in the norm of M; returns the truth and the bounds."""
    shape = curvature_shape(problem)
    bound = bound_shaped(problem, w, certify_parameters(problem, w), shape)
    truth = norm_of(oracle, shape, [a - b for a, b in zip(oracle.numbers(w), optimum, strict=True)])
    for name in BOUNDS:
        value = float(getattr(bound, name))
        assert not math.isnan(value)
        assert oracle.mp.mpf(value) >= truth - oracle.mp.mpf(10) ** -40, (name, value, float(truth))
    exact = [oracle.mp.fdot(oracle.numbers(column), oracle.numbers(w)) for column in shape.factor.T]
    wrong = oracle.distance(oracle.numbers(shape.coordinates(w)), exact)
    assert wrong <= float(bound.rounding)
    return float(truth), bound


def ratio_truth(oracle: Any, problem: Problem, plain: dict[str, Any], w: np.ndarray, shape: NoiseShape) -> Any:
    """The smallest eigenvalue of ``R^-1 H R'^-1``, in 60 digits and as many as the largest entry has before its point."""

    def matrix() -> Any:
        hessian = oracle.exact(problem.objective, **plain).hessian(oracle.numbers(w))
        inverse = oracle.mp.matrix(shape.factor.tolist()) ** -1
        return inverse * hessian * inverse.T

    # eigenvalues are found to within roundoff of the largest, which far from the optimum may have a hundred digits
    size = max(abs(entry) for entry in matrix())
    with oracle.mp.workdps(oracle.mp.dps + max(0, int(oracle.mp.log10(1 + size)))):
        return min(oracle.mp.eigsy(matrix(), eigvals_only=True))


cases = {
    "seed": st.integers(0, 2**32 - 1),
    "size": st.sampled_from([(8, 1), (12, 2), (20, 3), (3, 4)]),
    "power": st.sampled_from([-4.0, -1.0, 0.0, 2.0]),
    "intercept": st.sampled_from(["none", "penalised", "free"]),
    "features": st.sampled_from(["plain", "graded", "collinear", "repeated"]),
    "weighted": st.booleans(),
    "away": st.sampled_from([0.0, 1e-10, 1e-5, 1e-2, 0.3, 3.0]),
}


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss != "softmax"])
@settings(max_examples=200)
@given(**cases)
@example(seed=5687, size=(3, 4), power=-4.0, intercept="none", features="graded", weighted=False, away=3.0)
def test_no_shaped_bound_is_below_the_true_distance(oracle: Any, loss: str, seed: int, **kind: Any) -> None:
    shaped_bound_holds(oracle, loss, seed, **kind)


@settings(max_examples=60)
@given(**cases)
def test_no_shaped_bound_is_below_the_true_distance_for_softmax(oracle: Any, seed: int, **kind: Any) -> None:
    shaped_bound_holds(oracle, "softmax", seed, **kind)


def shaped_bound_holds(oracle: Any, loss: str, seed: int, away: float, **kind: Any) -> None:
    if loss == "softmax":
        kind["size"] = (kind["size"][0], min(kind["size"][1], 2))
        kind["intercept"] = "penalised" if kind["intercept"] == "free" else kind["intercept"]
    problem, plain = make(seed, loss, kind.pop("size"), kind.pop("power"), **kind)
    optimum = oracle.exact(problem.objective, **plain).minimiser()
    near = np.array([float(value) for value in optimum]).reshape(problem.shape)
    w = near + away * np.random.default_rng([seed, 1]).normal(size=near.shape)
    try:
        _, bound = assert_sound(oracle, problem, w, optimum)
    except AssumptionViolatedError:
        assert not problem.objective.penalize_intercept
        return
    assert bound.distance == min(getattr(bound, name) for name in BOUNDS[1:])
    assert bound.distance < math.inf or not problem.objective.penalize_intercept
    truth = ratio_truth(oracle, problem, plain, w, curvature_shape(problem))
    assert 0 < oracle.mp.mpf(float(bound.ratio)) <= truth


@pytest.mark.parametrize("loss", [*NEWER, *HEADS])
@settings(max_examples=15)
@given(**cases)
def test_no_shaped_bound_of_the_newer_losses_and_of_heads_is_below_the_true_distance(
    oracle: Any, loss: str, seed: int, away: float, **kind: Any
) -> None:
    kind["size"] = (kind["size"][0], min(kind["size"][1], 2))
    kind["intercept"] = "penalised" if kind["intercept"] == "free" else kind["intercept"]
    problem, plain = make(seed, loss, kind.pop("size"), kind.pop("power"), **kind)
    optimum = oracle.exact(problem.objective, **plain).minimiser()
    near = np.array([float(value) for value in optimum]).reshape(problem.shape)
    w = near + away * np.random.default_rng([seed, 1]).normal(size=near.shape)
    _, bound = assert_sound(oracle, problem, w, optimum)
    assert bound.distance < math.inf
    if loss.startswith(("squared-hinge", "huber-hinge")):  # no curvature is known on the way to the minimiser
        assert bound.self_concordant == bound.refined == math.inf
    truth = ratio_truth(oracle, problem, plain, w, curvature_shape(problem))
    assert 0 < oracle.mp.mpf(float(bound.ratio)) <= truth


@pytest.mark.parametrize("loss", LOSSES)
def test_the_bound_is_tight_near_the_minimum_of_an_ill_conditioned_problem(oracle: Any, loss: str) -> None:
    problem, plain = make(4, loss, (20, 2 if loss == "softmax" else 4), -3.0, features="graded")
    optimum = oracle.exact(problem.objective, **plain).minimiser()
    w = np.array([float(value) for value in optimum]).reshape(problem.shape) * (1 + 1e-6)
    truth, bound = assert_sound(oracle, problem, w, optimum)
    assert bound.distance <= 1.001 * truth


@pytest.mark.parametrize("loss", LOSSES)
def test_the_verified_ratio_is_tight(oracle: Any, loss: str) -> None:
    for seed in range(5):
        problem, plain = make(seed, loss, (20, 2), features="graded")
        w = 0.2 * np.random.default_rng(seed).normal(size=problem.shape)
        shape = curvature_shape(problem)
        found, truth = verified_ratio(problem, w, shape), ratio_truth(oracle, problem, plain, w, shape)
        assert 0.99 * truth <= found <= truth
        # control: a ratio one millionth larger would be false, and this comparison would see it
        assert found * (1 + 2e-6) > truth or found < 0.9999 * truth


def test_control_without_the_second_order_term_the_bound_is_false(oracle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shaped, "_growth", lambda *_: 0.0)
    caught = 0
    for seed in range(10):
        problem, plain = make(seed, "poisson", (20, 2))
        optimum = oracle.exact(problem.objective, **plain).minimiser()
        w = np.array([[float(value) for value in optimum]]) + np.random.default_rng(seed).normal(size=(1, 2))
        try:
            assert_sound(oracle, problem, w, optimum)
        except AssertionError:
            caught += 1
    assert caught > 0


def test_control_a_ratio_of_one_is_false_far_from_zero(oracle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shaped, "verified_ratio", lambda *_: 1.0)
    problem, plain = make(3, "logistic", (40, 2), -3.0)
    problem = replace(problem, targets=np.where(problem.X @ [1.0, 0.5] > 0, 1.0, -1.0))
    plain["y"] = (problem.targets > 0).astype(float)
    optimum = oracle.exact(problem.objective, **plain).minimiser()
    w = np.array([[float(value) for value in optimum]])
    assert ratio_truth(oracle, problem, plain, w, curvature_shape(problem)) < 0.1
    # at w = 1.3 w* what is left of the Newton step is charged to the ratio: a false one undercuts the truth
    falsely = bound_shaped(problem, 1.3 * w, _coarse(problem, 1.3 * w), curvature_shape(problem))
    truth = norm_of(oracle, curvature_shape(problem), oracle.numbers(0.3 * w))
    assert float(falsely.self_concordant) < truth


def _coarse(problem: Problem, w: np.ndarray) -> Any:
    """A certificate whose distance is far too small, so that only the ratio stands in the bound."""
    bound = certify_parameters(problem, w)
    return replace(bound, distance=type(bound.distance)(0.0))


# ------------------------------------------------------------------------------------------------------- the shape


def integers(problem: Problem, root: np.ndarray) -> list[list[Fraction]]:
    """The Gram matrix of the rounded features in exact arithmetic, from its definition."""
    V = np.vstack([block for _, block in problem.chunks()]) * root[:, None]
    bits = (53 - int(np.count_nonzero(problem.weights > 0)).bit_length()) // 2
    columns = []
    for column in V.T:
        unit = Fraction(2) ** (math.frexp(float(np.abs(column).max()))[1] - bits)
        columns.append([round(Fraction(float(value)) / unit) * unit for value in column])
    return [[sum((a * b for a, b in zip(u, v, strict=True)), Fraction(0)) for v in columns] for u in columns]


@pytest.mark.parametrize("loss", ["logistic", "poisson", "softmax"])
@pytest.mark.parametrize("features", ["plain", "graded"])
def test_the_gram_matrix_is_exact(loss: str, features: str) -> None:
    problem, _ = make(1, loss, (70, 3), intercept="penalised", features=features, weighted=True)
    root = np.sqrt(problem.weights * curvature._curvatures(problem))
    found = curvature._exact_gram(problem, root)
    assert [[Fraction(value) for value in row] for row in found.tolist()] == integers(problem, root)


def shuffled(problem: Problem, order: np.ndarray) -> Problem:
    return Problem(problem.objective, problem.X[order], problem.targets[order], problem.weights[order], problem.outputs)


@pytest.mark.parametrize("loss", [*LOSSES, *NEWER, *HEADS])
@pytest.mark.parametrize("seed", range(4))
def test_the_shape_is_a_function_of_the_retained_records_to_the_last_bit(loss: str, seed: int) -> None:
    problem, _ = make(seed, loss, (3000, 6), intercept="penalised", weighted=True)
    expected = curvature_shape(problem).factor
    generator = np.random.default_rng(seed)
    assert np.array_equal(curvature_shape(shuffled(problem, generator.permutation(3000))).factor, expected)
    # forgotten records masked by weight zero, at any place and of any size, instead of being cut out
    order = np.sort(generator.permutation(3100)[:3000])
    X, targets, weights = generator.normal(size=(3100, 6)) * 1e9, np.tile(problem.targets, 2)[:3100], np.zeros(3100)
    X[order], targets[order], weights[order] = problem.X, problem.targets, problem.weights
    masked = Problem(problem.objective, X, targets, weights, problem.outputs)
    assert np.array_equal(curvature_shape(masked).factor, expected)


@pytest.mark.parametrize("loss", LOSSES)
def test_sparse_features_give_the_same_shape_and_a_sound_ratio(oracle: Any, loss: str) -> None:
    problem, plain = make(11, loss, (40, 3), intercept="penalised")
    plain["X"][plain["X"] < 0.3] = 0.0
    dense, thin = (
        bind(problem.objective, X, plain["y"], plain["outputs"]) for X in (plain["X"], sparse.csr_array(plain["X"]))
    )
    shape, w = curvature_shape(dense), np.random.default_rng(1).normal(size=problem.shape)
    assert np.array_equal(curvature_shape(thin).factor, shape.factor)
    truth = ratio_truth(oracle, dense, plain, w, shape)
    assert 0.99 * truth <= verified_ratio(thin, w, shape) <= truth


def test_control_a_plain_product_depends_on_the_order_of_the_records() -> None:
    problem, _ = make(0, "logistic", (3000, 6))
    order = np.random.default_rng(0).permutation(3000)
    assert not np.array_equal(problem.hessian(np.zeros((1, 6))), shuffled(problem, order).hessian(np.zeros((1, 6))))


def notices_the_weights(build: Callable[[Problem, np.ndarray], np.ndarray]) -> bool:
    """Whether two different weights on the same retained records give different factors."""
    problem, _ = make(7, "logistic", (50, 3))
    factors = [build(problem, np.full((1, 3), value)) for value in (0.1, 0.2)]
    return not np.array_equal(*factors)


def test_the_shape_does_not_depend_on_the_weights() -> None:
    def as_released(problem: Problem, w: np.ndarray) -> np.ndarray:
        certify_parameters(problem, w)  # whatever was computed from w before
        return curvature_shape(problem).factor

    assert not notices_the_weights(as_released)
    # control: the Hessian at w, which would be the forbidden choice, is noticed
    assert notices_the_weights(lambda problem, w: np.linalg.cholesky(problem.hessian(w)))


@pytest.mark.parametrize("loss", [*LOSSES, *NEWER, *HEADS])
def test_the_shape_is_the_hessian_at_zero_up_to_the_bits_that_were_dropped(loss: str) -> None:
    problem, _ = make(2, loss, (400, 4), intercept="penalised", weighted=True)
    factor, hessian = curvature_shape(problem).factor, problem.hessian(np.zeros(problem.shape))
    assert np.abs(factor @ factor.T - hessian).max() <= 2.0**-18 * np.abs(hessian).max()


@pytest.mark.parametrize("loss", LOSSES)
def test_coordinates_and_parameters_are_inverse(loss: str) -> None:
    problem, _ = make(5, loss, (30, 3))
    shape, w = curvature_shape(problem), np.random.default_rng(5).normal(size=problem.shape)
    assert np.allclose(shape.parameters(shape.coordinates(w), problem.shape), w, rtol=1e-12)
    assert shape.norm >= np.linalg.norm(shape.factor, 2)


def test_collinear_columns_without_a_visible_penalty_still_have_a_shape() -> None:
    X = np.repeat(np.random.default_rng(0).normal(size=(40, 1)), 3, axis=1)
    shape = curvature_shape(bind(Objective("squared", 1e-30), X, X[:, 0]))
    assert np.all(np.diag(shape.factor) > 0)


def test_features_beyond_float64_are_refused() -> None:
    with pytest.raises(AssumptionViolatedError, match="not finite"):
        curvature_shape(bind(Objective("squared", 1.0), np.full((3, 2), 1e200), np.ones(3)))


def test_too_many_parameters_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="at most 2,500 parameters"):
        curvature_shape(bind(Objective("squared", 1.0), np.ones((1, DENSE_LIMIT + 1)), np.ones(1)))
