"""A Hessian kept from earlier: its error is proven, and what the curvatures did since is never bounded from below the truth."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from certify.convex import anchor as anchor_module
from certify.convex import problem as problem_module
from certify.convex import proposed as proposed_module
from certify.convex.anchor import KeptHessian
from certify.convex.bynorms import gradient_by_norms
from certify.convex.certificate import certify_parameters
from certify.convex.defect import Measured, by_drift, curvature_drift
from certify.convex.enclosure import enclose_gradient, max_row_norm
from certify.convex.kept import KeptFactor
from certify.convex.objective import Objective
from certify.convex.problem import Problem, bind

LOSSES = ["logistic", "squared", "poisson", "gamma", "pseudo-huber", "log-cosh", "softplus-hinge"]


def drawn(
    loss: str, seed: int, size: tuple[int, int], *, scale: float = 0.0, intercept: bool = False, l2: float = 0.7
) -> tuple[Problem, np.ndarray, np.ndarray]:
    """A problem, targets as given, and a point; columns scaled by 10^-scale to 10^scale."""
    rng = np.random.default_rng(seed)
    factors = 10.0 ** np.linspace(-scale, scale, size[1])
    X = rng.normal(size=size) * factors
    y = {"gamma": rng.gamma(2.0, size=size[0]) + 1e-3, "poisson": rng.poisson(1.0, size[0]).astype(float)}.get(
        loss, rng.integers(0, 2, size[0]).astype(float)
    )
    weights = rng.uniform(0.5, 2, size[0])
    smoothing = 0.4 if loss == "softplus-hinge" else None
    w = rng.normal(size=(1, size[1] + intercept)) / 2
    w[:, : size[1]] /= factors
    return bind(Objective(loss, l2, intercept, smoothing=smoothing), X, y, 1, weights), y, w


def part(problem: Problem, places: Any) -> Problem:
    rows = np.asarray(places)
    return replace(problem, X=problem.X[rows], targets=problem.targets[rows], weights=problem.weights[rows])


def left_out(problem: Problem, places: Any) -> Problem:
    weights = problem.weights.copy()
    weights[np.asarray(places, dtype=int)] = 0.0
    return replace(problem, weights=weights)


def exact_matrix(oracle: Any, problem: Problem, kept: KeptHessian) -> Any:
    """M in 60 digits, from the stored curvatures and the rows."""
    rows = [oracle.numbers(row) + [oracle.mp.mpf(1)] * problem.objective.fit_intercept for row in dense(problem)]
    matrix = oracle.mp.diag(oracle.numbers(problem.penalty))
    for share, row in zip(oracle.numbers(kept.weights), rows, strict=True):
        column = oracle.mp.matrix(row)
        matrix += share * column * column.T
    return matrix


def dense(problem: Problem) -> np.ndarray:
    X = problem.X[:]
    return np.asarray(X.toarray() if hasattr(X, "toarray") else X, dtype=np.float64)


def truth(oracle: Any, problem: Problem, y: np.ndarray, w: np.ndarray, z: np.ndarray) -> tuple[Any, Any]:
    """``||H^-1 r - z||`` and the Newton decrement."""
    exact = oracle.exact(problem.objective, dense(problem), y, problem.weights)
    point = oracle.numbers(w)
    r, hessian = oracle.mp.matrix(exact.gradient(point)), exact.hessian(point)
    solved = oracle.mp.lu_solve(hessian, r)
    decrement = oracle.mp.sqrt((r.T * solved)[0])
    return oracle.distance(list(solved), oracle.numbers(z)), decrement


# ------------------------------------------------------------------------------------------------- the matrix


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([(3, 1), (30, 2), (140, 3)]),
    scale=st.sampled_from([0.0, 4.0, 30.0]),
    intercept=st.booleans(),
    kind=st.sampled_from(["float64", "float32", "sparse"]),
    apart=st.sampled_from([1, 3, 1000]),
)
@pytest.mark.parametrize("loss", ["logistic", "poisson", "squared"])
def test_the_product_of_the_kept_hessian_is_enclosed(
    oracle: Any, loss: str, seed: int, size: tuple[int, int], scale: float, *, intercept: bool, kind: str, apart: int
) -> None:
    problem, _, w = drawn(loss, seed, size, scale=scale, intercept=intercept)
    if kind != "float64":
        convert = csr_array if kind == "sparse" else np.float32
        with np.errstate(over="ignore"):
            problem = replace(problem, X=convert(problem.X))
    rng = np.random.default_rng(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anchor_module, "_APART", apart)
        patch.setattr(problem_module, "_CHUNK_BYTES", 1)
        kept = KeptHessian.of(problem, w)
        assert kept is not None
        for place in rng.permutation(size[0])[: rng.integers(0, size[0])][:9]:
            kept = kept.without(np.array([place]), part(problem, [place]))
            assert kept is not None
    z = rng.normal(size=w.shape) * 10.0 ** rng.integers(-200, 60)
    found = kept.product(z)
    exact = exact_matrix(oracle, problem, kept) * oracle.mp.matrix(oracle.numbers(z))
    error = oracle.distance(oracle.numbers(found.value), list(exact))
    assert error <= oracle.mp.mpf(found.error)
    if scale == 0:
        assert found.error <= 1e-10 * float(oracle.norm(list(exact)))


def test_sums_whose_rounding_all_goes_one_way_are_enclosed(oracle: Any) -> None:
    # the same row 3,000 times, folded in and out: a bound that forgot the summation would be false
    rows, worst = 3000, 0.0
    for entry in (0.1, 0.7, 1 / 3):
        problem = bind(Objective("squared", 1e-3), np.full((rows, 1), entry), np.ones(rows))
        kept = KeptHessian.of(problem, np.zeros((1, 1)))
        assert kept is not None
        exact = oracle.mp.mpf(1e-3) + rows * oracle.mp.mpf(entry) ** 2
        error = abs(oracle.mp.mpf(float(kept.product(np.ones((1, 1))).value[0, 0])) - exact)
        assert error <= kept.error
        worst = max(worst, float(error / exact) / 2.0**-53)
    assert worst > 1


def test_magnitudes_that_overflow_keep_no_hessian() -> None:
    for size in (1e160, 1e300):
        problem = bind(Objective("squared", 1.0), np.full((4, 2), size), np.ones(4))
        assert KeptHessian.of(problem, np.zeros((1, 2))) is None
        mild = bind(Objective("squared", 1.0), np.ones((4, 2)), np.ones(4))
        kept = KeptHessian.of(mild, np.zeros((1, 2)))
        assert kept is not None
        assert kept.joined(problem, np.zeros((1, 2))) is None


def test_losses_and_penalties_without_a_kept_hessian() -> None:
    X, y = np.eye(3), np.array([1.0, 0.0, 1.0])
    for objective in (
        Objective("squared-hinge", 1.0),
        Objective("huber-hinge", 1.0, smoothing=0.5),
        Objective("logistic", 1.0, l1=0.1),
        Objective("logistic", 1.0, True, penalize_intercept=False),
    ):
        problem = bind(objective, X, y)
        assert KeptHessian.of(problem, np.zeros(problem.shape)) is None
    assert KeptHessian.of(bind(Objective("softmax", 1.0), X, [0, 1, 2], 3), np.zeros((3, 3))) is None


# ------------------------------------------------------------------------------------------------- the bounds


def measured(problem: Problem, w: np.ndarray, z: np.ndarray, kept: KeptHessian) -> Measured:
    gradient, scores = gradient_by_norms(problem, w)
    return by_drift(problem, gradient, curvature_drift(problem, scores, kept), z, kept, max_row_norm(problem))


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([(4, 1), (12, 2), (25, 3)]),
    scale=st.sampled_from([0.0, 3.0]),
    moved=st.sampled_from([0.0, 1e-9, 1e-3, 0.1, 1.0]),
    proposal=st.sampled_from(["factor", "kept", "zero", "nonsense"]),
    changes=st.integers(0, 3),
    intercept=st.booleans(),
)
@pytest.mark.parametrize("loss", LOSSES)
def test_defect_and_decrement_are_upper_bounds(
    oracle: Any,
    loss: str,
    seed: int,
    size: tuple[int, int],
    scale: float,
    moved: float,
    proposal: str,
    changes: int,
    *,
    intercept: bool,
) -> None:
    whole, y, start = drawn(loss, seed, size, scale=scale, intercept=intercept)
    rng = np.random.default_rng(seed)
    fresh = list(range(size[0] - changes, size[0]))  # come later, at the end
    first = part(whole, range(size[0] - changes))
    factor = KeptFactor.at(first, start)
    assert factor is not None
    kept = factor.hessian
    assert kept is not None
    if changes:
        kept = kept.joined(part(whole, fresh), start)
        assert kept is not None
        kept = kept.without(np.array([0]), part(whole, [0]))
        assert kept is not None
    problem = left_out(whole, [0]) if changes else whole
    w = start * (1 + moved * rng.normal(size=start.shape))
    gradient, scores = enclose_gradient(problem, w)
    solved = np.linalg.lstsq(kept.matrix, gradient.value[0], rcond=None)[0][None]
    z = {"factor": factor(gradient.value), "kept": solved, "zero": 0 * w, "nonsense": rng.normal(size=w.shape)}[
        proposal
    ]
    drift = curvature_drift(problem, scores, kept)
    found = by_drift(problem, gradient, drift, z, kept, max_row_norm(problem))
    defect, decrement = truth(oracle, problem, y, w, z)
    assert defect <= oracle.mp.mpf(found.defect)
    assert decrement <= oracle.mp.mpf(found.decrement)
    reach = np.max(np.abs(dense(problem) @ z[0, : size[1]] + intercept * z[0, -1]) * (problem.weights > 0))
    assert reach <= found.reach * (1 + 1e-12)
    exact = oracle.exact(problem.objective, dense(problem), y, problem.weights)
    assert drift_in_full(oracle, exact, problem, w, kept) <= oracle.mp.mpf(drift)


def drift_in_full(oracle: Any, exact: Any, problem: Problem, w: np.ndarray, kept: KeptHessian) -> Any:
    """kappa in 60 digits."""
    worst = oracle.mp.mpf(0)
    for row, y, a, m in zip(exact.X, exact.y, exact.weights, oracle.numbers(kept.weights), strict=True):
        z = oracle.mp.fdot(row, oracle.numbers(w))
        second = oracle.loss(problem.objective.loss, [z], y, problem.objective.smoothing or 1)[2]
        h = a * second[0][0]
        if h > 0 or m > 0:
            worst = max(worst, abs(h - m) / oracle.mp.sqrt(h * m))
    return worst


@pytest.mark.parametrize("share", [0.2, 0.9, 1.3, 6.0])
def test_one_half_cannot_be_less(share: float) -> None:
    # one row with h x^2 = s attains the bound: r = M z, so nothing but the drift is left
    l2, z = 2.0, np.array([[0.37]])
    problem = bind(Objective("squared", l2), np.array([[math.sqrt(l2)]]), np.array([0.0]))
    kept = KeptHessian.of(problem, np.zeros((1, 1)))
    assert kept is not None
    drifted = replace(kept, matrix=np.array([[l2 + share * l2]]), weights=np.array([share]), size=l2 * (1 + share))
    r = (l2 + share * l2) * z
    # the residual at w = 0 is -sqrt(l2) y, made to be M z
    problem = replace(problem, targets=-r[0] / math.sqrt(l2))
    found = measured(problem, 0 * z, z, drifted)
    true = abs(float(r[0, 0]) / (2 * l2) - float(z[0, 0]))
    assert true <= found.defect <= true * (1 + 1e-9)


@pytest.mark.parametrize("share", [1.5, 6.0, 300.0])
def test_the_decrement_grows_with_the_drift(share: float) -> None:
    # all curvature is the record's, and was `share` times as large: nu = M z / sqrt(H) is sqrt(share) times sqrt(z M z)
    l2, x, z = 1e-6, 10.0, np.array([[0.37]])
    problem = bind(Objective("squared", l2), np.array([[x]]), np.array([0.0]))
    kept = KeptHessian.of(problem, np.zeros((1, 1)))
    assert kept is not None
    m = l2 + share * x * x
    drifted = replace(kept, matrix=np.array([[m]]), weights=np.array([share]), size=m)
    found = measured(replace(problem, targets=-(m * z)[0] / x), 0 * z, z, drifted)
    true = m * 0.37 / math.sqrt(l2 + x * x)
    assert true <= found.decrement
    assert share > 10 or found.decrement <= 1.1 * true


def integers(seed: int, width: int) -> tuple[Problem, KeptHessian]:
    """A problem whose Hessian is formed without any rounding, and that Hessian, known to be exact."""
    X = np.random.default_rng(seed).integers(-9, 10, (20, width)).astype(float)
    problem = bind(Objective("squared", 1.0), X, np.ones(20))
    kept = KeptHessian.of(problem, np.zeros((1, width)))
    assert kept is not None
    assert np.array_equal(kept.matrix, X.T @ X + np.eye(width))
    return problem, replace(kept, error=0.0)


@pytest.mark.parametrize("apart", [False, True])
def test_the_rounding_of_the_product_itself_is_enclosed(oracle: Any, apart: bool) -> None:
    for seed in range(20):
        problem, kept = integers(seed, 4)
        now: KeptHessian | None = kept
        if apart:
            now = kept.without(np.arange(8), part(problem, range(8)))
        assert now is not None
        z = np.random.default_rng(seed).normal(size=(1, 4))
        found = now.product(z)
        truth = exact_matrix(oracle, problem, now) * oracle.mp.matrix(oracle.numbers(z))
        assert 0 < oracle.distance(oracle.numbers(found.value), list(truth)) <= oracle.mp.mpf(found.error)


def test_the_rounding_of_changes_worked_into_the_matrix_is_enclosed(
    oracle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anchor_module, "_APART", 1)
    worst = 0.0
    for seed in range(10):
        problem, kept = integers(seed, 3)
        fresh = np.random.default_rng(seed).normal(size=(5, 3))
        came = replace(problem, X=fresh, targets=np.ones(5), weights=np.full(5, 0.7))
        now = kept.joined(came, np.zeros((1, 3)))
        assert now is not None
        assert not len(now.rows)
        both = replace(problem, X=np.vstack([problem.X, fresh]), targets=np.ones(25), weights=np.ones(25))
        exact = exact_matrix(oracle, both, now)
        error = max(abs(oracle.mp.mpf(float(now.matrix[i, j])) - exact[i, j]) for i in range(3) for j in range(3))
        assert 0 < error <= oracle.mp.mpf(now.error)
        worst = max(worst, float(error))
    assert worst > 1e-15


def test_without_drift_the_defect_is_that_of_the_product() -> None:
    problem, _, w = drawn("logistic", 1, (60, 3))
    factor = KeptFactor.at(problem, w)
    assert factor is not None
    assert factor.hessian is not None
    gradient, _ = gradient_by_norms(problem, w)
    found = measured(problem, w, factor(gradient.value), factor.hessian)
    assert found.defect < 1e-10 * found.length


def test_a_hessian_of_other_records_is_no_hessian() -> None:
    problem, _, w = drawn("logistic", 2, (20, 3))
    kept = KeptHessian.of(problem, w)
    assert kept is not None
    _, scores = gradient_by_norms(problem, w)
    assert curvature_drift(problem, scores, kept) < 1e-12
    # a record left or came and nobody said so
    silent = left_out(problem, [4])
    assert curvature_drift(silent, gradient_by_norms(silent, w)[1], kept) == math.inf
    told = kept.without(np.array([4]), part(problem, [4]))
    assert told is not None
    assert curvature_drift(problem, scores, told) == math.inf
    assert curvature_drift(silent, gradient_by_norms(silent, w)[1], told) < 1e-12
    # another number of records, or one named twice
    assert curvature_drift(problem, scores, replace(kept, weights=kept.weights[1:])) == math.inf
    assert kept.without(np.array([4, 4]), part(problem, [4, 4])) is None


@pytest.mark.parametrize("loss", LOSSES)
def test_a_stream_is_certified_from_gradients_alone_and_never_below_the_truth(
    oracle: Any, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    problem, y, w = drawn(loss, 3, (40, 2), intercept=True, l2=2.0)
    problem = replace(problem, X=problem.X / 4)
    for _ in range(25):
        w = w - np.linalg.solve(problem.hessian(w), problem.gradient(w)[0])[None]
    products = []
    real = proposed_module.product_by_norms
    monkeypatch.setattr(proposed_module, "product_by_norms", lambda *a: products.append(1) or real(*a))
    monkeypatch.setattr(anchor_module, "_APART", 2)
    factor: KeptFactor | None = KeptFactor.at(problem, w)
    gone: list[int] = []
    for place in range(6):
        assert factor is not None
        gone.append(place)
        now, left = left_out(problem, gone), part(problem, [place])
        factor = factor.changed_by(left, None, w, places=[place])
        assert factor is not None
        w = w - factor(now.gradient(w))
        bound = certify_parameters(now, w, propose=factor, kept=factor.hessian)
        exact = oracle.exact(problem.objective, dense(now), y, now.weights)
        true = oracle.distance(oracle.numbers(w), exact.minimiser(w))
        assert true <= oracle.mp.mpf(float(bound.distance))
        if (
            loss == "logistic"
        ):  # other curvatures change much when one of 40 leaves, or a step ends at the level of rounding
            assert float(bound.distance) <= 1.2 * float(true)
            assert not products


def test_a_drift_that_says_too_little_falls_back_on_the_product() -> None:
    problem, _, w = drawn("poisson", 4, (40, 2))
    factor = KeptFactor.at(problem, w)
    assert factor is not None
    away = w + 0.8
    with_kept = certify_parameters(problem, away, propose=factor, kept=factor.hessian)
    without = certify_parameters(problem, away, propose=factor)
    assert float(with_kept.distance) == float(without.distance)
