"""The cubic-regularised step: global optimality in every case, and what is wrong with the ways to get it nearly right."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize

from certify.core.errors import InputError
from certify.unlearners import cubic
from certify.unlearners.cubic import cubic_step, cubic_value
from certify.unlearners.spectrum import Spectrum

SIZE = 50
EIGENVALUES = {
    "definite": np.linspace(0.1, 2, SIZE),
    "ill-conditioned": np.geomspace(1e-9, 2, SIZE),
    "singular": np.r_[np.zeros(10), np.linspace(1e-3, 2, SIZE - 10)],
    "indefinite": np.linspace(-1, 2, SIZE),
    "multiple": np.r_[-np.ones(5), np.linspace(-0.5, 2, SIZE - 5)],
    "negative": -np.linspace(0.1, 2, SIZE)[::-1],
    "zero": np.zeros(SIZE),
}


def problem(kind, *, scale=1.0, low=None, seed=0):
    """H, g with ``||g|| = scale``, and the eigenvectors; the part of g along the 5 lowest eigenvectors is multiplied by ``low``."""
    rng = np.random.default_rng(seed)
    values = EIGENVALUES[kind]
    Q = np.linalg.qr(rng.normal(size=(len(values),) * 2))[0]
    b = rng.normal(size=len(values))
    if low is not None:
        b[:5] *= low
    return (Q * values) @ Q.T, Q @ (scale * b / np.linalg.norm(b)), Q


def violation(H, g, L, s):
    """How far s is from (H + (L/2)||s|| I) s = -g and H + (L/2)||s|| I >= 0, relative to the sizes in play."""
    damped = H + L / 2 * np.linalg.norm(s) * np.eye(len(g))
    size = np.linalg.norm(H, 2) + L / 2 * np.linalg.norm(s)
    stationary = np.linalg.norm(damped @ s + g) / (np.linalg.norm(g) + size * np.linalg.norm(s) + 1e-300)
    return max(stationary, -np.linalg.eigvalsh(damped)[0] / size if size else 0.0)


@pytest.mark.parametrize("kind", EIGENVALUES)
@pytest.mark.parametrize("L", [1e-6, 1.0, 400.0])
@pytest.mark.parametrize("low", [None, 0.0, 1e-15, 1e-8])
def test_the_step_is_a_global_minimiser(kind, L, low):
    """C1 and C2, the nearly hard cases included."""
    H, g, _ = problem(kind, low=low)
    found = cubic_step(H, g, L)
    size = np.linalg.norm(g) + (np.linalg.norm(H, 2) + found.damping) * found.radius
    assert violation(H, g, L, found.step) < 1e-13
    assert found.stationarity < 1e-13 * size
    assert found.secular < 1e-12
    assert abs(found.gap) < 1e-13 * size * found.radius
    assert found.value <= -L / 12 * found.radius**3 + 1e-13 * size * found.radius
    assert found.value == pytest.approx(cubic_value(H, g, L, found.step), rel=1e-12)
    assert found.damping == pytest.approx(L / 2 * np.linalg.norm(found.step), rel=1e-14)


@pytest.mark.parametrize("kind", ["definite", "singular", "indefinite"])
def test_at_ordinary_sizes_the_residuals_are_a_few_roundings(kind, measured):
    """C1 and C2 with absolute tolerances."""
    H, g, _ = problem(kind, scale=0.1)
    found = cubic_step(H, g, 5.0)
    measured("C1", stationarity=found.stationarity, smallest_eigenvalue=found.curvature)
    measured("C2", gap=abs(found.gap))
    assert found.stationarity < 1e-14
    assert found.curvature > -1e-14
    assert abs(found.gap) < 1e-15


@pytest.mark.parametrize("kind", EIGENVALUES)
@pytest.mark.parametrize("scale", [1e-150, 1e-14, 1e-9, 1e-4, 1.0, 1e2])
@pytest.mark.parametrize("low", [None, 0.0])
def test_no_size_of_the_gradient_is_too_small_or_too_large(kind, scale, low, measured):
    """C11: a search with an absolute floor fails or never ends at the small ones."""
    H, g, _ = problem(kind, scale=scale, low=low)
    found = cubic_step(H, g, 1.0)
    assert violation(H, g, 1.0, found.step) < 1e-13
    measured("C11", violation=violation(H, g, 1.0, found.step), iterations=found.iterations)
    assert found.secular < 1e-12
    assert found.iterations <= 12
    if kind == "definite":  # here the residual has to be small beside g itself
        assert found.stationarity < 1e-13 * np.linalg.norm(g)


@pytest.mark.parametrize("kind", EIGENVALUES)
@pytest.mark.parametrize("L", [1e-3, 1.0, 100.0])
def test_the_radius_lies_in_its_closed_bracket(kind, L):
    """C2: both ends are roots of quadratics in the extreme eigenvalues."""
    H, g, _ = problem(kind)
    radius, length, (low, *_, high) = cubic_step(H, g, L).radius, np.linalg.norm(g), EIGENVALUES[kind]
    below = (-high + math.sqrt(high * high + 2 * L * length)) / L
    assert radius >= max(below if high + L * radius / 2 > 0 else 0.0, -2 * low / L, 0.0) * (1 - 1e-12)
    assert radius <= (-low + math.sqrt(low * low + 2 * L * length)) / L * (1 + 1e-12)


@pytest.mark.parametrize("kind", ["definite", "singular", "indefinite", "multiple"])
@pytest.mark.parametrize("low", [None, 0.0])
def test_no_search_finds_a_lower_value(kind, low, measured):
    """C3: 20,000 perturbations of the step and 20 descents from elsewhere."""
    H, g, _ = problem(kind, low=low)
    found, rng = cubic_step(H, g, 1.0), np.random.default_rng(1)
    sizes = 10 ** rng.uniform(-6, 0.5, size=20_000)
    directions = rng.normal(size=(20_000, SIZE))
    points = found.step + sizes[:, None] * found.radius * directions / np.linalg.norm(directions, axis=1)[:, None]
    values = points @ g + 0.5 * np.sum((points @ H) * points, axis=1) + np.linalg.norm(points, axis=1) ** 3 / 6
    measured("C3", above=values.min() - found.value)
    assert values.min() > found.value - 1e-12
    for _ in range(20):
        other = minimize(
            lambda s: cubic_value(H, g, 1.0, s),
            3 * rng.normal(size=SIZE) / np.sqrt(SIZE) * found.radius,
            jac=lambda s: g + H @ s + np.linalg.norm(s) / 2 * s,
        )
        assert other.fun > found.value - 1e-12


def test_the_hard_case_takes_either_sign_and_always_the_same_one():
    H, g, Q = problem("indefinite", low=0.0)
    found, lead = cubic_step(H, g, 1.0), Q[:, 0]
    assert found.hard
    assert found.radius == pytest.approx(2.0, rel=1e-12)
    mirrored = found.step - 2 * (lead @ found.step) * lead
    assert cubic_value(H, g, 1.0, mirrored) == pytest.approx(found.value, rel=1e-12)
    assert abs(lead @ found.step) > 0.1
    assert np.array_equal(cubic_step(H, g, 1.0).step, found.step)
    assert not cubic_step(H, 1e3 * g, 1.0).hard  # far enough out, nothing is missing in length


def test_the_radius_is_continuous_into_the_hard_case():
    radii = [cubic_step(*problem("indefinite", low=low)[:2], 1.0).radius for low in (1e-4, 1e-8, 1e-12, 1e-16, 0.0)]
    assert np.all(np.diff(radii) <= 1e-12)
    assert radii[1] == pytest.approx(radii[-1], rel=1e-6)


def test_without_a_gradient_the_step_leaves_a_saddle_and_stays_at_a_minimum():
    saddle = cubic_step(np.diag([2.0, -1.0, 0.5]), np.zeros(3), 1.0)
    np.testing.assert_allclose(saddle.step, [0, 2, 0])
    assert saddle.value == pytest.approx(-2 / 3)
    for bowl in (np.diag([2.0, 0.0]), np.diag([2.0, 1.0]), np.zeros((2, 2))):
        assert np.array_equal(cubic_step(bowl, np.zeros(2), 1.0).step, np.zeros(2))


def test_both_ends_of_L(measured):
    """C10: towards Newton's step, and towards ``-sqrt(2 / (L ||g||)) g``."""
    H, g, _ = problem("definite")
    newton = -np.linalg.solve(H, g)
    assert np.linalg.norm(cubic_step(H, g, 1e-10).step - newton) < 1e-8 * np.linalg.norm(newton)
    measured("C10", error=np.linalg.norm(cubic_step(H, g, 1e-10).step - newton) / np.linalg.norm(newton))
    np.testing.assert_allclose(cubic_step(H, g, 0.0).step, newton, rtol=1e-11)
    far = cubic_step(H, g, 1e16).step
    cauchy = -math.sqrt(2 / (1e16 * np.linalg.norm(g))) * g
    assert np.linalg.norm(far - cauchy) < 1e-6 * np.linalg.norm(cauchy)


