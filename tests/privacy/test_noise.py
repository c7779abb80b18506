"""The noise has the law it claims, comes from the operating system, and its grid costs what it says."""

import math

import mpmath
import numpy as np
import pytest
from scipy import stats

from certify.core import streams
from certify.privacy import gaussian, noise

FALSE_ALARM = 1e-9


@pytest.mark.parametrize("sigma", [1, 2, 7])
def test_the_discrete_gaussian_has_its_law(sigma: int) -> None:
    draws = np.array([noise.discrete_gaussian(sigma) for _ in range(20_000)])
    support = np.arange(-4 * sigma, 4 * sigma + 1)
    weights = np.exp(-(np.arange(-40 * sigma, 40 * sigma + 1) ** 2) / (2 * sigma**2))
    expected = np.exp(-(support**2) / (2 * sigma**2)) / weights.sum()
    seen = np.array([np.sum(draws == k) for k in support])
    rest = len(draws) - seen.sum()
    counts, rates = np.append(seen, rest), np.append(expected, 1 - expected.sum())
    assert stats.chisquare(counts, rates * len(draws)).pvalue > FALSE_ALARM


def test_the_discrete_laplace_has_its_law() -> None:
    draws = np.array([noise.discrete_laplace(3) for _ in range(20_000)])
    support = np.arange(-20, 21)
    rates = np.exp(-np.abs(support) / 3)
    rates *= (1 - math.exp(-1 / 3)) / (1 + math.exp(-1 / 3))
    counts = np.append([np.sum(draws == k) for k in support], np.sum(np.abs(draws) > 20))
    assert stats.chisquare(counts, np.append(rates, 1 - rates.sum()) * len(draws)).pvalue > FALSE_ALARM


@pytest.mark.parametrize(("numerator", "denominator"), [(0, 1), (1, 3), (1, 1), (7, 2)])
def test_bernoulli_exp_has_its_rate(numerator: int, denominator: int) -> None:
    hits = sum(noise.bernoulli_exp(numerator, denominator) for _ in range(20_000))
    assert stats.binomtest(hits, 20_000, math.exp(-numerator / denominator)).pvalue > FALSE_ALARM


@pytest.mark.parametrize("noise_std", [1e-8, 0.3, 1e6])
def test_added_noise_is_gaussian_of_the_policys_size(noise_std: float) -> None:
    drawn = (noise.add_noise(np.full((2, 4000), 1.25), noise_std) - 1.25) / noise_std
    assert drawn.shape == (2, 4000)
    if noise_std > 1e-6:  # below, the rounding of 1.25 + noise to float64 is part of what is drawn
        assert stats.kstest(drawn.ravel(), "norm").pvalue > FALSE_ALARM
    assert abs(drawn.std() - 1) < 0.1


def test_noise_cannot_be_predicted_from_numpys_or_pythons_seeds() -> None:
    import random

    draws = []
    for _ in range(2):
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002 - the point: it changes nothing
        streams.stream(1, "noise").normal()
        draws.append(noise.add_noise(np.zeros(4), 1.0))
    assert not np.array_equal(*draws)


def test_total_variation_to_the_rounded_gaussian_is_below_the_claim() -> None:
    """Computed exactly in 60 digits for a coarse grid; the claim is 1/S per coordinate, S the variance in steps."""
    with mpmath.workdps(40):
        for sigma in (4, 16):
            support = range(-14 * sigma, 14 * sigma + 1)
            weights = [mpmath.e ** (-(mpmath.mpf(k) ** 2) / (2 * sigma**2)) for k in support]
            total = mpmath.fsum(weights)
            rounded = [
                mpmath.ncdf((k + mpmath.mpf(1) / 2) / sigma) - mpmath.ncdf((k - mpmath.mpf(1) / 2) / sigma)
                for k in support
            ]
            distance = mpmath.fsum(abs(w / total - r) for w, r in zip(weights, rounded, strict=True)) / 2
            assert distance < mpmath.mpf(1) / sigma**2
            assert distance > mpmath.mpf(1) / (100 * sigma**2)  # the claim is not idle
    assert noise.grid_cost(1.0, 1).total_variation >= 2.0 ** (-2 * noise.GRID_BITS)


def test_epsilon_on_the_grid_is_never_below_the_continuous_one_and_close_to_it() -> None:
    for mu in (1e-6, 1e-3, 0.27, 2.0, 8.0):
        plain = gaussian.epsilon(mu, 1e-5)
        assert plain <= noise.epsilon_on_grid(mu, 1e-5, 1000) <= plain * 1.001 + 1e-9
    assert math.isinf(noise.epsilon_on_grid(50.0, 1e-5, 1000))


def test_the_grid_shift_covers_two_roundings() -> None:
    cost = noise.grid_cost(0.5, 16)
    assert cost.extra_shift >= 4 * 0.5 * 2.0**-noise.GRID_BITS
