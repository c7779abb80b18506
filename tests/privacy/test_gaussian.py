"""The Gaussian curve against 60 digits, and against oracles that share nothing with it."""

import math
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from certify.privacy import gaussian
from certify.privacy.composition import total_mu

# below this the additive floor of 1e-300 shows, and tightness means nothing
FLOOR = 1e-288

MUS = [1e-12, 1e-9, 1e-6, 1e-4, 0.01, 0.1, 0.3, 0.499, 0.5, 0.5000001, 0.7, 1.0, 1.7, 3.0, 7.3, 15.0, 33.0, 70.0]
EPSILONS = [0.0, 1e-12, 1e-9, 1e-6, 1e-4, 0.01, 0.1, 0.3, 1.0, 2.5, 8.0, 20.0, 77.0, 300.0, 700.0, 1300.0, 2500.0]

positive = st.floats(-12, math.log10(70)).map(lambda power: 10**power)
thresholds = st.one_of(st.just(0.0), st.floats(-12, math.log10(2500)).map(lambda power: 10**power))
deltas = st.floats(-30, -0.01).map(lambda power: 10**power)


def true_delta(mu: float, epsilon: float) -> Any:
    """The textbook formula, with digits enough to survive its cancellation. Call it inside ``workdps``."""
    mu, epsilon = mpmath.mpf(mu), mpmath.mpf(epsilon)
    if mu == 0:
        return mpmath.mpf(0)
    return mpmath.ncdf(mu / 2 - epsilon / mu) - mpmath.exp(epsilon) * mpmath.ncdf(-mu / 2 - epsilon / mu)


def excess(mu: float, epsilon: float) -> float:
    """Relative excess of the computed delta; negative means that the bound is broken."""
    # ncdf loses digits where the upper tail is formed as 1 - ..., hence more digits than are asked for
    with mpmath.workdps(80):
        truth = true_delta(mu, epsilon)
        computed = mpmath.mpf(gaussian.delta(mu, epsilon))
        if truth < FLOOR:
            assert truth <= computed <= 1.001 * FLOOR
            return 0.0
        return float((computed - truth) / truth)


@pytest.mark.parametrize("mu", MUS)
def test_delta_is_never_below_the_truth_and_within_1e_10_of_it(mu: float) -> None:
    found = [excess(mu, epsilon) for epsilon in EPSILONS]
    assert min(found) >= 0
    assert max(found) < 1e-10


@given(mu=positive, epsilon=thresholds)
def test_delta_is_tight_and_safe_everywhere(mu: float, epsilon: float) -> None:
    assert 0 <= excess(mu, epsilon) < 1e-10


@given(mu=positive, q=st.floats(-8, 38.9))
def test_delta_is_tight_and_safe_out_to_the_last_float(mu: float, q: float) -> None:
    # epsilon is chosen so that the tail argument is q: random epsilons hardly ever land in the far tail
    epsilon = max(0.0, mu * (q + mu / 2))
    assert 0 <= excess(mu, epsilon) < 1e-10


@given(mu=st.floats(1.5, 12).map(lambda power: 10**power), q=st.floats(-5, 38.9))
def test_delta_is_safe_where_the_tail_argument_is_a_difference_of_huge_numbers(mu: float, q: float) -> None:
    # for mu of 1e8 the rounding of epsilon/mu - mu/2 alone moves delta by more than any fixed relative margin
    assert excess(mu, max(0.0, mu * (q + mu / 2))) >= 0


@pytest.mark.parametrize("epsilon", [38.5, 38.6, 39.0, 39.2, 45.0])
def test_delta_is_safe_where_it_leaves_the_normal_floats(epsilon: float) -> None:
    with mpmath.workdps(60):
        assert gaussian.delta(1.0, epsilon) >= true_delta(1.0, epsilon) > 0


