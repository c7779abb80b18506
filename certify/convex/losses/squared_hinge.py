"""Squared hinge loss, for two classes (linear support vector machines)."""

import math
from typing import ClassVar

import numpy as np

from certify.convex.losses.base import TINY, UNIT, LossConstants, TwoClassLoss
from certify.core.arrays import AnyArray, FloatArray


class SquaredHinge(TwoClassLoss):
    """``max(0, 1 - s z)^2 / 2`` with s = +1 for the positive class and -1 for the other.

    l' = -s max(0, 1 - s z), l'' is 1 or 0 and jumps where s z = 1: there is no l''' and no self-concordance, only strong
    convexity certifies it. scikit-learn's ``LinearSVC`` leaves out the half: ``l2 = 1 / (2 C)``, intercept penalised.
    """

    name: ClassVar[str] = "squared-hinge"
    formula: ClassVar[str] = "max(0, 1 - s z)^2 / 2, s = +1 or -1"
    constants: ClassVar[LossConstants] = LossConstants(math.inf, 1.0, math.inf, math.inf)

    def value(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """Half the squared shortfall of the margin."""
        return np.asarray(0.5 * np.maximum(0.0, 1 - y * z[:, 0]) ** 2)

    def first(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """-s max(0, 1 - s z)."""
        return np.asarray(-y * np.maximum(0.0, 1 - y * z))

    def second(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """1 where the margin falls short, else 0: at the kink, one of the generalised derivatives."""
        return np.where(y * z < 1, 1.0, 0.0)

    def first_rounding(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """One subtraction."""
        return 2 * UNIT * np.abs(self.first(z, y)) + TINY

    def second_rounding(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """The value 0 or 1 is exact; what a change of z does is in :meth:`third_sup`."""
        del y
        return np.zeros_like(z)

    def second_sup(self, z: FloatArray, dz: FloatArray, y: AnyArray) -> FloatArray:
        """1, but 0 where the whole interval lies beyond the kink."""
        return np.where(y * z - dz > 1, 0.0, 1.0)  # rounding is monotone: a difference at most 1 is not rounded above 1

    def third_sup(self, z: FloatArray, dz: FloatArray, y: AnyArray) -> FloatArray:
        """0 on either side of the kink; infinite where the interval may contain it."""
        return np.where((y * z - dz > 1) | (y * z + dz < 1), 0.0, math.inf)
