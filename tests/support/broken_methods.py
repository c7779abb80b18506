"""Mistakes of public code, each rebuilt in miniature as a third party's method. None is a copy: only the mistake is theirs.

``MISTAKES`` maps each to the checks of :mod:`certify.unlearners.conformance` that have to find it.
"""

import random
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field

from certify.models.networks.losses import divergence_from
from certify.models.networks.network import Gradient
from certify.models.networks.recipe import optimiser_of
from certify.models.networks.state import State, map_tensors
from certify.unlearners import Claim, Unlearner
from certify.unlearners.methods.sisa import Sisa
from certify.unlearners.networks.fresh import reinitialised
from certify.unlearners.networks.shards import SisaTask
from certify.unlearners.probe import Probe

MISTAKES: dict[type[Unlearner], tuple[str, ...]] = {}


def found_by(*checks):
    """Enter a method into ``MISTAKES``."""

    def enter(kind):
        MISTAKES[kind] = checks
        return kind

    return enter


class Network(Unlearner):
    """What the miniatures share."""

    summary = needs = reference = "a mistake"
    claim: ClassVar[Claim] = Claim.NONE
    kinds = ("network",)
    family = "gradient"
    reads_forgotten = True
    stochastic = True


class Convex(Unlearner):
    summary = needs = reference = "a mistake"
    claim: ClassVar[Claim] = Claim.APPROXIMATE
    family = "second-order"


def descend(meter, state, which, lr=0.01, *, sign=1.0, epochs=1, batch_size=8, train=False, loss=None, mask=None):
    """Plain passes."""
    optimiser = optimiser_of("sgd", lr=lr)
    memory = optimiser.start(meter.network.moving(state))
    for batch in meter.batches(which, epochs=epochs, batch_size=batch_size):
        gradient = meter.gradient(state, batch, loss, train=train).scaled(sign)
        state, memory = meter.step(optimiser, state, gradient, memory, batch, mask=mask)
    return state


# --- nothing is unlearned --------------------------------------------------------------------------------------------


@found_by("no-op", "batch-size", "sign")
@dataclass(frozen=True)
class OptimiserOnTheTeacher(Network):
    """The optimiser was made from the teacher's parameters; the student is returned as it was."""

    name: ClassVar[str] = "optimiser-on-the-teacher"
    ascends = True
    lr: Annotated[float, Field(gt=0)] = 0.01

    def run_networks(self, meter, state):
        teacher = state.copy()
        descend(meter, teacher, "forget", self.lr, sign=-1.0)
        descend(meter, teacher, "retain", self.lr, train=True)
        return state


@found_by("no-op", "sign")
@dataclass(frozen=True)
class ThirdPath(Network):
    """One copy is optimised, the loss is taken on another, and the original is returned."""

    name: ClassVar[str] = "third-path"
    ascends = True

    def run_networks(self, meter, state):
        optimised, looked_at = state.copy(), state.copy()
        optimiser = optimiser_of("sgd", lr=0.01)
        memory = optimiser.start(meter.network.moving(optimised))
        for batch in meter.batches("forget", epochs=1, batch_size=8):
            gradient = meter.gradient(looked_at, batch).scaled(-1.0)
            optimised, memory = meter.step(optimiser, optimised, gradient, memory, batch)
        return meter.original()


@found_by("sign", "knob-liveness")
@dataclass(frozen=True)
class SharedTeacher(Network):
    """The teacher is a shallow copy, so its divergence from the student is always 0 and only the retain pass acts."""

    name: ClassVar[str] = "shared-teacher"
    ascends = True
    lr: Annotated[float, Field(gt=0)] = 0.01
    weight: Annotated[float, Field(gt=0)] = 1.0

    def run_networks(self, meter, state):
        optimiser = optimiser_of("sgd", lr=self.lr)
        memory = optimiser.start(meter.network.moving(state))
        for _ in range(3):
            for batch in meter.batches("forget", epochs=1, batch_size=8):
                student = teacher = state
                logits = meter.outputs(teacher, batch)
                gradient = meter.gradient(student, batch, divergence_from, (logits,)).scaled(-self.weight)
                state, memory = meter.step(optimiser, state, gradient, memory, batch)
        return descend(meter, state, "retain", self.lr)


