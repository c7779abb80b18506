"""Squared error."""

import math
from typing import ClassVar

import numpy as np

from certify.convex.losses.base import TINY, UNIT, LossConstants, ScalarLoss, real_targets
from certify.core.arrays import AnyArray, FloatArray


class Squared(ScalarLoss):
    """``(z - y)^2 / 2``: l' = z - y, l'' = 1, l''' = 0."""

    name: ClassVar[str] = "squared"
    formula: ClassVar[str] = "(z - y)^2 / 2"
    targets: ClassVar[str] = "real numbers"
    constants: ClassVar[LossConstants] = LossConstants(math.inf, 1.0, 0.0, 0.0)

    def prepare(self, y: AnyArray, outputs: int) -> AnyArray:
        """Targets as float64."""
        del outputs
        return real_targets(y)

    def value(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """Half the squared difference."""
        return np.asarray(0.5 * (z[:, 0] - y) ** 2)

    def first(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """z - y."""
        return z - y

    def second(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """1."""
        del y
        return np.ones_like(z)

    def first_rounding(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """One subtraction."""
        return 2 * UNIT * np.abs(z - y) + TINY

    def second_rounding(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """A constant is exact."""
        del y
        return np.zeros_like(z)

    def second_sup(self, z: FloatArray, dz: FloatArray, y: AnyArray) -> FloatArray:
        """1."""
        del dz
        return self.second(z, y)

    def third_sup(self, z: FloatArray, dz: FloatArray, y: AnyArray) -> FloatArray:
        """0."""
        del dz, y
        return np.zeros_like(z)
