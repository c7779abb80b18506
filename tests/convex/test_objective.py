"""The objective: derivatives that agree with each other, and everything that binding refuses."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from certify import Objective
from certify.convex import problem as problem_module
from certify.convex.parameters import as_parameters
from certify.convex.problem import Problem, bind
from certify.core.errors import ConfigurationError, InputError
from certify.core.rows import MappedRows

HEADS = ["logistic", "squared-hinge", "huber-hinge", "softplus-hinge"]
LOSSES = ["logistic", "squared", "poisson", "softmax", "gamma", "pseudo-huber", "log-cosh", *HEADS[1:]]
LOSSES += [f"{head} one-vs-rest" for head in HEADS]


def declare(loss: str, l2: float, *options: bool) -> Objective:
    """The objective called so, smoothing and one-vs-rest included."""
    name, _, rest = loss.partition(" ")
    smoothing = 0.7 if name in ("huber-hinge", "softplus-hinge") else None
    return Objective(name, l2, *options, smoothing=smoothing, one_vs_rest=bool(rest))


def outputs_of(loss: str) -> int:
    return 3 if loss == "softmax" or loss.endswith("one-vs-rest") else 1


def make(
    loss: str, *, intercept: bool = True, penalised: bool = True, seed: int = 0, n: int = 200
) -> tuple[Problem, np.ndarray]:
    generator, outputs = np.random.default_rng(seed), outputs_of(loss)
    X, y = generator.normal(size=(n, 3)), generator.integers(0, max(2, outputs), n) + (loss == "gamma")
    problem = bind(declare(loss, 0.8, intercept, penalised), X, y, outputs, generator.uniform(0.1, 2, n))
    return problem, generator.normal(size=problem.shape) * 0.5


@pytest.mark.parametrize("penalised", [True, False])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_gradient_is_the_slope_of_the_value(loss: str, penalised: bool) -> None:
    problem, w = make(loss, penalised=penalised)
    direction, h = np.random.default_rng(1).normal(size=w.shape), 1e-6
    slope = (problem.value(w + h * direction) - problem.value(w - h * direction)) / (2 * h)
    assert np.sum(problem.gradient(w) * direction) == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("penalised", [True, False])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_hessian_product_is_the_slope_of_the_gradient(loss: str, penalised: bool) -> None:
    problem, w = make(loss, penalised=penalised)
    direction, h = np.random.default_rng(2).normal(size=w.shape), 1e-6
    slope = (problem.gradient(w + h * direction) - problem.gradient(w - h * direction)) / (2 * h)
    np.testing.assert_allclose(problem.hessian_product(w, direction), slope, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("penalised", [True, False])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_hessian_is_symmetric_and_agrees_with_its_product(loss: str, penalised: bool) -> None:
    problem, w = make(loss, penalised=penalised)
    hessian, direction = problem.hessian(w), np.random.default_rng(3).normal(size=w.shape)
    np.testing.assert_allclose(hessian, hessian.T, rtol=1e-13)
    np.testing.assert_allclose(
        (hessian @ direction.ravel()).reshape(w.shape), problem.hessian_product(w, direction), rtol=1e-11, atol=1e-12
    )


@pytest.mark.parametrize("loss", LOSSES)
def test_all_four_agree_with_60_digits(oracle: Any, loss: str) -> None:
    generator, outputs = np.random.default_rng(4), outputs_of(loss)
    X, y = generator.normal(size=(20, 2)), generator.integers(0, max(2, outputs), 20) + (loss == "gamma")
    weights = generator.uniform(0.1, 2, 20)
    objective = declare(loss, 0.3, True, False)
    problem, exact = bind(objective, X, y, outputs, weights), oracle.exact(objective, X, y, weights, outputs)
    w = generator.normal(size=problem.shape)
    point = oracle.numbers(w)
    assert problem.value(w) == pytest.approx(float(exact.value(point)), rel=1e-12)
    np.testing.assert_allclose(problem.gradient(w).ravel(), [float(v) for v in exact.gradient(point)], rtol=1e-11)
    expected = np.array(exact.hessian(point).tolist(), dtype=float)
    np.testing.assert_allclose(problem.hessian(w), expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("penalised", [True, False])
@pytest.mark.parametrize("loss", LOSSES)
def test_an_intercept_is_a_column_of_ones(loss: str, penalised: bool) -> None:
    problem, w = make(loss, penalised=penalised)
    ones = np.hstack([problem.X, np.ones((problem.records, 1))])
    flat = Problem(declare(loss, 0.8), ones, problem.targets, problem.weights, problem.outputs)
    ridge = np.zeros_like(w) if penalised else np.hstack([np.zeros_like(w[:, :-1]), 0.8 * w[:, -1:]])
    np.testing.assert_allclose(problem.gradient(w), flat.gradient(w) - ridge, rtol=1e-11, atol=1e-12)
    np.testing.assert_array_equal(problem.scores(w), flat.scores(w))
    gap = flat.hessian(w) - problem.hessian(w)
    expected = np.zeros(problem.shape)
    expected[:, -1] = 0.0 if penalised else 0.8
    np.testing.assert_allclose(gap, np.diag(expected.ravel()), atol=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_chunks_do_not_change_the_numbers(monkeypatch: pytest.MonkeyPatch, loss: str) -> None:
    problem, w = make(loss)
    whole = problem.gradient(w), problem.hessian(w), problem.value(w)
    monkeypatch.setattr(problem_module, "_CHUNK_BYTES", 1)
    problem = dataclasses.replace(problem)  # chunks are worked out once a problem
    assert len(list(problem.chunks())) == 4
    for one, other in zip((problem.gradient(w), problem.hessian(w), problem.value(w)), whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-12)


def test_smoothing_and_heads_stand_in_the_formula() -> None:
    assert "h = 0.25" in Objective("huber-hinge", 1.0, smoothing=0.25).formula
    assert "T = 0.1" in Objective("softplus-hinge", 1.0, smoothing=0.1).formula
    heads = Objective("squared-hinge", 1.0, one_vs_rest=True).formula
    assert "sum_k max(0, 1 - s z)^2 / 2" in heads
    assert "z = x_i . w_k, s = +1 where y_i = k" in heads


@pytest.mark.parametrize("smoothing", ["0.5", True, math.nan, math.inf, [1.0], 0, -0.5])
def test_smoothing_that_is_no_positive_number_is_refused(smoothing: Any) -> None:
    with pytest.raises(ConfigurationError, match="smoothing") as caught:
        Objective("huber-hinge", 1.0, smoothing=smoothing)
    assert caught.value.where == "objective.smoothing"


def test_smoothing_is_stored_as_a_float() -> None:
    assert type(Objective("huber-hinge", 1.0, smoothing=2).smoothing) is float
    assert type(Objective("huber-hinge", 1.0, smoothing=np.float32(0.5)).smoothing) is float


@pytest.mark.parametrize("loss", ["softmax", "squared", "poisson", "gamma", "log-cosh", "pseudo-huber"])
def test_one_vs_rest_is_refused_for_what_is_no_loss_of_two_classes(loss: str) -> None:
    with pytest.raises(ConfigurationError, match="two classes") as caught:
        Objective(loss, 1.0, one_vs_rest=True)
    assert caught.value.where == "objective.one_vs_rest"


def test_one_vs_rest_takes_a_row_of_weights_and_a_label_for_each_class() -> None:
    objective = Objective("logistic", 1.0, one_vs_rest=True)
    with pytest.raises(InputError, match="one row for each class"):
        as_parameters(objective, [1.0, 2.0], 2)
    with pytest.raises(InputError, match=r"0\.\.1 for one-vs-rest logistic"):
        bind(objective, X, [0, 1, 2], 2)
    with pytest.raises(InputError, match="one_vs_rest for more classes"):
        bind(Objective("squared-hinge", 1.0), X, [0, 1, 2])


def test_overflow_is_an_infinite_value_without_a_warning() -> None:
    problem, w = make("poisson")
    assert problem.value(w * 1e5) == math.inf
    problem.gradient(w * 1e5)
    problem.hessian(w * 1e5)
    problem.hessian_product(w * 1e5, w)


def test_the_formula_says_what_is_penalised() -> None:
    assert "||w||^2" in Objective("logistic", 1.0).formula
    assert "without intercept" in Objective("logistic", 1.0, True, False).formula
    assert "exp(z) - y z" in Objective("poisson", 1.0).formula


@pytest.mark.parametrize("l2", [math.nan, math.inf, "1", None, True])
def test_an_l2_that_is_no_number_is_refused(l2: Any) -> None:
    with pytest.raises(ConfigurationError, match="l2 must be a finite number"):
        Objective("logistic", l2)


def test_an_integer_or_numpy_l2_becomes_a_float() -> None:
    assert type(Objective("logistic", 3).l2) is float
    assert type(Objective("logistic", np.float32(0.5)).l2) is float


# ------------------------------------------------------------------------------------------------------- binding

X, Y = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [0, 1, 1]
UNREPRESENTABLE = 2**53 + 1


@pytest.mark.parametrize(
    ("changed", "where"),
    [
        ({"X": [[1.0, math.nan], [3.0, 4.0], [5.0, 6.0]]}, "X"),
        ({"X": [[1.0, math.inf], [3.0, 4.0], [5.0, 6.0]]}, "X"),
        ({"X": [1.0, 2.0, 3.0]}, "X"),
        ({"X": np.zeros((3, 0))}, "X"),
        ({"X": np.zeros((0, 2))}, "X"),
        ({"X": np.zeros((3, 2, 1))}, "X"),
        ({"X": [["a", "b"]] * 3}, "X"),
        ({"X": [[1j, 0]] * 3}, "X"),
        ({"X": np.array([[None, 1.0]] * 3)}, "X"),
        ({"X": [[1.0, 2.0], [3.0]]}, "X"),
        ({"X": np.array([[UNREPRESENTABLE, 0]] * 3)}, "X"),
        ({"X": np.array([[2**63 - 1, 0]] * 3)}, "X"),
        ({"X": np.array([[2**64 - 1, 0]] * 3, dtype=np.uint64)}, "X"),
        ({"X": np.ones((3, 2), dtype=np.longdouble)}, "X"),
        ({"X": np.full((3, 2), np.longdouble("1e4000"))}, "X"),
        ({"X": np.array([["2020-01-01"] * 2] * 3, dtype="datetime64[D]")}, "X"),
        ({"y": [0, 1]}, "y"),
        ({"y": [[0], [1], [1]]}, "y"),
        ({"y": [0, 1, math.nan]}, "y"),
        ({"y": [0, 1, math.inf]}, "y"),
        ({"y": [0, 1, 2]}, "y"),
        ({"y": ["a", "b", "c"]}, "y"),
        ({"y": [0, [1], 1]}, "y"),
        ({"y": np.array([0, 1, UNREPRESENTABLE])}, "y"),
        ({"sample_weight": [1.0, -1e-9, 1.0]}, "sample_weight"),
        ({"sample_weight": [0.0, 0.0, 0.0]}, "sample_weight"),
        ({"sample_weight": [1.0, math.nan, 1.0]}, "sample_weight"),
        ({"sample_weight": [1.0, math.inf, 1.0]}, "sample_weight"),
        ({"sample_weight": [1.0, 1.0]}, "sample_weight"),
        ({"sample_weight": np.ones(3, dtype=np.longdouble)}, "sample_weight"),
    ],
)
@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="long double is no wider than double here")
def test_binding_refuses_in_one_line_that_names_the_array(changed: dict[str, Any], where: str) -> None:
    arguments = {"X": X, "y": Y} | changed
    with pytest.raises(InputError) as caught:
        bind(Objective("logistic", 1.0), arguments["X"], arguments["y"], 1, arguments.get("sample_weight"))
    assert caught.value.where == where
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_the_message_about_a_missing_value_names_its_row_in_the_whole_matrix() -> None:
    features = np.zeros((70_000, 1))
    features[69_000] = math.nan
    with pytest.raises(InputError, match="first in row 69000"):
        bind(Objective("squared", 1.0), features, np.zeros(70_000))


@pytest.mark.parametrize(
    "dtype", [np.float64, np.float32, np.float16, ">f8", ">f4", np.int8, np.int64, np.uint64, np.bool_]
)
def test_every_type_that_float64_holds_is_taken_exactly(dtype: Any) -> None:
    features = np.array([[0, 1], [1, 1], [1, 0]]).astype(dtype)
    problem = bind(Objective("logistic", 1.0), features, Y)
    ((_, block),) = problem.chunks()
    assert block.dtype == np.float64
    np.testing.assert_array_equal(block, features.astype(float))


def test_large_whole_numbers_that_float64_holds_are_taken() -> None:
    features = np.array([[2**60], [-(2**63)], [2**53]])
    assert bind(Objective("squared", 1.0), features, Y).X.tolist() == [[2.0**60], [-(2.0**63)], [2.0**53]]


def test_softmax_labels_are_checked_against_the_number_of_outputs() -> None:
    with pytest.raises(InputError, match=r"0\.\.1"):
        bind(Objective("softmax", 1.0), X, [0, 1, 2], 2)


# ---------------------------------------------------------------------------------------------------- parameters

PLAIN, BIASED = Objective("logistic", 1.0), Objective("logistic", 1.0, fit_intercept=True)
CLASSES = Objective("softmax", 1.0, fit_intercept=True)


class Estimator:
    def __init__(self, coef: Any, intercept: Any) -> None:
        self.coef_, self.intercept_ = coef, intercept


@pytest.mark.parametrize(
    ("objective", "w", "expected"),
    [
        (PLAIN, [1.0, 2.0], [[1.0, 2.0]]),
        (PLAIN, [[1.0, 2.0]], [[1.0, 2.0]]),
        (PLAIN, np.array([1, 2]), [[1.0, 2.0]]),
        (PLAIN, Estimator(np.array([[1.0, 2.0]]), np.array([0.0])), [[1.0, 2.0]]),
        (PLAIN, (np.array([1.0, 2.0]), 0.0), [[1.0, 2.0]]),
        (BIASED, [1.0, 2.0, 3.0], [[1.0, 2.0, 3.0]]),
        (BIASED, (np.array([1.0, 2.0]), 3.0), [[1.0, 2.0, 3.0]]),
        (BIASED, (np.array([[1.0, 2.0]]), np.array([3.0])), [[1.0, 2.0, 3.0]]),
        (BIASED, Estimator(np.array([1.0, 2.0]), 3.0), [[1.0, 2.0, 3.0]]),
        (CLASSES, (np.ones((2, 2)), np.array([3.0, 4.0])), [[1.0, 1.0, 3.0], [1.0, 1.0, 4.0]]),
    ],
)
def test_parameters_are_taken_in_every_form(objective: Objective, w: Any, expected: list[list[float]]) -> None:
    found = as_parameters(objective, w, 2)
    assert found.dtype == np.float64
    assert found.flags.c_contiguous
    assert found.tolist() == expected


@pytest.mark.parametrize(
    ("objective", "w"),
    [
        (PLAIN, [1.0, 2.0, 3.0]),
        (PLAIN, [1.0]),
        (PLAIN, 1.0),
        (PLAIN, [[1.0, 2.0], [1.0, 2.0]]),
        (PLAIN, np.ones((1, 1, 2))),
        (PLAIN, [1.0, math.nan]),
        (PLAIN, [1.0, math.inf]),
        (PLAIN, ["1", "2"]),
        (PLAIN, np.array([1 + 1j, 2])),
        (PLAIN, np.array([1.0, None])),
        (PLAIN, [1.0, [2.0]]),
        (PLAIN, np.array([UNREPRESENTABLE, 1])),
        (PLAIN, (np.array([1.0, 2.0]), 3.0)),
        (PLAIN, Estimator(np.array([1.0, 2.0]), 3.0)),
        (BIASED, [1.0, 2.0]),
        (BIASED, (np.array([1.0, 2.0]), np.array([1.0, 2.0]))),
        (BIASED, (np.array([1.0, 2.0]), math.nan)),
        (BIASED, (np.array([1.0, 2.0]), "3")),
        (BIASED, (np.array([1.0, 2.0]), np.array([UNREPRESENTABLE]))),
        (CLASSES, np.ones((1, 3))),
        (CLASSES, (np.ones((2, 2)), np.ones(3))),
    ],
)
def test_parameters_that_do_not_fit_are_refused_in_one_line(objective: Objective, w: Any) -> None:
    with pytest.raises(InputError) as caught:
        as_parameters(objective, w, 2)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="long double is no wider than double here")
def test_parameters_wider_than_float64_are_not_rounded_in_silence() -> None:
    third = np.array([np.longdouble(1) / 3])
    for w in ((np.ones(2), third), np.full(3, third[0])):
        with pytest.raises(InputError, match="wider than float64"):
            as_parameters(BIASED, w, 2)


def test_float32_parameters_are_converted_exactly() -> None:
    stored = np.array([0.1, 1 / 3], dtype=np.float32)
    assert as_parameters(PLAIN, stored, 2).astype(np.float32).tolist() == [stored.tolist()]
    assert as_parameters(PLAIN, stored, 2)[0, 0] != 0.1


def test_a_memory_map_gives_its_pages_back(tmp_path: Path) -> None:
    problem, w = make("logistic")
    np.save(tmp_path / "X.npy", problem.X)
    mapped = bind(problem.objective, np.load(tmp_path / "X.npy", mmap_mode="r"), problem.targets, 1, problem.weights)
    assert isinstance(mapped.X, MappedRows)
    np.testing.assert_array_equal(mapped.gradient(w), problem.gradient(w))
    for unmapped in (np.load(tmp_path / "X.npy", mmap_mode="r")[1:], np.load(tmp_path / "X.npy", mmap_mode="c")):
        rows = len(unmapped)
        other = bind(problem.objective, unmapped, problem.targets[-rows:], 1, problem.weights[-rows:])
        assert not isinstance(other.X, MappedRows)