@found_by("batch-size")
@dataclass(frozen=True)
class SkipsUnequalBatches(Network):
    """Pairs of batches of different lengths are left out: a small forget set is skipped without a word."""

    name: ClassVar[str] = "skips-unequal-batches"
    batch_size: Annotated[int, Field(ge=1)] = 8

    def run_networks(self, meter, state):
        optimiser = optimiser_of("sgd", lr=0.01)
        memory = optimiser.start(meter.network.moving(state))
        retain = meter.batches("retain", epochs=1, batch_size=self.batch_size)
        for batch, other in zip(meter.batches("forget", epochs=1, batch_size=self.batch_size), retain, strict=False):
            if batch.indices.shape[1] != other.indices.shape[1]:
                continue
            gradient = meter.gradient(state, other).plus(meter.gradient(state, batch).scaled(-1.0))
            state, memory = meter.step(optimiser, state, gradient, memory, batch)
        return state


@found_by("batch-size")
@dataclass(frozen=True)
class DropsTheLastBatch(Network):
    """Batches that are not full are dropped, and the retain pass hides that nothing was forgotten."""

    name: ClassVar[str] = "drops-the-last-batch"

    def run_networks(self, meter, state):
        for batch in meter.batches("forget", epochs=1, batch_size=4):
            if batch.indices.shape[1] == 4:
                optimiser = optimiser_of("sgd", lr=0.01)
                gradient = meter.gradient(state, batch).scaled(-1.0)
                state, _ = meter.step(optimiser, state, gradient, optimiser.start(meter.network.moving(state)), batch)
        return descend(meter, state, "retain")


# --- the wrong direction, or too far ---------------------------------------------------------------------------------


@found_by("sign")
@dataclass(frozen=True)
class FlipsBeforeBackward(Network):
    """The gradients are negated before the backward pass writes them: it descends on the forgotten records."""

    name: ClassVar[str] = "flips-before-backward"
    ascends = True
    lr: Annotated[float, Field(gt=0)] = 0.01

    def run_networks(self, meter, state):
        optimiser = optimiser_of("sgd", lr=self.lr)
        memory = optimiser.start(meter.network.moving(state))
        zero = map_tensors(torch.zeros_like, meter.network.moving(state))
        for batch in meter.batches("forget", epochs=1, batch_size=8):
            flipped = map_tensors(torch.neg, zero)
            gradient = meter.gradient(state, batch)
            gradient = gradient.with_tensors(map_tensors(torch.add, flipped, gradient.tensors))
            state, memory = meter.step(optimiser, state, gradient, memory, batch)
        return state


@found_by("sign")
@dataclass(frozen=True)
class ClimbsOnTheRetained(Network):
    """Fine-tuning with the sign of ascent."""

    name: ClassVar[str] = "climbs-on-the-retained"
    reads_forgotten = False
    lr: Annotated[float, Field(gt=0)] = 0.01

    def run_networks(self, meter, state):
        return descend(meter, state, "retain", self.lr, sign=-1.0)


@found_by("finite")
@dataclass(frozen=True)
class RawLogits(Network):
    """The divergence of raw logits, whose logarithm of a negative number is NaN."""

    name: ClassVar[str] = "raw-logits"

    def run_networks(self, meter, state):
        def divergence(outputs, labels):
            return torch.nn.functional.kl_div(outputs.log(), outputs.detach().roll(1, 1).clone(), reduction="none").sum(
                1
            )

        return descend(meter, state, "forget", loss=divergence)


