"""Each loss against 60 digits: its derivatives, its constants, and the errors it claims for itself."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import optimize
from scipy.special import logsumexp

from certify.convex.losses import LOSSES, TargetError, get_loss
from certify.convex.losses.base import FUNCTION_ERROR, ScalarLoss
from certify.core.errors import ConfigurationError

SCALAR = sorted(set(LOSSES) - {"softmax"})
REAL = ("squared", "pseudo-huber", "log-cosh")
KINKED = ("squared-hinge", "huber-hinge")

# A claimed error is itself computed in floating point. Its few roundings are the caller's to cover: the enclosure raises
# every sum by 4 gamma(64 + ...), eight times what is allowed here.
OWN_ROUNDING = 1 + 32 * 2.0**-53


def targets(name: str, generator: np.random.Generator, records: int, outputs: int = 1) -> np.ndarray:
    if name in REAL:
        return generator.normal(size=records) * 10 ** generator.uniform(-3, 3, records)
    if name == "gamma":
        return 10 ** generator.uniform(-3, 3, records)
    if name == "poisson":
        return generator.poisson(3, records).astype(float)
    return generator.integers(0, outputs if name == "softmax" else 2, records).astype(float)


def wide_scores(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Scores of every size from 1e-12 to 700, of both signs, with the ends and zero among them."""
    scores = 10 ** generator.uniform(-12, math.log10(700), shape) * generator.choice([-1, 1], shape)
    scores[:6, 0] = [0.0, 700.0, -700.0, 1e-300, -37.5, 36.8]
    return scores


def exact_derivatives(oracle: Any, name: str, z: np.ndarray, y: float) -> tuple[Any, Any, Any]:
    return oracle.loss(name, oracle.numbers(z), y)


# ----------------------------------------------------------------------------------------------- known answers


def test_the_registry_names_each_loss_by_its_own_name() -> None:
    assert {name: loss.name for name, loss in LOSSES.items()} == {name: name for name in LOSSES}
    assert set(LOSSES) == {
        *("logistic", "softmax", "squared", "poisson", "gamma", "pseudo-huber", "log-cosh"),
        *("squared-hinge", "huber-hinge", "softplus-hinge", "hinge"),
    }


def test_an_unknown_loss_is_refused_with_a_suggestion() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'logistic'"):
        get_loss("logistc")


@pytest.mark.parametrize(
    ("name", "z", "y", "value", "first", "second"),
    [
        ("logistic", 0.0, 1, math.log(2), -0.5, 0.25),
        ("logistic", 0.0, 0, math.log(2), 0.5, 0.25),
        ("logistic", math.log(3), 1, math.log(4 / 3), -0.25, 3 / 16),
        ("logistic", math.log(3), -1, math.log(4), 0.75, 3 / 16),
        ("squared", 3.0, 1.0, 2.0, 2.0, 1.0),
        ("poisson", 0.0, 2.0, 1.0, -1.0, 1.0),
        ("poisson", math.log(5), 2.0, 5 - 2 * math.log(5), 3.0, 5.0),
        ("gamma", 0.0, 3.0, 3.0, -2.0, 3.0),
        ("gamma", math.log(2), 3.0, math.log(2) + 1.5, -0.5, 1.5),
        ("pseudo-huber", 4.75, 4.0, 0.25, 0.6, 0.512),
        ("pseudo-huber", -4.75, -4.0, 0.25, -0.6, 0.512),
        ("log-cosh", 1 + math.log(2), 1.0, math.log(1.25), 0.6, 0.64),
        ("squared-hinge", -1.0, 1, 2.0, -2.0, 1.0),
        ("squared-hinge", 1.5, 1, 0.0, 0.0, 0.0),
        ("squared-hinge", 0.5, 0, 1.125, 1.5, 1.0),
        ("huber-hinge", 2.5, 1, 0.0, 0.0, 0.0),
        ("huber-hinge", 1.0, 1, 0.25, -0.5, 0.5),
        ("huber-hinge", 1.0, 0, 2.0, 1.0, 0.0),
        ("softplus-hinge", 1.0, 1, math.log(2), -0.5, 0.25),
        ("softplus-hinge", 1 - math.log(3), 1, math.log(4), -0.75, 3 / 16),
    ],
)
def test_known_answers(name: str, z: float, y: float, value: float, first: float, second: float) -> None:
    loss = LOSSES[name]
    assert isinstance(loss, ScalarLoss)
    prepared = loss.prepare(np.array([y], dtype=float), 1)
    score = np.array([[z]])
    assert loss.value(score, prepared)[0] == pytest.approx(value, rel=1e-14)
    assert loss.gradient(score, prepared)[0, 0] == pytest.approx(first, rel=1e-14)
    assert loss.second(score, prepared[:, None])[0, 0] == pytest.approx(second, rel=1e-14)


