"""Newton: one or a few Newton steps on the retained objective from the original model."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from certify.convex.objective import Objective
from certify.convex.problem import Problem
from certify.convex.solve import line_search
from certify.core.arguments import as_number, shown
from certify.core.arrays import FloatArray
from certify.core.errors import ConfigurationError
from certify.unlearners.evidence import Claim, Meter
from certify.unlearners.interface import Unlearner
from certify.unlearners.probe import Probe


@dataclass(frozen=True)
class Newton(Unlearner):
    """Newton's method on the retained records, a fixed number of steps or until certified.

    One step is ``w - H(w)^-1 grad F(w)``, both on the retained records: the removal step of Guo et al. (2020), exact for
    squared error, with an error of second order otherwise.

    Args:
        steps: full Newton steps to take; None together with ``tolerance``.
        tolerance: instead of a fixed number, step until the *certified* distance is at most this. A step that the certificate
            cannot yet vouch for is shortened by a line search.
        max_steps: steps after which the adaptive form gives up with a warning.
    """

    name: ClassVar[str] = "newton"
    summary: ClassVar[str] = "Newton steps on the retained records: a fixed number, or until certified"
    needs: ClassVar[str] = "the original model, the retained records"
    reference: ClassVar[str] = "Guo et al. 2020 (the step); docs/theory.md (the certificate)"
    claim: ClassVar[Claim] = Claim.APPROXIMATE
    family: ClassVar[str] = "second-order"
    one_shot: ClassVar[bool] = True
    conformance: ClassVar[Probe] = Probe(
        others={"max_steps": 1}, contexts={"max_steps": {"steps": None, "tolerance": 1e-12}}
    )

    steps: int | None = 1
    tolerance: float | None = None
    max_steps: int = 25

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tolerance is not None:
            object.__setattr__(self, "tolerance", as_number(self.tolerance, "newton.tolerance"))
        if self.tolerance is not None and not 0 < self.tolerance < np.inf:
            raise ConfigurationError(
                f"tolerance must be above 0 and finite, not {shown(self.tolerance)}",
                where="newton.tolerance",
                mend="give the certified distance to reach",
            )
        if self.steps is None and self.tolerance is None:
            raise ConfigurationError(
                "neither a number of steps nor a tolerance is given",
                where="newton.steps",
                mend="set steps=1 or tolerance=1e-6",
            )
        if self.steps is not None and self.steps < 1:
            raise ConfigurationError(
                f"steps must be at least 1, not {self.steps}",
                where="newton.steps",
                mend="use --method identity for no step",
            )
        if self.max_steps < 1:
            raise ConfigurationError(
                f"max_steps must be at least 1, not {self.max_steps}",
                where="newton.max_steps",
                mend="give a positive number",
            )

    def run(self, meter: Meter, start: FloatArray) -> FloatArray:
        """Fixed steps without a tolerance, adaptive ones with it.

        Raises:
            ConfigurationError: the objective has an L1 term, or a loss without second derivative.
        """
        require_curvature(meter.problem.objective)
        return self._fixed(meter, start) if self.tolerance is None else self._adaptive(meter, start, self.tolerance)

    def _fixed(self, meter: Meter, w: FloatArray) -> FloatArray:
        for _ in range(self.steps or 0):
            w = w - meter.newton_step(w, meter.gradient(w))
            meter.iterate()
        return w

    def _adaptive(self, meter: Meter, w: FloatArray, tolerance: float) -> FloatArray:
        bound = meter.certify(w)
        while bound.distance > tolerance and meter.counts["iterations"] < self.max_steps:
            w = _guarded_step(meter, w, bound.newton_step, certified=bound.radius < 1)
            meter.iterate()
            bound = meter.certify(w)
        if bound.distance > tolerance:
            meter.warnings.append(
                f"certified distance {bound.distance} after {self.max_steps} steps, above the tolerance"
            )
        return w


def require_curvature(objective: Objective) -> None:
    """Squared hinge and its like have second derivatives almost everywhere, which is enough for a step; |w| and hinge do not."""
    if objective.bent:
        what = "an L1 term" if objective.l1 > 0 else f"the {objective.loss} loss"
        raise ConfigurationError(
            f"Newton steps need a second derivative, which an objective with {what} has not",
            where="--method",
            mend="use --method retrain",
        )


def require_small_problem(problem: Problem, limit: int, name: str) -> None:
    """Refuse a linear model whose Hessian would be too large a matrix for the method called ``name``.

    Raises:
        ConfigurationError: it has more than ``limit`` parameters.
    """
    if problem.size > limit:
        raise ConfigurationError(
            f"the model has {problem.size:,} parameters and a dense Hessian of at most {limit:,} is allowed",
            where=f"{name}.max_parameters",
            mend="use --method newton, or raise the limit (memory grows with its square)",
        )


def _guarded_step(meter: Meter, w: FloatArray, step: FloatArray, *, certified: bool) -> FloatArray:
    """The full step where the certificate vouches for quadratic convergence, else a shortened one."""
    if certified:
        return w - step
    shortened = line_search(meter.problem, w, step, meter.gradient(w))
    return w - step if shortened is None else shortened
