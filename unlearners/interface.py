"""An unlearner is a frozen dataclass of knobs; its core is a pure function of parameters, records and seeds."""

from abc import ABCMeta
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from certify.core.arguments import as_whole, require_type
from certify.core.arrays import FloatArray
from certify.core.errors import ArgumentError, ConfigurationError, InputError
from certify.core.knobs import check_knobs, check_names
from certify.models.weights import LinearWeights
from certify.unlearners.ambiguous import no_one_minimum
from certify.unlearners.evidence import Budget, Claim, Evidence, Meter
from certify.unlearners.probe import Probe
from certify.unlearners.task import ConvexTask, Request

if TYPE_CHECKING:
    from certify.models.networks.state import State
    from certify.unlearners.networks.checkpoint import Checkpoint
    from certify.unlearners.networks.meter import NetworkMeter
    from certify.unlearners.networks.task import NetworkTask

Kind = Literal["convex", "network"]


@dataclass(frozen=True, eq=False)
class Result:
    """What an unlearner returns.

    Attributes:
        model: the unlearned weights (:class:`~certify.models.weights.LinearWeights`), or a network of the original's class in
            the original's mode.
        evidence: what the run did.
        claim: what the method says of the result, to be checked.
        state: parameters (K, p), or a stacked state of one network, from which the next request can start, or the task for it
            where the method has a memory of its own; secret until refreshed.
        reason: why the method claims what it does, where that depends on the run.
        trajectory: states on the way, where they were asked for.
    """

    model: Any
    evidence: Evidence
    claim: Claim
    state: Any = field(repr=False)
    reason: str = ""
    trajectory: tuple[Any, ...] = field(default=(), repr=False)


class _Strict(ABCMeta):
    """Unknown knobs are refused in one line, whoever makes the method."""

    def __call__(cls, *values: Any, **knobs: Any) -> Any:
        check_names(cls, knobs, str(cls.name))  # type: ignore[attr-defined]
        return super().__call__(*values, **knobs)


