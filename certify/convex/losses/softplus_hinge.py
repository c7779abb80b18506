"""Softplus hinge loss, for two classes: a smooth hinge that the self-concordant bounds cover."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import expit

from certify.convex.losses.base import FUNCTION_ERROR, TINY, UNIT, LossConstants, TwoClassLoss
from certify.core.arrays import AnyArray, FloatArray

_UP = 1 + 8 * UNIT


@dataclass(frozen=True)
class SoftplusHinge(TwoClassLoss):
    """``T log(1 + exp((1 - s z) / T))``: the logistic loss with its margin moved by 1 and its scores divided by T.

    With v = (1 - s z)/T: l' = -s expit(v), l'' = expit(v) expit(-v)/T <= 1/(4T), |l'''| <= 1/(6 sqrt 3 T^2), and
    |l'''| <= l''/T. Above the hinge by at most T log 2.

    Args:
        smoothing: T, the temperature.
    """

    name: ClassVar[str] = "softplus-hinge"
    smoothing_is: ClassVar[str | None] = "T, the temperature"

    smoothing: float

    @property
    def formula(self) -> str:
        """The loss, with the value of T."""
        return f"T log(1 + exp((1 - s z) / T)), s = +1 or -1, T = {self.smoothing!r}"

    @property
    def constants(self) -> LossConstants:
        """1, 1/(4T), 1/(6 sqrt 3 T^2), 1/T."""
        rate = 1 / self.smoothing
        return LossConstants(1.0, 0.25 * rate * _UP, rate * rate / (6 * math.sqrt(3)) * _UP, rate * _UP)

    def _shortfall(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """v = (1 - s z)/T, with a relative error of two roundings."""
        with np.errstate(over="ignore"):
            return np.asarray((1 - y * z) / self.smoothing)

    def value(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """T log(1 + exp(v)), without overflow."""
        return np.asarray(self.smoothing * np.logaddexp(0.0, self._shortfall(z[:, 0], y)))

    def first(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """-s expit(v)."""
        return np.asarray(-y * expit(self._shortfall(z, y)))

    def second(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """expit(v) expit(-v) / T."""
        v = self._shortfall(z, y)
        return np.asarray(expit(v) * expit(-v) / self.smoothing)

    def first_rounding(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """expit itself, and its slope times the error of v; v beyond 1000 has no slope left."""
        v = self._shortfall(z, y)
        argument = 4 * UNIT * np.minimum(np.abs(v), 1000.0) * expit(v) * expit(-v)
        return FUNCTION_ERROR * np.abs(self.first(z, y)) + argument + TINY

    def second_rounding(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """Two values of expit, a product and a quotient; the error of v enters by the factor exp(2 u |v|) at most."""
        relative = 3 * FUNCTION_ERROR + 4 * UNIT * np.minimum(np.abs(self._shortfall(z, y)), 1000.0)
        return np.asarray(relative * self.second(z, y) + TINY * (1 + 1 / self.smoothing))

    def second_sup(self, z: FloatArray, dz: FloatArray, y: AnyArray) -> FloatArray:
        """l'' grows by at most exp(dz/T) within dz, and is at most 1/(4T)."""
        with np.errstate(over="ignore"):
            growth = np.exp(dz / self.smoothing * (1 + 4 * UNIT)) * (1 + 4 * FUNCTION_ERROR)
            grown = (self.second(z, y) + self.second_rounding(z, y)) * growth
        return np.minimum(grown, self.constants.smoothness)

    def third_sup(self, z: FloatArray, dz: FloatArray, y: AnyArray) -> FloatArray:
        """|l'''| <= l''/T, and at most 1/(6 sqrt 3 T^2)."""
        return np.minimum(self.second_sup(z, dz, y) / self.smoothing * (1 + 2 * UNIT), self.constants.hessian_lipschitz)