@pytest.mark.parametrize("kind", ["definite", "indefinite"])
def test_the_lengths_by_eigenvalues_are_the_lengths(kind):
    """C10, against solutions that know no eigenvalues; damping shortens the step."""
    H, g, _ = problem(kind)
    spectrum = Spectrum.of(H)
    assert spectrum.pseudo_inverse_norm(g, 1e-10) == pytest.approx(np.linalg.norm(np.linalg.pinv(H) @ g), rel=1e-9)
    np.testing.assert_allclose(spectrum.pseudo_inverse_step(g, 1e-10), -np.linalg.pinv(H) @ g, rtol=1e-7)
    lengths = []
    for damping in (1.5, 3.0, 10.0):
        direct = -np.linalg.solve(H + damping * np.eye(SIZE), g)
        np.testing.assert_allclose(spectrum.damped_step(g, damping), direct, rtol=1e-10)
        assert spectrum.damped_norm(g, damping) == pytest.approx(np.linalg.norm(direct), rel=1e-12)
        lengths.append(spectrum.damped_norm(g, damping))
    assert lengths == sorted(lengths, reverse=True)
    found = cubic_step(H, g, 1.0)
    assert found.radius == pytest.approx(spectrum.damped_norm(g, found.damping), rel=1e-12)


def test_the_spectrum_is_reported():
    report = Spectrum.of(np.diag([-3.0, -1e-8, 0.0, 2e-7, 4.0])).report()
    assert report == {
        "eigenvalues": 5,
        "negative eigenvalues": 2,
        "eigenvalues near zero": 3,
        "smallest eigenvalue": -3,
        "largest eigenvalue": 4,
        "asymmetry": 0,
    }


