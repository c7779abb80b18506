"""Bounds that suppose something: Gaussian worlds, or a prior. And what any audit can reach at most."""

import math

import numpy as np
import pytest
from scipy import stats

from certify.attacks.statistics.bayes import credible_interval, epsilon_posterior
from certify.attacks.statistics.ceiling import (
    epsilon_ceiling,
    negatives_for_precision,
    negatives_needed,
    trials_needed,
)
from certify.attacks.statistics.counts import Counts, highest_rate, lowest_rate
from certify.attacks.statistics.gaussian import (
    epsilon_of_mu,
    gaussian_from_counts,
    gaussian_from_scores,
    mu_lower_bound,
    noncentrality_lower_bound,
)
from certify.core.bounds import LowerBound
from certify.core.errors import InputError
from certify.privacy import gaussian


def test_clopper_pearson_by_an_independent_implementation() -> None:
    from statsmodels.stats.proportion import proportion_confint

    for successes, trials in ((0, 1000), (3, 17), (17, 17), (250, 999)):
        low, high = proportion_confint(successes, trials, 0.05, method="beta")
        assert lowest_rate(successes, trials, 0.025) == pytest.approx(np.nan_to_num(low, nan=0.0), abs=1e-12)
        assert highest_rate(successes, trials, 0.025) == pytest.approx(np.nan_to_num(high, nan=1.0), abs=1e-12)
    assert highest_rate(0, 1000, 0.025) == pytest.approx(0.00368, abs=5e-6)


@pytest.mark.parametrize(("mu", "epsilon"), [(0.5, 1.993), (1, 4.377), (2, 9.997), (4, 24.382)])
def test_epsilon_of_mu_from_below(mu: float, epsilon: float) -> None:
    found = epsilon_of_mu(mu, 1e-5)
    assert isinstance(found, LowerBound)
    assert found == pytest.approx(epsilon, abs=5e-4)
    assert found < gaussian.epsilon(mu, 1e-5) < found + 1e-8
    # from below: at the bound the guarantee is still broken, by an independent formula in many digits
    import mpmath

    mpmath.mp.dps = 60
    m, e = mpmath.mpf(mu), mpmath.mpf(float(found))
    curve = mpmath.ncdf(m / 2 - e / m) - mpmath.exp(e) * mpmath.ncdf(-m / 2 - e / m)
    assert curve > mpmath.mpf(1e-5)


@pytest.mark.parametrize(
    ("statistic", "freedom"), [(3.0, 5), (10.0, 3), (0.5, 10), (-2.0, 8), (20.0, 998), (158.0, 99998)]
)
def test_noncentrality_against_scipy(statistic: float, freedom: int) -> None:
    found = noncentrality_lower_bound(statistic, freedom, 0.05)
    assert stats.nct.sf(statistic, freedom, found) == pytest.approx(0.05, rel=1e-5)


@pytest.mark.parametrize("mu", [0.0, 1.0])
def test_gaussian_bounds_hold_where_the_model_does(mu: float) -> None:
    generator, members, runs = np.random.default_rng(8), np.repeat([True, False], [30, 50]), 1000
    wrong = np.zeros(2)
    for _ in range(runs):
        scores = generator.normal(size=80) + mu * members
        wrong[0] += gaussian_from_scores(scores, members, 1e-5, 0.9).mu > mu
        called = scores >= 0.5
        wrong[1] += mu_lower_bound(Counts(int(called[:30].sum()), 30, int(called[30:].sum()), 50), 0.9) > mu
    assert (wrong <= stats.binom.isf(1e-6, runs, 0.1)).all()
    assert wrong[0] >= stats.binom.ppf(1e-6, runs, 0.1)  # exact, not merely valid


def test_gaussian_bounds_are_tight() -> None:
    generator, members = np.random.default_rng(9), np.repeat([True, False], 500)
    found = np.zeros(2)
    for _ in range(20):
        scores = generator.normal(size=1000) + members
        counts = Counts(int((scores[:500] >= 0.5).sum()), 500, int((scores[500:] >= 0.5).sum()), 500)
        by_scores = gaussian_from_scores(scores, members, 1e-5)
        assert by_scores.method.startswith("model: ")
        found += [gaussian_from_counts(counts, 1e-5).epsilon / 20, by_scores.epsilon / 20]
    assert found[0] > 2.9
    assert found[1] > 3.6


def test_a_test_that_points_the_wrong_way_shows_nothing() -> None:
    scores, members = np.random.default_rng(1).normal(size=200), np.repeat([True, False], 100)
    found = gaussian_from_scores(scores - 3 * members, members, 1e-5)
    assert found.mu == found.epsilon == 0
    assert gaussian_from_counts(Counts(0, 50, 50, 50), 1e-5).epsilon == 0


def test_scores_that_are_not_normal_are_reported() -> None:
    generator, members = np.random.default_rng(2), np.repeat([True, False], 300)
    fine = gaussian_from_scores(generator.normal(size=600), members, 1e-5).normality
    assert fine is not None
    assert not fine.doubtful
    assert min(fine.first_qq, fine.second_qq) > 0.99
    for odd in (
        generator.standard_t(2, 600),
        np.exp(generator.normal(size=600)),
        generator.normal(size=600) * np.where(members, 2, 1),
        np.where(members, generator.normal(size=600), 1.0),
    ):
        found = gaussian_from_scores(odd, members, 1e-5).normality
        assert found is not None
        assert found.doubtful


