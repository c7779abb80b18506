"""Gamma (and exponential) loss with logarithmic link, for positive amounts."""

import math
from typing import ClassVar

import numpy as np

from certify.convex.losses.base import FUNCTION_ERROR, TINY, UNIT, LossConstants, ScalarLoss, TargetError, real_targets
from certify.core.arrays import AnyArray, FloatArray


class Gamma(ScalarLoss):
    """``z + y exp(-z)``, the negative log-likelihood of a gamma response up to its shape.

    l' = 1 - y exp(-z), l'' = y exp(-z) = -l''': no global constant but R = 1.
    """

    name: ClassVar[str] = "gamma"
    formula: ClassVar[str] = "z + y exp(-z)"
    targets: ClassVar[str] = "amounts above 0"
    constants: ClassVar[LossConstants] = LossConstants(math.inf, math.inf, math.inf, 1.0)

    def prepare(self, y: AnyArray, outputs: int) -> AnyArray:
        """Targets as float64."""
        del outputs
        values = real_targets(y)
        if np.any(values <= 0):
            raise TargetError("targets must be above 0 for the gamma loss; they are amounts")
        return values

    def value(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """z + y exp(-z)."""
        return np.asarray(z[:, 0] + self.second(z, y[:, None])[:, 0])

    def first(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """1 - y exp(-z)."""
        return 1.0 - self.second(z, y)

    def second(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """y exp(-z)."""
        with np.errstate(over="ignore"):
            return np.asarray(y * np.exp(-z))

    def first_rounding(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """The error of l'' and of one subtraction."""
        return self.second_rounding(z, y) + 2 * UNIT * np.abs(self.first(z, y))

    def second_rounding(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """The error of exp and of one product."""
        return 2 * FUNCTION_ERROR * self.second(z, y) + TINY * (1 + y)

    def second_sup(self, z: FloatArray, dz: FloatArray, y: AnyArray) -> FloatArray:
        """l'' decreases in z: its value at the left end."""
        return self.second(z - dz, y) * (1 + 4 * FUNCTION_ERROR + 4 * UNIT * (np.abs(z) + dz)) + TINY * (1 + y)

    def third_sup(self, z: FloatArray, dz: FloatArray, y: AnyArray) -> FloatArray:
        """The same as for l''."""
        return self.second_sup(z, dz, y)
