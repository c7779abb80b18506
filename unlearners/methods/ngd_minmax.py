"""NGD min/max for networks: natural-gradient ascent on the forgotten records and descent on the retained ones, in turn."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from certify.core.arrays import IntArray
from certify.core.streams import stream
from certify.models.networks.batches import Batch
from certify.models.networks.losses import divergence_from, squared_error
from certify.models.networks.network import Gradient, Loss
from certify.models.networks.optimisers import Sgd
from certify.models.networks.state import State, map_tensors, rows
from certify.unlearners.evidence import Claim
from certify.unlearners.interface import Kind, Unlearner
from certify.unlearners.networks.curvature import Curvature, Products, exact, low_rank
from certify.unlearners.networks.kronecker import kronecker
from certify.unlearners.networks.meter import NetworkMeter, Which
from certify.unlearners.probe import Probe

_NEVER = 2**62
"""Steps that no run makes; torch counts no further."""


@dataclass(frozen=True)
class NgdMinMax(Unlearner):
    """Min/max with natural gradients, in our own reading.

    The paper's abstract names a min/max scheme for non-convex models; no text of its objective could be had. Ours: the objective is that of SCRUB (Kurmanji et al. 2023), the preconditioner NGD's::

        for each epoch:
            in the first ascent_epochs:  one pass over the forgotten records   up   KL(original || model)
            descent_passes passes over the retained records                    down alpha KL(original || model) + beta loss
        every step:  w <- w - lr (G_R + damping I)^-1 gradient

    G_R is the Gauss-Newton matrix of the mean training loss over the *retained* records (that of the forgotten ones is large just
    where they should move); it is computed anew every ``refresh`` steps, on ``curvature_records`` retained records:

    * "exact": formed and factored; up to a few thousand parameters;
    * "cg": conjugate gradients on its products, all models at once;
    * "low-rank": randomised Nystroem approximation of rank ``rank``;
    * "kronecker": K-FAC, for networks whose moving parameters belong to Linear and Conv2d layers;
    * "none": the plain gradient, as a control.

    At the original the KL divergence of the forgotten records has gradient zero, so that the first ascent step, and it alone, goes
    up the training loss (``first="loss"``) or is taken from slightly perturbed weights (``first="perturb"``).

    Failure modes: the divergence has no upper end and too many ascent epochs or too large an lr ruin the model (``bound`` caps what one
    record pulls, ``clip`` the length of a step); a small ``damping`` lets directions the retained records say nothing of run away, which
    is why the distance to the retrained weights may *grow* while accuracies match; no guarantee of any kind.

    Args:
        lr: step size.
        epochs: rounds of ascent and descent.
        ascent_epochs: rounds with ascent; the rest repair.
        descent_passes: passes over the retained records a round.
        batch_size: records in a batch, retained or forgotten.
        alpha: weight of the divergence in descent.
        beta: weight of the training loss in descent.
        damping: added to the curvature.
        curvature: how it is represented, see above.
        curvature_records: retained records it is computed on; None is all of them.
        refresh: steps between two computations.
        rank: of "low-rank".
        tolerance: relative residual of "cg".
        iterations: largest number of products of "cg".
        first: what the first ascent step follows: "loss" or "perturb".
        perturbation: size of the perturbation, relative to each tensor's root mean square.
        bound: largest divergence of a record aimed at; None is no limit.
        clip: largest norm of a natural gradient; None is no limit.
        momentum: of the steps.
        weight_decay: coefficient of w in the descent's gradient, before preconditioning, and added to the curvature.
    """

    name: ClassVar[str] = "ngd-minmax"
    summary: ClassVar[str] = "natural-gradient ascent on the forgotten, descent on the retained records (our reading)"
    needs: ClassVar[str] = "the original model, the retained and the forgotten records"
    reference: ClassVar[str] = "after Lev, Wilson 2024 and Kurmanji et al. 2023; the objective is our own reading"
    claim: ClassVar[Claim] = Claim.NONE
    kinds: ClassVar[tuple[Kind, ...]] = ("network",)
    family: ClassVar[str] = "second-order"
    reads_forgotten: ClassVar[bool] = True
    stochastic: ClassVar[bool] = True
    ascends: ClassVar[bool] = True

    quick: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            "epochs": 2,
            "ascent_epochs": 1,
            "descent_passes": 1,
            "batch_size": 32,
            "iterations": 4,
            "curvature_records": 16,
        }
    )
    conformance: ClassVar[Probe] = Probe(
        others={"rank": 2, "tolerance": 0.5, "refresh": 2, "curvature_records": 8},
        contexts={
            "rank": {"curvature": "low-rank"},
            "perturbation": {"first": "perturb"},
            "refresh": {},
            "tolerance": {},
            "curvature_records": {},
        },
    )

    lr: Annotated[float, Field(gt=0)] = 0.05
    epochs: Annotated[int, Field(ge=1)] = 12
    ascent_epochs: Annotated[int, Field(ge=1)] = 6
    descent_passes: Annotated[int, Field(ge=1)] = 2
    batch_size: Annotated[int, Field(ge=1)] = 512
    alpha: Annotated[float, Field(ge=0)] = 0.5
    beta: Annotated[float, Field(ge=0)] = 1.0
    damping: Annotated[float, Field(gt=0)] = 0.01
    curvature: Literal["exact", "cg", "low-rank", "kronecker", "none"] = "cg"
    curvature_records: Annotated[int, Field(ge=1)] | None = None
    refresh: Annotated[int, Field(ge=1)] = 1
    rank: Annotated[int, Field(ge=1)] = 50
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    iterations: Annotated[int, Field(ge=1)] = 50
    first: Literal["loss", "perturb"] = "loss"
    perturbation: Annotated[float, Field(gt=0)] = 0.01
    bound: Annotated[float, Field(gt=0)] | None = None
    clip: Annotated[float, Field(gt=0)] | None = None
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0

    def run_networks(self, meter: NetworkMeter, state: State) -> State:
        """Rounds of ascent, in evaluation mode, and descent, in training mode."""
        run = _Run(self, meter, state)
        for epoch in range(self.epochs):
            if epoch < self.ascent_epochs:
                for batch in run.batches("forget", epoch):
                    state = run.ascend(state, batch)
            for place in range(self.descent_passes):
                for batch in run.batches("retain", epoch * self.descent_passes + place):
                    state = run.descend(state, batch)
            meter.mark(state)
        run.report()
        return state


class _Run:
    """What one run carries from step to step: the original's outputs as a teacher, momenta, the curvature."""

    def __init__(self, method: NgdMinMax, meter: NetworkMeter, original: State) -> None:
        self.method, self.meter, self.original = method, meter, original
        self.divergence = divergence(meter.task.loss)
        self.optimiser = Sgd(method.lr, momentum=method.momentum)
        start = self.optimiser.start(meter.network.moving(original))
        self.memory = {"forget": start, "retain": start}
        self.curvature: Curvature | None = None
        # of each model its own: what it gets must not hang on how many steps the others take
        self.taken = torch.zeros(original.models, dtype=torch.int64, device=meter.device)
        self.products = torch.zeros_like(self.taken)
        self.residual = torch.zeros(original.models, dtype=torch.float64, device=meter.device)
        self.risen = False

    def batches(self, which: Which, number: int) -> Iterable[Batch]:
        """One pass."""
        rows = self.meter.records(which)
        return self.meter.passes(rows, epochs=1, batch_size=self.method.batch_size, name=which, first=number)

    def ascend(self, state: State, batch: Batch) -> State:
        """One step on forgotten records."""
        state = self._carried(state, batch)
        gradient = self._away(state, batch) if self.risen else self._first(state, batch)
        self.risen = True
        return self._step(state, gradient, batch, "forget")

    def descend(self, state: State, batch: Batch) -> State:
        """One step on retained records."""
        method, train = self.method, self.meter.loss
        state = self._carried(state, batch)

        def kept(outputs: Tensor, theirs: Tensor, labels: Tensor) -> Tensor:
            return method.alpha * self.divergence(outputs, theirs) + method.beta * train(outputs, labels)

        extras = (self.meter.outputs(self.original, batch), self.meter.y[batch.indices])
        gradient = self.meter.gradient(state, batch, kept, extras, train=True)
        if method.weight_decay:
            parameters = self.meter.network.moving(state)
            decayed = map_tensors(lambda g, w: g + method.weight_decay * w, gradient.tensors, parameters)
            gradient = gradient.with_tensors(decayed)
        return self._step(state, gradient, batch, "retain")

    def _carried(self, state: State, batch: Batch) -> State:
        """What a killed run had here. One with an older curvature in use is not kept: it would have to be kept too."""
        if self.method.refresh > 1 and self.method.curvature != "none":
            return state
        own = (self.memory, self.taken, self.products, self.residual, self.risen)
        state, (self.memory, self.taken, self.products, self.residual, self.risen) = self.meter.at(batch, state, own)
        return state

    def _away(self, state: State, batch: Batch) -> Gradient:
        extras = (self.meter.outputs(self.original, batch),)
        return self.meter.gradient(state, batch, _raised(self.divergence, self.method.bound), extras)

    def _first(self, state: State, batch: Batch) -> Gradient:
        """The divergence from itself has no slope at the original."""
        if self.method.first == "loss":
            return self.meter.gradient(state, batch, _raised(self.meter.loss, self.method.bound))
        return self._away(state.with_parameters(self._perturbed(state)), batch)

    def _perturbed(self, state: State) -> dict[str, Tensor]:
        streams = [stream(seed, "perturbation") for seed in self.meter.seeds]
        found = {}
        for name, value in self.meter.network.moving(state).items():
            drawn = np.stack([own.standard_normal(tuple(value.shape[1:])) for own in streams])
            size = rows(value).square().mean(dim=1).sqrt().reshape(-1, *([1] * (value.dim() - 1)))
            found[name] = value + self.method.perturbation * size * torch.from_numpy(drawn).to(value)
        return found

    def _step(self, state: State, gradient: Gradient, batch: Batch, which: Which) -> State:
        natural = self._natural(state, gradient, batch.active)
        self.taken = self.taken + batch.active
        state, self.memory[which] = self.meter.step(
            self.optimiser, state, natural, self.memory[which], batch, clip=self.method.clip, purpose=which
        )
        return state

    def _natural(self, state: State, gradient: Gradient, active: Tensor) -> Gradient:
        method = self.method
        if method.curvature == "none":
            return gradient
        due = active & (self.taken % min(method.refresh, _NEVER) == 0)
        if bool(due.any()):
            new = self._measured(state, due)
            self.curvature = new if self.curvature is None else new.renewed(due, self.curvature)
        assert self.curvature is not None
        found = self.curvature.solve(gradient.tensors, method.damping + method.weight_decay)
        self.products = self.products + torch.where(active, found.iterations, 0)
        self.residual = torch.where(active, torch.maximum(self.residual, found.residuals), self.residual)
        return gradient.with_tensors(found.tensors)

    def _measured(self, state: State, due: Tensor) -> Curvature:
        """The curvature of the retained records, or of a fresh sample of them; of no record for models that are not due."""
        method, meter = self.method, self.meter
        rows = [
            self._sample(own, meter.seeds[model], int(self.taken[model])) if due[model] else own[:0]
            for model, own in enumerate(meter.records("retain"))
        ]
        if method.curvature == "exact":
            return exact(meter, state, rows, batch_size=method.batch_size)
        if method.curvature == "kronecker":
            return kronecker(meter, state, rows, batch_size=method.batch_size)
        products = Products.at(
            meter, state, rows, tolerance=method.tolerance, iterations=method.iterations, batch_size=method.batch_size
        )
        return products if method.curvature == "cg" else low_rank(products, method.rank)

    def _sample(self, rows: IntArray, seed: int, taken: int) -> IntArray:
        wanted = self.method.curvature_records
        if wanted is None or wanted >= len(rows):
            return rows
        return np.sort(stream(seed, f"curvature/{taken}").choice(rows, size=wanted, replace=False))

    def report(self) -> None:
        """What the solver did, summed up."""
        if self.method.curvature == "none":
            return
        worst = float(self.residual.max())
        self.meter.report("solves", self.taken)
        self.meter.report("products_per_solve", self.products.double() / self.taken)
        self.meter.report("largest_residual", self.residual)
        self.meter.solver["damping"] = self.method.damping + self.method.weight_decay
        if self.method.curvature == "cg" and worst > self.method.tolerance:
            self.meter.warn(
                f"conjugate gradients ended at the limit of {self.method.iterations} products with a relative residual of "
                f"up to {worst:.2g}: the steps are natural gradients only that nearly"
            )


def divergence(loss: str) -> Loss:
    """KL divergence of a record's model distribution from the one of given outputs, for the distribution behind a training loss."""
    found: dict[str, Loss] = {
        "cross-entropy": divergence_from,
        "binary-cross-entropy": _bernoulli_divergence,
        "squared": squared_error,
    }
    return found[loss]


def _bernoulli_divergence(outputs: Tensor, theirs: Tensor) -> Tensor:
    z, t = outputs.reshape(len(outputs)), theirs.reshape(len(theirs))
    pull = torch.nn.functional.logsigmoid
    return torch.sigmoid(t) * (pull(t) - pull(z)) + torch.sigmoid(-t) * (pull(-t) - pull(-z))


def _raised(loss: Loss, bound: float | None) -> Loss:
    """``-loss``, or ``-min(loss, bound)``."""

    def ascend(outputs: Tensor, *more: Tensor) -> Tensor:
        losses = loss(outputs, *more)
        return -losses if bound is None else -torch.clamp(losses, max=min(bound, torch.finfo(losses.dtype).max))

    return ascend