@pytest.mark.parametrize(
    ("scores", "members", "message"),
    [
        (np.ones(10), np.arange(10) < 5, "do not vary"),
        (np.array([1.0, math.inf, 2, 3, 4, 5]), np.arange(6) < 3, "not finite"),
        (np.arange(4.0), np.arange(4) < 2, "fewer than three"),
        (np.arange(4.0), np.arange(5) < 2, "scores have shape"),
    ],
)
def test_scores_without_a_model_are_refused(scores: np.ndarray, members: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        gaussian_from_scores(scores, members, 1e-5)


def test_at_delta_0_no_gaussian_has_an_epsilon() -> None:
    with pytest.raises(ValueError, match="delta must lie strictly between"):
        gaussian_from_counts(Counts(5, 10, 1, 10), 0.0)


def test_the_credible_interval_of_the_published_example() -> None:
    """TP 487, TN 1, FP 512, FN 0, delta 1e-5, 90 %: an attack that calls nearly everyone a member."""
    found = credible_interval(Counts(487, 487, 512, 513), 1e-5, 0.9)
    assert found.lower == pytest.approx(0.145, abs=0.03)
    assert found.upper == pytest.approx(6.40, abs=0.03)
    assert found.lower < found.value < found.upper
    assert "credible" in found.method


@pytest.mark.parametrize("counts", [Counts(40, 100, 1, 100), Counts(5, 9, 4, 7), Counts(300, 300, 0, 200)])
@pytest.mark.parametrize("delta", [0.0, 0.05])
def test_the_posterior_mass_by_simulation(counts: Counts, delta: float) -> None:
    generator, n = np.random.default_rng(3), 400_000
    fpr = generator.beta(0.5 + counts.false_positives, 0.5 + counts.true_negatives, n)
    fnr = generator.beta(0.5 + counts.false_negatives, 0.5 + counts.true_positives, n)
    for epsilon in (0.1, 1.0, 3.0, 6.0):
        k = math.exp(epsilon)
        inside = np.ones(n, dtype=bool)
        for a, b in ((fpr, fnr), (1 - fpr, 1 - fnr)):
            inside &= (a + k * b >= 1 - delta) & (b + k * a >= 1 - delta)
        assert epsilon_posterior(counts, epsilon, delta) == pytest.approx(inside.mean(), abs=4e-3)


def test_a_credible_interval_is_no_gate() -> None:
    """The control: of a useless test its lower end is above 0 nearly always, where a confidence bound is so in 5 % of the runs."""
    lower = [credible_interval(Counts(h, 50, a, 50)).lower for h, a in ((25, 25), (24, 27), (29, 22))]
    assert min(lower) > 0


@pytest.mark.parametrize(("n", "ceiling"), [(50, 2.57), (100, 3.28), (500, 4.91), (1000, 5.60), (10_000, 7.90)])
def test_ceilings(n: int, ceiling: float) -> None:
    assert epsilon_ceiling(n, 1e-5) == pytest.approx(ceiling, abs=0.006)
    assert (
        epsilon_ceiling(n, 1e-5, method="exact") > epsilon_ceiling(n, 1e-5) > epsilon_ceiling(n, 1e-5, method="bands")
    )


@pytest.mark.parametrize("method", ["clopper-pearson", "exact", "bands"])
@pytest.mark.parametrize("epsilon", [0.5, 2.0, 4.0])
def test_the_inverse_of_a_ceiling(epsilon: float, method: str) -> None:
    n = trials_needed(epsilon, 1e-5, method=method)
    assert epsilon_ceiling(n, 1e-5, method=method) >= epsilon > epsilon_ceiling(n - 1, 1e-5, method=method)


def test_how_many_non_members_a_rate_needs() -> None:
    for rate, needed in ((1e-2, 299), (1e-3, 2995), (1e-4, 29956)):
        assert negatives_needed(rate) == needed
        assert highest_rate(0, needed, 0.05) <= rate < highest_rate(0, needed - 1, 0.05)
    assert negatives_needed(0.01, false_positives=3) == 773
    assert highest_rate(3, 773, 0.05) <= 0.01 < highest_rate(3, 772, 0.05)
    assert [negatives_for_precision(rate) for rate in (1e-2, 1e-3, 1e-4)] == [9508, 95941, 960269]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: epsilon_ceiling(0), "trials: there are 0 trials"),
        (lambda: epsilon_ceiling(5, method="guess"), "use one of clopper-pearson, exact, bands"),
        (lambda: epsilon_ceiling(5, 1.0), "delta must be"),
        (lambda: trials_needed(-1.0), "epsilon must be at least 0"),
        (lambda: trials_needed(1000.0), "no number of trials"),
        (lambda: negatives_needed(0.0), "fpr must lie"),
        (lambda: negatives_needed(0.1, false_positives=-1), "give a count"),
        (lambda: epsilon_posterior(Counts(1, 2, 1, 2), math.nan), "epsilon must be at least 0"),
        (lambda: Counts(3, 2, 0, 1), "counts must satisfy"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        call()  # type: ignore[operator]
    assert "\n" not in str(caught.value)
