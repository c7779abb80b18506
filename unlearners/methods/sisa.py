"""SISA: an ensemble trained on shards, slice by slice, from whose checkpoints the affected part is trained again."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from certify.core.arguments import require_type, shown
from certify.core.errors import BudgetExceededError, ConfigurationError, InputError
from certify.models.networks.network import Network
from certify.models.networks.recipe import Recipe
from certify.models.networks.state import State
from certify.unlearners.evidence import Budget, Claim
from certify.unlearners.interface import Kind, Result, Unlearner, listed
from certify.unlearners.networks.checkpoint import Checkpoint
from certify.unlearners.networks.ensemble import joined
from certify.unlearners.networks.fresh import fresh
from certify.unlearners.networks.meter import NetworkMeter
from certify.unlearners.networks.replay import Shards, meter_of, replayed, shard_seed
from certify.unlearners.networks.running import identity, named_when_short, run_fleet
from certify.unlearners.networks.shards import SisaTask, made
from certify.unlearners.networks.task import NetworkTask, device_named
from certify.unlearners.task import ConvexTask, Request

_REASON = (
    "equal, for the same seed, to the ensemble trained from nothing on the retained records;"
    " it holds for requests that do not depend on the models that were published"
)


_UNPREPARED = (
    "the task was not prepared: an ensemble was trained on all records first (its work is in the counts, what it read is not), and"
    " the result is that ensemble, not a model of the original's architecture"
)


@dataclass(frozen=True)
class Sisa(Unlearner):
    """Sharded, isolated, sliced, aggregated training; exact deletion by replay.

    :meth:`prepare` assigns each record to one of S shards and there to one of R slices, by a keyed hash of its id, and trains one
    member a shard: R stages, stage r on the slices 1 to r, with a checkpoint before each. :meth:`forget` drops the forgotten records,
    goes back in each shard that held one to the checkpoint before the first slice concerned, and repeats the stages from there with
    the same seeds. The prediction is the mean of the members' probabilities.

    Exact: assignment, initial weights and order of a shard depend on the seed, the ids and the number of records in the shard alone,
    never on the content of a record and never on records elsewhere, so the result is what the same seed makes of the retained
    records (up to the rounding of the arithmetic). Requests chosen after looking at earlier models break this (Gupta et al. 2021), as
    they do for every method that keeps its randomness. Shards are of unequal size by chance; every record is trained on, and a
    shard without records is left out of the mean.

    Parameters that need no gradient (a frozen backbone) are the original's, and the claim supposes that no forgotten record shaped them.

    What is forgotten is recorded as gone (``Result.state.alive``) and never read again. A task that was not prepared is prepared
    first, which trains on all its records. Accuracy falls as S grows.

    On the command line ``--prepare`` trains the ensemble into ``release.original``, and a request replays from such a file alone.

    Args:
        shards: S.
        slices: R.
        epochs: passes in each stage; None is ``ceil(2 e / (R + 1))``, e the recipe's, which keeps the total work of e passes.
    """

    name: ClassVar[str] = "sisa"
    summary: ClassVar[str] = "an ensemble on shards and slices; exact deletion by replay from checkpoints"
    needs: ClassVar[str] = "the training records and the recipe; training by its prepare (`certify unlearn --prepare`)"
    reference: ClassVar[str] = "Bourtoule et al. 2021"
    claim: ClassVar[Claim] = Claim.EXACT
    kinds: ClassVar[tuple[Kind, ...]] = ("network",)
    family: ClassVar[str] = "exact"
    stochastic: ClassVar[bool] = True
    needs_original: ClassVar[bool] = False
    own_model: ClassVar[bool] = True
    quick: ClassVar[Mapping[str, Any]] = MappingProxyType({"shards": 2, "epochs": 1})

    shards: Annotated[int, Field(ge=1)] = 5
    slices: Annotated[int, Field(ge=1)] = 2
    epochs: Annotated[int, Field(ge=1)] | None = None

    def prepare(
        self,
        task: NetworkTask,
        seed: int = 0,
        *,
        budget: Budget | None = None,
        checkpoint: "Checkpoint | None" = None,
    ) -> SisaTask:
        """Train the ensemble on all records.

        Args:
            task: records, architecture and recipe; the original's weights are not used.
            seed: root of assignment, initial weights and order. It is a secret of the trainer.
            budget: limits on the training.
            checkpoint: where to keep the training so that one that was killed goes on.

        Returns:
            The task of the ensemble, to be given to :meth:`forget`; ``model`` is the ensemble.

        Raises:
            ConfigurationError: the loss is not cross-entropy, or there are more shards or slices than records.
            InputError: no recipe, a part that cannot be initialised, or a loss that stops being finite.
            BudgetExceededError: the budget was used up.
        """
        return self._prepared(task, seed, budget or Budget(), checkpoint)[0]

    def _prepared(
        self, task: NetworkTask, seed: int, budget: Budget, checkpoint: "Checkpoint | None"
    ) -> tuple[SisaTask, NetworkMeter]:
        """The ensemble's task, and what its training cost."""
        if task.loss != "cross-entropy":
            raise ConfigurationError(
                f"the mean of probabilities needs classes, and the loss is {task.loss}",
                where="sisa",
                mend="use a task with cross-entropy, or retrain",
            )
        for name, parts in (("shards", self.shards), ("slices", self.slices)):
            if parts > len(task):
                raise ConfigurationError(
                    f"{shown(parts)} {name} for {len(task)} records",
                    where=f"sisa.{name}",
                    mend="ask for fewer than there are records",
                )
        recipe = task.need_recipe()
        epochs = self._passes(recipe)
        seeds = [shard_seed(seed, s) for s in range(self.shards)]
        start = fresh(task, seeds, device_named(task.device))
        alive = np.ones(len(task), dtype=bool)
        empty = made(task, (start,) * (self.slices + 1), alive, epochs=epochs, seed=seed, prepared=0)
        meter = meter_of(self.name, task, seeds, budget, start.device)
        if checkpoint is not None:
            checkpoint.open({**identity(self, meter, start), "prepares": True}, start.device)
            meter.checkpoint = checkpoint
        with named_when_short(self, task, 1):
            states = replayed(Shards.of(meter, meter.network), empty, alive, [0] * self.shards, recipe)
        if checkpoint is not None:
            checkpoint.require_taken_up()
        return made(task, states, alive, epochs=epochs, seed=seed, prepared=meter.counts["gradients"]), meter

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
        """Forget by replay; ``Result.state`` is the task for the next request.

        Args:
            task: what :meth:`prepare`, or an earlier result's ``state``, gave; any other task is prepared first.
            request: as for other methods; what was forgotten before is no member, whatever the request says.
            budget: limits on the replay, and on the preparation where there is one: on both together.
            seed: of the preparation of a task that was not prepared; otherwise not used.
            trajectory: return the ensemble after each stage.
            checkpoint: where to keep the replay so that one that was killed goes on; a preparation has its own (:meth:`prepare`).

        Raises:
            InputError: a record was forgotten before; ConfigurationError: the knobs are not those of the preparation.
        """
        if isinstance(task, ConvexTask) or not hasattr(task, "held_out"):
            return super().forget(task, request, budget, seed)  # which refuses it
        require_type(request, Request, "request", "give a Request: Request.of(dataset, ids)")
        if budget is not None:
            require_type(budget, Budget, "budget", "give a Budget, or leave it out")
        limits, before = budget or Budget(), None
        if isinstance(task, SisaTask):
            ready = task
        else:
            ready, before = self._prepared(task, seed, limits, None)
        theirs = (ready.shards, ready.slices, ready.epochs)
        if theirs != (self.shards, self.slices, self._passes(ready.need_recipe())):
            raise ConfigurationError(
                "the task was prepared with {} shards and {} slices, {} passes a stage".format(*theirs),
                where="sisa",
                mend="use the same knobs, and the recipe of then",
            )
        if request.members is not None and not isinstance(task, SisaTask):
            left = np.zeros(len(task), dtype=bool)
            left[request.members] = True
            if not left.all():
                raise InputError(
                    "records were forgotten before this task was prepared",
                    where="sisa",
                    mend="prepare a task without them, or go on from an earlier result's state",
                )
        now = Request.at(ready, request.forgotten, np.flatnonzero(ready.alive))
        outbox: list[tuple[State, ...]] = []
        run = replace(ready, outbox=outbox)
        result = self._after(run, now, limits, before, trajectory=trajectory, checkpoint=checkpoint)
        alive = ready.alive.copy()
        alive[now.forgotten] = False
        cost = ready.prepared + result.evidence.counts["gradients"]
        after = made(ready, outbox[0], alive, epochs=ready.epochs, seed=ready.seed, prepared=cost, gone=ready.gone)
        evidence = replace(
            result.evidence,
            solver={**result.evidence.solver, "prepare_gradients": float(ready.prepared)},
        )
        if before is not None:
            evidence = replace(
                evidence,
                counts={kind: count + before.counts[kind] for kind, count in evidence.counts.items()},
                warnings=(*evidence.warnings, _UNPREPARED),
            )
        return replace(result, state=after, evidence=evidence)

    def forget_fleet(
        self,
        task: NetworkTask,
        requests: Sequence[Request],
        budget: Budget | None = None,
        seeds: Sequence[int] | None = None,
        *,
        starts: State | None = None,
        trajectory: bool = False,
        checkpoint: "Checkpoint | None" = None,
        at_once: int | None = None,
    ) -> list[Result]:
        """One request after another, each from the task given; the budget is for each. The shards are the stack already."""
        self._check_kind("network")
        del checkpoint, at_once
        if starts is not None:
            raise ConfigurationError(
                "sisa starts from its own checkpoints", where="forget_fleet", mend="leave starts out"
            )
        requests, seeds = listed(requests, seeds)
        if not requests or len(requests) != len(seeds):
            raise ConfigurationError(
                f"{len(requests)} requests and {len(seeds)} seeds do not fit",
                where="forget_fleet",
                mend="give one of each for each model, and at least one",
            )
        return [
            self.forget(task, request, budget, seed, trajectory=trajectory)
            for request, seed in zip(requests, seeds, strict=True)
        ]

    def _after(
        self,
        run: SisaTask,
        now: Request,
        budget: Budget,
        before: NetworkMeter | None,
        *,
        trajectory: bool,
        checkpoint: "Checkpoint | None",
    ) -> Result:
        """The replay, with what a preparation before it left of the budget."""
        rest = budget if before is None else _rest(budget, before)
        try:
            return run_fleet(self, run, [now], rest, [run.seed], None, trajectory=trajectory, checkpoint=checkpoint)[0]
        except BudgetExceededError as error:
            if before is None:
                raise
            what = "the budget is used up before sisa was done, its preparation included"
            raise BudgetExceededError(what, where=error.where, mend=error.mend) from None

    def _passes(self, recipe: Recipe) -> int:
        """In each stage."""
        return self.epochs or math.ceil(2 * recipe.epochs / (self.slices + 1))

    def run_networks(self, meter: NetworkMeter, state: State) -> State:
        """Replay of the shards concerned; the ensemble's state from the checkpoints, not from the state given."""
        del state
        task = meter.task
        if not isinstance(task, SisaTask):
            raise InputError("the task is not prepared", where="sisa", mend="call forget, which prepares it")
        alive = task.alive.copy()
        alive[meter.splits[0].forget] = False
        before, after = task.stages(task.alive), task.stages(alive)
        first = [
            next((r for r in range(task.slices) if len(before[r][s]) != len(after[r][s])), task.slices)
            for s in range(task.shards)
        ]
        network = Network.of(task.member, trainable=task.member_trainable, backend=task.backend)
        states = replayed(Shards.of(meter, network), task, alive, first, task.need_recipe())
        task.outbox.append(states)
        meter.warn_of_lone_records(network)
        trained = [len(rows) > 0 for rows in after[-1]]
        for stage in states:
            meter.mark(joined(stage, trained))
        meter.report("shards_replayed", meter.X.new_tensor([sum(r < task.slices for r in first)]))
        meter.claim = (Claim.EXACT, _REASON)
        return joined(states[-1], trained)


def _rest(budget: Budget, spent: NetworkMeter) -> Budget:
    """What a preparation has left for the replay."""
    own, time_left = budget.sample_gradients, budget.seconds
    return replace(
        budget,
        sample_gradients=None if own is None else own - spent.counts["gradients"],
        seconds=None if time_left is None else max(0.0, time_left - spent.seconds),
    )
