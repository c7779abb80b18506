"""Hinge loss, for two classes: the support vector machine."""

import math
from typing import ClassVar

import numpy as np

from certify.convex.losses.base import LossConstants, TwoClassLoss
from certify.core.arrays import AnyArray, FloatArray


class Hinge(TwoClassLoss):
    """``max(0, 1 - s z)`` with s = +1 for the positive class and -1 for the other.

    Not differentiable at ``s z = 1``, where any slope between -s and 0 is a subgradient; elsewhere l' = -s or 0 and
    l'' = 0. What is called gradient here is one subgradient, and its error bound holds for every other one too.
    """

    name: ClassVar[str] = "hinge"
    formula: ClassVar[str] = "max(0, 1 - s z), s = +1 or -1"
    constants: ClassVar[LossConstants] = LossConstants(1.0, math.inf, math.inf, math.inf)

    def value(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """max(0, 1 - s z)."""
        return np.asarray(np.maximum(0.0, 1 - y * z[:, 0]))

    def first(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """-s where s z < 1, else 0: a subgradient everywhere."""
        return np.asarray(np.where(y * z < 1, -y, 0.0))

    def second(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """0, but at the kink."""
        del y
        return np.zeros_like(z)

    def first_rounding(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """Multiplying by a sign and comparing are exact; at the kink itself every slope within 1 will do."""
        return np.asarray(np.where(y * z == 1, 1.0, 0.0))

    def second_rounding(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """A constant is exact."""
        return self.second(z, y)

    def gradient_error(self, z: FloatArray, dz: FloatArray, y: AnyArray) -> FloatArray:
        """0 where no score within ``dz`` lies on the kink, else 1, the width of all subdifferentials together."""
        return np.asarray(np.where(self._clear(z, dz, y[:, None]), 0.0, 1.0))

    def second_sup(self, z: FloatArray, dz: FloatArray, y: AnyArray) -> FloatArray:
        """0 where no score within ``dz`` lies on the kink, else infinite: the slope jumps there."""
        return np.asarray(np.where(self._clear(z, dz, y), 0.0, math.inf))

    def third_sup(self, z: FloatArray, dz: FloatArray, y: AnyArray) -> FloatArray:
        """The same as for l''."""
        return self.second_sup(z, dz, y)

    @staticmethod
    def _clear(z: FloatArray, dz: FloatArray, y: AnyArray) -> AnyArray:
        """Whether the kink is provably farther than ``dz``; one ulp is given away for the sums."""
        return np.abs(1 - y * z) > dz * (1 + 2.0**-50) + 2.0**-50 * np.abs(z)