@pytest.mark.parametrize("mu", [5e-324, 1e-320, 1e-310, 1e-300])
def test_delta_is_safe_for_subnormal_mu(mu: float) -> None:
    with mpmath.workdps(700):
        for epsilon in (0.0, mu, 3 * mu):
            assert gaussian.delta(mu, epsilon) >= true_delta(mu, epsilon)


@pytest.mark.parametrize("mu", [1e-12, 1e-6, 0.01, 0.26805, 1.0, 4.0, 12.0, 35.0])
@pytest.mark.parametrize("delta", [1e-30, 1e-12, 1e-6, 1e-5, 1e-2, 0.3])
def test_epsilon_holds_and_a_slightly_smaller_one_does_not(mu: float, delta: float) -> None:
    epsilon = gaussian.epsilon(mu, delta)
    with mpmath.workdps(80):
        assert true_delta(mu, epsilon) <= mpmath.mpf(delta)
        if epsilon > 0:
            assert true_delta(mu, epsilon * (1 - 1e-8)) > mpmath.mpf(delta)


@pytest.mark.parametrize("epsilon", [0.0, 1e-9, 0.01, 0.5, 1.0, 8.0, 50.0, 1000.0])
@pytest.mark.parametrize("delta", [1e-30, 1e-12, 1e-6, 1e-5, 1e-2, 0.3])
def test_mu_holds_and_a_slightly_larger_one_does_not(epsilon: float, delta: float) -> None:
    mu = gaussian.mu(epsilon, delta)
    with mpmath.workdps(80):
        assert true_delta(mu, epsilon) <= mpmath.mpf(delta)
        assert true_delta(mu * (1 + 1e-8), epsilon) > mpmath.mpf(delta)


@given(mu=positive, delta=deltas)
def test_epsilon_is_always_safe(mu: float, delta: float) -> None:
    with mpmath.workdps(80):
        assert true_delta(mu, gaussian.epsilon(mu, delta)) <= mpmath.mpf(delta)


@given(epsilon=thresholds, delta=deltas)
def test_mu_is_always_safe(epsilon: float, delta: float) -> None:
    with mpmath.workdps(80):
        assert true_delta(gaussian.mu(epsilon, delta), epsilon) <= mpmath.mpf(delta)


@given(mu=positive, epsilon=thresholds, delta=deltas)
def test_the_inversions_agree_with_the_curve_to_the_last_bit(mu: float, epsilon: float, delta: float) -> None:
    # a report prints all three: it must never contradict itself
    assert gaussian.delta(mu, gaussian.epsilon(mu, delta)) <= delta
    assert gaussian.delta(gaussian.mu(epsilon, delta), epsilon) <= delta


@given(mu=positive, delta=deltas)
def test_the_inversions_undo_each_other(mu: float, delta: float) -> None:
    epsilon = gaussian.epsilon(mu, delta)
    if epsilon > 0:
        assert gaussian.mu(epsilon, delta) == pytest.approx(mu, rel=1e-8)


@given(first=positive, second=positive, epsilon=thresholds)
def test_delta_grows_with_mu(first: float, second: float, epsilon: float) -> None:
    low, high = sorted((first, second))
    assert gaussian.delta(low, epsilon) <= gaussian.delta(high, epsilon) * (1 + 1e-10)


@given(mu=positive, first=thresholds, second=thresholds)
def test_delta_falls_with_epsilon(mu: float, first: float, second: float) -> None:
    low, high = sorted((first, second))
    assert gaussian.delta(mu, high) <= gaussian.delta(mu, low) * (1 + 1e-10)


@given(first=positive, second=positive, delta=deltas)
def test_epsilon_grows_with_mu(first: float, second: float, delta: float) -> None:
    low, high = sorted((first, second))
    assert gaussian.epsilon(low, delta) <= gaussian.epsilon(high, delta) * (1 + 1e-8)