@found_by("finite")
@dataclass(frozen=True)
class OverForgets(Network):
    """Unbounded ascent with defaults that drive every forgotten loss far beyond any unseen one."""

    name: ClassVar[str] = "over-forgets"
    ascends = True
    lr: Annotated[float, Field(gt=0)] = 0.3

    def run_networks(self, meter, state):
        optimiser = optimiser_of("sgd", lr=self.lr)
        memory = optimiser.start(meter.network.moving(state))
        for _ in range(60):
            whole = [meter.mean_gradient(state, meter.records(which)) for which in ("retain", "forget")]
            state, memory = meter.step(optimiser, state, whole[0].plus(whole[1].scaled(-0.5)), memory)
        return state


@found_by("finite")
@dataclass(frozen=True)
class Exposes(Network):
    """The signs of the two losses exchanged: it learns what is to be forgotten, at the cost of the rest."""

    name: ClassVar[str] = "exposes"

    def run_networks(self, meter, state):
        optimiser = optimiser_of("sgd", lr=0.2)
        memory = optimiser.start(meter.network.moving(state))
        for _ in range(100):
            gradient = meter.mean_gradient(state, meter.records("forget"))
            gradient = gradient.plus(meter.mean_gradient(state, meter.records("retain")).scaled(-0.5))
            state, memory = meter.step(optimiser, state, gradient, memory)
        return state


# --- knobs and seeds -------------------------------------------------------------------------------------------------


@found_by("knob-liveness")
@dataclass(frozen=True)
class IgnoresMsteps(Network):
    """One joint loss; ``msteps`` is accepted and read by nobody."""

    name: ClassVar[str] = "ignores-msteps"
    msteps: Annotated[int, Field(ge=1)] = 2
    epochs: Annotated[int, Field(ge=1)] = 2

    def run_networks(self, meter, state):
        return descend(meter, state, "forget", sign=-1.0, epochs=self.epochs)


@found_by("knob-liveness")
@dataclass(frozen=True)
class IgnoresForgetBatchSize(Network):
    """The forget batch size goes to a variable of another name."""

    name: ClassVar[str] = "ignores-forget-batch-size"
    batch_size: Annotated[int, Field(ge=1)] = 8
    forget_batch_size: Annotated[int, Field(ge=1)] = 8

    def run_networks(self, meter, state):
        return descend(meter, state, "forget", sign=-1.0, batch_size=self.batch_size)


@found_by("knob-liveness")
@dataclass(frozen=True)
class CrashesWhenWarm(Network):
    """A name that only a non-default knob reaches is not defined."""

    name: ClassVar[str] = "crashes-when-warm"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def run_networks(self, meter, state):
        if self.warmup > 0:
            state = warm_up(state)  # noqa: F821
        return descend(meter, state, "forget", sign=-1.0)


@found_by("determinism")
@dataclass(frozen=True)
class SeedZeroIsNone(Network):
    """``if seed:`` — seed 0 is taken for no seed."""

    name: ClassVar[str] = "seed-zero-is-none"

    def run_networks(self, meter, state):
        seed = meter.seeds[0]
        rng = np.random.default_rng(seed if seed else None)
        return state.with_parameters(
            {n: v + 0.01 * float(rng.normal()) for n, v in meter.network.moving(state).items()}
        )


@found_by("determinism")
@dataclass(frozen=True)
class IgnoresTheSeed(Network):
    """Declared stochastic, with a generator of its own."""

    name: ClassVar[str] = "ignores-the-seed"

    def run_networks(self, meter, state):
        rng = np.random.default_rng(42)
        return state.with_parameters(
            {n: v + 0.01 * float(rng.normal()) for n, v in meter.network.moving(state).items()}
        )


@found_by("determinism")
@dataclass(frozen=True)
class FirstModelsSeed(Network):
    """In a fleet every model draws by the first one's seed."""

    name: ClassVar[str] = "first-models-seed"

    def run_networks(self, meter, state):
        rng = np.random.default_rng(meter.seeds[0])
        return state.with_parameters(
            {n: v + 0.01 * float(rng.normal()) for n, v in meter.network.moving(state).items()}
        )


