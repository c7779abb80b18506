"""The verified modulus against eigenvalues in 60 digits."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certify import Objective
from certify.convex.enclosure import enclose_gradient
from certify.convex.modulus import _shift_proves, verified_modulus
from certify.convex.problem import bind


def both(
    oracle: Any, objective: Objective, X: np.ndarray, y: np.ndarray, w: np.ndarray, weights: Any = None
) -> tuple[float, Any]:
    """The modulus as verified, and the true smallest eigenvalue."""
    problem = bind(objective, X, y, 1, weights)
    w = np.atleast_2d(w)
    _, scores = enclose_gradient(problem, w)
    hessian = oracle.exact(objective, X, y, weights).hessian(oracle.numbers(w))
    return verified_modulus(problem, scores, problem.hessian(w)), min(oracle.mp.eigsy(hessian, eigvals_only=True))


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    loss=st.sampled_from(["logistic", "squared", "poisson", "gamma", "pseudo-huber", "log-cosh", "softplus-hinge"]),
    size=st.sampled_from([(8, 1), (12, 2), (20, 4), (3, 4), (90, 3)]),
    power=st.sampled_from([-8, -2, 0, 4]),
    spread=st.sampled_from([0, 3, 6, 8]),
    penalised=st.booleans(),
)
def test_the_modulus_is_never_above_the_smallest_eigenvalue(
    oracle: Any, seed: int, loss: str, size: tuple[int, int], power: int, spread: int, penalised: bool
) -> None:
    generator, (n, d) = np.random.default_rng(seed), size
    X = generator.normal(size=size) * 10.0 ** generator.uniform(-spread / 2, spread / 2, d)
    y, w = generator.integers(0, 2, n).astype(float), generator.normal(size=d + 1)
    w[:d] /= np.abs(X).max(axis=0) * d
    weights = generator.uniform(0, 2, n) * (generator.uniform(size=n) > 0.2) + 1e-3
    smoothing = 0.5 if loss == "softplus-hinge" else None
    objective = Objective(loss, 10.0**power, fit_intercept=True, penalize_intercept=penalised, smoothing=smoothing)
    y = y + 0.5 if loss == "gamma" else y
    found, truth = both(oracle, objective, X, y, w, weights)
    assert found >= 0
    assert oracle.mp.mpf(found) <= truth


@pytest.mark.parametrize("loss", ["logistic", "squared", "poisson"])
@pytest.mark.parametrize("seed", range(5))
def test_the_modulus_is_within_a_percent_on_well_posed_problems(oracle: Any, loss: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    X, y = generator.normal(size=(40, 3)), generator.integers(0, 2, 40).astype(float)
    found, truth = both(oracle, Objective(loss, 0.5, True, False), X, y, generator.normal(size=4) * 0.5)
    assert 0.99 * truth <= found <= truth


def test_a_column_of_zeros_without_penalty_proves_nothing() -> None:
    # the intercept is not penalised and its column is the sum of two others: l2 alone is too small to be seen
    generator = np.random.default_rng(2)
    a = generator.integers(0, 2, 30).astype(float)
    X = np.column_stack([a, 1 - a])
    problem = bind(Objective("squared", 1e-30, True, False), X, a)
    _, scores = enclose_gradient(problem, np.zeros((1, 3)))
    assert verified_modulus(problem, scores, problem.hessian(np.zeros((1, 3)))) == 0.0


def test_saturated_separable_scores_prove_nothing() -> None:
    # every probability is 0 or 1 to working precision: the intercept's curvature has gone
    X, y = np.array([[-1.0], [-2.0], [1.0], [2.0]]), np.array([0, 0, 1, 1])
    problem = bind(Objective("logistic", 1.0, True, False), X, y)
    w = np.array([[800.0, 0.0]])
    _, scores = enclose_gradient(problem, w)
    assert verified_modulus(problem, scores, problem.hessian(w)) == 0.0


def test_softmax_and_overflow_prove_nothing() -> None:
    generator = np.random.default_rng(3)
    X, y = generator.normal(size=(20, 2)), generator.integers(0, 3, 20)
    problem = bind(Objective("softmax", 1.0), X, y, 3)
    w = np.zeros((3, 2))
    _, scores = enclose_gradient(problem, w)
    assert verified_modulus(problem, scores, problem.hessian(w)) == 0.0
    poisson = bind(Objective("poisson", 1.0), X, y)
    w = np.full((1, 2), 1e5)
    _, scores = enclose_gradient(poisson, w)
    assert verified_modulus(poisson, scores, poisson.hessian(w)) == 0.0


def test_scores_known_only_roughly_lower_the_modulus(oracle: Any) -> None:
    # the weights cancel: scores of size 1e16 that end near 0 are uncertain by more than 1, and so is l''
    X, y = np.array([[1e8, -1e8], [1e8, -1e8 + 1], [3.0, 2.0]]), np.array([0.0, 1.0, 1.0])
    w = np.array([1e8, 1e8])
    found, truth = both(oracle, Objective("logistic", 1.0, True, False), X, y, np.append(w, 0.0))
    assert found <= truth


@pytest.mark.parametrize("size", [1e11, 1e12, 1e13, 1e14])
@pytest.mark.parametrize("loss", ["logistic", "poisson"])
def test_the_error_of_the_scores_is_taken_off_the_modulus(oracle: Any, loss: str, size: float) -> None:
    # two large contributions to each score cancel: the Hessian as computed belongs to scores that are wrong by up to
    # dz, and its smallest eigenvalue is above the true one for about half of the seeds
    above = proved = 0
    for seed in range(30):
        generator = np.random.default_rng(seed)
        x = generator.uniform(0.5, 1, 12)
        X, y = (
            np.column_stack([x, -x * (1 + generator.normal(size=12) / size)]),
            generator.integers(0, 2, 12).astype(float),
        )
        w = np.array([[size, size, 0.3]])
        objective = Objective(loss, 1e3, True, False)  # the free intercept is the weakest direction
        problem = bind(objective, X, y)
        _, scores = enclose_gradient(problem, w)
        found = verified_modulus(problem, scores, problem.hessian(w))
        hessian = oracle.exact(objective, X, y).hessian(oracle.numbers(w))
        truth = min(oracle.mp.eigsy(hessian, eigvals_only=True))
        assert oracle.mp.mpf(found) <= truth
        above += float(np.linalg.eigvalsh(problem.hessian(w))[0]) > truth
        proved += found > 0
    assert above > 5  # the computed eigenvalue alone would have been false


@pytest.mark.parametrize("size", [1, 2, 5, 12])
def test_the_cholesky_proof_is_a_lower_bound(oracle: Any, size: int) -> None:
    generator, proved = np.random.default_rng(size), 0
    for _ in range(20):
        basis, _ = np.linalg.qr(generator.normal(size=(size, size)))
        matrix = (basis * 10 ** generator.uniform(-9, 3, size)) @ basis.T
        matrix = (matrix + matrix.T) / 2
        truth = min(oracle.mp.eigsy(oracle.mp.matrix(matrix.tolist()), eigvals_only=True))
        for part in (0.1, 0.9, 1 - 1e-9, 1 + 1e-14, 1 + 1e-9, 2.0):
            found = _shift_proves(matrix, float(truth) * part) if truth > 0 else 0.0
            assert oracle.mp.mpf(found) <= truth or found <= 0
            proved += found > 0
    assert proved > 20


def test_a_modulus_is_not_proved_by_squares_that_underflow(oracle: Any) -> None:
    # |x| below 1e-162 squares to zero, while the weighted Hessian does not: its error must be formed in another order
    generator, mp, proved = np.random.default_rng(0), oracle.mp, 0
    for _ in range(40):
        X = np.hstack([1 + generator.random((20_000, 1)) * 0.1] * 2) * 1e-165
        X[:, 1] *= 1 + generator.normal(size=20_000) * 10.0 ** generator.uniform(-8, -6.5)
        problem = bind(Objective("squared", 1e-300), X, np.zeros(20_000), 1, np.full(20_000, 1e305))
        w = np.zeros(problem.shape)
        found = verified_modulus(problem, enclose_gradient(problem, w)[1], problem.hessian(w))
        whole = [[int(Fraction(value) * 2**680) for value in X[:, j]] for j in (0, 1)]
        a, b, c = (
            mp.mpf(sum(p * q for p, q in zip(whole[j], whole[k], strict=True))) * mp.mpf(2) ** -1360 * mp.mpf(1e305)
            for j, k in ((0, 0), (0, 1), (1, 1))
        )
        truth = (a + c) / 2 - mp.sqrt(((a - c) / 2) ** 2 + b**2) + mp.mpf(1e-300)
        assert mp.mpf(found) <= truth
        proved += found > 0
    assert proved < 40  # some of these are beyond what rounding can tell from singular