@given(mu=positive, first=deltas, second=deltas)
def test_epsilon_falls_with_delta(mu: float, first: float, second: float) -> None:
    low, high = sorted((first, second))
    assert gaussian.epsilon(mu, high) <= gaussian.epsilon(mu, low) * (1 + 1e-8)


# The classical sqrt(2 ln(c/delta)) formula: true delta divided by the claimed one, research/certified.md section 2.2.
CLASSICAL = [
    (1e-5, 1.25, [0.004, 0.013, 0.068, 0.25, 0.80, 2.27, 5.9, 22, 153]),
    (1e-4, 1.25, [0.006, 0.018, 0.091, 0.33, 1.005, 2.74, 6.8, 23, 133]),
    (1e-4, 1.5, [0.005, 0.015, 0.074, 0.27, 0.82, 2.25, 5.6, 20, 113]),
    (1e-2, 1.25, [0.014, 0.044, 0.21, 0.67, 1.78, 4.1, 8.1, 19, 48]),
]


@pytest.mark.parametrize(("claimed", "constant", "table"), CLASSICAL)
def test_the_classical_formula_is_false_from_epsilon_about_8(
    claimed: float, constant: float, table: list[float]
) -> None:
    for epsilon, expected in zip([1, 2, 4, 6, 8, 10, 12, 15, 20], table, strict=True):
        mu = epsilon / math.sqrt(2 * math.log(constant / claimed))
        with mpmath.workdps(60):
            truth = float(true_delta(mu, epsilon) / claimed)
        # the table is printed to two or three digits
        digits = len(str(expected).replace(".", "").lstrip("0"))
        assert truth == pytest.approx(expected, rel=0.6 * 10.0 ** (1 - digits))
        assert gaussian.delta(mu, epsilon) / claimed == pytest.approx(truth, rel=1e-9)


@pytest.mark.parametrize(
    ("delta", "exact", "classical"),
    [(1e-3, 0.38840, 0.26147), (1e-4, 0.31390, 0.22803), (1e-5, 0.26805, 0.20482), (1e-6, 0.23670, 0.18751)],
)
def test_the_allowed_mu_at_epsilon_1(delta: float, exact: float, classical: float) -> None:
    assert gaussian.mu(1.0, delta) == pytest.approx(exact, abs=1e-5)
    assert 1 / math.sqrt(2 * math.log(1.5 / delta)) == pytest.approx(classical, abs=1e-5)


@pytest.mark.parametrize(("mu", "epsilon"), [(0.05, 0.02), (0.3, 0.5), (1.0, 0.0), (1.0, 1.0), (2.5, 4.0), (6.0, 10.0)])
def test_delta_is_the_hockey_stick_integral_of_two_normal_densities(mu: float, epsilon: float) -> None:
    # nothing of the closed form is used: integrate max(0, p1 - e^epsilon p0)
    threshold = epsilon / mu + mu / 2
    value, error = integrate.quad(
        lambda x: stats.norm.pdf(x, loc=mu) - math.exp(epsilon) * stats.norm.pdf(x),
        threshold,
        mu + 12,
        epsabs=1e-13,
        epsrel=1e-11,
    )
    assert error < 1e-9
    assert gaussian.delta(mu, epsilon) == pytest.approx(value, rel=1e-7, abs=1e-13)


def test_delta_and_epsilon_agree_with_opacus() -> None:
    # the one test here that loads torch
    from opacus.accountants.analysis.gdp import delta_eps_mu, eps_from_mu

    for mu in (0.3, 1.0, 3.0):
        for epsilon in (0.1, 1.0, 5.0):
            theirs = float(delta_eps_mu(eps=epsilon, mu=mu))
            assert gaussian.delta(mu, epsilon) == pytest.approx(theirs, rel=1e-8, abs=1e-14)
        # opacus fails with a bracket error where delta(0) is below the requested delta, so none of these is
        assert gaussian.epsilon(mu, 1e-5) == pytest.approx(float(eps_from_mu(mu=mu, delta=1e-5)), rel=1e-6)


