"""The claimed rounding errors against exact arithmetic: never exceeded, never absurdly loose."""

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from certify import Objective
from certify.convex import enclosure
from certify.convex import problem as problem_module
from certify.convex.bynorms import gradient_by_norms, product_by_norms
from certify.convex.enclosure import enclose_gradient, enclose_hessian_product, gamma, max_row_norm, norm_upper
from certify.convex.problem import Problem, bind

NEWER = ["gamma", "pseudo-huber", "log-cosh", "squared-hinge", "huber-hinge", "softplus-hinge"]
LOSSES = ["logistic", "squared", "poisson", "softmax", *NEWER]
KINKED = ("squared-hinge", "huber-hinge")
SMOOTHING = {"huber-hinge": 0.6, "softplus-hinge": 0.4}


def make(
    loss: str, seed: int, size: tuple[int, int], *, scale: float = 0.0, intercept: bool = True, single: bool = False
) -> tuple[Problem, np.ndarray, np.ndarray, np.ndarray]:
    """A problem, targets as given, parameters, and a direction; columns scaled by 10^-scale to 10^scale."""
    generator, outputs = np.random.default_rng(seed), 3 if loss == "softmax" else 1
    factors = 10.0 ** np.linspace(-scale, scale, size[1])
    X = generator.normal(size=size) * factors
    if single:
        X = X.astype(np.float32)
    y = generator.integers(0, max(2, outputs), size[0]).astype(float)
    if loss in ("squared", "pseudo-huber", "log-cosh"):
        y = generator.normal(size=size[0]) * 10
    if loss == "gamma":
        y = generator.gamma(2.0, size=size[0]) + 1e-3
    weights = generator.uniform(0, 3, size[0]) * (generator.uniform(size=size[0]) > 0.2)
    weights[0] = 1.0
    w = generator.normal(size=(outputs, size[1] + intercept))
    direction = generator.normal(size=w.shape)
    w[:, : size[1]] /= factors
    direction[:, : size[1]] /= factors
    return bind(Objective(loss, 0.7, intercept, smoothing=SMOOTHING.get(loss)), X, y, outputs, weights), y, w, direction


CAREFUL, COARSE = (enclose_gradient, enclose_hessian_product), (gradient_by_norms, product_by_norms)