def test_known_answers_of_softmax() -> None:
    loss = LOSSES["softmax"]
    z = np.log(np.array([[1.0, 2.0, 5.0]]))
    y = loss.prepare(np.array([1.0]), 3)
    assert loss.value(z, y)[0] == pytest.approx(math.log(4))
    np.testing.assert_allclose(loss.gradient(z, y), [[1 / 8, -3 / 4, 5 / 8]], rtol=1e-14)
    np.testing.assert_allclose(
        loss.curvature_product(z, y, np.array([[1.0, 0.0, 0.0]])), [[7 / 64, -2 / 64, -5 / 64]], rtol=1e-14
    )


def test_softmax_of_two_classes_is_the_logistic_loss() -> None:
    generator = np.random.default_rng(3)
    z, y = generator.normal(size=(50, 1)) * 5, generator.integers(0, 2, 50)
    pair = np.hstack([np.zeros_like(z), z])
    soft, logistic = LOSSES["softmax"], LOSSES["logistic"]
    signs = logistic.prepare(y, 1)
    np.testing.assert_allclose(soft.value(pair, y), logistic.value(z, signs), rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(soft.gradient(pair, y)[:, 1:], logistic.gradient(z, signs), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_value_gradient_and_curvature_agree_with_60_digits(name: str, oracle: Any) -> None:
    generator = np.random.default_rng(11)
    outputs = 3 if name == "softmax" else 1
    loss, y = LOSSES[name], targets(name, generator, 60, outputs)
    z, u = generator.normal(size=(60, outputs)) * 4, generator.normal(size=(60, outputs))
    prepared = loss.prepare(y, outputs)
    value, gradient, product = (
        loss.value(z, prepared),
        loss.gradient(z, prepared),
        loss.curvature_product(z, prepared, u),
    )
    for i in range(60):
        exact_value, slope, curve = exact_derivatives(oracle, name, z[i], y[i])
        assert value[i] == pytest.approx(float(exact_value), rel=1e-12, abs=1e-13)
        np.testing.assert_allclose(gradient[i], [float(v) for v in slope], rtol=1e-11, atol=1e-14)
        expected = [float(oracle.mp.fdot(row, oracle.numbers(u[i]))) for row in curve]
        np.testing.assert_allclose(product[i], expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_derivatives_are_those_of_the_value(name: str) -> None:
    generator = np.random.default_rng(5)
    outputs, h = (4 if name == "softmax" else 1), 1e-5
    loss = LOSSES[name]
    y = loss.prepare(targets(name, generator, 40, outputs), outputs)
    z, u = generator.normal(size=(40, outputs)), generator.normal(size=(40, outputs))
    slope = (loss.value(z + h * u, y) - loss.value(z - h * u, y)) / (2 * h)
    np.testing.assert_allclose(np.sum(loss.gradient(z, y) * u, axis=1), slope, rtol=1e-5, atol=1e-6)
    curved = (loss.gradient(z + h * u, y) - loss.gradient(z - h * u, y)) / (2 * h)
    # a difference across a jump of l'' is no derivative: none of these records has its kink within h
    np.testing.assert_allclose(loss.curvature_product(z, y, u), curved, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_curvature_blocks_are_the_matrix_of_the_curvature_product(name: str) -> None:
    generator = np.random.default_rng(6)
    outputs = 4 if name == "softmax" else 1
    loss = LOSSES[name]
    y = loss.prepare(targets(name, generator, 20, outputs), outputs)
    z, u = generator.normal(size=(20, outputs)), generator.normal(size=(20, outputs))
    matrix = np.zeros((20, outputs, outputs))
    for j, k, curvature in loss.curvature_blocks(z, y):
        assert j <= k
        matrix[:, j, k] = matrix[:, k, j] = curvature
    np.testing.assert_allclose(np.einsum("njk,nk->nj", matrix, u), loss.curvature_product(z, y, u), rtol=1e-12)


# --------------------------------------------------------------------------------------------------- constants


def logistic_derivatives(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    p, rest = 1 / (1 + np.exp(-z)), 1 / (1 + np.exp(z))
    return p, p * rest, p * rest * (rest - p)


def test_logistic_constants_are_the_maxima_of_its_derivatives() -> None:
    constants, z = LOSSES["logistic"].constants, np.linspace(-40, 40, 400_001)
    first, second, third = logistic_derivatives(z)
    assert constants.lipschitz >= first.max() > 1 - 1e-12
    assert constants.smoothness >= second.max() > 0.25 - 1e-12
    assert constants.self_concordance >= np.max(np.abs(third) / second) > 1 - 1e-12
    peak = optimize.minimize_scalar(
        lambda x: -abs(float(logistic_derivatives(np.array(x))[2])), bounds=(0.5, 3), method="bounded"
    )
    assert constants.hessian_lipschitz == pytest.approx(-peak.fun, rel=1e-9)
    assert constants.hessian_lipschitz >= np.abs(third).max()
    assert abs(peak.x) == pytest.approx(1.31696, abs=1e-4)


def test_the_logistic_third_derivative_peaks_at_one_over_six_root_three_exactly(oracle: Any) -> None:
    # the peak is where 6 p^2 - 6 p + 1 = 0
    mp = oracle.mp
    p = (3 + mp.sqrt(3)) / 6
    peak = p * (1 - p) * (2 * p - 1)
    claimed = mp.mpf(LOSSES["logistic"].constants.hessian_lipschitz)
    assert peak <= claimed <= peak * (1 + mp.mpf(10) ** -15)
    assert float(mp.log(p / (1 - p))) == pytest.approx(1.31696, abs=1e-5)


def softmax_tensor(p: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
    return float(np.sum(p * (a - p @ a) * (b - p @ b) * (c - p @ c)))


@pytest.mark.parametrize("classes", [2, 3, 4, 5])
def test_softmax_constants_are_the_maxima_over_probabilities_and_directions(classes: int) -> None:
    constants, generator = LOSSES["softmax"].constants, np.random.default_rng(classes)

    def curvature(z: np.ndarray) -> float:
        p = np.exp(z - logsumexp(z))
        return float(np.linalg.eigvalsh(np.diag(p) - np.outer(p, p))[-1])

    def third(x: np.ndarray) -> float:
        p = np.exp(x[:classes] - logsumexp(x[:classes]))
        u = x[classes:] / np.linalg.norm(x[classes:])
        # a symmetric tensor attains its norm on one repeated direction (Banach)
        return abs(softmax_tensor(p, u, u, u))

    best_second = best_third = 0.0
    for _ in range(12):
        start = generator.normal(size=2 * classes)
        second = optimize.minimize(
            lambda z: -curvature(z), start[:classes], method="Nelder-Mead", options={"maxiter": 4000, "xatol": 1e-9}
        )
        best_second = max(best_second, -second.fun)
        result = optimize.minimize(lambda x: -third(x), start, method="BFGS", options={"gtol": 1e-9})
        best_third = max(best_third, -result.fun)
    assert best_second == pytest.approx(0.5, abs=1e-6)
    assert constants.smoothness >= best_second - 1e-12
    assert best_third == pytest.approx(math.sqrt(6) / 9, abs=1e-6)
    assert constants.hessian_lipschitz >= best_third - 1e-12


@pytest.mark.parametrize("classes", [2, 3, 4, 5, 10])
def test_softmax_third_derivative_is_bounded_by_the_range_of_the_direction(classes: int) -> None:
    generator, worst = np.random.default_rng(classes), 0.0
    for _ in range(3000):
        p = generator.dirichlet(np.full(classes, 10 ** generator.uniform(-2, 1)))
        u, v = generator.normal(size=(2, classes))
        second = softmax_tensor(p, u, u, np.zeros(classes)) + float(p @ (u - p @ u) ** 2)
        third = abs(softmax_tensor(p, u, u, v))
        assert third <= np.ptp(v) * second * (1 + 1e-12) + 1e-15
        assert third <= LOSSES["softmax"].constants.self_concordance * np.linalg.norm(v) * second * (1 + 1e-12) + 1e-15
        worst = max(worst, third / (np.linalg.norm(v) * second + 1e-300))
    assert worst > 0.5  # the inequality is exercised, not vacuous


def test_softmax_self_concordance_is_attained_by_two_classes() -> None:
    # p = (1 - q, q) with q -> 0 and v = (-1, 1): the ratio tends to the range of v, which is sqrt 2 times its norm
    p, v = np.array([1 - 1e-9, 1e-9]), np.array([-1.0, 1.0])
    ratio = abs(softmax_tensor(p, v, v, v)) / float(p @ (v - p @ v) ** 2) / np.linalg.norm(v)
    constant = LOSSES["softmax"].constants.self_concordance
    assert constant == pytest.approx(ratio, rel=1e-8)
    assert constant >= math.sqrt(2)


def test_the_softmax_gradient_has_norm_at_most_root_two() -> None:
    loss, z = LOSSES["softmax"], np.array([[-800.0, 0.0], [0.0, 0.0]])
    norms = np.linalg.norm(loss.gradient(z, np.array([0, 1])), axis=1)
    assert norms[0] <= loss.constants.lipschitz
    assert norms[0] == pytest.approx(math.sqrt(2))


def test_poisson_and_squared_constants() -> None:
    poisson, squared = LOSSES["poisson"].constants, LOSSES["squared"].constants
    assert (poisson.lipschitz, poisson.smoothness, poisson.hessian_lipschitz) == (math.inf,) * 3
    assert poisson.self_concordance == 1.0  # l''' = l''
    assert (squared.smoothness, squared.hessian_lipschitz, squared.self_concordance) == (1.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("name", "smoothing"),
    [
        ("pseudo-huber", 1.0),
        ("log-cosh", 1.0),
        ("softplus-hinge", 1.0),
        ("softplus-hinge", 0.03),
        ("softplus-hinge", 7.0),
    ],
)
def test_constants_are_the_numerical_maxima_of_the_derivatives(name: str, smoothing: float, oracle: Any) -> None:
    loss, mp = get_loss(name, smoothing if name == "softplus-hinge" else None), oracle.mp
    center = y = 1.0 if name == "softplus-hinge" else 0.0
    h = mp.mpf(10) ** -15 * smoothing

    def third(z: float) -> Any:
        left, right = (oracle.loss(name, [mp.mpf(z) + shift], y, smoothing)[2][0][0] for shift in (-h, h))
        return abs(right - left) / (2 * h)

    grid = center + smoothing * np.concatenate([np.linspace(-12, 12, 401), [-200, 200]])
    curves = [oracle.loss(name, [mp.mpf(z)], y, smoothing)[1:] for z in grid]
    slopes, seconds = [abs(c[0][0]) for c in curves], [c[1][0][0] for c in curves]
    thirds = [third(z) for z in grid]
    ratios = [a / b for a, b in zip(thirds, seconds, strict=True)]
    constants = loss.constants
    assert 0.999 * constants.lipschitz < max(slopes) <= constants.lipschitz
    assert (1 - 1e-12) * constants.smoothness < max(seconds) <= constants.smoothness
    assert 0.99 * constants.self_concordance < max(ratios)
    # the difference quotient itself is only so good
    assert max(ratios) <= constants.self_concordance * (1 + mp.mpf(10) ** -20)
    start = float(grid[int(np.argmax(np.array(thirds, dtype=float)))])
    bounds = (start - 0.1 * smoothing, start + 0.1 * smoothing)
    peak = optimize.minimize_scalar(
        lambda z: -float(third(z)), bounds=bounds, method="bounded", options={"xatol": 1e-9}
    )
    assert third(peak.x) <= constants.hessian_lipschitz
    assert constants.hessian_lipschitz == pytest.approx(float(third(peak.x)), rel=1e-9)


def test_the_largest_third_derivatives_are_rounded_up_and_by_no_more_than_a_few_units(oracle: Any) -> None:
    mp = oracle.mp
    exact = {"pseudo-huber": 48 / (25 * mp.sqrt(5)), "log-cosh": 4 / (3 * mp.sqrt(3))}
    for name, value in exact.items():
        claimed = mp.mpf(LOSSES[name].constants.hessian_lipschitz)
        assert value <= claimed <= value * (1 + mp.mpf(10) ** -15)


def test_the_self_concordance_of_gamma_is_one_and_nothing_else_is_finite() -> None:
    gamma = LOSSES["gamma"].constants
    assert (gamma.lipschitz, gamma.smoothness, gamma.hessian_lipschitz) == (math.inf,) * 3
    assert gamma.self_concordance == 1.0  # third and second derivative are of the same size


@pytest.mark.parametrize("smoothing", [1e-3, 0.5, 1.0, 20.0])
def test_kinked_losses_have_a_smoothness_that_is_attained_and_no_self_concordance(
    smoothing: float, oracle: Any
) -> None:
    squared, huber = get_loss("squared-hinge").constants, get_loss("huber-hinge", smoothing).constants
    assert (squared.lipschitz, squared.smoothness) == (math.inf, 1.0)
    assert huber.lipschitz == 1.0
    inside = oracle.loss("huber-hinge", [oracle.mp.mpf(1)], 1.0, smoothing)[2][0][0]
    assert inside <= huber.smoothness <= inside * (1 + oracle.mp.mpf(10) ** -15)
    for constants in (squared, huber):
        assert constants.hessian_lipschitz == constants.self_concordance == math.inf
    # slopes differ by no more than the smoothness allows, also across the kinks
    generator, loss = np.random.default_rng(1), get_loss("huber-hinge", smoothing)
    z = np.sort(1 + smoothing * generator.uniform(-2, 2, 400))[:, None]
    slopes = loss.gradient(z, np.ones(400))
    assert np.all(np.abs(np.diff(slopes[:, 0])) <= huber.smoothness * np.diff(z[:, 0]) * (1 + 1e-9) + 1e-13)


# -------------------------------------------------------------------------------------- smoothing, one-vs-rest


@pytest.mark.parametrize("name", ["huber-hinge", "softplus-hinge"])
@pytest.mark.parametrize("smoothing", [None, 0.0, -1.0, math.nan, math.inf, 1e-200, 1e200])
def test_smoothing_that_is_missing_or_out_of_range_is_refused_in_one_line(name: str, smoothing: float | None) -> None:
    with pytest.raises(ConfigurationError, match="smoothing") as caught:
        get_loss(name, smoothing)
    assert caught.value.where == "objective.smoothing"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"huber-hinge", "softplus-hinge"}))
def test_smoothing_is_refused_where_there_is_none(name: str) -> None:
    with pytest.raises(ConfigurationError, match="has no smoothing"):
        get_loss(name, 0.5)


@pytest.mark.parametrize("name", ["huber-hinge", "softplus-hinge"])
@pytest.mark.parametrize("smoothing", [0.02, 0.7, 30.0])
@pytest.mark.parametrize("relative", [0.0, 1e-15, 1e-6, 0.3])
def test_the_errors_claimed_hold_for_any_smoothing(name: str, smoothing: float, relative: float, oracle: Any) -> None:
    generator, loss, mp = np.random.default_rng(13), get_loss(name, smoothing), oracle.mp
    y = generator.choice([-1.0, 1.0], 60)
    edge = generator.choice([-1.0, 0.0, 1.0], 60) * smoothing
    near = generator.choice([0.0, 2.0**-53, -(2.0**-52), 1e-12, -1e-6, 0.1, -3.0], 60) * smoothing
    z = (y * (1 + edge + near))[:, None]
    dz, u = relative * np.abs(z), generator.normal(size=(60, 1))
    gradient, product = loss.gradient(z, y), loss.curvature_product(z, y, u)
    gradient_error = loss.gradient_error(z, dz, y)
    product_error = loss.curvature_product_error(z, dz, y, u, np.zeros_like(u))
    assert np.all(np.isfinite(product_error))
    for i in range(60):
        for corner in (-1, 0, 1, float(generator.uniform(-1, 1))):
            point = mp.mpf(z[i, 0]) + mp.mpf(corner) * mp.mpf(dz[i, 0])
            _, [slope], [[curve]] = oracle.loss(name, [point], y[i], smoothing)
            assert abs(slope - mp.mpf(gradient[i, 0])) <= mp.mpf(gradient_error[i, 0]) * OWN_ROUNDING
            moved = curve * mp.mpf(u[i, 0])
            assert abs(moved - mp.mpf(product[i, 0])) <= mp.mpf(product_error[i, 0]) * OWN_ROUNDING


def test_control_a_hessian_error_that_overlooks_the_kinks_is_exposed(oracle: Any) -> None:
    # the score is known within 1e-9 and the kink lies in between: l'' is 0 on one side and 1/2 on the other
    loss, z, u = get_loss("huber-hinge", 1.0), np.array([[2 + 1e-10]]), np.ones((1, 1))
    assert isinstance(loss, ScalarLoss)
    y, dz = np.ones(1), np.full((1, 1), 1e-9)
    _, _, [[curve]] = oracle.loss("huber-hinge", [oracle.mp.mpf(2) - oracle.mp.mpf(10) ** -10], 1.0, 1)
    error = abs(float(curve) - loss.curvature_product(z, y, u)[0, 0])
    assert error == 0.5
    assert loss.curvature_product_error(z, dz, y, u, np.zeros((1, 1)))[0, 0] >= error
    assert loss.second_rounding(z, y[:, None])[0, 0] < error


# ---------------------------------------------------------------------------------------- claimed rounding errors


def third_derivative(mp: Any, name: str, z: Any, y: float, curve: Any) -> Any:
    """The third derivative from the second, on the side of a kink where z lies."""
    t = z - mp.mpf(y)
    factors = {
        "logistic": lambda: 1 - 2 / (1 + mp.exp(-z)),
        "poisson": lambda: 1,
        "gamma": lambda: -1,
        "pseudo-huber": lambda: -3 * t / (1 + t * t),
        "log-cosh": lambda: -2 * mp.tanh(t),
        "softplus-hinge": lambda: 1 - 2 / (1 + mp.exp(-(z - (1 if y == 1 else -1)))),
    }
    return curve * factors[name]() if name in factors else mp.mpf(0)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("relative", [0.0, 1e-15, 1e-6, 0.3, 5.0])
@pytest.mark.parametrize("name", SCALAR)
def test_the_errors_claimed_by_scalar_losses_hold_anywhere_within_dz(
    name: str, relative: float, seed: int, oracle: Any
) -> None:
    generator, loss = np.random.default_rng([seed, 101]), LOSSES[name]
    assert isinstance(loss, ScalarLoss)
    z, y = wide_scores(generator, (80, 1)), targets(name, generator, 80)
    if name in KINKED:  # around the kinks, and on them
        edge = generator.choice([-1.0, 1.0], 40) + generator.choice([-1.0, 0.0, 1.0], 40)
        z[-40:, 0] = edge + generator.choice([0.0, 2.0**-53, -(2.0**-52), 1e-9, -1e-6, 0.1], 40)
    elif name in REAL:
        z[-40:, 0] = y[-40:] + z[-40:, 0] * 1e-2  # where it is curved
    # dz relative to the score, but at most 5, or exp overflows and every bound is trivially infinite
    dz = np.minimum(relative * np.maximum(np.abs(z), 1e-3), 5.0)
    u, du = generator.normal(size=(80, 1)), np.abs(generator.normal(size=(80, 1))) * min(relative, 1e-3)
    prepared = loss.prepare(y, 1)
    column = prepared[:, None]
    gradient, product = loss.gradient(z, prepared), loss.curvature_product(z, prepared, u)
    gradient_error = loss.gradient_error(z, dz, prepared)
    product_error = loss.curvature_product_error(z, dz, prepared, u, du)
    second_sup, third_sup = loss.second_sup(z, dz, column), loss.third_sup(z, dz, column)
    trace = loss.curvature_trace(z, dz, prepared)
    mp = oracle.mp
    for i in range(80):
        for corner in (-1, 1, 0, float(generator.uniform(-1, 1))):
            point = mp.mpf(z[i, 0]) + mp.mpf(corner) * mp.mpf(dz[i, 0])
            _, [slope], [[curve]] = oracle.loss(name, [point], y[i])
            third = third_derivative(mp, name, point, y[i], curve)
            assert abs(slope - mp.mpf(gradient[i, 0])) <= mp.mpf(gradient_error[i, 0]) * OWN_ROUNDING
            assert curve <= mp.mpf(second_sup[i, 0])
            assert curve <= mp.mpf(trace[i])
            assert abs(third) <= mp.mpf(third_sup[i, 0]) * OWN_ROUNDING
            for side in (-1, 1):
                moved = mp.mpf(u[i, 0]) + side * mp.mpf(du[i, 0])
                assert abs(curve * moved - mp.mpf(product[i, 0])) <= mp.mpf(product_error[i, 0]) * OWN_ROUNDING


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("relative", [0.0, 1e-15, 1e-6, 0.3, 3.0])
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_the_errors_claimed_by_softmax_hold_anywhere_within_dz(
    classes: int, relative: float, seed: int, oracle: Any
) -> None:
    generator, loss, mp = np.random.default_rng([seed, classes]), LOSSES["softmax"], oracle.mp
    records = 40
    z, y = wide_scores(generator, (records, classes)), generator.integers(0, classes, records)
    dz = np.minimum(relative * np.abs(z), 5.0)
    u, du = generator.normal(size=z.shape), np.abs(generator.normal(size=z.shape)) * min(relative, 1e-3)
    gradient, product = loss.gradient(z, y), loss.curvature_product(z, y, u)
    gradient_error, product_error = loss.gradient_error(z, dz, y), loss.curvature_product_error(z, dz, y, u, du)
    trace = loss.curvature_trace(z, dz, y)
    for i in range(records):
        for _ in range(3):
            corner, side = generator.choice([-1.0, 1.0, 0.3], classes), generator.choice([-1.0, 1.0], classes)
            point = [mp.mpf(a) + mp.mpf(c) * mp.mpf(b) for a, b, c in zip(z[i], dz[i], corner, strict=True)]
            moved = [mp.mpf(a) + mp.mpf(c) * mp.mpf(b) for a, b, c in zip(u[i], du[i], side, strict=True)]
            _, slope, curve = oracle.loss("softmax", point, y[i])
            assert sum(curve[k][k] for k in range(classes)) <= mp.mpf(trace[i])
            for k in range(classes):
                assert abs(slope[k] - mp.mpf(gradient[i, k])) <= mp.mpf(gradient_error[i, k]) * OWN_ROUNDING
                assert (
                    abs(mp.fdot(curve[k], moved) - mp.mpf(product[i, k])) <= mp.mpf(product_error[i, k]) * OWN_ROUNDING
                )


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_the_errors_claimed_without_dz_are_a_few_units_in_the_last_place(name: str) -> None:
    generator = np.random.default_rng(8)
    outputs = 3 if name == "softmax" else 1
    loss = LOSSES[name]
    y = loss.prepare(targets(name, generator, 50, outputs), outputs)
    z = generator.normal(size=(50, outputs)) * 2
    zero = np.zeros_like(z)
    # relative to the sizes that enter, not to a gradient that may cancel
    scale = np.abs(z) + np.abs(y[:, None]) + np.exp(np.abs(z))
    assert np.max(loss.gradient_error(z, zero, y) / scale) < 1e-13


def test_the_error_granted_to_exp_and_expit_covers_what_the_libraries_deliver(oracle: Any) -> None:
    from scipy.special import expit

    generator, mp = np.random.default_rng(9), oracle.mp
    z = np.concatenate([generator.uniform(-700, 700, 2000), generator.normal(size=1000), [-708.0, 709.0, -1e-300]])
    for x, power, sigmoid in zip(z, np.exp(z), expit(z), strict=True):
        exact = mp.exp(mp.mpf(x))
        assert abs(mp.mpf(power) - exact) <= FUNCTION_ERROR / 4 * exact  # four times better than granted
        exact = 1 / (1 + mp.exp(-mp.mpf(x)))
        assert abs(mp.mpf(sigmoid) - exact) <= FUNCTION_ERROR / 2 * exact


def test_the_error_granted_to_tanh_and_hypot_covers_what_the_libraries_deliver(oracle: Any) -> None:
    generator, mp = np.random.default_rng(10), oracle.mp
    z = np.concatenate([10 ** generator.uniform(-12, 3, 2000), generator.normal(size=1000), [1e-300, 1e154, 1e300]])
    for x, tangent, root in zip(z, np.tanh(z), np.hypot(1.0, z), strict=True):
        exact = mp.tanh(mp.mpf(x))
        assert abs(mp.mpf(tangent) - exact) <= FUNCTION_ERROR / 4 * abs(exact)
        exact = mp.sqrt(1 + mp.mpf(x) ** 2)
        assert abs(mp.mpf(root) - exact) <= FUNCTION_ERROR / 4 * exact


@pytest.mark.parametrize("name", SCALAR)
def test_infinite_scores_never_claim_a_finite_error_too_small(name: str) -> None:
    loss = LOSSES[name]
    y = loss.prepare(np.array([1.0]), 1)
    with np.errstate(all="ignore"):
        error = loss.gradient_error(np.array([[math.inf]]), np.array([[math.inf]]), y)
    # slopes of the hinge loss differ by at most 1, wherever the score is
    assert error[0, 0] == 1 if name == "hinge" else not math.isfinite(error[0, 0])


# ------------------------------------------------------------------------------------------------------ targets


@pytest.mark.parametrize(
    ("name", "y", "outputs", "prepared"),
    [
        ("logistic", [0, 1, 1], 1, [-1.0, 1.0, 1.0]),
        ("logistic", [-1.0, 1.0], 1, [-1.0, 1.0]),
        ("logistic", [0.0, 0.0], 1, [-1.0, -1.0]),
        ("logistic", [True, False], 1, [1.0, -1.0]),
        ("logistic", [-1], 1, [-1.0]),
        ("softmax", [0.0, 2.0], 3, [0, 2]),
        ("squared", [-1.5, 1e300], 1, [-1.5, 1e300]),
        ("poisson", [0, 0.5, 7], 1, [0.0, 0.5, 7.0]),
        ("gamma", [1e-3, 7], 1, [1e-3, 7.0]),
        ("log-cosh", [-1.5, 2], 1, [-1.5, 2.0]),
        ("pseudo-huber", [-1.5, 2], 1, [-1.5, 2.0]),
        ("squared-hinge", [0, 1], 1, [-1.0, 1.0]),
        ("huber-hinge", [-1, 1], 1, [-1.0, 1.0]),
        ("softplus-hinge", [True, False], 1, [1.0, -1.0]),
    ],
)
def test_prepare_accepts(name: str, y: list[Any], outputs: int, prepared: list[float]) -> None:
    assert LOSSES[name].prepare(np.array(y), outputs).tolist() == prepared


@pytest.mark.parametrize(
    ("name", "y", "outputs"),
    [
        ("logistic", [0, 2], 1),
        ("logistic", [-1, 0], 1),
        ("logistic", [-1, 0, 1], 1),
        ("logistic", [0.5], 1),
        ("softmax", [0, 3], 3),
        ("softmax", [-1, 0], 3),
        ("softmax", [0.5], 3),
        ("poisson", [1, -1e-9], 1),
        ("gamma", [1, 0], 1),
        ("gamma", [1, -1e-9], 1),
        ("squared-hinge", [0, 2], 1),
        ("huber-hinge", [-1, 0], 1),
        ("softplus-hinge", [0.5], 1),
    ],
)
def test_prepare_refuses(name: str, y: list[Any], outputs: int) -> None:
    with pytest.raises(TargetError):
        LOSSES[name].prepare(np.array(y), outputs)
