r"""The privacy curve of the Gaussian mechanism, exact, and rounded against ourselves.

Two Gaussians with the same covariance whose means differ by ``shift`` (in units where the noise has standard
deviation ``noise_std``) are ``mu``-GDP with ``mu = shift / noise_std`` (Dong, Roth, Su 2022). For every
``epsilon >= 0`` the smallest delta is (Balle, Wang 2018, theorem 8)

    delta(epsilon; mu) = Phi(mu/2 - epsilon/mu) - exp(epsilon) * Phi(-mu/2 - epsilon/mu).

With ``q = epsilon/mu - mu/2``, ``p = epsilon/mu + mu/2``, the normal density ``phi`` and the Mills ratio
``M(t) = Phi(-t)/phi(t)`` this is ``phi(q) (M(q) - M(p))``, because ``exp(epsilon) phi(p) = phi(q)``. The difference
cancels for small ``mu``; there it is the integral of ``-M'(t) = 1 - t M(t)`` over ``[q, p]``, a sum of positive terms.
Either way the relative error stays below 2^-38, by which the result is raised (``q`` and ``p`` are first moved apart by
their own rounding error, which matters for large ``mu``); the inversions return the safe end of their bracket. The formula with ``sqrt(2 ln(1.25/delta))`` is false from epsilon of about 8 up and is used nowhere.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy.special import erfcx, ndtr

from certify.core.arguments import at_least, at_most, shown
from certify.core.bounds import LowerBound, UpperBound
from certify.core.errors import ArgumentError
from certify.core.rounding import up

_SAFETY = 1.0 + 2.0**-38
_TINY = 1e-300
"""Added to every delta: more than what underflows on the way."""
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(24)
_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


def _mills(t: float) -> float:
    """Phi(-t)/phi(t), for t >= -30."""
    return math.sqrt(math.pi / 2) * float(erfcx(t / math.sqrt(2)))


def _density(t: float) -> float:
    return math.exp(-0.5 * t * t - _LOG_SQRT_2PI)


def _small_shift(q: float, mu: float) -> float:
    """The curve as an integral without cancellation, for mu <= 1/2."""
    t = q + 0.5 * mu * (1 + _NODES)
    slope = 1 - t * math.sqrt(math.pi / 2) * erfcx(t / math.sqrt(2))
    return _density(q) * 0.5 * mu * float(_WEIGHTS @ slope)


def _curve(epsilon: float, mu: float) -> float:
    q, p = epsilon / mu - 0.5 * mu, epsilon / mu + 0.5 * mu
    if mu <= 0.5:
        return _small_shift(q, mu) if q <= 38 else 0.0
    # the curve falls in q and rises in p: moved apart by more than their rounding error, they give an upper bound
    moved = 2.0**-51 * (epsilon / mu + mu)
    q, p = q - moved, p + moved
    if q > 38:  # the curve is below phi(q) < 1e-314, which _TINY covers
        return 0.0
    if q >= 0:
        return _density(q) * (_mills(q) - _mills(p))
    return float(ndtr(-q)) - _density(q) * _mills(p)


def _upper(mu: float, epsilon: float) -> float:
    """The curve, raised by more than its error."""
    if mu == 0:
        return 0.0
    if math.isinf(mu) or epsilon / mu - 0.5 * mu < -38:
        return 1.0
    if math.isinf(epsilon):
        return 0.0
    return min(1.0, max(_curve(epsilon, mu), 0.0) * _SAFETY + _TINY)


def _shift(mu: object) -> float:
    value = at_least(mu, "mu")
    if not value >= 0:
        raise ArgumentError(f"mu must be at least 0, not {shown(value)}", where="mu", mend="give distance / noise_std")
    return value


def _threshold(epsilon: object) -> float:
    value = at_most(epsilon, "epsilon")
    if not value >= 0:
        raise ArgumentError(
            f"epsilon must be at least 0, not {shown(value)}", where="epsilon", mend="correct the value"
        )
    return value


def _chance(value: object, name: str, convert: Callable[[object, str], float] = at_most) -> float:
    number = convert(value, name)
    if not 0 < number < 1:
        raise ArgumentError(
            f"{name} must lie strictly between 0 and 1, not {shown(number)}", where=name, mend="correct the value"
        )
    return number


def delta(mu: float, epsilon: float) -> float:
    """Upper bound, tight to 1e-11, on the delta of a ``mu``-GDP release at ``epsilon``.

    Args:
        mu: shift divided by noise standard deviation, at least 0.
        epsilon: privacy-loss threshold, at least 0.

    Raises:
        ArgumentError: an argument is negative or not a number (an InputError, and a ValueError).

    >>> round(delta(1.0, 1.0), 6)
    0.126937
    """
    return _upper(_shift(mu), _threshold(epsilon))


def _bisect(holds: Callable[[float], bool], no: float, yes: float) -> float:
    """The last point seen where ``holds`` is true, between a point where it is not and one where it is."""
    while True:
        middle = 0.5 * (no + yes)
        if middle in (no, yes):
            return yes
        if holds(middle):
            yes = middle
        else:
            no = middle


def epsilon(mu: float, delta: float) -> float:
    """Smallest epsilon, rounded up, for which a ``mu``-GDP release is (epsilon, ``delta``)-indistinguishable.

    Zero where the total variation of the two worlds is already at most ``delta``.

    Raises:
        ArgumentError: ``mu`` is negative or ``delta`` is not in (0, 1).

    >>> round(epsilon(0.26805, 1e-5), 4)
    1.0
    """
    mu, delta = _shift(mu), _chance(delta, "delta")
    if math.isinf(mu):
        return math.inf
    if _upper(mu, 0.0) <= delta:
        return 0.0
    # Gaussian tail: the curve is at most Phi(mu/2 - epsilon/mu), which is at most exp of minus half its square
    ceiling = up(mu * (0.5 * mu + math.sqrt(2 * math.log(1 / delta))) * _SAFETY)
    if math.isinf(ceiling):
        return math.inf
    return _bisect(lambda value: _upper(mu, value) <= delta, 0.0, ceiling)


def mu(epsilon: float, delta: float) -> float:
    """Largest mu, rounded down, whose release is (``epsilon``, ``delta``)-indistinguishable.

    Raises:
        ArgumentError: ``epsilon`` is negative or ``delta`` is not in (0, 1).

    >>> round(mu(1.0, 1e-5), 5)
    0.26805
    """
    epsilon, delta = _threshold(epsilon), _chance(delta, "delta")
    too_much = 1.0
    while _upper(too_much, epsilon) <= delta:
        too_much *= 2
    return _bisect(lambda value: _upper(value, epsilon) <= delta, too_much, 0.0)


def ratio(distance: float, noise_std: float) -> float:
    """``mu = distance / noise_std``, rounded up; infinite where the distance is infinite or not a number.

    Raises:
        ArgumentError: ``noise_std`` is not above 0, ``distance`` is negative, or one of them is no number.
    """
    if isinstance(noise_std, UpperBound) or isinstance(distance, LowerBound):
        raise ArgumentError(
            "a bound of the wrong direction",
            where="distance, noise_std",
            mend="give a distance from above, noise from below",
        )
    shift, std = at_least(distance, "distance"), at_most(noise_std, "noise_std")
    if not std > 0:
        raise ArgumentError(
            f"noise_std must be above 0, not {shown(std)}",
            where="noise_std",
            mend="give the noise's standard deviation",
        )
    if shift < 0:
        raise ArgumentError(
            f"distance must be at least 0, not {shown(shift)}", where="distance", mend="give a certified distance"
        )
    value = shift / std
    return up(value) if math.isfinite(value) else math.inf


def attacker_accuracy(mu: float) -> float:
    """Upper bound on the chance that any attacker guesses right which of two equally likely worlds it sees.

    ``Phi(mu/2) = (1 + total variation) / 2`` (Neyman-Pearson).
    """
    return min(1.0, float(ndtr(0.5 * _shift(mu))) * _SAFETY)


def attacker_tpr(mu: float, fpr: float) -> float:
    """Upper bound on the true-positive rate of any test with false-positive rate ``fpr``: ``Phi(mu + Phi^-1(fpr))``."""
    from scipy.special import ndtri

    return min(1.0, float(ndtr(_shift(mu) + ndtri(_chance(fpr, "fpr", at_least)))) * _SAFETY)
