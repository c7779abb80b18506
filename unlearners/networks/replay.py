"""SISA at work: the members of an ensemble trained stage by stage, all or some of them, on the ensemble's meter."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from certify.core.arrays import IntArray
from certify.core.streams import stream
from certify.models.networks.batches import Batch
from certify.models.networks.bench import Bench
from certify.models.networks.losses import loss_named
from certify.models.networks.network import Network
from certify.models.networks.recipe import Recipe
from certify.models.networks.state import State
from certify.unlearners.evidence import Budget
from certify.unlearners.networks.meter import NetworkMeter, Split
from certify.unlearners.networks.shards import SisaTask
from certify.unlearners.networks.task import NetworkTask


@dataclass(kw_only=True)
class Shards(Bench):
    """The members' bench: what they read and spend goes to the ensemble's meter, and what they carry to its checkpoint.

    Attributes:
        meter: the ensemble's.
        states: the checkpoints of the stages so far.
    """

    meter: NetworkMeter
    states: list[State] = field(default_factory=list)

    @classmethod
    def of(cls, meter: NetworkMeter, network: Network) -> "Shards":
        """For members of this structure."""
        return cls(
            network,
            meter.X,
            meter.y,
            meter.loss,
            name=meter.name,
            counts=meter.counts,
            traces=meter.traces,
            meter=meter,
        )

    def charge(self, kind: str, amount: int) -> None:
        """Counted for the ensemble, whose budget it is."""
        self.meter.charge(kind, amount)

    def reads(self, batch: Batch) -> None:
        """What the members look at, the ensemble has looked at."""
        rows = batch.indices[batch.weights > 0][None]
        self.meter.reads(replace(batch, indices=rows, weights=rows.new_ones(rows.shape).double()))

    def is_done(self, begins: str) -> bool:
        """Whether a run that is taken up did this pass."""
        return self.meter.is_done(begins)

    def at(self, batch: Batch | str, *carry: Any) -> tuple[Any, ...]:
        """The stages that an earlier run did, whose passes are skipped, come back with what the pass carries."""
        self.meter.warn_of_lone_records(self.network)  # who takes the run up may meet none
        states, *rest = self.meter.at(batch, tuple(self.states), *carry)
        self.states, self.counts, self.traces = list(states), self.meter.counts, self.meter.traces
        return tuple(rest)


def meter_of(name: str, task: NetworkTask, seeds: Sequence[int], budget: Budget, device: torch.device) -> NetworkMeter:
    """The meter of a preparation, which forgets nothing."""
    X, y = task.tensors(device)
    return NetworkMeter(
        network=Network.of(task.model, trainable=task.trainable, backend=task.backend),
        X=X,
        y=y,
        loss=loss_named(task.loss),
        seeds=tuple(seeds),
        name=name,
        task=task,
        splits=(Split(np.arange(len(task)), np.arange(0)),),
        budget=budget,
        held_out_start=len(X),
    )


def replayed(
    bench: Shards, task: SisaTask, alive: np.ndarray[Any, np.dtype[np.bool_]], first: Sequence[int], recipe: Recipe
) -> tuple[State, ...]:
    """The checkpoints when each shard s has repeated the stages from ``first[s]`` on the records that are left."""
    own = replace(recipe, epochs=task.epochs)
    bench.states = [task.checkpoints[0].to(bench.device)]
    for r, records in enumerate(task.stages(alive)):
        now = [s for s in range(task.shards) if first[s] <= r]
        after = _stage(bench, task, bench.states[-1], r, now, records, own)
        bench.states.append(after)  # a run that is taken up in this stage has the earlier ones by now
    return tuple(bench.states)


def _stage(
    bench: Shards,
    task: SisaTask,
    state: State,
    r: int,
    now: Sequence[int],
    records: Sequence[IntArray],
    recipe: Recipe,
) -> State:
    """The checkpoint after stage r: the old one for shards that are not concerned."""
    kept = task.checkpoints[r + 1].to(bench.device)
    if not now:
        return kept
    bench.seeds = tuple(shard_seed(task.seed, s) for s in now)
    trained = bench.train(state.pick(now), [records[s] for s in now], recipe, name=f"sisa/{r}")
    place = {s: position for position, s in enumerate(now)}
    return State.join([trained.pick([place[s]]) if s in place else kept.pick([s]) for s in range(task.shards)])


def shard_seed(seed: int, shard: int) -> int:
    """Of a shard's initial weights and order of records."""
    return int(stream(seed, f"sisa/shard/{shard}").integers(2**62))
