"""The fleets that an audit trains: one with forget sets drawn by chance, one of retrained models of this very request."""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from certify.attacks.fleets.assignment import fixed_assignment, random_assignment
from certify.attacks.fleets.fleet import run_blocks, run_fleet
from certify.attacks.fleets.memory import check_results_fit, check_weights_fit
from certify.attacks.fleets.plan import FleetPlan, FleetTask
from certify.attacks.fleets.store import FleetStore
from certify.attacks.observations import Cell, Observations
from certify.core.arrays import IntArray
from certify.core.errors import ArgumentError, ConfigurationError, InputError
from certify.gate.audits.frozen import architecture_for
from certify.gate.audits.method import Method
from certify.gate.audits.plan import Plan, forget_share, pool_size
from certify.gate.load import LoadedSpec
from certify.gate.networks import NetworkInputs
from certify.models.networks.files import load_network
from certify.models.networks.state import State

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from certify.gate.audits.ensembles import Replay

_BETWEEN_LOOKS = 16
"""Models in a block where the audit may stop after each."""
_BYTES = {"float32": 4, "float64": 8}

RETRAINED_SEED = 1_000_003
"""Added to the audit's seed for the fleet of this very request, so that it shares no training with the other."""
COUPLED_SEED = 1_000_033
"""The same for models of this very request that begin with the original's initial weights."""