@dataclass(frozen=True)
class Unlearner(metaclass=_Strict):
    """Base of the methods. Subclasses are frozen dataclasses whose fields are the knobs.

    A knob's annotation holds its range, ``lr: Annotated[float, Field(gt=0)] = 1e-3``, and is checked. A method for linear
    models defines :meth:`run`, one for networks :meth:`run_networks`, and says so in ``kinds``.

    Class attributes:
        name: as on the command line.
        summary: one line.
        needs: what it needs.
        reference: the paper, or the chapter.
        claim: what it claims unless a run says otherwise.
        kinds: "convex" for linear models, "network" for torch modules.
        family: "exact", "gradient", "relabel", "distil", "reinitialise", "second-order", "dampen" or "control".
        needs_original: starts from the original model.
        reads_forgotten: looks at the forgotten records.
        stochastic: another seed gives another result.
        ascends: its first step raises the loss of the forgotten records.
        own_model: its result is a model of another architecture, which the original's cannot load. Its ``prepare(task, seed)`` makes
            the :class:`~certify.unlearners.networks.task.OwnTask` it starts from, and ``Result.state`` is the next one.
        quick: knobs with which a run on a tiny task takes no time, for tests.
        one_shot: looks at the records in one go, so that neither their order nor a batch size may matter, even where something
            is drawn.
        conformance: knobs for the tiny tasks of :mod:`certify.unlearners.conformance`, where the defaults do not do.
    """

    name: ClassVar[str] = ""
    summary: ClassVar[str]
    needs: ClassVar[str]
    reference: ClassVar[str]
    claim: ClassVar[Claim]
    kinds: ClassVar[tuple[Kind, ...]] = ("convex",)
    family: ClassVar[str] = ""
    needs_original: ClassVar[bool] = True
    reads_forgotten: ClassVar[bool] = False
    stochastic: ClassVar[bool] = False
    ascends: ClassVar[bool] = False
    own_model: ClassVar[bool] = False
    quick: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    one_shot: ClassVar[bool] = False
    conformance: ClassVar[Probe] = Probe()

    def __post_init__(self) -> None:
        check_knobs(self, self.name)

    def run(self, meter: Meter, start: FloatArray) -> FloatArray:
        """The core for linear models: parameters from parameters, (K, p) to (K, p). Touches data through the meter alone."""
        raise NotImplementedError

    def run_networks(self, meter: "NetworkMeter", state: "State") -> "State":
        """The core for networks: K models from K models. Touches data through the meter alone."""
        raise NotImplementedError

    def forget(
        self,
        task: "ConvexTask | NetworkTask",
        request: Request,
        budget: Budget | None = None,
        seed: int = 0,
        *,
        trajectory: bool = False,
        checkpoint: "Checkpoint | None" = None,
    ) -> Result:
        """Unlearn the request's records.

        Args:
            task: what was trained, on what; the original model where the method needs it.
            request: which records to forget.
            budget: limits that stop the method.
            seed: root of the method's random streams; deterministic methods do not use it.
            trajectory: for networks, return the states on the way too.
            checkpoint: for networks, where to keep the run so that one that was killed goes on.

        Raises:
            ConfigurationError: the method is not for this kind of model.
            InputError: the task lacks what the method needs, or a loss or weight stopped being finite.
            BudgetExceededError: the budget was used up.
        """
        require_type(request, Request, "request", "give a Request: Request.of(dataset, ids)")
        if budget is not None:
            require_type(budget, Budget, "budget", "give a Budget, or leave it out")
        if isinstance(task, ConvexTask):
            self._check_kind("convex")
            _require_inside(request, len(task.dataset))
            return self._forget_convex(task, request, budget or Budget(), seed)
        if not hasattr(task, "held_out"):  # a task for networks, which is known by torch alone
            require_type(task, ConvexTask, "task", "give a ConvexTask(objective, dataset, original), or a NetworkTask")
        return self.forget_fleet(task, [request], budget, [seed], trajectory=trajectory, checkpoint=checkpoint)[0]

    def forget_fleet(
        self,
        task: "NetworkTask",
        requests: Sequence[Request],
        budget: Budget | None = None,
        seeds: Sequence[int] | None = None,
        *,
        starts: "State | None" = None,
        trajectory: bool = False,
        checkpoint: "Checkpoint | None" = None,
        at_once: int | None = None,
    ) -> list[Result]:
        """Unlearn one request from each of K networks in one batch.

        Args:
            task: the architecture, the records of all models, and the original where ``starts`` is not given.
            requests: one for each model; ``members`` says what a model was trained on.
            budget: limits on the sum over the models.
            seeds: one for each model; 0, 1, ... where none are given. A model's result does not depend on its company.
            starts: the K models to start from; K copies of the task's original where none are given.
            trajectory: return the states on the way too.
            checkpoint: where to keep the run so that one that was killed goes on; not together with ``at_once``.
            at_once: models in memory at a time; the results are the same whatever it is. All of them where it is not given.

        Returns:
            One result a model; counts, seconds and memory are the fleet's.

        Raises:
            As for :meth:`forget`.
        """
        self._check_kind("network")
        from certify.models.networks.state import State
        from certify.unlearners.networks.checkpoint import Checkpoint
        from certify.unlearners.networks.fleets import run_in_groups
        from certify.unlearners.networks.task import NetworkTask

        require_type(task, NetworkTask, "task", "give a NetworkTask(model, X, y)")
        if starts is not None:
            require_type(starts, State, "starts", "give a State of one model a request, or leave it out")
        if checkpoint is not None:
            require_type(checkpoint, Checkpoint, "checkpoint", "give a Checkpoint(path), or leave it out")
        requests, seeds = listed(requests, seeds)
        if budget is not None:
            require_type(budget, Budget, "budget", "give a Budget, or leave it out")
        for request in requests:
            _require_inside(request, len(task))
        return run_in_groups(
            self,
            task,
            requests,
            budget or Budget(),
            seeds,
            starts,
            trajectory=trajectory,
            checkpoint=checkpoint,
            at_once=at_once,
        )

    def _check_kind(self, kind: Kind) -> None:
        refuse_kind(self.name, kind, fits=kind in self.kinds)

    @np.errstate(over="ignore", invalid="ignore")
    def _forget_convex(self, task: ConvexTask, request: Request, budget: Budget, seed: int) -> Result:
        problem = task.retained_problem(request)
        start = (
            task.original_parameters() if self.needs_original or task.original is not None else np.zeros(problem.shape)
        )
        forgotten = task.forgotten_problem(request) if self.reads_forgotten else None
        meter = Meter(problem, budget, forgotten=forgotten, seed=seed)
        parameters = self.run(meter, start)
        model = LinearWeights.from_parameters(parameters, intercept=task.objective.fit_intercept)
        claim, reason = meter.claim or (self.claim, "")
        ambiguous = no_one_minimum(problem, parameters, exact=claim is Claim.EXACT)
        if ambiguous:
            claim, reason = Claim.NONE, f"{ambiguous}: nothing can be claimed of the distance to a minimum"
        evidence = Evidence(
            method=self.name,
            knobs=self.knobs(),
            counts=dict(meter.counts),
            seconds=meter.seconds,
            residual_norms=tuple(meter.residual_norms),
            moved=float(np.linalg.norm(parameters - start)),
            records_read=meter.problem.records + (0 if forgotten is None else forgotten.records),
            warnings=tuple(meter.warnings),
            traces={purpose: tuple(values) for purpose, values in meter.traces.items()},
            solver=dict(meter.solver),
            seed=seed if self.stochastic and "network" not in self.kinds else None,
        )
        return Result(model, evidence, claim, parameters, reason)

    def share_moved(self) -> float:
        """Upper bound on the share of the weights that these knobs let move, each tensor's share rounded up; masks make it small."""
        return 1.0

    def knobs(self) -> dict[str, Any]:
        """The settings by name."""
        return asdict(self)


