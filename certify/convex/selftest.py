"""A test of this machine's exp and its relatives, before anything leans on them.

The rounding bounds grant exp, expit, tanh, log1p and hypot a relative error of ``FUNCTION_ERROR``; IEEE 754 promises nothing of the kind, and a
library built with fast-math, or a vector kernel for a new processor, may do worse. Each is compared on a few hundred arguments of every magnitude,
as a long vector (vector kernels), one number at a time and with a stride (scalar ones), with 50 digits of the standard library's decimal arithmetic.
Half of what is granted must do: arguments that were not tried may be a little worse than those that were.
"""

from collections.abc import Callable
from decimal import Context, Decimal, localcontext
from functools import cache

import numpy as np
from scipy.special import expit

from certify.convex.losses.base import FUNCTION_ERROR, UNIT
from certify.core.arrays import FloatArray
from certify.core.errors import AssumptionViolatedError

_DIGITS = Context(prec=50)


def _arguments() -> FloatArray:
    """Both signs of 2^-40 ... 2^9, each with a few leading digits, as far as exp is a normal number."""
    leading = np.array([1.0, 1.1337, 1.4142135623730951, 1.6180339887498949, 1.9999999999999998])
    sizes = np.concatenate([leading * 2.0**power for power in range(-40, 10)])
    return np.concatenate([-sizes, sizes])[np.tile(sizes < 700, 2)]


def _exact_expit(x: Decimal) -> Decimal:
    return 1 / (1 + (-x).exp())


def _exact_tanh(x: Decimal) -> Decimal:
    # (1 - e)/(1 + e) would lose the digits of a small x: its series has them
    if abs(x) < Decimal("1e-5"):
        return x - x**3 / 3 + 2 * x**5 / 15 - 17 * x**7 / 315
    decay = (-2 * x).exp()
    return (1 - decay) / (1 + decay)


def _exact_log1p(x: Decimal) -> Decimal:
    return (1 + x).ln()


_FUNCTIONS: tuple[tuple[str, Callable[[FloatArray], FloatArray], Callable[[Decimal], Decimal], float], ...] = (
    ("exp", np.exp, Decimal.exp, 700.0),
    ("expit", expit, _exact_expit, 700.0),
    ("tanh", np.tanh, _exact_tanh, 700.0),
    ("log1p", np.log1p, _exact_log1p, 700.0),
    ("hypot", lambda x: np.hypot(1.0, x), lambda x: (1 + x * x).sqrt(), 700.0),
)


def _relative_errors(computed: FloatArray, exact: list[Decimal]) -> float:
    """The largest, in units of roundoff; infinite when one is not a number."""
    if not np.all(np.isfinite(computed)):
        return np.inf
    errors = (abs(Decimal(float(value)) - truth) / abs(truth) for value, truth in zip(computed, exact, strict=True))
    return float(max(errors)) / UNIT


@cache
def function_error() -> float:
    """Largest relative error found, in units of roundoff (2^-53).

    Raises:
        AssumptionViolatedError: it is more than half of what the bounds grant.
    """
    worst = 0.0
    with localcontext(_DIGITS):
        for name, computed, exact, limit in _FUNCTIONS:
            x = _arguments()
            x = x[(np.abs(x) < limit) & ((x > -1) | (name != "log1p"))]
            truth = [exact(Decimal(float(value))) for value in x]
            spaced = np.zeros((len(x), 3))
            spaced[:, 1] = x
            ways = (computed(x), np.array([computed(x[k : k + 1])[0] for k in range(len(x))]), computed(spaced[:, 1]))
            found = max(_relative_errors(np.asarray(values), truth) for values in ways)
            if not found * UNIT <= FUNCTION_ERROR / 2:
                raise AssumptionViolatedError(
                    f"{name} is wrong by {found:.3g} units of roundoff on this machine; the bounds grant {FUNCTION_ERROR / UNIT:.0f}, half of it with arguments tried",
                    where="numerical libraries",
                    mend="install NumPy and SciPy as their makers build them, without fast-math",
                )
            worst = max(worst, found)
    return worst
