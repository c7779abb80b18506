"""The cubic-regularised Newton step, solved to rounding in every case that can occur.

The step is the global minimiser of ``m(s) = g.s + s'Hs/2 + (L/6) ||s||^3`` for symmetric H, definite or not, and L > 0. It is the
damped Newton step ``s = -(H + t I)^-1 g`` with the damping that finds itself: ``t = (L/2) ||s||`` (Nesterov, Polyak 2006).

In the literature on unlearning "alpha" is the radius ``||s||`` in one place and the damping ``(L/2) ||s||`` in another; here the
two are called ``radius`` and ``damping``.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from certify.core.arrays import FloatArray
from certify.core.errors import InputError
from certify.unlearners.spectrum import Spectrum

_EPS = 2.0**-52
_ITERATIONS = 200


@dataclass(frozen=True, eq=False)
class CubicStep:
    """A step and the measured proof that no other is better.

    ``s`` is a global minimiser of m if and only if ``(H + (L/2)||s|| I) s = -g`` and ``H + (L/2)||s|| I`` is positive
    semi-definite; ``stationarity`` and ``curvature`` say how nearly both hold. Independently, the dual value bounds the minimum
    from below, so ``gap`` bounds how far m(s) is above it.

    Attributes:
        step: s, (P,).
        radius: ``||s||``.
        damping: ``(L/2) ||s||``.
        value: m(s), from H, g and s as they are; at most ``-(L/12) ||s||^3``.
        dual: ``-g'(H + t I)^+ g / 2 - (L/12) (2t/L)^3``, from the eigenvalues.
        gap: ``value - dual``.
        stationarity: ``||(H + (L/2)||s|| I) s + g||``.
        curvature: smallest eigenvalue of ``H + (L/2)||s|| I``.
        secular: ``| ||s|| - r | / r`` at the root r of the secular equation (0 for s = 0).
        hard: g is orthogonal, to rounding, to the eigenvectors of the smallest eigenvalue and the step has a part along them;
            its sign is arbitrary, and the other sign is as good.
        iterations: steps of the root search.
    """

    step: FloatArray = field(repr=False)
    radius: float
    damping: float
    value: float
    dual: float
    gap: float
    stationarity: float
    curvature: float
    secular: float
    hard: bool
    iterations: int


def cubic_value(hessian: FloatArray, gradient: FloatArray, lipschitz: float, step: FloatArray) -> float:
    """``m(s) = g.s + s'Hs/2 + (L/6) ||s||^3``."""
    return float(gradient @ step + 0.5 * (step @ (hessian @ step)) + lipschitz / 6 * np.linalg.norm(step) ** 3)


def cubic_step(hessian: FloatArray | Spectrum, gradient: FloatArray, lipschitz: float) -> CubicStep:
    """The global minimiser of the cubic model.

    The damping is written ``t = max(0, -lambda_1) + u``, and the search is for u > 0 in

        ``||s|| = 2t/L``,  ``s = -Q [b_i / (gap_i + u)]``,  ``b = Q'g``,  ``gap_i = lambda_i + max(0, -lambda_1)``,

    so that nothing cancels however near t is to ``-lambda_1``: in the nearly hard case u is of the size of the small ``b_1``.
    ``1/||s|| - L/(2t)`` is concave and rises in u, hence Newton's method from below the root never passes it. The start is the
    largest of the roots that the single components give in closed form.

    Args:
        hessian: H, symmetric, (P, P), or its :class:`~certify.unlearners.spectrum.Spectrum`.
        gradient: g, (P,).
        lipschitz: L, of the model; 0 is Newton's step, for positive definite H alone.

    Raises:
        InputError: shapes that do not fit, numbers that are not finite, L < 0, or L = 0 with H not positive definite.
    """
    spectrum = hessian if isinstance(hessian, Spectrum) else Spectrum.of(hessian)
    g = np.asarray(gradient, dtype=np.float64)
    if g.shape != spectrum.values.shape or not np.all(np.isfinite(g)):
        raise InputError(
            f"has shape {g.shape} or is not finite where H has {len(spectrum.values)} rows",
            where="gradient",
            mend="give one finite number a row",
        )
    if not (lipschitz >= 0 and math.isfinite(lipschitz)):
        raise InputError(f"L must be at least 0, not {lipschitz}", where="cubic step", mend="give a positive number")
    if lipschitz == 0:
        return _newton(spectrum, g)
    b = spectrum.coordinates(g)
    length = float(np.linalg.norm(g))
    base = max(0.0, -float(spectrum.values[0]))
    # every size is relative to this damping, so that neither squares nor brackets know absolute scales
    unit = max(spectrum.size, math.sqrt(lipschitz * length / 2))
    if unit == 0:  # H = 0 and g = 0
        return _measured(spectrum, g, lipschitz, np.zeros_like(b), np.ones_like(b), 0.0)
    gaps = (spectrum.values + base) / unit
    kappa = lipschitz * length / (2 * unit * unit)
    direction = b / length if length else np.zeros_like(b)
    low = gaps <= 16 * len(b) * _EPS * spectrum.size / unit
    # the direction of s is -direction / (gaps + u); its length in units of length / unit is (base/unit + u) / kappa
    if base > 0 and np.linalg.norm(direction[low]) <= 4 * math.sqrt(len(b)) * _EPS:
        rest = np.zeros_like(b)
        rest[~low] = -(length / unit) * direction[~low] / gaps[~low]
        missing = (2 * base / lipschitz) ** 2 - float(rest @ rest)
        if missing > 0 or length == 0:
            rest[0] = math.sqrt(max(0.0, missing))
            return _measured(spectrum, g, lipschitz, rest, np.where(low, np.inf, unit * gaps), base, hard=True)
    if length == 0:
        return _measured(spectrum, g, lipschitz, np.zeros_like(b), np.ones_like(b), 0.0)
    u, iterations = _root(gaps, np.abs(direction), base / unit, kappa)
    coordinates = -(length / unit) * direction / (gaps + u)
    return _measured(spectrum, g, lipschitz, coordinates, unit * (gaps + u), base + u * unit, iterations=iterations)


