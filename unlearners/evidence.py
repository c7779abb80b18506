"""What a run did, measured by the toolkit rather than told by the method."""

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from certify.convex.certificate import DistanceBound, certify_parameters
from certify.convex.nonsmooth import solve_reference
from certify.convex.problem import Problem
from certify.convex.solve import newton_step
from certify.core.arrays import FloatArray
from certify.core.errors import BudgetExceededError, ConfigurationError


@dataclass(frozen=True)
class Budget:
    """Limits on a run; None is no limit.

    Attributes:
        gradients: gradient evaluations over the retained records.
        hessians: Hessian factorisations or iterative solves.
        seconds: wall-clock time, looked at before each evaluation.
    """

    gradients: int | None = None
    hessians: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("gradients", "hessians", "seconds"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ConfigurationError(
                    f"a budget must be at least 0, not {value}",
                    where=f"budget.{name}",
                    mend="raise it or leave it out",
                )


@dataclass(frozen=True)
class Evidence:
    """What a run did.

    Attributes:
        method: name of the unlearner.
        knobs: its settings.
        counts: evaluations by kind, and iterations.
        seconds: wall-clock time.
        residual_norms: norm of the gradient at each iterate, the start first.
        moved: Euclidean distance from the start to the result.
        records_read: number of retained records the method had access to.
        warnings: what a reader should know.
    """

    method: str
    knobs: dict[str, Any]
    counts: dict[str, int]
    seconds: float
    residual_norms: tuple[float, ...]
    moved: float
    records_read: int
    warnings: tuple[str, ...] = ()


@dataclass
class Meter:
    """Access to a problem that counts what is asked of it and stops at the budget."""

    problem: Problem
    budget: Budget
    counts: dict[str, int] = field(default_factory=lambda: {"gradients": 0, "hessians": 0, "iterations": 0})
    residual_norms: list[float] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    def charge(self, kind: str) -> None:
        """Count one evaluation.

        Raises:
            BudgetExceededError: it would be one too many, or time is up.
        """
        limit = getattr(self.budget, kind)
        if limit is not None and self.counts[kind] >= limit:
            raise BudgetExceededError(
                f"the budget of {limit} {kind} is used up before the method was done",
                where="budget",
                mend="raise the budget; nothing was written",
            )
        if self.budget.seconds is not None and self.seconds > self.budget.seconds:
            raise BudgetExceededError(
                f"the budget of {self.budget.seconds:g} seconds is used up before the method was done",
                where="budget",
                mend="raise the budget; nothing was written",
            )
        self.counts[kind] += 1

    @property
    def seconds(self) -> float:
        """Time since the run began."""
        return time.perf_counter() - self.started

    def gradient(self, w: FloatArray) -> FloatArray:
        """One gradient; its norm is recorded."""
        self.charge("gradients")
        with np.errstate(over="ignore", invalid="ignore"):
            value = self.problem.gradient(w)
        self.residual_norms.append(float(np.linalg.norm(value)))
        return value

    def newton_step(self, w: FloatArray, gradient: FloatArray) -> FloatArray:
        """One Hessian and its solution."""
        self.charge("hessians")
        return newton_step(self.problem, w, gradient)

    def certify(self, w: FloatArray) -> DistanceBound:
        """One certificate: a gradient and a Hessian."""
        self.charge("gradients")
        self.charge("hessians")
        bound = certify_parameters(self.problem, w)
        self.residual_norms.append(bound.residual_norm)
        return bound

    def solve(self, start: FloatArray) -> FloatArray:
        """The minimiser of an objective with kinks, nearly; each evaluation on the way counts and is charged."""
        return solve_reference(self.problem, start, _Watched(self)).w

    def iterate(self) -> None:
        """Count one iteration."""
        self.counts["iterations"] += 1


@dataclass(frozen=True)
class _Watched:
    """Charges a solver's evaluations to a meter."""

    meter: Meter

    def gradient(self, norm: float) -> None:
        self.meter.charge("gradients")
        self.meter.residual_norms.append(norm)

    def hessian(self) -> None:
        self.meter.charge("hessians")
        self.meter.iterate()
