"""The self-concordant and the refined bound, from what was measured at the weights (docs/theory.md, theorems 3, 4 and 4b)."""

import math
from dataclasses import dataclass

RAISE = 1 + 2.0**-44
"""More than the rounding error of the few scalar operations that end each bound."""

_SMALL = 2.0**-60
"""Below this radius, t/rho - 1 is less than one rounding, and t itself could underflow."""

_SHARPENINGS = 5


@dataclass(frozen=True)
class Vicinity:
    """What is known of ``e = w - w*`` before curvature's change is bounded; all numbers are upper bounds.

    Attributes:
        newton_norm: ``||H^-1 r||``.
        scaled: ``nu / sqrt(s)``.
        defect: ``||H^-1 r - z||`` for the measured step z.
        reach: ``max_i ||x_i . z||``.
        row_norm: ``max_i ||x_i||``.
        constant: R of the loss.
    """

    newton_norm: float
    scaled: float
    defect: float
    reach: float
    row_norm: float
    constant: float

    def error(self, growth: float) -> float:
        """``||e - z||``."""
        return (self.defect + growth * self.scaled) * RAISE

    def change(self, growth: float) -> float:
        """T: ``R_loss max_i ||x_i . e||``, from ``||x_i . z|| + ||x_i|| ||e - z||``."""
        return self.constant * (self.reach + self.row_norm * self.error(growth)) * RAISE


def growth_of(t: float) -> float:
    """``t/(1 - e^-t) - 1 = (t/2) coth(t/2) - 1 + t/2 <= t/2 + t^2/12``, and t itself is always an upper bound."""
    return min(t / 2 + t * t / 12, t)


def self_concordant_bounds(near: Vicinity, radius: float, strong: float) -> tuple[float, float]:
    """The self-concordant and the refined bound."""
    if near.constant == 0:
        return near.scaled * RAISE, near.newton_norm * RAISE
    if not math.isfinite(near.constant):
        return math.inf, math.inf
    curvature_change = near.constant * near.row_norm * RAISE
    concordant, t = math.inf, math.inf
    if radius < 1 - 2.0**-40:
        t = max(-math.log1p(-radius), _SMALL) * RAISE
        concordant = (t / curvature_change if radius >= _SMALL else near.scaled) * RAISE
    known = curvature_change * strong * RAISE
    t = max(min(t, known) if math.isfinite(known) else t, _SMALL)
    for _ in range(_SHARPENINGS):
        t = max(min(t, near.change(growth_of(t)) if math.isfinite(t) else t), _SMALL)
    if not math.isfinite(t):
        return concordant, math.inf
    growth = growth_of(t)
    return min(concordant, near.scaled * (1 + growth) * RAISE), (near.newton_norm + growth * near.scaled) * RAISE
