"""Sparse features: the same certificate as for the dense matrix, sound by itself, and never made dense."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from certify import Objective, bound_distance
from certify.convex import blocks
from certify.convex.certificate import certify_parameters
from certify.convex.enclosure import max_row_norm
from certify.convex.problem import bind
from certify.core.errors import InputError
from certify.core.rows import Without
from certify.data.dataset import Dataset

LOSSES = ("logistic", "softmax", "squared", "poisson")


def make(loss: str, seed: int, size: tuple[int, int] = (60, 8)) -> tuple[sparse.csr_array, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    X = sparse.random_array(size, density=0.3, format="csr", rng=generator, data_sampler=generator.normal)
    outputs = 3 if loss == "softmax" else 1
    y = generator.integers(0, max(2, outputs), size[0]).astype(float)
    return X, y, 0.1 * generator.normal(size=(outputs, size[1]))


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_sparse_and_dense_agree(loss: str, intercept: bool) -> None:
    X, y, w = make(loss, 0)
    w = np.hstack([w, np.full((len(w), 1), 0.2)]) if intercept else w
    objective = Objective(loss, 0.7, fit_intercept=intercept)
    thin, full = bind(objective, X, y, len(w)), bind(objective, X.toarray(), y, len(w))
    np.testing.assert_allclose(thin.gradient(w), full.gradient(w), rtol=1e-12)
    np.testing.assert_allclose(thin.hessian(w), full.hessian(w), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(thin.hessian_product(w, w), full.hessian_product(w, w), rtol=1e-12)
    assert thin.value(w) == pytest.approx(full.value(w), rel=1e-13)
    assert max_row_norm(thin) == pytest.approx(max_row_norm(full), rel=1e-12)
    one, other = certify_parameters(thin, w), certify_parameters(full, w)
    for name in ("distance", "strong_convexity", "refined", "newton_decrement", "modulus"):
        assert float(getattr(one, name)) == pytest.approx(float(getattr(other, name)), rel=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("seed", range(3))
def test_the_bounds_hold(oracle: Any, loss: str, seed: int) -> None:
    X, y, w = make(loss, seed, (25, 4))
    objective = Objective(loss, 0.3)
    optimum = oracle.exact(objective, X.toarray(), y, np.ones(25), len(w)).minimiser()
    for move in (0.0, 1e-9, 1e-3, 0.3):
        at = np.array([float(value) for value in optimum]).reshape(w.shape) + move * w
        bound = bound_distance(objective, X, y, at)
        truth = oracle.distance(oracle.numbers(at), optimum)
        for name in ("distance", "strong_convexity", "self_concordant", "refined"):
            assert oracle.mp.mpf(float(getattr(bound, name))) >= truth - oracle.mp.mpf(10) ** -42


def forbidden(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError("made dense")


@pytest.mark.parametrize("loss", ["logistic", "poisson"])
def test_fifty_thousand_features_without_a_hessian(monkeypatch: pytest.MonkeyPatch, loss: str) -> None:
    monkeypatch.setattr("certify.convex.problem.Problem.hessian", forbidden)
    monkeypatch.setattr(sparse.csr_array, "toarray", forbidden)
    generator = np.random.default_rng(5)
    X = sparse.random_array((3000, 50_000), density=4e-4, format="csr", rng=generator, data_sampler=generator.normal)
    y = generator.integers(0, 2, 3000).astype(float)
    objective = Objective(loss, 2.0)
    problem = bind(objective, X, y)
    w = np.zeros(problem.shape)
    for _ in range(8):
        bound = certify_parameters(problem, w)
        w = w - bound.newton_step
    before = certify_parameters(problem, w).distance
    assert before < 1e-9
    moved = w + 1e-4 * generator.normal(size=w.shape)
    bound, truth = certify_parameters(problem, moved), float(np.linalg.norm(moved - w))
    assert truth - before <= bound.distance < 1.02 * truth + before


def test_softmax_with_eight_thousand_parameters_without_a_hessian(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certify.convex.problem.Problem.hessian", forbidden)
    generator = np.random.default_rng(6)
    X, y = generator.normal(size=(900, 800)) / math.sqrt(800), generator.integers(0, 10, 900).astype(float)
    problem = bind(Objective("softmax", 1.0), X, y, 10)
    assert problem.size == 8000
    w = np.zeros(problem.shape)
    for _ in range(6):
        w = w - certify_parameters(problem, w).newton_step
    before = certify_parameters(problem, w).distance
    assert before < 1e-9
    moved = w + 1e-4 * generator.normal(size=w.shape)
    bound, truth = certify_parameters(problem, moved), float(np.linalg.norm(moved - w))
    assert truth - before <= bound.distance < 1.05 * truth + before


def test_rows_of_zeros_and_huge_rows_have_norms() -> None:
    X = sparse.csr_array(np.array([[0.0, 0.0], [3e200, 4e200], [3e-200, 4e-200], [3.0, 4.0]]))
    np.testing.assert_allclose(blocks.row_norms(X), [0.0, 5e200, 5e-200, 5.0], rtol=1e-14)
    np.testing.assert_allclose(blocks.row_norms(X.toarray()), [0.0, 5e200, 5e-200, 5.0], rtol=1e-14)


def test_the_longest_row_sets_the_rounding_of_a_score() -> None:
    X = sparse.csr_array(np.array([[0.0, 1.0, 2.0], [0.0, 0.0, 1.0]]))
    assert blocks.terms(X) == 2
    assert blocks.terms(X.toarray()) == 3


def test_what_is_wrong_with_a_sparse_matrix_is_said() -> None:
    y, objective = np.zeros(2), Objective("logistic", 1.0)
    twice = sparse.csr_array((np.ones(3), np.array([0, 0, 1]), np.array([0, 2, 3])), shape=(2, 2))
    with pytest.raises(InputError, match="lists an entry twice"):
        bind(objective, twice, y)
    bad = sparse.csr_array(np.array([[1.0, 2.0], [np.nan, 1.0]]))
    with pytest.raises(InputError, match="1 NaN or infinite entries"):
        bind(objective, bad, y)
    with pytest.raises(InputError, match="not numbers"):
        bind(objective, sparse.csr_array(np.array([[1.0 + 1j, 0.0], [0.0, 1.0]])), y)
    with pytest.raises(InputError, match="y has shape"):
        bind(objective, sparse.csr_array(np.eye(3)), y)


@pytest.mark.parametrize("form", ["csc", "coo", "lil", "bsr"])
def test_every_sparse_form_is_taken(form: str) -> None:
    X, y, w = make("logistic", 7)
    objective = Objective("logistic", 1.0)
    assert bound_distance(objective, X.asformat(form), y, w).distance == bound_distance(objective, X, y, w).distance


def test_single_precision_and_integers_are_converted_exactly() -> None:
    X, y, w = make("logistic", 8)
    single = X.astype(np.float32)
    objective = Objective("logistic", 1.0)
    assert float(bound_distance(objective, single, y, w).distance) == float(
        bound_distance(objective, single.astype(np.float64), y, w).distance
    )
    counts = sparse.csr_array(np.arange(480).reshape(60, 8) % 3)
    bound_distance(objective, counts, y, w)
    with pytest.raises(InputError, match="too large for float64"):
        bind(objective, sparse.csr_array(np.array([[2**60 + 1, 0]])), np.ones(1))


TWICE = sparse.csr_array((np.array([1e8, 1.0, -1e8, 1.0]), np.array([0, 0, 0, 0]), np.array([0, 3, 4])), shape=(2, 1))


def test_entries_listed_twice_are_refused_by_every_way_in() -> None:
    with pytest.raises(InputError, match="lists an entry twice"):
        bind(Objective("squared", 1.0), Without(TWICE, np.array([1])), np.ones(1))
    with pytest.raises(InputError, match="lists an entry twice"):
        Dataset(TWICE, np.ones(2), np.arange(2))


def test_the_size_of_a_row_counts_every_stored_entry() -> None:
    assert blocks.row_norms(TWICE)[0] >= math.sqrt(2) * 1e8
    assert float(blocks.absolute(TWICE).data.sum()) == 2e8 + 2


def test_rows_left_out_do_not_hide_numbers_beyond_float64() -> None:
    for X in (np.array([[2**53 + 1], [3]]), np.array([[1.0], [2.0]], dtype=np.longdouble)):
        with pytest.raises(InputError, match=r"too large for float64|wider than float64"):
            bind(Objective("squared", 1.0), Without(X, np.array([1])), np.ones(1))