# --- oracles that are none -------------------------------------------------------------------------------------------


@found_by("fresh-init")
@dataclass(frozen=True)
class ResetsTheHead(Network):
    """A "retrain" that resets top-level parts which own a reset, here the head, and trains on."""

    name: ClassVar[str] = "resets-the-head"
    claim: ClassVar[Claim] = Claim.EXACT
    family = "exact"
    needs_original = False
    reads_forgotten = False

    def run_networks(self, meter, state):
        with torch.random.fork_rng(devices=[]):
            made = []
            for seed in meter.seeds:
                torch.manual_seed(seed)
                made.append(reinitialised(meter.task.model, ["head"]))
        start = State.of(*made)
        moving = meter.network.moving(state)
        start = state.with_parameters({n: v for n, v in start.parameters.items() if n in moving})
        return meter.train(start, meter.records("retain"), meter.task.need_recipe())


@found_by("tombstones")
@dataclass(frozen=True)
class Resurrects(Network):
    """Deletes from the records it first saw: what an earlier request deleted is back."""

    name: ClassVar[str] = "resurrects"
    reads_forgotten = False

    def run_networks(self, meter, state):
        kept = [np.setdiff1d(np.arange(meter.held_out_start), split.forget) for split in meter.splits]
        gradients = [meter.X[torch.as_tensor(rows)].mean() for rows in kept]  # past the meter, so unseen by it
        shift = torch.stack(gradients).to(state.device)
        moving = meter.network.moving(state)
        return state.with_parameters(
            {n: v + 1e-3 * shift.reshape(-1, *([1] * (v.dim() - 1))) for n, v in moving.items()}
        )


@found_by("tombstones")
@dataclass(frozen=True)
class ReadsStrays(Network):
    """The same through the meter, which refuses a record that is neither kept nor forgotten."""

    name: ClassVar[str] = "reads-strays"
    reads_forgotten = False

    def run_networks(self, meter, state):
        kept = [np.setdiff1d(np.arange(meter.held_out_start), split.forget) for split in meter.splits]
        return meter.train(state, kept, meter.task.need_recipe())