@dataclass(eq=False)
class Fleets:
    """What an audit of a spec trains.

    Attributes:
        loaded: the spec.
        inputs: what it names.
        plan: what is asked.
        method: the unlearner under audit; None where no attack needs it.
        tell: called with one line on what is worth knowing while it goes on.
        executor: where blocks are made; here by default.
        restart: make every block anew.
        trained: models trained so far.
        kept: of these, models taken from an earlier run.
        blocks: that lie in the store by now.
    """

    loaded: LoadedSpec
    inputs: NetworkInputs
    plan: Plan
    method: "Method | Replay | None"
    tell: Callable[[str], None]
    executor: "Executor | None" = None
    restart: bool = False
    trained: int = 0
    kept: int = 0
    blocks: int = 0

    @property
    def task(self) -> FleetTask:
        """The records and the architecture."""
        task = self.inputs.task
        return FleetTask(
            architecture_for(self.loaded, self.inputs),
            task.X,
            task.y,
            loss=task.loss,
            train=task.train,
            device=task.device,
            ids=task.ids,
        )

    def fleet_plan(self, **more: Any) -> FleetPlan:
        """How models are trained and looked at."""
        given = self.loaded.spec.audit
        assert given is not None
        plan = FleetPlan(
            recipe=self.inputs.task.recipe,
            seed=given.seed,
            signals=self.plan.signals,
            block=given.block,
            precision=given.precision,
            backend=self.loaded.spec.compute.backend,
        )
        return replace(plan, **more)

    def store(self) -> FleetStore | None:
        """Where blocks are kept."""
        return None if self.cache is None else _Counted(self.cache, tell=self.tell, fleets=self)

    def require_training(self) -> None:
        """Nothing can be trained without knowing how.

        Raises:
            ConfigurationError: neither [training] nor release.train says.
        """
        if self.inputs.task.recipe is None and self.inputs.task.train is None:
            raise ConfigurationError(
                "the audit trains shadow models and nothing says how the original was trained",
                where=f"{self.loaded.path}: training",
                mend='give lr, epochs, batch_size and optimiser, or release.train = "package.module:function", or scores made elsewhere (audit.scores)',
            )

    def by_chance(self, kind: str, hard: IntArray | None = None) -> Iterator[Observations]:
        """The fleet whose models forget records drawn by chance from a pool, or all of them the request, block by block.

        Args:
            kind: "random", "request", or what kind of records the pool holds.
            hard: the pool; drawn by chance where it is not given.
        """
        assert self.method is not None
        assignment, plan = self.assignment(kind, hard), self.plan_by_chance(kind)
        return run_blocks(self.task, plan, assignment, self.method, store=self.store(), executor=self.executor)

    def plan_by_chance(self, kind: str) -> FleetPlan:
        """How the models of such a fleet are trained."""
        given = self.loaded.spec.audit
        assert given is not None
        plan = self.fleet_plan(seed=self._seed(kind))
        return replace(plan, block=_BETWEEN_LOOKS) if given.stop_early and given.block is None else plan

    def _seed(self, kind: str) -> int:
        """Root of a fleet's streams: fleets of one audit share nothing."""
        given = self.loaded.spec.audit
        assert given is not None
        return given.seed if kind == "random" else given.seed + zlib.crc32(kind.encode())

    def assignment(self, kind: str, hard: IntArray | None = None, models: int | None = None) -> Any:
        """Who is given what.

        Args:
            kind: as for :meth:`by_chance`.
            hard: the same.
            models: the first so many; all by default.

        Raises:
            InputError: what so many models say of all records is more than memory holds.
        """
        given = self.loaded.spec.audit
        assert given is not None
        self._require_room(given.models, self.plan_by_chance(kind), "models")
        records, forgotten = len(self.inputs.task), len(self.inputs.request.forgotten)
        count = given.models if models is None else models
        if kind == "request":
            return fixed_assignment(count, records, forget=self.inputs.request.forgotten)
        pool = hard
        if pool is None:
            size = pool_size(records, forgotten, given)
            pool = None if size == records else np.sort(_stream(given.seed, kind).permutation(records)[:size])
        where = f"{self.loaded.path}: audit.out_share, audit.forget_share"
        try:
            found = random_assignment(
                count,
                records,
                seed=self._seed(kind),
                out=given.out_share,
                forget=forget_share(given),
                candidates=pool,
            )
        except ArgumentError as error:
            raise ConfigurationError(error.what, where=where, mend=error.mend) from None
        if set(self.plan.games) - {"retrain"} and not (found == Cell.OUT).any():
            raise ConfigurationError(
                "every model sees every record, and the games compare with records never seen",
                where=where,
                mend="raise out_share, or play the game retrain alone",
            )
        return found

    def _require_room(self, models: int, plan: FleetPlan, key: str) -> None:
        worlds = len(plan.worlds_with(unlearner=self.method is not None))
        try:
            check_results_fit(models, len(self.inputs.task), worlds, len(plan.signals), _BYTES[plan.stored])
        except InputError as error:
            mend = "ask for fewer models, or leave out attacks that need more than phi"
            raise InputError(error.what, where=f"{self.loaded.path}: audit.{key}", mend=mend) from None

    def require_room_for_weights(self) -> None:
        """Retrained models of this request are compared all together: before the first training, whether memory holds them.

        Raises:
            InputError: it does not.
        """
        given, named = self.loaded.spec.audit, len(self.loaded.spec.release.retrained or ())
        assert given is not None
        coupled = "parameter-distance" in self.plan.request and not named and self.couples
        try:
            check_weights_fit((named or given.replicates) * (1 + coupled) + 2, self.inputs.task.model)
        except InputError as error:
            key, mend = ("release.retrained", "name fewer") if named else ("audit.replicates", "ask for fewer models")
            raise InputError(error.what, where=f"{self.loaded.path}: {key}", mend=mend) from None

    def plan_of_this_request(self, *, coupled: bool = False) -> FleetPlan:
        """How retrained models of the actual request are trained: other seeds than those of the other fleets."""
        given = self.loaded.spec.audit
        assert given is not None
        seed = given.seed + (COUPLED_SEED if coupled else RETRAINED_SEED)
        return self.fleet_plan(worlds=("retrained",), keep_parameters=True, seed=seed)

    def assignment_of_this_request(self) -> Any:
        """The request as it was made, for each of them.

        Raises:
            InputError: what so many models say of all records is more than memory holds.
        """
        given = self.loaded.spec.audit
        assert given is not None
        self._require_room(given.replicates, self.plan_of_this_request(), "replicates")
        return fixed_assignment(given.replicates, len(self.inputs.task), forget=self.inputs.request.forgotten)

    def left(self) -> str:
        """What an interrupted audit leaves behind."""
        if self.blocks:
            return f"blocks of models that were finished are kept in {self.cache}: the same command goes on"
        return "no block of models was finished"

    @property
    def cache(self) -> Path | None:
        """The folder of finished blocks."""
        given = self.loaded.spec.audit
        return None if given is None or given.cache is None else self.loaded.resolve(given.cache)

    @property
    def couples(self) -> bool:
        """Whether retrained models can begin with the weights that the original began with: they are named, and a recipe trains."""
        return self.inputs.task.initial is not None and self.inputs.task.train is None

    def of_this_request(self, *, coupled: bool = False) -> State:
        """Retrained models of the actual request: other seeds, the same retained records.

        Args:
            coupled: they begin with ``training.initial``, and differ by the order of records alone; else each with weights of its own.
        """
        assignment, plan = self.assignment_of_this_request(), self.plan_of_this_request(coupled=coupled)
        task = replace(self.task, initial=self.inputs.task.initial) if coupled else self.task
        store = self.store()
        if store is None:
            raise ConfigurationError(
                "distances need the weights of retrained models, and no folder to keep them in is named",
                where=f"{self.loaded.path}: audit.cache",
                mend="name one",
            )
        run_fleet(task, plan, assignment, None, store=store, executor=self.executor)
        files = store.weights["retrained"]
        modules = (load_network(files[number], self.inputs.build())[0] for number in sorted(files))
        return State.gather(modules, len(files))


@dataclass(eq=False)
class _Counted(FleetStore):
    """A store that counts what it is asked for, and finds nothing where everything is to be made anew."""

    fleets: Fleets | None = None
    counted: set[tuple[str, tuple[int, ...]]] = field(default_factory=set)

    def load(self, job: Any, fleet: str) -> Any:
        """The block, unless the run begins anew."""
        assert self.fleets is not None
        found = None if self.fleets.restart else super().load(job, fleet)
        self.fleets.blocks += found is not None
        if (fleet, job.models) not in self.counted:  # a block may be asked for twice
            self.counted.add((fleet, job.models))
            trainings = len(job.models) * sum(world != "unlearned" for world in job.worlds)
            self.fleets.trained += trainings
            self.fleets.kept += trainings if found is not None else 0
        return found

    def save(self, task: FleetTask, job: Any, made: Any, fleet: str) -> None:
        """Keep the block, and count it."""
        assert self.fleets is not None
        super().save(task, job, made, fleet)
        self.fleets.blocks += 1


def _stream(seed: int, kind: str) -> np.random.Generator:
    from certify.core.streams import stream

    return stream(seed, f"pool of {kind} records")
