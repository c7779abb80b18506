"""Logistic loss, for two classes."""

import math
from typing import ClassVar

import numpy as np

from certify.convex.losses.base import FUNCTION_ERROR, TINY, LossConstants, TwoClassLoss
from certify.core.arrays import AnyArray, FloatArray


class Logistic(TwoClassLoss):
    """``log(1 + exp(-s z))`` with s = +1 for the positive class and -1 for the other.

    l' = -s expit(-s z), l'' = expit(z) expit(-z) <= 1/4, |l'''| <= 1/(6 sqrt 3) (at z = +-1.317; not 1/4),
    and |l'''| = |1 - 2 expit(z)| l'' <= l''.
    """

    name: ClassVar[str] = "logistic"
    formula: ClassVar[str] = "log(1 + exp(-s z)), s = +1 or -1"
    constants: ClassVar[LossConstants] = LossConstants(1.0, 0.25, math.nextafter(1 / (6 * math.sqrt(3)), 1), 1.0)

    def value(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """log(1 + exp(-s z)), without overflow."""
        return np.logaddexp(0.0, -y * z[:, 0])

    def first(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """-s expit(-s z), as -s / (1 + exp(s z)): where exp overflows, 0 is nearer than 1e-300."""
        with np.errstate(over="ignore"):
            return np.asarray(-y / (1 + np.exp(y * z)))

    def second(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """expit(z) expit(-z), as e / (1 + e)^2 with e = exp(-|z|): one exp, which NumPy does several at a time."""
        del y
        decay = np.exp(-np.abs(z))
        return np.asarray(decay / (1 + decay) ** 2)

    def first_rounding(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """The relative error of exp, and two more roundings."""
        return self.first_rounding_of(self.first(z, y), z, y)

    def first_rounding_of(self, value: FloatArray, z: FloatArray, y: AnyArray) -> FloatArray:
        """The same from the computed value."""
        del z, y
        return FUNCTION_ERROR * np.abs(value) + TINY

    def second_rounding(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """e's relative error enters with at most its own size; the four operations add less than as much again."""
        return self.second_rounding_of(self.second(z, y), z, y)

    def second_rounding_of(self, value: FloatArray, z: FloatArray, y: AnyArray) -> FloatArray:
        """The same from the computed value."""
        del z, y
        return 3 * FUNCTION_ERROR * value + TINY

    def second_sup(self, z: FloatArray, dz: FloatArray, y: AnyArray) -> FloatArray:
        """l'' grows by at most exp(dz) within dz, and is at most 1/4."""
        with np.errstate(over="ignore"):
            grown = (self.second(z, y) * (1 + 3 * FUNCTION_ERROR) + TINY) * np.exp(dz) * (1 + 4 * FUNCTION_ERROR)
        return np.minimum(grown, 0.25)

    def third_sup(self, z: FloatArray, dz: FloatArray, y: AnyArray) -> FloatArray:
        """|l'''| <= l'', and at most 1/(6 sqrt 3)."""
        return np.minimum(self.second_sup(z, dz, y), self.constants.hessian_lipschitz)