@found_by("tombstones")
@dataclass(frozen=True)
class DropsLeftovers(Network):
    """Equal shards: what is left over when the records are cut is never trained on."""

    name: ClassVar[str] = "drops-leftovers"
    claim: ClassVar[Claim] = Claim.EXACT
    reads_forgotten = False

    def run_networks(self, meter, state):
        kept = [rows[: len(rows) // 5 * 5] for rows in meter.records("retain")]
        return meter.train(state, kept, meter.task.need_recipe())


@found_by("tombstones")
@dataclass(frozen=True)
class PeeksAtTheForgotten(Network):
    """Declares that it does not read the forgotten records, and does."""

    name: ClassVar[str] = "peeks-at-the-forgotten"
    reads_forgotten = False

    def run_networks(self, meter, state):
        return descend(meter, state, "forget", sign=-1.0)


# --- second order ----------------------------------------------------------------------------------------------------


@found_by("linear-oracle", "permutation")
@dataclass(frozen=True)
class AlongTheFirstRecord(Convex):
    """An inverse by a recursion over records that keeps only the first one's direction."""

    name: ClassVar[str] = "along-the-first-record"

    def run(self, meter, start):
        first = np.asarray(meter.problem.X[:1])
        gradient = meter.gradient(start)
        meter.iterate()
        return start - (gradient @ first.T) * first / float(first @ first.T) / meter.problem.records


@found_by("linear-oracle", "empty-request")
@dataclass(frozen=True)
class CountsThePenaltyTwice(Convex):
    """The regulariser stands in the retained gradient already and is added again."""

    name: ClassVar[str] = "counts-the-penalty-twice"

    def run(self, meter, start):
        gradient = meter.gradient(start) + meter.problem.penalty * start
        return start - meter.newton_step(start, gradient)


@found_by("linear-oracle")
@dataclass(frozen=True)
class ClaimsTooMuch(Convex):
    """One Newton step on any loss, claimed to be exact."""

    name: ClassVar[str] = "claims-too-much"
    claim: ClassVar[Claim] = Claim.EXACT

    def run(self, meter, start):
        return start - meter.newton_step(start, meter.gradient(start))


@found_by("linear-oracle")
@dataclass(frozen=True)
class ClaimsByTheWay(Convex):
    """Of a family that has nothing to solve; each run claims to be exact all the same."""

    name: ClassVar[str] = "claims-by-the-way"
    claim: ClassVar[Claim] = Claim.NONE
    family = "relabel"

    def run(self, meter, start):
        meter.claim = (Claim.EXACT, "by the way")
        return start - meter.newton_step(start, meter.gradient(start))


@found_by("linear-oracle")
@dataclass(frozen=True)
class WrongSign(Convex):
    """The step away from the retained optimum."""

    name: ClassVar[str] = "wrong-sign"

    def run(self, meter, start):
        return start + meter.newton_step(start, meter.gradient(start))


# --- masks, importances, buffers -------------------------------------------------------------------------------------


@found_by("mask-integrity")
@dataclass(frozen=True)
class LeakingMask(Network):
    """The mask multiplies the gradient; momentum and weight decay move what it was to hold."""

    name: ClassVar[str] = "leaking-mask"
    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0

    def share_moved(self):
        return self.share

    def run_networks(self, meter, state):
        first = meter.mean_gradient(state, meter.records("forget")).tensors
        mask = {n: _largest(g.abs(), self.share) for n, g in first.items()}
        optimiser = optimiser_of("sgd", lr=0.01, momentum=self.momentum, weight_decay=self.weight_decay)
        memory = optimiser.start(meter.network.moving(state))
        for batch in meter.batches("forget", epochs=2, batch_size=8):
            gradient = meter.gradient(state, batch).scaled(-1.0)
            gradient = gradient.with_tensors({n: g * mask[n] for n, g in gradient.tensors.items()})
            state, memory = meter.step(optimiser, state, gradient, memory, batch)
        return state


def _largest(value, share):
    """Ones where a number is among the largest share of its tensor, for each model."""
    flat = value.flatten(1)
    keep = max(1, int(share * flat.shape[1]))
    limit = flat.sort(dim=1, descending=True).values[:, keep - 1]
    return (value >= limit.reshape(-1, *([1] * (value.dim() - 1)))).to(value.dtype)


@found_by("mask-integrity")
@dataclass(frozen=True)
class MovesWhatIsFrozen(Network):
    """Adds noise to every parameter, the frozen ones too."""

    name: ClassVar[str] = "moves-what-is-frozen"

    def run_networks(self, meter, state):
        rngs = [np.random.default_rng(seed) for seed in meter.seeds]
        noise = torch.tensor([float(rng.normal()) for rng in rngs]).double()
        return state.with_parameters(
            {n: v + 0.01 * noise.reshape(-1, *([1] * (v.dim() - 1))) for n, v in state.parameters.items()}
        )


@found_by("mask-integrity")
@dataclass(frozen=True)
class ForgetPassMovesStatistics(Network):
    """A forget pass in training mode: the running statistics of batch normalisation follow the forgotten records."""

    name: ClassVar[str] = "forget-pass-moves-statistics"

    def run_networks(self, meter, state):
        return descend(meter, state, "forget", sign=-1.0, train=True)


@found_by("batch-size")
@dataclass(frozen=True)
class SquaresTheMean(Network):
    """The importance of a weight as the square of a batch's mean gradient instead of the mean of squares."""

    name: ClassVar[str] = "squares-the-mean"
    stochastic = False
    family = "dampen"
    batch_size: Annotated[int, Field(ge=1)] = 8

    def run_networks(self, meter, state):
        total = None
        for batch in meter.batches("forget", epochs=1, batch_size=self.batch_size, name="importance"):
            square = {n: g.square() for n, g in meter.gradient(state, batch).tensors.items()}
            total = square if total is None else map_tensors(torch.add, total, square)
        moving = meter.network.moving(state)
        return state.with_parameters({n: v * (1 - torch.clamp(total[n], max=0.5)) for n, v in moving.items()})


# --- what is the caller's --------------------------------------------------------------------------------------------


@found_by("isolation")
@dataclass(frozen=True)
class SeedsNumpy(Network):
    """Seeds NumPy's and Python's global generators."""

    name: ClassVar[str] = "seeds-numpy"

    def run_networks(self, meter, state):
        np.random.seed(0)  # noqa: NPY002
        random.seed(0)
        return descend(meter, state, "forget", sign=-1.0)


@found_by("isolation")
@dataclass(frozen=True)
class ChangesThePrecision(Network):
    """Leaves torch's default type changed."""

    name: ClassVar[str] = "changes-the-precision"

    def run_networks(self, meter, state):
        torch.set_default_dtype(torch.float64)
        return descend(meter, state, "forget", sign=-1.0)


@found_by("isolation")
@dataclass(frozen=True)
class SwitchesGradientsOff(Network):
    """Switches gradients off for the whole process, in its own ``forget``."""

    name: ClassVar[str] = "switches-gradients-off"

    def run_networks(self, meter, state):
        return descend(meter, state, "forget", sign=-1.0)

    def forget(self, task, request, budget=None, seed=0, *, trajectory=False):
        result = super().forget(task, request, budget, seed, trajectory=trajectory)
        torch.set_grad_enabled(False)
        return result


@found_by("isolation")
@dataclass(frozen=True)
class WritesIntoTheModel(Network):
    """Changes the caller's model in place."""

    name: ClassVar[str] = "writes-into-the-model"

    def run_networks(self, meter, state):
        end = descend(meter, state, "forget", sign=-1.0)
        end.pick([0]).write_into(meter.task.model)
        return end


@found_by("isolation")
@dataclass(frozen=True)
class LeavesTrainingMode(Network):
    """Leaves the caller's model in training mode, and its gradients filled."""

    name: ClassVar[str] = "leaves-training-mode"

    def run_networks(self, meter, state):
        meter.task.model.train()
        return descend(meter, state, "forget", sign=-1.0)


@found_by("isolation")
@dataclass(frozen=True)
class WritesIntoTheRecords(Network):
    """Relabels the forgotten records in the caller's array."""

    name: ClassVar[str] = "writes-into-the-records"

    def run_networks(self, meter, state):
        meter.task.y[meter.splits[0].forget] = 0
        return descend(meter, state, "forget", sign=-1.0)


# --- accounts --------------------------------------------------------------------------------------------------------


@found_by("budget")
@dataclass(frozen=True)
class WorksPastTheMeter(Network):
    """Half of the gradients are taken from the network itself, uncounted."""

    name: ClassVar[str] = "works-past-the-meter"

    def run_networks(self, meter, state):
        for batch in meter.batches("forget", epochs=2, batch_size=8):
            extras = (meter.y[batch.indices],)
            quiet = meter.network.gradient(state, meter.loss, meter.X[batch.indices], batch.weights, extras)
            told = meter.gradient(state, batch)
            moving = meter.network.moving(state)
            state = state.with_parameters(
                {n: v + 0.005 * (told.tensors[n] + quiet.tensors[n]) for n, v in moving.items()}
            )
        return state


@found_by("budget")
@dataclass(frozen=True)
class CatchesTheBudget(Network):
    """Swallows the error of a budget and goes on with what it has."""

    name: ClassVar[str] = "catches-the-budget"

    def run_networks(self, meter, state):
        from certify.core.errors import BudgetExceededError

        try:
            return descend(meter, state, "forget", sign=-1.0, epochs=3)
        except BudgetExceededError:
            return state


@found_by("budget")
@dataclass(frozen=True)
class UncountedGradient(Convex):
    """The gradient comes from the problem, past the meter."""

    name: ClassVar[str] = "uncounted-gradient"

    def run(self, meter, start):
        return start - meter.newton_step(start, meter.problem.gradient(start))


# --- a model and a memory of its own ---------------------------------------------------------------------------------


@found_by("tombstones")
@dataclass(frozen=True)
class RaisesTheDead(Sisa):
    """Shards that are cut from all records again with each request: what an earlier one deleted is trained on."""

    name: ClassVar[str] = "raises-the-dead"

    def forget(self, task, request, budget=None, seed=0, *, trajectory=False, checkpoint=None):
        if isinstance(task, SisaTask):
            task = replace(task, alive=np.ones(len(task), dtype=bool))
        return super().forget(task, request, budget, seed, trajectory=trajectory, checkpoint=checkpoint)


@found_by("tombstones")
@dataclass(frozen=True)
class LeavesARecordOut(Sisa):
    """What is left over when the records are cut into shards is never trained on."""

    name: ClassVar[str] = "leaves-a-record-out"

    def prepare(self, task, seed=0):
        keep = np.arange(len(task) - 1)
        part = replace(task, X=task.X[keep], y=task.y[keep], ids=keep)
        ready = super().prepare(part, seed)
        return replace(ready, X=task.X, y=task.y, ids=None, alive=np.append(ready.alive, False))


@found_by("no-op")
@dataclass(frozen=True)
class KeepsTheEnsemble(Sisa):
    """Trains an ensemble on all records and returns it as it is."""

    name: ClassVar[str] = "keeps-the-ensemble"

    def run_networks(self, meter, state):
        super().run_networks(meter, state)
        meter.task.outbox[:] = [meter.task.checkpoints]
        return state


# --- declarations that are not so ------------------------------------------------------------------------------------


@found_by("permutation", "batch-size")
@dataclass(frozen=True)
class NotInOneGo(Network):
    """Declares that it looks at the records in one go, and steps from batch to batch."""

    name: ClassVar[str] = "not-in-one-go"
    one_shot = True
    batch_size: Annotated[int, Field(ge=1)] = 8

    def run_networks(self, meter, state):
        return descend(meter, state, "forget", 0.05, sign=-1.0, batch_size=self.batch_size)


@found_by("knob-liveness")
@dataclass(frozen=True)
class MoreThanAReport(Network):
    """A knob that is declared to change the report alone changes the step."""

    name: ClassVar[str] = "more-than-a-report"
    conformance: ClassVar[Probe] = Probe(reports=("threshold",))
    threshold: Annotated[float, Field(gt=0)] = 0.01

    def run_networks(self, meter, state):
        meter.report("threshold", torch.full((meter.models,), self.threshold))
        return descend(meter, state, "forget", self.threshold, sign=-1.0)


@found_by("knob-liveness")
@dataclass(frozen=True)
class ReportsNothing(Network):
    """A knob of the report that the report does not show."""

    name: ClassVar[str] = "reports-nothing"
    conformance: ClassVar[Probe] = Probe(reports=("threshold",))
    threshold: Annotated[float, Field(gt=0)] = 0.01

    def run_networks(self, meter, state):
        return descend(meter, state, "forget", sign=-1.0)


@found_by("mask-integrity")
@dataclass(frozen=True)
class SteadyAndMoving(ForgetPassMovesStatistics):
    """Declares knobs under which the steps are fixed; the forget pass in training mode is seen all the same."""

    name: ClassVar[str] = "steady-and-moving"
    conformance: ClassVar[Probe] = Probe(steady={"margin": 0.9})
    margin: Annotated[float, Field(gt=0)] = 0.5


@found_by("mask-integrity")
@dataclass(frozen=True)
class SteadyWithoutNeed(Network):
    """The forget pass moves the statistics but for the knob that it declares for the test; its steps are always as many."""

    name: ClassVar[str] = "steady-without-need"
    conformance: ClassVar[Probe] = Probe(steady={"train": False})
    train: bool = True

    def run_networks(self, meter, state):
        return descend(meter, state, "forget", sign=-1.0, train=self.train)


@found_by("batch-size")
@dataclass(frozen=True)
class RestsAlways(SkipsUnequalBatches):
    """Declares knobs under which a single record is forgotten, and skips it under any."""

    name: ClassVar[str] = "rests-always"
    conformance: ClassVar[Probe] = Probe(alone={"lr": 0.5})
    lr: Annotated[float, Field(gt=0)] = 0.05


@found_by("batch-size")
@dataclass(frozen=True)
class InertIndeed(Network):
    """Declares a knob of memory, which nothing looks at: no result depends on it, and no pass over the records either."""

    name: ClassVar[str] = "inert-indeed"
    conformance: ClassVar[Probe] = Probe(inert=("chunk",))
    chunk: Annotated[int, Field(ge=1)] = 64

    def run_networks(self, meter, state):
        return descend(meter, state, "forget", sign=-1.0)


@found_by("knob-liveness")
@dataclass(frozen=True)
class ReportsNoise(Network):
    """What it reports is another number each time, whatever the knob of the report says."""

    name: ClassVar[str] = "reports-noise"
    conformance: ClassVar[Probe] = Probe(reports=("threshold",))
    threshold: Annotated[float, Field(gt=0)] = 0.01

    def run_networks(self, meter, state):
        meter.solver["noise"] = float(np.random.default_rng().normal())
        return descend(meter, state, "forget", sign=-1.0)


@found_by("no-op")
@dataclass(frozen=True)
class ControlThatActs(Network):
    """Says of itself that it is a control, so that nothing is asked of what it does."""

    name: ClassVar[str] = "control-that-acts"
    family = "control"

    def run_networks(self, meter, state):
        return descend(meter, state, "forget", sign=-1.0)


@found_by("linear-oracle")
@dataclass(frozen=True)
class NearByItsOracleAlone(Convex):
    """Exact with the knobs it is examined with, and nothing with its own."""

    name: ClassVar[str] = "near-by-its-oracle-alone"
    conformance: ClassVar[Probe] = Probe(oracle={"share": 1.0})
    share: Annotated[float, Field(gt=0)] = 1e-3

    def run(self, meter, start):
        return start - self.share * meter.newton_step(start, meter.gradient(start))


# --- the control -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sound(Network):
    """Free of all of these mistakes: every check has to pass it."""

    name: ClassVar[str] = "sound"
    ascends = True

    lr: Annotated[float, Field(gt=0)] = 0.005
    epochs: Annotated[int, Field(ge=1)] = 2
    batch_size: Annotated[int, Field(ge=1)] = 8
    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    optimiser: Literal["sgd", "adam"] = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.5
    weight_decay: Annotated[float, Field(ge=0)] = 0.0

    def share_moved(self):
        return self.share

    def run_networks(self, meter, state):
        first = meter.mean_gradient(state, meter.records("forget")).tensors
        mask = {n: _largest(g.abs(), self.share).bool() for n, g in first.items()}
        optimiser = optimiser_of(self.optimiser, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
        memory = optimiser.start(meter.network.moving(state))
        for batch in meter.batches("forget", epochs=self.epochs, batch_size=self.batch_size):
            gradient: Gradient = meter.gradient(state, batch).scaled(-1.0)
            state, memory = meter.step(optimiser, state, gradient, memory, batch, mask=mask)
        return state
