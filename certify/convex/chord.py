"""Chord steps: Newton's method with a factor kept from earlier, for a model whose records change a few at a time.

One step is ``w - M^-1 r`` with M near the Hessian H: a Cholesky factor of an earlier Hessian, changed by the curvature of the rows that
left or came since (:mod:`certify.convex.kept`). The error shrinks by ``I - M^-1 H``: by about f when M still holds a fraction f of rows like
the others that left, by f/(1 - f) when it lacks a fraction f that came. M is made anew where the quotient of successive residuals, measured
after every step, is above ``CONTRACTION_LIMIT``.

All of it is untrusted: a step is worth what :func:`certify.convex.certificate.certify_parameters` says of the point it leads to.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from certify.convex.certificate import DistanceBound, certify_parameters
from certify.convex.kept import KeptFactor
from certify.convex.nonsmooth import solve_reference
from certify.convex.problem import Problem
from certify.convex.shadow import Shadow
from certify.convex.solve import DENSE_LIMIT, line_search, newton_step
from certify.convex.trail import Trail
from certify.core.arrays import FloatArray
from certify.core.errors import AssumptionViolatedError

CONTRACTION_LIMIT = 0.2
"""Quotient of successive residual norms above which a factor is made anew."""

_NEARLY = 1.25
"""Certified distance over tolerance up to which single precision may be what is missing: it adds a twentieth at most."""

_NOISE = 10.0
"""Residuals below this many times their proven rounding error say nothing about the factor."""


@dataclass(frozen=True)
class Goal:
    """What a run has to reach: both numbers are public and fixed beforehand.

    Attributes:
        tolerance: largest certified distance.
        max_steps: steps after which the run is refused.
    """

    tolerance: float
    max_steps: int


@dataclass(frozen=True, eq=False)
class ChordRun:
    """A certified point and how it was reached.

    Attributes:
        parameters: (K, p).
        bound: its certificate.
        factor: the factor to go on with; None beyond ``DENSE_LIMIT`` parameters.
        steps: number of steps.
        refactored: whether the factor was made anew on the way.
        contraction: largest quotient of successive residual norms; 0 without a step.
    """

    parameters: FloatArray
    bound: DistanceBound
    factor: KeptFactor | None
    steps: int
    refactored: bool
    contraction: float


def factored(problem: Problem, w: FloatArray) -> KeptFactor | None:
    """A factor of the Hessian at w; None where there are too many parameters to form it, or it is singular to working precision."""
    return KeptFactor.at(problem, w) if problem.size <= DENSE_LIMIT else None


def certified(
    problem: Problem, w: FloatArray, factor: KeptFactor | None, row_norm: float, known: Trail | Shadow | None = None
) -> DistanceBound:
    """The certificate at w: with the factor's proposal where every parameter is penalised, with a Hessian of its own elsewhere.

    Where the factor's Hessian was kept as well, and is still near, the gradient is all that is measured on the data; and in single
    precision where it is ``known`` at a point nearby.

    Raises:
        AssumptionViolatedError: no certificate exists.
    """
    cheap = factor is not None and float(problem.penalty.min()) > 0
    if factor is None or not cheap:
        return certify_parameters(problem, w, row_norm=row_norm)
    return certify_parameters(problem, w, propose=factor, row_norm=row_norm, kept=factor.hessian, trail=known)


def settle(problem: Problem, w: FloatArray, factor: KeptFactor | None, goal: Goal, row_norm: float) -> ChordRun:
    """Certify w as it is; step, and make the factor anew, only where that is not within the tolerance.

    Raises:
        AssumptionViolatedError: no certificate exists, or the tolerance is not reached.
    """
    bound = certified(problem, w, factor, row_norm)
    if bound.distance <= goal.tolerance:
        return ChordRun(w, bound, factor, 0, refactored=False, contraction=0.0)
    run = follow(problem, w, bound.residual, factor, goal, row_norm)
    return replace(run, factor=factored(problem, run.parameters))


def follow(
    problem: Problem,
    w: FloatArray,
    residual: FloatArray,
    factor: KeptFactor | None,
    goal: Goal,
    row_norm: float,
    known: Trail | Shadow | None = None,
) -> ChordRun:
    """Chord steps from w until the certified distance is within the tolerance; at least one.

    Args:
        problem: objective and the records that count now.
        w: parameters to start from, (K, p).
        residual: the gradient there, (K, p), as well as it is known: it only chooses the first step.
        factor: a factor near the Hessian.
        goal: tolerance and number of steps.
        row_norm: an upper bound on the norms of the records' rows, proven.
        known: where the gradient was measured last, or the records' shadow (:mod:`certify.convex.trail`).

    Raises:
        AssumptionViolatedError: no certificate exists, or the tolerance is not reached.
    """
    if problem.objective.bent:
        return _solved(problem, w, goal, row_norm)
    walk = _Walk(problem, w, residual, factor, goal, row_norm, known)
    for _ in range(goal.max_steps):
        found = walk.step()
        if found is not None:
            return found
    raise _refusal(goal, walk.reached, f"after {goal.max_steps} steps")


def _solved(problem: Problem, w: FloatArray, goal: Goal, row_norm: float) -> ChordRun:
    """Where slopes jump there are no Newton steps to save: the objective is solved again, from w on."""
    point = solve_reference(problem, w).w
    bound = certified(problem, point, None, row_norm)
    if bound.distance > goal.tolerance:
        raise _refusal(goal, float(bound.distance), "at the solver's best point")
    return ChordRun(point, bound, None, 1, refactored=False, contraction=0.0)


class _Walk:
    """Where a run stands: the point, its residual, the step to try next."""

    def __init__(
        self,
        problem: Problem,
        w: FloatArray,
        residual: FloatArray,
        factor: KeptFactor | None,
        goal: Goal,
        row_norm: float,
        known: Trail | Shadow | None,
    ) -> None:
        self._problem, self._goal, self._row_norm, self._known = problem, goal, row_norm, known
        self._w, self._residual, self._factor = w, residual, factor
        self._direction = newton_step(problem, w, residual) if factor is None else factor(residual)
        self._steps, self._refactored, self._contraction = 0, False, 0.0
        self._descends = False
        self.reached = math.inf

    def step(self) -> ChordRun | None:
        """Take one step and measure it; the finished run when that is near enough."""
        candidate = self._w - self._direction
        self._steps += 1
        bound = self._certified(candidate)
        self.reached = min(self.reached, float(bound.distance))
        quotient = _quotient(bound.residual_norm, float(np.linalg.norm(self._residual)))
        self._contraction = max(self._contraction, quotient)
        followed = bound.trail is not None and bound.trail.steps > 0  # with errors that double precision does not have
        noise = not followed and bound.residual_norm <= _NOISE * float(bound.rounding)
        if bound.distance > self._goal.tolerance and noise:
            bound = self._last_resort(candidate)
        poor = quotient > CONTRACTION_LIMIT and not noise
        if bound.distance <= self._goal.tolerance:
            if poor:
                self._refactor(candidate)
            return ChordRun(candidate, bound, self._factor, self._steps, self._refactored, self._contraction)
        self._go_on(candidate, bound, quotient, poor=poor)
        return None

    def _certified(self, w: FloatArray) -> DistanceBound:
        """The certificate at w; in double precision where single precision may be what keeps it from being near enough."""
        bound = certified(self._problem, w, self._factor, self._row_norm, self._known)
        near = self._goal.tolerance < bound.distance <= _NEARLY * self._goal.tolerance
        if near and bound.trail is not None and bound.trail.steps > 0:
            bound = certified(self._problem, w, self._factor, self._row_norm, bound.trail.shadow)
        self._known = self._known if bound.trail is None else bound.trail
        return bound

    def _last_resort(self, w: FloatArray) -> DistanceBound:
        """At the level of rounding no step helps; a verified eigenvalue above l2 still may."""
        bound = certify_parameters(self._problem, w, row_norm=self._row_norm)
        if bound.distance > self._goal.tolerance:
            raise _refusal(self._goal, float(bound.distance), "where the gradient is at the level of rounding errors")
        return bound

    def _go_on(self, candidate: FloatArray, bound: DistanceBound, quotient: float, *, poor: bool) -> None:
        # far from the minimum the gradient may grow along a step that decreases the objective
        if quotient < 1 or (self._descends and math.isfinite(quotient)):
            self._w, self._residual, self._direction = candidate, bound.residual, bound.newton_step
        self._descends = False
        if not poor:
            return
        self._refactor(self._w)
        if self._factor is not None:
            self._direction = self._factor(self._residual)
        if not quotient < 1:
            self._direction = self._shortened()

    def _refactor(self, w: FloatArray) -> None:
        self._factor = factored(self._problem, w)
        self._refactored = True

    def _shortened(self) -> FloatArray:
        """The step that failed, or a fresh one, cut until the objective decreases enough."""
        gradient = self._problem.gradient(self._w)
        direction = newton_step(self._problem, self._w, gradient) if self._factor is None else self._factor(gradient)
        point = line_search(self._problem, self._w, direction, gradient)
        self._residual, self._descends = gradient, point is not None
        return direction if point is None else self._w - point


def _quotient(after: float, before: float) -> float:
    """after/before; infinite where either is not a number, 0 where there was nothing to reduce."""
    if not (math.isfinite(after) and math.isfinite(before)):
        return math.inf
    return after / before if before > 0 else 0.0


def _refusal(goal: Goal, reached: float, when: str) -> AssumptionViolatedError:
    return AssumptionViolatedError(
        f"the certified distance is {reached:.3g} {when}, above the tolerance {goal.tolerance:.3g}",
        where="tolerance",
        mend="nothing was changed; allow a larger tolerance, more steps or a larger l2, or retrain",
    )
