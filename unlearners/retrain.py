"""Retrain: the reference every certificate speaks of."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from certify.convex.solve import exact_line_search, line_search
from certify.core.arrays import FloatArray
from certify.core.errors import ConfigurationError
from certify.core.progress import track
from certify.unlearners.evidence import Meter
from certify.unlearners.interface import Claim, Unlearner


@dataclass(frozen=True)
class Retrain(Unlearner):
    """Damped Newton from zero on the retained records, polished until the residual stops falling.

    The original model is not looked at, so nothing of the forgotten records can come through it.

    Args:
        max_iterations: Newton iterations after which it gives up with a warning.
    """

    name: ClassVar[str] = "retrain"
    summary: ClassVar[str] = "train again from zero on the retained records (the oracle)"
    needs: ClassVar[str] = "the retained records"
    reference: ClassVar[str] = "Nocedal, Wright 2006, chapter 3"
    claim: ClassVar[Claim] = Claim.EXACT
    needs_original: ClassVar[bool] = False

    max_iterations: int = 200

    def __post_init__(self) -> None:
        if self.max_iterations < 1:
            raise ConfigurationError(
                f"max_iterations must be at least 1, not {self.max_iterations}",
                where="retrain.max_iterations",
                mend="give a positive number",
            )

    def run(self, meter: Meter, start: FloatArray) -> FloatArray:
        """From zero, whatever the start."""
        w = np.zeros_like(start)
        gradient = meter.gradient(w)
        for _ in track(range(self.max_iterations), "retraining"):
            improved = _improve(meter, w, gradient)
            if improved is None:
                return w
            w, gradient = improved
            meter.iterate()
        meter.warnings.append(f"the residual was still falling after {self.max_iterations} iterations")
        return w


def _improve(meter: Meter, w: FloatArray, gradient: FloatArray) -> tuple[FloatArray, FloatArray] | None:
    """The next iterate and its gradient, or None when the residual is at rounding level.

    A full step is taken where it halves the residual: close to the minimum, values of the objective differ by less than
    their rounding and only the gradient still tells better from worse. Elsewhere the objective decides.
    """
    if not np.any(gradient):
        return None
    step = meter.newton_step(w, gradient)
    full = w - step
    full_gradient = meter.gradient(full)
    if np.linalg.norm(full_gradient) < 0.5 * np.linalg.norm(gradient):
        return full, full_gradient
    damped = line_search(meter.problem, w, step, gradient)
    if damped is None or not np.array_equal(damped, full):
        damped = exact_line_search(meter.problem, w, step)
    if damped is None or not meter.problem.value(damped) < meter.problem.value(w):
        return None
    return damped, meter.gradient(damped)