def refuse_kind(name: str, kind: Kind, *, fits: bool) -> None:
    """Say that a method is not for a kind of model, unless it is.

    Raises:
        ConfigurationError: it is not.
    """
    if not fits:
        other = "linear models" if kind == "convex" else "networks"
        raise ConfigurationError(
            f"{name} is not for {other}", where="--method", mend="`certify list unlearners` says what is for what"
        )


def listed(requests: object, seeds: object) -> tuple[list[Request], list[int]]:
    """The requests, and a seed for each, as lists.

    Raises:
        ArgumentError: anything else.
    """
    mend = "give a list of Request, one for each model"
    requests = list(require_type(requests, (list, tuple), "requests", mend))
    for request in requests:
        require_type(request, Request, "requests", mend)
    if seeds is None:
        return requests, list(range(len(requests)))
    mend = "give a list of whole numbers from 0, one for each model"
    given = seeds.tolist() if isinstance(seeds, np.ndarray) else seeds
    listed = list(require_type(given, (list, tuple, range), "seeds", mend))
    whole = [as_whole(seed, "seeds") for seed in listed]
    if any(seed < 0 for seed in whole):
        raise ArgumentError("must not be negative", where="seeds", mend=mend)
    return requests, whole


def _require_inside(request: Request, records: int) -> None:
    """A request made for other records is refused."""
    for name, rows in (("forgotten", request.forgotten), ("members", request.members)):
        if rows is not None and len(rows) and not 0 <= int(np.min(rows)) <= int(np.max(rows)) < records:
            raise InputError(
                f"names a record outside the task's {records}",
                where=f"request.{name}",
                mend="make the request from this task: Request.at(task, positions)",
            )