def divides_by_the_start(H, g, L):
    """Starts at t = max(-lambda_1, 0) and divides by it."""
    values, Q = np.linalg.eigh(H)
    t = max(-float(values[0]), 0.0)
    for _ in range(50):
        s = -Q @ ((Q.T @ g) / (values + t))
        t -= (1 / float(np.linalg.norm(s)) - L / (2 * t)) / (L / (2 * t * t))
    return s


def flips_the_sign(H, g, L):
    """The hard case with the pseudo-inverse part of the wrong sign."""
    values, Q = np.linalg.eigh(H)
    radius = -2 * values[0] / L
    part = Q[:, 1:] @ ((Q[:, 1:].T @ g) / (values[1:] - values[0]))
    return part + math.sqrt(radius**2 - part @ part) * Q[:, 0]


def stops_early(H, g, L):
    """Bisection until ``||s|| - r`` is 1e-4."""
    values, Q = np.linalg.eigh(H)
    low, high = max(0.0, -2 * values[0] / L), 1e3
    while True:
        radius = 0.5 * (low + high)
        s = -Q @ ((Q.T @ g) / (values + L * radius / 2))
        if abs(np.linalg.norm(s) - radius) < 1e-4:
            return s
        low, high = (radius, high) if np.linalg.norm(s) > radius else (low, radius)


def test_solvers_that_are_nearly_right_do_not_pass():
    """Three defects of a published solver: what the test of optimality above is for."""
    H, g, _ = problem("definite", scale=1e-3)
    with pytest.raises(ZeroDivisionError):
        divides_by_the_start(H, g, 5.0)
    assert violation(H, g, 5.0, stops_early(H, g, 5.0)) > 1e-5
    H, g, _ = problem("indefinite", low=0.0)
    wrong = flips_the_sign(H, g, 1.0)
    assert violation(H, g, 1.0, wrong) > 1e-2
    assert cubic_value(H, g, 1.0, wrong) > cubic_step(H, g, 1.0).value + 1e-2


@pytest.mark.parametrize(
    ("hessian", "gradient", "L", "trouble"),
    [
        (np.eye(3)[:2], np.ones(3), 1.0, r"hessian: has shape \(2, 3\) and not \(P, P\)"),
        (np.diag([1.0, np.nan]), np.ones(2), 1.0, "hessian: holds a number that is not finite"),
        (np.array([[1.0, 2.0], [0.0, 1.0]]), np.ones(2), 1.0, "hessian: is not symmetric"),
        (np.eye(2), np.ones(3), 1.0, r"gradient: has shape \(3,\) or is not finite where H has 2 rows"),
        (np.eye(2), np.array([1.0, np.inf]), 1.0, "gradient: has shape"),
        (np.eye(2), np.ones(2), -1.0, "cubic step: L must be at least 0, not -1.0"),
        (np.diag([1.0, -1.0]), np.ones(2), 0.0, "cubic step: L = 0 leaves the model without a minimum"),
    ],
)
def test_what_is_wrong_with_the_input_is_said(hessian, gradient, L, trouble):
    with pytest.raises(InputError, match=trouble):
        cubic_step(hessian, gradient, L)


@pytest.mark.parametrize("kind", ["definite", "indefinite"])
def test_a_root_that_is_slightly_wrong_shows_in_what_the_step_reports(kind, monkeypatch):
    """1e-4 off: the measured residuals say so, and the dual value still bounds the minimum from below."""
    H, g, _ = problem(kind)
    right, root = cubic_step(H, g, 1.0), cubic._root
    monkeypatch.setattr(cubic, "_root", lambda *given: (root(*given)[0] * (1 + 1e-4), 1))
    wrong = cubic_step(H, g, 1.0)
    assert wrong.secular > 1e-5
    assert wrong.stationarity > 1e-6
    assert wrong.gap > 1e-12
    assert wrong.dual < right.value < wrong.value
