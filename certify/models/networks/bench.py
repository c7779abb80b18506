"""Records on one device and a network: every look at them is counted, every step is checked."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from certify.core.arrays import IntArray
from certify.core.errors import InputError
from certify.core.progress import track
from certify.models.networks.batches import Batch, collate, epochs
from certify.models.networks.losses import cross_entropy
from certify.models.networks.network import Gradient, Loss, Network
from certify.models.networks.optimisers import Memory, Optimiser
from certify.models.networks.recipe import Recipe
from certify.models.networks.state import State, Tensors, norm, scale

KINDS = ("gradients", "forwards", "products", "steps")
"""What is counted: gradients of records, forward passes of records, products of records with second derivatives, steps."""


@dataclass
class Bench:
    """K models at work on the same records.

    Attributes:
        network: the architecture.
        X: inputs (n, ...), on the device.
        y: labels or targets (n, ...), on the device.
        loss: losses of records in training.
        seeds: one for each model.
        name: who works, for messages.
        counts: what was done, summed over models.
        traces: mean loss over the models at work in each step, by purpose.
        chunk: records in a batch of passes that only add up or only look; another one changes the result by rounding alone.
    """

    network: Network
    X: Tensor
    y: Tensor
    loss: Loss = cross_entropy
    seeds: tuple[int, ...] = (0,)
    name: str = "training"
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    traces: dict[str, list[float]] = field(default_factory=dict)
    chunk: int = 512

    @property
    def device(self) -> torch.device:
        """Where the records are."""
        return self.X.device

    def charge(self, kind: str, amount: int) -> None:
        """Count before doing; subclasses stop at budgets here."""
        self.counts[kind] += amount

    def reads(self, batch: Batch) -> None:
        """Told of every batch whose records are looked at; subclasses keep the ids."""

    def is_done(self, begins: str) -> bool:
        """Whether a pass was done by an earlier run that this one takes up; subclasses know."""
        del begins
        return False

    def at(self, batch: Batch | str, *carry: Any) -> tuple[Any, ...]:
        """What a loop carries into a batch: what it is given, or what an earlier run had there. Subclasses keep it."""
        del batch
        return carry

    def gradient(
        self,
        state: State,
        batch: Batch,
        loss: Loss | None = None,
        extras: tuple[Tensor, ...] | None = None,
        *,
        train: bool = False,
    ) -> Gradient:
        """Gradient of the batch's mean loss for each model.

        Args:
            state: K models.
            batch: K batches.
            loss: the task's, or another one.
            extras: further arguments of the loss, (K, B, ...); the labels where none are given.
            train: training mode.
        """
        self._look(batch, "gradients")
        extras = (self.y[batch.indices],) if extras is None else extras
        return self.network.gradient(
            state, loss or self.loss, self.X[batch.indices], batch.weights, extras, train=train, seeds=batch.seeds
        )

    def input_gradient(self, state: State, batch: Batch) -> Tensor:
        """Gradient of the batch's mean loss in its inputs, (K, B, ...), in evaluation mode; counted as gradients."""
        self._look(batch, "gradients")
        rows = batch.indices
        return self.network.input_gradient(state, self.loss, self.X[rows], batch.weights, (self.y[rows],))

    def outputs(self, state: State, batch: Batch, *, network: Network | None = None, train: bool = False) -> Tensor:
        """Outputs (K, B, ...) without gradient.

        Args:
            state: K models.
            batch: K batches.
            network: another view of the architecture (:func:`~certify.models.networks.features.features`).
            train: training mode; buffers are left alone.
        """
        self._look(batch, "forwards")
        view = self.network if network is None else network
        return view.outputs(state, self.X[batch.indices], train=train, seeds=batch.seeds)

    def outputs_of(
        self,
        state: State,
        records: Sequence[IntArray],
        batch_size: int | None = None,
        *,
        network: Network | None = None,
        train: bool = False,
    ) -> list[Tensor]:
        """Outputs of each model on its own list of records, (n_k, ...) each; arguments as for :meth:`outputs`."""
        found: list[list[Tensor]] = [[] for _ in records]
        for batch in epochs(records, batch_size=batch_size or self.chunk, shuffle=False, device=self.device):
            values = self.outputs(state, batch, network=network, train=train)
            for model, count in enumerate(batch.records.tolist()):
                found[model].append(values[model, :count])
        return [torch.cat(parts) if parts else torch.empty(0, device=self.device) for parts in found]

    def mean_gradient(
        self, state: State, records: Sequence[IntArray], loss: Loss | None = None, batch_size: int | None = None
    ) -> Gradient:
        """Gradient of the mean loss over each model's list of records, in evaluation mode; zero for an empty list."""
        total: Gradient | None = None
        for batch in epochs(records, batch_size=batch_size or self.chunk, shuffle=False, device=self.device):
            part = self.gradient(state, whole(batch, records), loss)
            total = part if total is None else total.plus(part)
        return self._nothing(state) if total is None else total

    def product(
        self, state: State, vector: Tensors, batch: Batch, loss: Loss | None = None, *, gauss_newton: bool = False
    ) -> dict[str, Tensor]:
        """Hessian, or generalised Gauss-Newton matrix, of the batch's mean loss in evaluation mode, times a vector."""
        self._look(batch, "products")
        product = self.network.gauss_newton_product if gauss_newton else self.network.hessian_product
        extras = (self.y[batch.indices],)
        return product(state, vector, loss or self.loss, self.X[batch.indices], batch.weights, extras)

    def mean_product(
        self,
        state: State,
        vector: Tensors,
        records: Sequence[IntArray],
        loss: Loss | None = None,
        *,
        gauss_newton: bool = False,
        batch_size: int | None = None,
    ) -> dict[str, Tensor]:
        """Hessian, or generalised Gauss-Newton matrix, of the mean loss over each model's records, times a vector.

        A vector of zeros costs nothing: of its model no record is looked at.
        """
        records = asked(records, norm(vector) != 0)
        total: dict[str, Tensor] | None = None
        for batch in epochs(records, batch_size=batch_size or self.chunk, shuffle=False, device=self.device):
            found = self.product(state, vector, whole(batch, records), loss, gauss_newton=gauss_newton)
            total = found if total is None else {name: total[name] + found[name] for name in found}
        return self._nothing(state).tensors if total is None else total

    def step(
        self,
        optimiser: Optimiser,
        state: State,
        gradient: Gradient,
        memory: Memory,
        batch: Batch | None = None,
        *,
        mask: Tensors | None = None,
        factor: Tensor | float = 1.0,
        clip: float | None = None,
        purpose: str = "loss",
    ) -> tuple[State, Memory]:
        """One step of the optimiser, checked to be finite.

        Args:
            optimiser: SGD or Adam.
            state: K models.
            gradient: of what is minimised.
            memory: the optimiser's.
            batch: models without a record in it rest.
            mask: where parameters may move.
            factor: of the step size.
            clip: largest Euclidean norm of a model's gradient; longer ones are shortened.
            purpose: under which the loss is kept in ``traces``.

        Raises:
            InputError: the loss, a parameter or a buffer is not finite; names the method and the step.
        """
        self.charge("steps", state.models if batch is None else int(batch.active.sum()))
        if clip is not None:
            length = norm(gradient.tensors)
            shorten = torch.clamp(clip / torch.clamp(length, min=torch.finfo(torch.float64).tiny), max=1.0)
            gradient = gradient.with_tensors({n: scale(shorten, g) for n, g in gradient.tensors.items()})
        active = None if batch is None else batch.active
        parameters, memory = optimiser.step(
            state.parameters, gradient.tensors, memory, active=active, mask=mask, factor=factor
        )
        after = State(parameters, gradient.buffers)
        after = after if active is None else after.choose(state, active)
        self.check(after, gradient.values)
        rests = active is not None and bool(active.any()) and not bool(active.all())
        at_work = gradient.values[active] if rests else gradient.values  # who rests has no loss
        self.traces.setdefault(purpose, []).append(float(at_work.mean()))
        return after, memory

    def check(self, state: State, values: Tensor | None = None, when: str | None = None) -> None:
        """Refuse what is not finite.

        Args:
            state: K models.
            values: their losses.
            when: for the message; after the step that is being taken, where nothing is said.

        Raises:
            InputError: names the method, the step and the model.
        """
        fine = state.is_finite() if values is None else state.is_finite() & torch.isfinite(values)
        if not bool(fine.all()):
            which = f" of model {int((~fine).nonzero()[0, 0])}" if state.models > 1 else ""
            steps = len(max(self.traces.values(), key=len, default=[])) + 1
            raise InputError(
                f"the loss or a weight{which} is not finite {when or f'after step {steps}'}",
                where=self.name,
                mend="lower lr, clip the gradient, or bring the features to one scale; no weights were written",
            )

    def train(
        self,
        state: State,
        records: Sequence[IntArray],
        recipe: Recipe,
        *,
        name: str = "train",
        adapt: Callable[[Gradient, State], Gradient] | None = None,
    ) -> State:
        """Train each model on its own records by a recipe, in training mode.

        Args:
            state: where to start.
            records: for each model, positions of its records.
            recipe: optimiser, schedule, length.
            name: name of the random stream of the order of records.
            adapt: changes each gradient before the step (penalties).
        """
        optimiser = recipe.build()
        memory = optimiser.start(self.network.moving(state))
        for batch in self.passes(records, epochs=recipe.epochs, batch_size=recipe.batch_size, name=name):
            state, memory = self.at(batch, state, memory)
            gradient = self.gradient(state, batch, train=True)
            gradient = gradient if adapt is None else adapt(gradient, state)
            factors = [recipe.factor(done) for done in batch.done]
            factor = torch.tensor(
                factors, dtype=torch.float64, device=self.device
            )  # in single, lr itself would be rounded
            state, memory = self.step(optimiser, state, gradient, memory, batch, factor=factor, purpose=name)
        return state

    def passes(
        self, records: Sequence[IntArray], *, epochs: int, batch_size: int, name: str, first: int = 0
    ) -> Iterable[Batch]:
        """Batches of some passes in shuffled order, with a progress bar over the passes."""
        for epoch in track(range(first, first + epochs), f"{self.name}: {name}"):
            begins = f"{name}/{epoch}"
            if self.is_done(begins):
                continue
            for batch in one_pass(records, batch_size, self.seeds, name, epoch, self.device):
                yield replace(batch, done=tuple((epoch - first + part) / epochs for part in batch.done), begins=begins)
                begins = ""

    def _look(self, batch: Batch, kind: str) -> None:
        self.charge(kind, int(batch.records.sum()))
        self.reads(batch)

    def _nothing(self, state: State) -> Gradient:
        zero = torch.zeros(state.models, device=self.device)
        tensors = {name: torch.zeros_like(value) for name, value in self.network.moving(state).items()}
        return Gradient(zero, tensors, state.buffers)


def one_pass(
    records: Sequence[IntArray], batch_size: int, seeds: Sequence[int], name: str, epoch: int, device: torch.device
) -> Iterable[Batch]:
    """The batches of one pass in shuffled order."""
    return epochs(records, batch_size=batch_size, seeds=seeds, name=name, first=epoch, device=device)


def whole(batch: Batch, records: Sequence[IntArray]) -> Batch:
    """The same batch weighted so that the sums over all batches are means over each model's whole list."""
    sizes = torch.tensor([max(1, len(rows)) for rows in records], device=batch.weights.device, dtype=torch.float64)
    weights = (batch.weights > 0).double() / sizes[:, None]
    return replace(batch, weights=weights)


def asked(records: Sequence[IntArray], needed: Tensor) -> list[IntArray]:
    """The records of the models that need theirs, (K,), and none of the others."""
    return [rows if need else rows[:0] for rows, need in zip(records, needed.tolist(), strict=True)]


def everything(count: int, models: int, device: torch.device | None = None) -> Batch:
    """All of ``count`` records as one batch, the same for each model."""
    return collate([np.arange(count)] * models, device=device)