def true_errors(
    oracle: Any, problem: Problem, y: np.ndarray, w: np.ndarray, direction: np.ndarray, enclose: Any = CAREFUL
) -> list[Any]:
    """(true error, claimed error) of the gradient and of the Hessian product, in 60 digits."""
    gradient, scores = enclose[0](problem, w)
    product = enclose[1](problem, scores, direction)
    exact = oracle.exact(problem.objective, problem.X, y, problem.weights, problem.outputs)
    point = oracle.numbers(w)
    truths = exact.gradient(point), exact.hessian_product(point, oracle.numbers(direction))
    return [
        (
            oracle.distance(oracle.numbers(found.value), truth),
            oracle.mp.mpf(found.error),
            oracle.norm(truth),
            found.norm,
        )
        for found, truth in zip((gradient, product), truths, strict=True)
    ]


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([(1, 1), (7, 3), (30, 2), (150, 2)]),
    scale=st.sampled_from([0.0, 3.0, 8.0]),
    intercept=st.booleans(),
    single=st.booleans(),
    enclose=st.sampled_from([CAREFUL, COARSE]),
)
@pytest.mark.parametrize("loss", LOSSES)
def test_the_true_error_never_exceeds_the_claimed_one(
    oracle: Any,
    loss: str,
    seed: int,
    size: tuple[int, int],
    scale: float,
    enclose: Any,
    *,
    intercept: bool,
    single: bool,
) -> None:
    problem, y, w, direction = make(loss, seed, size, scale=scale, intercept=intercept, single=single)
    for error, claimed, norm, norm_bound in true_errors(oracle, problem, y, w, direction, enclose):
        assert error <= claimed
        assert norm <= oracle.mp.mpf(norm_bound)


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([0.0, 3.0]), sparse=st.booleans())
@pytest.mark.parametrize("loss", LOSSES)
def test_errors_by_norms_hold_over_many_chunks_and_spans(
    oracle: Any, loss: str, seed: int, scale: float, *, sparse: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(problem_module, "_CHUNK_BYTES", 1)
        patch.setattr(enclosure, "_SPAN", 50)
        problem, y, w, direction = make(loss, seed, (150, 2), scale=scale)
        dense = problem
        if sparse:
            problem = replace(problem, X=csr_array(problem.X))
        assert len(problem.ranges) == 3 or sparse
        gradient, scores = gradient_by_norms(problem, w)
        product = product_by_norms(problem, scores, direction)
    exact = oracle.exact(dense.objective, dense.X, y, dense.weights, dense.outputs)
    point = oracle.numbers(w)
    truths = exact.gradient(point), exact.hessian_product(point, oracle.numbers(direction))
    for found, truth in zip((gradient, product), truths, strict=True):
        assert oracle.distance(oracle.numbers(found.value), truth) <= oracle.mp.mpf(found.error)
    p, k = problem.shape[1], problem.outputs
    rows = np.hstack([np.asarray(dense.X, dtype=float), np.ones((150, 1))])[dense.weights > 0]
    assert rows.shape[1] == p
    assert np.linalg.norm(rows @ direction.reshape(k, p).T, axis=1).max() <= product.reach * (1 + 1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_true_error_never_exceeds_the_claimed_one_over_many_chunks(
    oracle: Any, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    monkeypatch.setattr(problem_module, "_CHUNK_BYTES", 1)
    problem, y, w, direction = make(loss, 5, (300, 2), scale=2.0)
    assert problem.chunk == 64
    assert len(list(problem.chunks())) == 5
    for error, claimed, _, _ in true_errors(oracle, problem, y, w, direction):
        assert 0 < error <= claimed


@pytest.mark.parametrize("size", [1e-8, 1.0, 30.0, 600.0])
@pytest.mark.parametrize("enclose", [CAREFUL, COARSE])
@pytest.mark.parametrize("loss", LOSSES)
def test_large_and_small_scores_are_enclosed(oracle: Any, loss: str, enclose: Any, size: float) -> None:
    problem, y, w, direction = make(loss, 6, (20, 3))
    w *= size / np.abs(problem.scores(w)).max()
    for error, claimed, _, _ in true_errors(oracle, problem, y, w, direction, enclose):
        assert error <= claimed


@pytest.mark.parametrize("loss", LOSSES)
def test_scores_that_cancel_are_enclosed(oracle: Any, loss: str) -> None:
    # two columns of size 1e6 whose contributions cancel: the scores are mostly rounding
    generator = np.random.default_rng(7)
    base = generator.normal(size=30) * 1e6
    X = np.column_stack([base, -base + generator.normal(size=30)])
    outputs = 3 if loss == "softmax" else 1
    y = generator.integers(0, max(2, outputs), 30).astype(float)
    if loss == "gamma":
        y += 0.5
    problem = bind(Objective(loss, 1.0, smoothing=SMOOTHING.get(loss)), X, y, outputs)
    w = np.ones((outputs, 2)) * (np.arange(outputs)[:, None] + 1.1)
    found = true_errors(oracle, problem, y, w, generator.normal(size=w.shape))
    for error, claimed, _, _ in found:
        assert error <= claimed
    assert found[0][0] > 1e-12 or loss in KINKED  # the case is as bad as it is meant to be


def newer_derivatives(name: str, z: Any, y: Any, smoothing: Any) -> tuple[Any, Any]:
    """First and second derivative in whatever precision the arguments have."""
    t, s = z - y, np.where(y == 1, 1, -1)
    root, short = np.sqrt(1 + t * t), 1 - s * z
    if name == "gamma":
        return 1 - y * np.exp(-z), y * np.exp(-z)
    if name == "pseudo-huber":
        return t / root, 1 / root**3
    if name == "log-cosh":
        return np.tanh(t), 1 / np.cosh(t) ** 2
    if name == "squared-hinge":
        return -s * np.maximum(short, 0), (short > 0).astype(z.dtype)
    if name == "huber-hinge":
        inside = (np.abs(short) <= smoothing).astype(z.dtype)
        return -s * np.clip((short + smoothing) / (2 * smoothing), 0, 1), inside / (2 * smoothing)
    p, rest = 1 / (1 + np.exp(-short / smoothing)), 1 / (1 + np.exp(short / smoothing))
    return -s * p, p * rest / smoothing


def long_double(problem: Problem, y: np.ndarray, w: np.ndarray, direction: np.ndarray) -> list[np.ndarray]:
    """Gradient and Hessian product with 64 bits of mantissa: enough to judge a claim of 1e-13."""
    wide = np.longdouble
    X = np.asarray(problem.X, dtype=wide)
    if problem.objective.fit_intercept:
        X = np.hstack([X, np.ones((len(X), 1), dtype=wide)])
    w, direction, a = w.astype(wide), direction.astype(wide), problem.weights.astype(wide)[:, None]
    z, u = (X[:, None, :] * w).sum(2), (X[:, None, :] * direction).sum(2)
    name = problem.objective.loss
    if name == "logistic":
        p, rest = 1 / (1 + np.exp(-z)), 1 / (1 + np.exp(z))
        slope, curved = np.where(y[:, None] == 1, -rest, p), p * rest * u
    elif name == "squared":
        slope, curved = z - y[:, None].astype(wide), u
    elif name == "poisson":
        slope, curved = np.exp(z) - y[:, None].astype(wide), np.exp(z) * u
    elif name in NEWER:
        slope, second = newer_derivatives(name, z, y[:, None].astype(wide), wide(SMOOTHING.get(name, 1)))
        curved = second * u
    else:
        p = np.exp(z - z.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        slope = p - (np.arange(z.shape[1]) == y[:, None])
        curved = p * (u - (p * u).sum(1, keepdims=True))
    penalty = wide(problem.objective.l2)
    sums = [np.stack([(X * (a * v)[:, [k]]).sum(0) for k in range(v.shape[1])]) for v in (slope, curved)]
    return [sums[0] + penalty * w, sums[1] + penalty * direction]


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="long double is no wider than double here")
@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_twenty_thousand_records_are_enclosed_and_not_loosely(loss: str, single: bool) -> None:
    problem, y, w, direction = make(loss, 8, (20_000, 12), single=single)
    w *= 0.3
    gradient, scores = enclose_gradient(problem, w)
    product = enclose_hessian_product(problem, scores, direction)
    for found, truth in zip((gradient, product), long_double(problem, y, w, direction), strict=True):
        size = float(np.linalg.norm(truth.astype(float)))
        error = float(np.linalg.norm((found.value - truth).astype(float)))
        assert error <= found.error * 1.001  # the reference's own rounding is 2000 times smaller
        assert found.error < 1e-6 * size
        assert found.norm >= size * (1 - 1e-12)


@pytest.mark.parametrize("columns", [1, 3, 8])
def test_sums_whose_rounding_all_goes_one_way_are_enclosed(columns: int) -> None:
    # the same number added 20,000 times: nothing averages out, and nothing but the summation is inexact
    records, worst = 20_000, 0.0
    for entry in (0.1, 0.7, 1 / 3, 0.3, 1e-3):
        problem = bind(Objective("squared", 1.0), np.full((records, columns), entry), np.ones(records))
        gradient, _ = enclose_gradient(problem, np.zeros((1, columns)))
        errors = [Fraction(float(value)) + records * Fraction(entry) for value in gradient.value[0]]
        assert sum(error * error for error in errors) <= Fraction(gradient.error) ** 2
        worst = max(worst, float(max(abs(error) for error in errors)) / (records * entry * 2.0**-53))
    assert worst > 8  # a bound that forgot the summation, and granted each record a few units, would be false


@pytest.mark.parametrize("loss", LOSSES)
def test_the_claim_is_tight_on_well_scaled_data(loss: str) -> None:
    problem, _, w, direction = make(loss, 9, (500, 5))
    gradient, scores = enclose_gradient(problem, w * 0.3)
    product = enclose_hessian_product(problem, scores, direction)
    assert gradient.error < 1e-10 * np.linalg.norm(gradient.value)
    assert product.error < 1e-10 * np.linalg.norm(product.value)


@pytest.mark.parametrize("power", [-60, -7, 3, 50])
@pytest.mark.parametrize("loss", LOSSES)
def test_powers_of_two_scale_the_enclosure_exactly(loss: str, power: int) -> None:
    problem, y, w, _ = make(loss, 10, (40, 3), intercept=False)
    factor = 2.0**power
    other = bind(
        replace(problem.objective, l2=0.7 * factor**2), problem.X * factor, y, problem.outputs, problem.weights
    )
    here, there = enclose_gradient(problem, w)[0], enclose_gradient(other, w / factor)[0]
    np.testing.assert_array_equal(there.value, here.value * factor)
    assert there.error == pytest.approx(here.error * factor, rel=1e-12)


@pytest.mark.parametrize("loss", ["logistic", "squared"])
def test_the_product_is_enclosed_for_directions_of_any_size(oracle: Any, loss: str) -> None:
    problem, y, w, direction = make(loss, 11, (20, 2))
    for factor in (1e-250, 1e-100, 1.0, 1e100, 1e250):
        error, claimed, _, _ = true_errors(oracle, problem, y, w, direction * factor)[1]
        assert error <= claimed


def test_products_that_underflow_are_covered(oracle: Any) -> None:
    X, y = np.array([[1e-200, 3e-170], [2e-160, -1e-300]]), np.array([1.0, 0.0])
    w = np.array([[1e-160, 1e-150]])
    problem = bind(Objective("squared", 1e-170), X, y)
    for error, claimed, _, _ in true_errors(oracle, problem, y, w, w * 1e-10):
        assert error <= claimed


@pytest.mark.parametrize("loss", KINKED)
def test_records_on_a_kink_are_enclosed_with_a_finite_error(oracle: Any, loss: str) -> None:
    # l'' jumps within the rounding of the score: the product may be wrong by the whole jump, and is by no more
    edge = 1.0 if loss == "squared-hinge" else 1.6
    X, y = np.array([[0.1, 0.3], [0.7, -0.2], [1.0, 0.0]]), np.array([1.0, 0.0, 1.0])
    problem = bind(Objective(loss, 0.5, smoothing=SMOOTHING.get(loss)), X, y)
    for shift in (0.0, 2.0**-52, -(2.0**-52), 1e-17):
        w = np.array([[edge + shift, (edge * (1 - 0.1) + shift) / 0.3]])  # margins of the first and last record
        found = true_errors(oracle, problem, y, w, np.array([[1.0, 2.0]]))
        for error, claimed, _, _ in found:
            assert error <= claimed
            assert claimed < 3  # finite: the jump times two rows
        assert found[1][1] > 0.1


def test_an_infinite_bound_on_the_third_derivative_makes_an_error_infinite_and_never_undefined(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # zeros in the row and a weight of zero: infinity times nothing
    problem = bind(Objective("squared-hinge", 1.0), np.array([[1.0, 0.0], [0.5, 0.0]]), [1, 0], 1, [1.0, 0.0])
    w = np.array([[1.0, 0.0]])
    _, scores = enclose_gradient(problem, w)
    infinite = lambda self, z, dz, y, u, du: np.full_like(z, math.inf)  # noqa: ARG005, E731
    monkeypatch.setattr(type(problem.objective.loss_function), "curvature_product_error", infinite)
    for direction in (w, np.zeros_like(w)):
        found = enclose_hessian_product(problem, scores, direction)
        assert found.error == math.inf
        assert found.norm == math.inf


@pytest.mark.parametrize("enclose", [CAREFUL, COARSE])
@pytest.mark.parametrize("loss", ["squared", "poisson"])
def test_an_overflow_is_an_infinite_error(loss: str, enclose: Any) -> None:
    problem = bind(Objective(loss, 1.0), np.array([[1e300, 1.0], [1.0, 1.0]]), np.array([0.0, 1.0]))
    w = np.array([[1e20, 0.0]])
    gradient, scores = enclose[0](problem, w)
    assert gradient.error == math.inf
    assert gradient.norm == math.inf
    assert not enclose[1](problem, scores, w).error < math.inf


# --------------------------------------------------------------------------------------------------------- norms


@given(
    st.lists(
        st.one_of(
            st.floats(-1e300, 1e300),
            st.sampled_from([0.0, 5e-324, 1e-310, -2.3e-308, 1e-170, 1.0, 1e154, 1e300, 1.7e308]),
        ),
        max_size=30,
    )
)
def test_norm_upper_is_an_upper_bound_for_any_floats(oracle: Any, entries: list[float]) -> None:
    found, truth = norm_upper(np.array(entries, dtype=float)), oracle.norm(oracle.numbers(entries))
    assert math.isinf(found) or oracle.mp.mpf(found) >= truth
    if truth > 1e-280 and not math.isinf(found):
        assert found <= float(truth) * (1 + 1e-12)


def test_norm_upper_of_nothing_zero_and_what_is_not_finite() -> None:
    assert norm_upper(np.zeros((0, 3))) == 0.0
    assert norm_upper(np.zeros((2, 3))) == 0.0
    assert norm_upper(np.array([1.0, math.nan])) == math.inf
    assert norm_upper(np.array([1.0, -math.inf])) == math.inf
    assert norm_upper(np.full(4, 1.7e308)) == math.inf


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    spread=st.sampled_from([0, 5, 150, 300]),
    intercept=st.booleans(),
    single=st.booleans(),
)
def test_the_largest_row_norm_is_an_upper_bound(
    oracle: Any, seed: int, spread: int, *, intercept: bool, single: bool
) -> None:
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(70, 3)) * 10.0 ** generator.uniform(-spread, min(spread, 300), (70, 3))
    if single:
        X = (X if spread < 30 else generator.normal(size=(70, 3))).astype(np.float32)
    weights = (generator.uniform(size=70) > 0.5).astype(float)
    weights[0] = 1.0
    problem = bind(Objective("squared", 1.0, intercept), X, np.zeros(70), 1, weights)
    rows = [oracle.numbers(row) + [oracle.mp.mpf(1)] * intercept for row in X[weights > 0]]
    truth, found = max(oracle.norm(row) for row in rows), max_row_norm(problem)
    assert oracle.mp.mpf(found) >= truth
    assert found <= float(truth) * (1 + 1e-13) + 1e-290


def test_a_row_norm_beyond_the_largest_float_is_infinite_and_one_below_the_smallest_is_not_lost(oracle: Any) -> None:
    huge = bind(Objective("squared", 1.0), np.array([[1.7e308, 1.7e308], [1.0, 2.0]]), np.zeros(2))
    assert max_row_norm(huge) == math.inf
    for entry in (5e-324, 1e-320, 1e-300, 1e-160):
        tiny = bind(Objective("squared", 1.0), np.array([[entry, 2 * entry], [0.0, 0.0]]), np.zeros(2))
        assert oracle.mp.mpf(max_row_norm(tiny)) >= oracle.mp.sqrt(5) * oracle.mp.mpf(entry)


def test_normalised_rows_have_a_norm_that_is_rounded_up_past_one() -> None:
    # after float64 normalisation some rows are longer than 1 by an ulp, after float32 by 1e-7 (certified.md, 5.4)
    generator = np.random.default_rng(12)
    X = generator.normal(size=(2000, 20))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    assert 1 < max_row_norm(bind(Objective("squared", 1.0), X, np.zeros(2000))) < 1 + 1e-13
    assert 1 + 1e-8 < max_row_norm(bind(Objective("squared", 1.0), X.astype(np.float32), np.zeros(2000))) < 1 + 1e-6


def test_gamma_is_the_constant_of_higham_rounded_up(oracle: Any) -> None:
    for k in (1, 2, 100, 10**6, 10**9):
        exact = k * oracle.mp.mpf(2) ** -53
        exact /= 1 - exact
        assert exact <= oracle.mp.mpf(gamma(k)) <= exact * (1 + oracle.mp.mpf(2) ** -50)


# ------------------------------------------------------------------------------------------------------- control


@pytest.mark.parametrize("loss", LOSSES)
def test_control_a_claim_without_its_rounding_terms_is_exposed(oracle: Any, loss: str) -> None:
    # the true errors are real: a claim of a thousandth of one unit in the last place is broken
    broken = 0
    for seed in range(5):
        problem, y, w, direction = make(loss, seed, (30, 3))
        for error, _, norm, _ in true_errors(oracle, problem, y, w, direction):
            broken += error > norm * oracle.mp.mpf(2) ** -63
    assert broken >= 8


def test_the_norm_of_what_is_enclosed_includes_the_error() -> None:
    for value, error in ((np.zeros((1, 3)), 1e-9), (np.array([[3.0, 4.0]]), 0.5), (np.array([[1e-12]]), 1e-9)):
        assert enclosure.Enclosed(value, error).norm >= np.linalg.norm(value) + error


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([1, 3, 40]),
    exponent=st.integers(-170, 155),
    spread=st.integers(0, 30),
)
def test_a_norm_is_an_upper_bound_at_every_scale(oracle: Any, seed: int, size: int, exponent: int, spread: int) -> None:
    rng = np.random.default_rng(seed)
    array = rng.normal(size=size) * 10.0 ** (exponent - rng.integers(0, spread + 1, size))
    found, truth = norm_upper(array), oracle.norm(oracle.numbers(array))
    assert truth <= oracle.mp.mpf(found) <= truth * (1 + oracle.mp.mpf(1e-13)) + oracle.mp.mpf("1e-297")


@pytest.mark.parametrize("entry", [1.7e-162, 3.3e-161, 1e-158])
def test_squares_that_lose_digits_to_underflow_do_not_shorten_a_norm(entry: float) -> None:
    array = np.full(9, entry)
    assert norm_upper(array) >= 3 * entry
    assert norm_upper(array) <= 3.001 * entry


@pytest.mark.parametrize("loss", ["poisson", "gamma"])
def test_scores_of_a_record_of_weight_zero_may_overflow(loss: str) -> None:
    # a session keeps the rows of those who left, with weight 0: an outlier's score is then anything
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(40, 2)), rng.gamma(2.0, size=40) + 0.1
    X[7] = (4e5, -3e5)
    w = np.array([[-0.2, 0.3]]) if loss == "gamma" else np.array([[0.2, -0.3]])
    weights = np.where(np.arange(40) == 7, 0.0, 1.0)
    whole = (
        bind(Objective(loss, 0.5), X, np.round(y), 1, weights)
        if loss == "poisson"
        else bind(Objective(loss, 0.5), X, y, 1, weights)
    )
    others = replace(whole, X=X[weights > 0], targets=whole.targets[weights > 0], weights=np.ones(39))
    with np.errstate(over="ignore", invalid="ignore"):
        assert whole.value(w) == pytest.approx(others.value(w))
        np.testing.assert_allclose(whole.gradient(w), others.gradient(w))
        np.testing.assert_allclose(whole.hessian(w), others.hessian(w))
        np.testing.assert_allclose(whole.hessian_product(w, w + 1), others.hessian_product(w, w + 1))
        for enclose, multiply in ((enclose_gradient, enclose_hessian_product), (gradient_by_norms, product_by_norms)):
            gradient, scores = enclose(whole, w)
            product = multiply(whole, scores, w + 1)
            np.testing.assert_allclose(gradient.value, others.gradient(w))
            np.testing.assert_allclose(product.value, others.hessian_product(w, w + 1))
            assert gradient.error < 1e-8
            assert product.error < 1e-8