def test_equal_worlds_cannot_be_told_apart() -> None:
    assert gaussian.delta(0.0, 0.0) == 0.0
    assert gaussian.epsilon(0.0, 1e-9) == 0.0
    assert gaussian.attacker_accuracy(0.0) == pytest.approx(0.5, rel=1e-11)


def test_an_infinite_shift_tells_everything_at_any_epsilon() -> None:
    assert gaussian.delta(math.inf, 0.0) == 1.0
    assert gaussian.delta(math.inf, 1e300) == 1.0
    assert gaussian.delta(math.inf, math.inf) == 1.0
    assert gaussian.epsilon(math.inf, 1e-5) == math.inf
    assert gaussian.attacker_accuracy(math.inf) == 1.0
    assert gaussian.attacker_tpr(math.inf, 0.01) == 1.0


def test_an_infinite_epsilon_needs_no_delta() -> None:
    assert gaussian.delta(3.0, math.inf) == 0.0


def test_delta_is_at_most_one_for_any_float() -> None:
    for mu in (100.0, 1e10, 1e200, 1.7e308):
        assert gaussian.delta(mu, 0.0) == 1.0
        assert gaussian.delta(mu, 1.0) == 1.0


def test_epsilon_of_an_enormous_mu_is_infinite_and_not_an_exception() -> None:
    assert gaussian.epsilon(1e200, 1e-5) == math.inf


@pytest.mark.parametrize("mu", [1e-9, 1e-3, 0.2, 1.0])
def test_a_delta_of_at_least_the_total_variation_asks_for_no_epsilon(mu: float) -> None:
    total_variation = gaussian.delta(mu, 0.0)
    assert gaussian.epsilon(mu, total_variation) == 0.0
    assert gaussian.epsilon(mu, min(0.999, total_variation * 1.5)) == 0.0
    assert gaussian.epsilon(mu, total_variation * 0.999) > 0.0


def test_mu_at_epsilon_zero_is_the_total_variation_inverted() -> None:
    # 2 Phi(mu/2) - 1 = delta
    for delta in (1e-9, 1e-5, 0.01, 0.5):
        assert gaussian.mu(0.0, delta) == pytest.approx(2 * stats.norm.ppf(0.5 + delta / 2), rel=1e-7)


def test_numpy_scalars_are_accepted_without_warnings() -> None:
    assert gaussian.delta(np.float64(1e-320), np.float64(1.0)) < FLOOR
    assert gaussian.delta(np.float64(1.0), np.float64(1.0)) == gaussian.delta(1.0, 1.0)
    assert isinstance(gaussian.delta(np.float64(1.0), np.float64(1.0)), float)


@pytest.mark.parametrize("bad", [-1.0, -1e-300, math.nan, -math.inf])
def test_negative_and_undefined_mu_or_epsilon_are_refused(bad: float) -> None:
    for call in (
        lambda: gaussian.delta(bad, 1.0),
        lambda: gaussian.delta(1.0, bad),
        lambda: gaussian.epsilon(bad, 1e-5),
        lambda: gaussian.mu(bad, 1e-5),
        lambda: gaussian.attacker_accuracy(bad),
        lambda: gaussian.attacker_tpr(bad, 0.1),
        lambda: total_mu([1.0, bad]),
    ):
        with pytest.raises(ValueError, match="at least 0"):
            call()


