"""Poisson loss with logarithmic link, for counts and rates."""

import math
from typing import ClassVar

import numpy as np

from certify.convex.losses.base import (
    FUNCTION_ERROR,
    TINY,
    UNIT,
    LossConstants,
    ScalarLoss,
    TargetError,
    real_targets,
)
from certify.core.arrays import AnyArray, FloatArray


def _exp(z: FloatArray) -> FloatArray:
    """exp, infinite without a warning where it overflows: an infinite bound is a true one."""
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(z))


class Poisson(ScalarLoss):
    """``exp(z) - y z``, the negative log-likelihood without the term that does not depend on the model.

    l' = exp(z) - y, l'' = l''' = exp(z): no global constant exists but R = 1, which is all the self-concordant bounds
    need.
    """

    name: ClassVar[str] = "poisson"
    formula: ClassVar[str] = "exp(z) - y z"
    targets: ClassVar[str] = "counts or rates, at least 0"
    constants: ClassVar[LossConstants] = LossConstants(math.inf, math.inf, math.inf, 1.0)

    def prepare(self, y: AnyArray, outputs: int) -> AnyArray:
        """Targets as float64."""
        del outputs
        values = real_targets(y)
        if np.any(values < 0):
            raise TargetError("targets must be at least 0 for the Poisson loss; they are counts or rates")
        return values

    def value(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """exp(z) - y z."""
        return np.asarray(_exp(z[:, 0]) - y * z[:, 0])

    def first(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """exp(z) - y."""
        return _exp(z) - y

    def second(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """exp(z)."""
        del y
        return _exp(z)

    def first_rounding(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """The error of exp and of one subtraction."""
        rate = _exp(z)
        return FUNCTION_ERROR * rate + 2 * UNIT * np.abs(rate - y) + TINY

    def second_rounding(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """The error of exp."""
        del y
        return FUNCTION_ERROR * _exp(z) + TINY

    def second_sup(self, z: FloatArray, dz: FloatArray, y: AnyArray) -> FloatArray:
        """exp is increasing: its value at the right end."""
        del y
        return _exp(z + dz) * (1 + 4 * FUNCTION_ERROR + 4 * UNIT * (np.abs(z) + dz)) + TINY

    def third_sup(self, z: FloatArray, dz: FloatArray, y: AnyArray) -> FloatArray:
        """The same as for l''."""
        return self.second_sup(z, dz, y)
