"""An unlearner is a frozen dataclass of knobs with one method; its core is a pure function."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

import numpy as np

from certify.core.arrays import FloatArray
from certify.models.weights import LinearWeights
from certify.unlearners.evidence import Budget, Evidence, Meter
from certify.unlearners.task import ConvexTask, Request


class Claim(StrEnum):
    """What a method says of its result. The gate measures; it does not believe."""

    EXACT = "exact"
    APPROXIMATE = "approximate"
    NONE = "none"


@dataclass(frozen=True, eq=False)
class Result:
    """What an unlearner returns.

    Attributes:
        model: the unlearned weights.
        evidence: what the run did.
        claim: what the method says of the result, to be checked.
        state: parameters (K, p) from which the next request can start; secret until refreshed.
    """

    model: LinearWeights
    evidence: Evidence
    claim: Claim
    state: FloatArray = field(repr=False)


@dataclass(frozen=True)
class Unlearner(ABC):
    """Base of the methods. Subclasses are frozen dataclasses whose fields are the knobs."""

    name: ClassVar[str]
    summary: ClassVar[str]
    needs: ClassVar[str]
    reference: ClassVar[str]
    claim: ClassVar[Claim]
    needs_original: ClassVar[bool] = True

    @abstractmethod
    def run(self, meter: Meter, start: FloatArray) -> FloatArray:
        """The core: parameters from parameters, (K, p) to (K, p). Touches data through the meter alone."""

    @np.errstate(over="ignore", invalid="ignore")
    def forget(self, task: ConvexTask, request: Request, budget: Budget | None = None, seed: int = 0) -> Result:
        """Unlearn the request's records.

        Args:
            task: objective, all records, and the original model where the method needs it.
            request: which records to forget.
            budget: limits that stop the method.
            seed: root of the method's random streams; deterministic methods do not use it.

        Raises:
            InputError: the task lacks what the method needs.
            BudgetExceededError: the budget was used up.
        """
        del seed
        problem = task.retained_problem(request)
        start = (
            task.original_parameters() if self.needs_original or task.original is not None else np.zeros(problem.shape)
        )
        meter = Meter(problem, budget or Budget())
        parameters = self.run(meter, start)
        model = LinearWeights.from_parameters(parameters, intercept=task.objective.fit_intercept)
        return Result(model, self._evidence(meter, parameters - start), self.claim, parameters)

    def _evidence(self, meter: Meter, change: FloatArray) -> Evidence:
        return Evidence(
            method=self.name,
            knobs=self.knobs(),
            counts=dict(meter.counts),
            seconds=meter.seconds,
            residual_norms=tuple(meter.residual_norms),
            moved=float(np.linalg.norm(change)),
            records_read=meter.problem.records,
            warnings=tuple(meter.warnings),
        )

    def knobs(self) -> dict[str, Any]:
        """The settings by name."""
        return asdict(self)
