"""Gaussian noise that carries a guarantee: discrete, exact, from the operating system's entropy, never seeded.

A float64 "Gaussian" sample betrays the number it was added to through its low bits (Mironov 2012; Haney et al. 2022). Here the
weights are rounded to a grid of step ``h = noise_std 2^-100`` and an exact sample of the discrete Gaussian on that grid is added,
drawn with integers alone (Canonne, Kamath, Steinke 2020, algorithms 1-3).

Why the Gaussian curve still holds: rounding a continuous Gaussian to the grid is post-processing, so that mechanism is mu-GDP for
grid points at distance ``mu noise_std``. Per coordinate the discrete Gaussian is within total variation ``2^-200`` of the rounded one
(their ratio before normalisation at k is the mean of ``exp(-u^2/2S) cosh(k u/S)`` over u in [-1/2, 1/2], ``S = 2^200`` the variance in grid
steps; it deviates from 1 by about ``1/(24 S)`` in the mean). Both worlds are that close to their rounded continuous ones, so a guarantee (epsilon, delta) of those
is (epsilon, delta + (1 + e^epsilon) total_variation) of these; ``extra_shift`` is what the two roundings can add to the distance.
"""

import math
import secrets
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from certify.core.arrays import FloatArray
from certify.core.rounding import up
from certify.privacy import gaussian

GRID_BITS = 100
"""The grid's step is noise_std / 2^GRID_BITS."""


@dataclass(frozen=True)
class GridCost:
    """What the grid costs the guarantee.

    Attributes:
        extra_shift: added to the certified distance: both worlds are rounded to the grid, half a step a coordinate each.
        total_variation: between each world and its continuous counterpart rounded to the grid.
    """

    extra_shift: float
    total_variation: float


def grid_cost(noise_std: float, parameters: int) -> GridCost:
    """The price of the grid for so many parameters; about ``noise_std 1e-30 sqrt(parameters)`` and ``parameters 1e-60``."""
    step = math.ldexp(noise_std, -GRID_BITS)
    return GridCost(up(step * math.sqrt(parameters) * (1 + 2.0**-50)), up(parameters * 2.0 ** (-2 * GRID_BITS)))


def _bernoulli_exp_fraction(numerator: int, denominator: int) -> bool:
    """True with probability exp(-numerator/denominator), for a ratio in [0, 1] (algorithm 1, first case)."""
    k = 1
    while secrets.randbelow(denominator * k) < numerator:
        k += 1
    return k % 2 == 1


def bernoulli_exp(numerator: int, denominator: int) -> bool:
    """True with probability exp(-numerator/denominator), exactly, for any ratio of at least 0."""
    whole, rest = divmod(numerator, denominator)
    return all(_bernoulli_exp_fraction(1, 1) for _ in range(whole)) and _bernoulli_exp_fraction(rest, denominator)


def discrete_laplace(scale: int) -> int:
    """An integer X with probability proportional to exp(-|X|/scale), exactly (algorithm 2)."""
    while True:
        fine = secrets.randbelow(scale)
        if not _bernoulli_exp_fraction(fine, scale):
            continue
        coarse = 0
        while _bernoulli_exp_fraction(1, 1):
            coarse += 1
        magnitude, negative = fine + scale * coarse, secrets.randbelow(2) == 1
        if magnitude or not negative:  # zero has one sign
            return -magnitude if negative else magnitude


def discrete_gaussian(sigma: int) -> int:
    """An integer X with probability proportional to exp(-X^2 / (2 sigma^2)), exactly (algorithm 3)."""
    scale = sigma + 1
    while True:
        candidate = discrete_laplace(scale)
        # accept with exp(-(|X| - sigma^2/scale)^2 / (2 sigma^2)), written over one denominator
        excess = abs(candidate) * scale - sigma * sigma
        if bernoulli_exp(excess * excess, 2 * sigma * sigma * scale * scale):
            return candidate


def epsilon_on_grid(mu: float, delta: float, parameters: int) -> float:
    """Upper bound on epsilon at ``delta`` for the discrete noise, given the mu of the continuous one.

    A thousandth of delta pays for the total variation; infinite where that is not enough (epsilon above about 100).
    """
    epsilon = gaussian.epsilon(mu, delta * (1 - 2.0**-10))
    price = (1 + math.exp(epsilon)) * grid_cost(1.0, parameters).total_variation if epsilon < 700 else math.inf
    return epsilon if price <= delta * 2.0**-11 else math.inf


def add_noise(weights: FloatArray, noise_std: float) -> FloatArray:
    """Weights on the grid plus discrete Gaussian noise, one fresh draw; call it once per release.

    Each result is the float64 nearest to an exact grid point: rounding a released number is post-processing.

    Args:
        weights: any shape, finite.
        noise_std: standard deviation of the noise, above 0.
    """
    step, sigma = Fraction(noise_std) / 2**GRID_BITS, 2**GRID_BITS
    noised = [
        float((round(Fraction(value) / step) + discrete_gaussian(sigma)) * step) for value in weights.ravel().tolist()
    ]
    return np.array(noised).reshape(weights.shape)
