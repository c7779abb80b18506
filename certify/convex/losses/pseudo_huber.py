"""Pseudo-Huber loss, for regression that forgives outliers."""

import math
from typing import ClassVar

import numpy as np

from certify.convex.losses.base import FUNCTION_ERROR, TINY, UNIT, LossConstants, ScalarLoss, real_targets
from certify.core.arrays import AnyArray, FloatArray


class PseudoHuber(ScalarLoss):
    """``sqrt(1 + t^2) - 1`` with ``t = z - y``.

    l' = t/sqrt(1+t^2), l'' = (1+t^2)^(-3/2), l''' = -3t (1+t^2)^(-5/2), in size at most 48/(25 sqrt 5) = 0.8587 (at |t| = 1/2);
    |l'''|/l'' = 3|t|/(1+t^2) <= 3/2. Rescale the targets to choose where quadratic turns into absolute.
    """

    name: ClassVar[str] = "pseudo-huber"
    formula: ClassVar[str] = "sqrt(1 + (z - y)^2) - 1"
    targets: ClassVar[str] = "real numbers"
    constants: ClassVar[LossConstants] = LossConstants(1.0, 1.0, math.nextafter(48 / (25 * math.sqrt(5)), 1), 1.5)

    def prepare(self, y: AnyArray, outputs: int) -> AnyArray:
        """Targets as float64."""
        del outputs
        return real_targets(y)

    def value(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """sqrt(1 + t^2) - 1, without cancellation."""
        t = z[:, 0] - y
        root = np.hypot(1.0, t)
        return np.asarray(t / (root + 1) * t)

    def first(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """t / sqrt(1 + t^2)."""
        t = z - y
        return np.asarray(t / np.hypot(1.0, t))

    def second(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """(1 + t^2)^(-3/2)."""
        inverse = 1 / np.hypot(1.0, z - y)
        return np.asarray(inverse * inverse * inverse)

    def first_rounding(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """|t| l'' <= |l'| carries the rounding of the argument; hypot and a division do the rest."""
        return (FUNCTION_ERROR + 4 * UNIT) * np.abs(self.first(z, y)) + TINY

    def second_rounding(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """Three factors of a hypot and a division each, two products; |t l'''| <= 3 l'' for the argument's rounding."""
        return 4 * FUNCTION_ERROR * self.second(z, y) + TINY

    def second_sup(self, z: FloatArray, dz: FloatArray, y: AnyArray) -> FloatArray:
        """l'' decreases in |t|: its value where |t| is least."""
        nearest = np.maximum(np.abs(z - y) * (1 - 2 * UNIT) - dz, 0.0)
        inverse = 1 / np.hypot(1.0, nearest)
        return np.minimum(inverse * inverse * inverse * (1 + 5 * FUNCTION_ERROR), 1.0) + TINY

    def third_sup(self, z: FloatArray, dz: FloatArray, y: AnyArray) -> FloatArray:
        """At most 3/2 l'', and at most its global supremum."""
        return np.minimum(1.5 * self.second_sup(z, dz, y) * (1 + 4 * UNIT), self.constants.hessian_lipschitz)
