"""Huber hinge loss, for two classes: the hinge with its kink rounded off by a parabola (Chapelle 2007)."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from certify.convex.losses.base import TINY, UNIT, LossConstants, TwoClassLoss
from certify.core.arrays import AnyArray, FloatArray

_UP = 1 + 4 * UNIT


@dataclass(frozen=True)
class HuberHinge(TwoClassLoss):
    """With the margin m = s z: 0 where m >= 1 + h, ``(1 + h - m)^2 / (4 h)`` where |1 - m| <= h, else 1 - m.

    l' = -s times ``(1 + h - m) / (2 h)`` cut off at 0 and 1; l'' is 1/(2h) within h of m = 1 and 0 elsewhere, and jumps: no
    self-concordance, only strong convexity certifies it.

    Args:
        smoothing: h, half the width of the parabola.
    """

    name: ClassVar[str] = "huber-hinge"
    smoothing_is: ClassVar[str | None] = "h, half the width of the quadratic piece"

    smoothing: float

    @property
    def formula(self) -> str:
        """The three pieces, with the value of h."""
        return f"0 if m >= 1 + h, (1 + h - m)^2 / (4 h) if |1 - m| <= h, else 1 - m; m = s z, s = +1 or -1, h = {self.smoothing!r}"

    @property
    def constants(self) -> LossConstants:
        """1, 1/(2h), none, none."""
        return LossConstants(1.0, 0.5 / self.smoothing * _UP, math.inf, math.inf)

    def value(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """0, the parabola, or the shortfall of the margin."""
        h, short = self.smoothing, 1 - y * z[:, 0]
        parabola = (np.clip(short, -h, h) + h) ** 2 / (4 * h)
        return np.asarray(parabola + np.maximum(short - h, 0.0))

    def first(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """-s (1 + h - m)/(2h), the factor cut off at 0 and 1."""
        with np.errstate(over="ignore"):
            return np.asarray(-y * np.clip(0.5 + (1 - y * z) / (2 * self.smoothing), 0.0, 1.0))

    def second(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """1/(2h) on the parabola, its ends included, else 0: at the kinks, one of the generalised derivatives."""
        return np.where(np.abs(1 - y * z) <= self.smoothing, 0.5 / self.smoothing, 0.0)

    def first_rounding(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """On the parabola two roundings of a number up to 1/2 and one of their sum; cut off, no more than at its ends."""
        del y
        return np.full_like(z, 4 * UNIT + TINY)

    def second_rounding(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """One division; which side of a kink z lies on is in :meth:`third_sup`."""
        return 2 * UNIT * self.second(z, y)

    def _away(self, z: FloatArray, dz: FloatArray, y: AnyArray) -> AnyArray:
        """Where no margin within dz is on the parabola or at its ends, roundings included."""
        h, slack = self.smoothing, 8 * UNIT * (1 + self.smoothing)
        return np.asarray((y * z - dz > 1 + h + slack) | (y * z + dz < 1 - h - slack))

    def second_sup(self, z: FloatArray, dz: FloatArray, y: AnyArray) -> FloatArray:
        """1/(2h), but 0 where the whole interval lies off the parabola."""
        return np.where(self._away(z, dz, y), 0.0, self.constants.smoothness)

    def third_sup(self, z: FloatArray, dz: FloatArray, y: AnyArray) -> FloatArray:
        """0 on each piece; infinite where the interval may contain a kink."""
        h, slack = self.smoothing, 8 * UNIT * (1 + self.smoothing)
        inside = (y * z - dz > 1 - h + slack) & (y * z + dz < 1 + h - slack)
        return np.where(inside | self._away(z, dz, y), 0.0, math.inf)
