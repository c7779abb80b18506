"""What a run did, measured by the toolkit rather than told by the method."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

import numpy as np

from certify.convex.certificate import DistanceBound, certify_parameters
from certify.convex.nonsmooth import solve_reference
from certify.convex.problem import Problem
from certify.convex.solve import newton_step
from certify.core.arguments import as_number, shown
from certify.core.arrays import FloatArray
from certify.core.errors import BudgetExceededError, ConfigurationError


class Claim(StrEnum):
    """What a method says of its result. The gate measures; it does not believe."""

    EXACT = "exact"
    APPROXIMATE = "approximate"
    NONE = "none"


@dataclass(frozen=True)
class Budget:
    """Limits on a run; None is no limit.

    Attributes:
        gradients: gradient evaluations over the retained, or over the forgotten records (convex tasks).
        hessians: Hessians of either part, or iterative solves (convex tasks).
        seconds: wall-clock time, looked at before each evaluation.
        sample_gradients: gradients of single records, summed over models (networks).
        sample_forwards: forward passes of single records (networks).
        sample_products: products of single records' second derivatives with a vector (networks).
    """

    gradients: int | None = None
    hessians: int | None = None
    seconds: float | None = None
    sample_gradients: int | None = None
    sample_forwards: int | None = None
    sample_products: int | None = None

    def __post_init__(self) -> None:
        for limit in fields(self):
            name, value = limit.name, getattr(self, limit.name)
            if value is not None and not as_number(value, f"budget.{name}") >= 0:
                raise ConfigurationError(
                    f"a budget must be at least 0, not {shown(value)}",
                    where=f"budget.{name}",
                    mend="raise it or leave it out",
                )


@dataclass(frozen=True)
class Reading:
    """Which records of one part of the data a run looked at.

    Attributes:
        records: their number.
        sha256: digest of their positions in ascending order, 8 bytes each, little-endian.
    """

    records: int
    sha256: str


@dataclass(frozen=True)
class TensorChange:
    """What became of one tensor.

    Attributes:
        name: as in the model's ``state_dict``.
        buffer: a buffer rather than a parameter.
        elements: numbers in it.
        changed: how many of them differ from the start.
        l2: Euclidean norm of the change.
        relative: ``l2`` over the norm of the start (infinity from zero).
        largest: largest absolute change.
        before: SHA-256 of the tensor at the start.
        after: SHA-256 of the tensor in the result.
    """

    name: str
    buffer: bool
    elements: int
    changed: int
    l2: float
    relative: float
    largest: float
    before: str
    after: str


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
        reads: for networks, records looked at by part of the data ("retain", "forget", "held-out").
        tensors: for networks, what became of each tensor, buffers included.
        traces: losses, and what else a method keeps of each step (damping, radius, certificate), by purpose.
        solver: what a solver inside reports (iterations, residual, damping, extreme eigenvalues).
        seed: root of the random streams.
        peak_memory: largest resident memory of the process (on a GPU: allocated there) above the start, bytes, where it can
            be measured.
        environment: versions and the device.
    """

    method: str
    knobs: dict[str, Any]
    counts: dict[str, int]
    seconds: float
    residual_norms: tuple[float, ...]
    moved: float
    records_read: int
    warnings: tuple[str, ...] = ()
    reads: dict[str, Reading] = field(default_factory=dict)
    tensors: tuple[TensorChange, ...] = ()
    traces: dict[str, tuple[float, ...]] = field(default_factory=dict)
    solver: dict[str, float] = field(default_factory=dict)
    seed: int | None = None
    peak_memory: int | None = None
    environment: dict[str, str] = field(default_factory=dict)


@dataclass
class Meter:
    """Access to a problem that counts what is asked of it and stops at the budget.

    Attributes:
        problem: the objective on the retained records.
        budget: limits.
        counts: what was asked.
        residual_norms: norm of each gradient.
        warnings: what a reader should know.
        solver: what a solver inside reports.
        traces: what is worth keeping of each step, by purpose.
        claim: what the method claims of this run and why, where that depends on the run.
        forgotten: the objective on the forgotten records, for the methods that read them; every other method is given None.
        seed: root of the method's random streams.
        started: when the run began.
    """

    problem: Problem
    budget: Budget
    counts: dict[str, int] = field(default_factory=lambda: {"gradients": 0, "hessians": 0, "iterations": 0})
    residual_norms: list[float] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    solver: dict[str, float] = field(default_factory=dict)
    traces: dict[str, list[float]] = field(default_factory=dict)
    claim: tuple[Claim, str] | None = None
    forgotten: Problem | None = None
    seed: int = 0
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

    def hessian(self, w: FloatArray) -> FloatArray:
        """One Hessian, (K p, K p)."""
        self.charge("hessians")
        return self.problem.hessian(w)

    def trace(self, values: Mapping[str, float]) -> None:
        """Keep numbers of one step by purpose; the last ones stand in ``solver`` too."""
        for purpose, value in values.items():
            self.traces.setdefault(purpose, []).append(value)
            self.solver[purpose] = value

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