@pytest.mark.parametrize("bad", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_a_delta_outside_the_open_unit_interval_is_refused(bad: float) -> None:
    for call in (lambda: gaussian.epsilon(1.0, bad), lambda: gaussian.mu(1.0, bad)):
        with pytest.raises(ValueError, match="strictly between 0 and 1"):
            call()


def test_ratio_is_rounded_up_and_never_undefined() -> None:
    generator = np.random.default_rng(1)
    with mpmath.workdps(60):
        for _ in range(500):
            distance, noise = 10 ** generator.uniform(-20, 20, 2)
            assert mpmath.mpf(gaussian.ratio(distance, noise)) > mpmath.mpf(distance) / mpmath.mpf(noise)
    assert gaussian.ratio(math.inf, 1.0) == math.inf
    assert gaussian.ratio(math.nan, 1.0) == math.inf
    assert gaussian.ratio(1e308, 1e-308) == math.inf


@pytest.mark.parametrize("noise", [0.0, -1.0, math.nan])
def test_ratio_needs_noise(noise: float) -> None:
    with pytest.raises(ValueError, match="noise_std"):
        gaussian.ratio(1.0, noise)


@given(mu=positive)
def test_attacker_accuracy_is_an_upper_bound_and_tight(mu: float) -> None:
    with mpmath.workdps(60):
        truth = mpmath.ncdf(mpmath.mpf(mu) / 2)
        found = mpmath.mpf(gaussian.attacker_accuracy(mu))
        assert found >= truth or found == 1
        assert found <= truth * (1 + mpmath.mpf(10) ** -11)


@given(mu=positive, power=st.floats(-290, -0.01))
def test_attacker_tpr_is_an_upper_bound_and_tight(mu: float, power: float) -> None:
    fpr = 10**power
    with mpmath.workdps(400):
        # invert Phi by Newton on the tail, from SciPy's value: no formula of the code is reused
        quantile = mpmath.mpf(float(stats.norm.ppf(fpr)))
        for _ in range(6):
            quantile -= (mpmath.ncdf(quantile) - mpmath.mpf(fpr)) / mpmath.npdf(quantile)
        truth = mpmath.ncdf(mpmath.mpf(mu) + quantile)
        found = mpmath.mpf(gaussian.attacker_tpr(mu, fpr))
        assert found >= truth or found == 1
        assert found <= truth * (1 + mpmath.mpf(10) ** -10)


def test_attacker_tpr_is_the_power_of_the_best_test() -> None:
    # Neyman-Pearson: threshold the observation at the (1 - fpr) quantile of the null
    for mu, fpr in ((0.5, 0.05), (1.0, 0.01), (3.0, 1e-3)):
        threshold = stats.norm.isf(fpr)
        assert gaussian.attacker_tpr(mu, fpr) == pytest.approx(stats.norm.sf(threshold, loc=mu), rel=1e-9)


@given(values=st.lists(st.floats(0, 1e6), max_size=20))
def test_total_mu_is_at_least_the_root_of_the_sum_of_squares(values: list[float]) -> None:
    with mpmath.workdps(60):
        truth = mpmath.sqrt(mpmath.fsum(mpmath.mpf(value) ** 2 for value in values))
        found = mpmath.mpf(total_mu(values))
        assert found >= truth
        assert found <= truth * (1 + mpmath.mpf(10) ** -14) + mpmath.mpf(10) ** -320


def test_total_mu_of_nothing_and_of_an_infinite_release() -> None:
    assert total_mu([]) == 0.0
    assert total_mu(iter([3.0, 4.0])) == pytest.approx(5.0, rel=1e-14)
    assert total_mu([1.0, math.inf]) == math.inf


def test_composition_is_the_curve_of_the_joint_shift() -> None:
    # two independent releases are one Gaussian in the plane, with a shift of length sqrt(mu1^2 + mu2^2)
    generator = np.random.default_rng(7)
    mus, epsilon, draws = (0.8, 1.1), 1.0, 400_000
    loss = sum(mu * generator.normal(mu, 1, draws) - mu * mu / 2 for mu in mus)
    gain = np.maximum(0.0, 1 - np.exp(epsilon - loss))
    tolerance = 6 * gain.std() / math.sqrt(draws)
    assert gain.mean() == pytest.approx(gaussian.delta(total_mu(mus), epsilon), abs=tolerance)