def _root(gaps: FloatArray, b: FloatArray, base: float, kappa: float) -> tuple[float, int]:
    """The u > 0 with ``||b / (gaps + u)|| = (base + u) / kappa``, to rounding, and the iterations."""
    used = b > 0
    gaps, b = gaps[used], b[used]
    low = max(0.0, float(np.max(_quadratic(gaps, base, kappa * b))))
    # ||b|| = 1 and every gap is at least the smallest
    high = float(_quadratic(gaps.min(keepdims=True), base, np.full(1, kappa))[0]) * (1 + 8 * _EPS)
    u = low if low > 0 or float(np.min(gaps)) > 0 else high
    for iteration in range(1, _ITERATIONS + 1):
        parts = b / (gaps + u)
        largest = float(np.max(parts))  # the squares of a tiny u's reciprocal would overflow
        size = largest * float(np.linalg.norm(parts / largest))
        t = base + u
        # psi = 1/||s|| - kappa/t and its slope, both times ||s||
        excess = kappa * size / t
        slope = float(np.sum((parts / size) ** 2 / (gaps + u))) + excess / t
        change = -(1 - excess) / slope
        low, high = (u, high) if excess > 1 else (low, min(high, u))
        if abs(change) <= 2 * _EPS * u or high - low <= 2 * _EPS * high:
            return u + change if low <= u + change <= high else u, iteration
        after = u + change
        u = after if low < after < high else (math.sqrt(low * high) if low > 0 else 0.5 * (low + high))
    return u, _ITERATIONS


def _quadratic(gap: FloatArray, base: float, c: FloatArray) -> FloatArray:
    """The larger root of ``(gap + u)(base + u) = c`` without cancellation; negative where ``c < gap base``."""
    half = 0.5 * (gap + base)
    root = np.sqrt((0.5 * (gap - base)) ** 2 + c)
    return np.asarray((c - gap * base) / (half + root))


def _newton(spectrum: Spectrum, g: FloatArray) -> CubicStep:
    if not spectrum.values[0] > 0:
        raise InputError(
            "L = 0 leaves the model without a minimum, the matrix of second derivatives not being positive definite",
            where="cubic step",
            mend="give L > 0",
        )
    return _measured(spectrum, g, 0.0, -spectrum.coordinates(g) / spectrum.values, spectrum.values, 0.0)


def _measured(
    spectrum: Spectrum,
    g: FloatArray,
    lipschitz: float,
    coordinates: FloatArray,
    shifted: FloatArray,
    t: float,
    *,
    hard: bool = False,
    iterations: int = 0,
) -> CubicStep:
    """The step with what can be measured of it.

    Args:
        spectrum: H.
        g: gradient.
        lipschitz: L.
        coordinates: ``Q's``.
        shifted: ``lambda_i + t`` without cancellation, infinite where the pseudo-inverse has a zero.
        t: damping at the root of the secular equation.
        hard: see :class:`CubicStep`.
        iterations: see :class:`CubicStep`.

    Raises:
        InputError: H, g and L lie so far apart in size that the step is not finite.
    """
    step = np.asarray(spectrum.vectors @ coordinates)
    lead = spectrum.vectors[:, 0]
    if hard and lead[np.argmax(np.abs(lead))] < 0:  # of two equally good signs, always the same
        step = step - 2 * coordinates[0] * lead
    radius = float(np.linalg.norm(step))
    if not math.isfinite(radius):
        raise InputError("the step is not finite", where="cubic step", mend="give L in the units of H and g")
    damping = 0.5 * lipschitz * radius
    aimed = 2 * t / lipschitz if lipschitz else radius
    value = cubic_value(spectrum.matrix, g, lipschitz, step)
    dual = -0.5 * float(np.sum(spectrum.coordinates(g) ** 2 / shifted)) - lipschitz / 12 * aimed**3
    return CubicStep(
        step=step,
        radius=radius,
        damping=damping,
        value=value,
        dual=dual,
        gap=value - dual,
        stationarity=float(np.linalg.norm(spectrum.matrix @ step + damping * step + g)),
        curvature=float(spectrum.values[0]) + damping,
        secular=abs(radius - aimed) / aimed if aimed else 0.0,
        hard=hard,
        iterations=iterations,
    )
