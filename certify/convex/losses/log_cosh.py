"""Log-cosh loss, for regression: quadratic near zero, absolute far away."""

import math
from typing import ClassVar

import numpy as np

from certify.convex.losses.base import FUNCTION_ERROR, TINY, UNIT, LossConstants, ScalarLoss, real_targets
from certify.core.arrays import AnyArray, FloatArray


class LogCosh(ScalarLoss):
    """``log cosh t`` with ``t = z - y``.

    l' = tanh t, l'' = 1/cosh^2 t, l''' = -2 tanh t / cosh^2 t, largest 4/(3 sqrt 3); |l'''|/l'' = 2 |tanh t| <= 2.
    """

    name: ClassVar[str] = "log-cosh"
    formula: ClassVar[str] = "log cosh(z - y)"
    targets: ClassVar[str] = "real numbers"
    constants: ClassVar[LossConstants] = LossConstants(1.0, 1.0, math.nextafter(4 / (3 * math.sqrt(3)), 1), 2.0)

    def prepare(self, y: AnyArray, outputs: int) -> AnyArray:
        """Targets as float64."""
        del outputs
        return real_targets(y)

    def value(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """|t| + log(1 + exp(-2|t|)) - log 2, which does not overflow."""
        t = np.abs(z[:, 0] - y)
        return np.asarray(t + np.log1p(np.exp(-2 * t)) - math.log(2))

    def first(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """tanh t."""
        return np.asarray(np.tanh(z - y))

    def second(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """1/cosh^2 t as 4 e / (1 + e)^2 with e = exp(-2|t|)."""
        decay = np.exp(-2 * np.abs(z - y))
        return np.asarray(4 * decay / (1 + decay) ** 2)

    def first_rounding(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """|t| l'' <= |tanh t| carries the rounding of the argument; tanh does the rest."""
        return (FUNCTION_ERROR + 4 * UNIT) * np.abs(self.first(z, y)) + TINY

    def second_rounding(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """The argument's rounding changes l'' by at most the factor exp(2 u |t|); exp and four operations do the rest."""
        return (2 * FUNCTION_ERROR + 8 * UNIT * np.abs(z - y)) * self.second(z, y) + TINY

    def second_sup(self, z: FloatArray, dz: FloatArray, y: AnyArray) -> FloatArray:
        """l'' decreases in |t|: its value where |t| is least."""
        nearest = np.maximum(np.abs(z - y) * (1 - 2 * UNIT) - dz, 0.0)
        decay = np.exp(-2 * nearest)
        grown = 4 * decay / (1 + decay) ** 2 * (1 + 4 * FUNCTION_ERROR + 8 * UNIT * nearest)
        return np.asarray(np.minimum(grown, 1.0) + TINY)

    def third_sup(self, z: FloatArray, dz: FloatArray, y: AnyArray) -> FloatArray:
        """At most 2 l'', and at most its global supremum."""
        return np.minimum(2 * self.second_sup(z, dz, y), self.constants.hessian_lipschitz)
