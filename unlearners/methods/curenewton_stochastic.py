"""Stochastic CureNewton (CuReNUS): cubic-regularised steps from two batches, by gradients and Hessian products alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from certify.core.streams import stream
from certify.models.networks.batches import Batch, collate
from certify.models.networks.state import State, flatten, unflatten
from certify.unlearners.evidence import Claim
from certify.unlearners.interface import Kind, Unlearner
from certify.unlearners.networks.meter import NetworkMeter
from certify.unlearners.networks.second_order import moved, note

Product = Callable[[Tensor], Tensor]
"""The Hessians of K models times flat vectors (K, P)."""


@dataclass(frozen=True)
class CureNewtonStochastic(Unlearner):
    """Inexact minimisers of ``g.s + s'Hs/2 + (L/6)||s||^3``, g and H the derivatives of the mean loss of two retained batches.

    A step draws a batch for g and, independently, one for H, each without replacement from all retained records; starts at the minimiser of the model along -g (the Cauchy point,
    :func:`cauchy_point`); and takes ``inner_steps`` gradient steps on the model,

        ``s <- s - lr (g + sigma z + Hs + (L/2)||s|| s)``,  z uniform on the unit sphere, drawn once a step.

    The perturbation is what leaves the hard case, where g is orthogonal to the direction of most negative curvature. The term
    ``(L/2)||s|| s`` is part of the method, though a printed form of it leaves it out. Memory: a few vectors a model; K models run
    as one batch.

    With 5 to 10 inner steps this is a coarse step by design; many steps forget, a few hardly do. Batch statistics stay as they
    are, so that g and H belong to one function.

    *Our safeguard.* The inner steps converge for ``lr <= 1 / (4 (||H|| + L r))`` and run away from about ``2 / ||H||`` on. An
    inner step that would raise the cubic model is not taken, and the model's step size is halved from there on; a warning says
    so. With a step size that suits, the iterates are the published ones, and the cubic model is never above the Cauchy point's.

    Args:
        L: cubic weight, the Hessian-Lipschitz constant of the mean loss if it were known; published values are 5 to 400.
        steps: cubic steps.
        inner_steps: gradient steps on each cubic model.
        lr: their step size; published: the training's.
        sigma: length of the perturbation; published: 0.001 in the code, 0.1 in the text.
        batch_size: retained records for g.
        curvature_batch_size: retained records for H.
        weight_decay: adds ``(weight_decay / 2)||w||^2`` to the mean loss.
    """

    name: ClassVar[str] = "curenewton-stochastic"
    summary: ClassVar[str] = "cubic-regularised steps from batches and Hessian products; any network"
    needs: ClassVar[str] = "the original model, the retained records"
    reference: ClassVar[str] = "Bui et al. 2024 (arXiv 2406.14507); Carmon, Duchi 2019; Tripuraneni et al. 2018"
    claim: ClassVar[Claim] = Claim.NONE
    kinds: ClassVar[tuple[Kind, ...]] = ("network",)
    family: ClassVar[str] = "second-order"
    stochastic: ClassVar[bool] = True

    quick: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"steps": 3, "inner_steps": 2, "batch_size": 16, "curvature_batch_size": 8}
    )

    L: Annotated[float, Field(gt=0)] = 5.0
    steps: Annotated[int, Field(ge=1)] = 20
    inner_steps: Annotated[int, Field(ge=0)] = 5
    lr: Annotated[float, Field(gt=0)] = 0.1
    sigma: Annotated[float, Field(ge=0)] = 1e-3
    batch_size: Annotated[int, Field(ge=1)] = 128
    curvature_batch_size: Annotated[int, Field(ge=1)] = 64
    weight_decay: Annotated[float, Field(ge=0)] = 0.0

    def run_networks(self, meter: NetworkMeter, state: State) -> State:
        """Cubic steps for all models at once."""
        lr = torch.full((state.models,), self.lr, dtype=torch.float64, device=meter.device)
        for step, begins in meter.rounds(self.steps):
            state, lr = meter.at(begins, state, lr)
            found = meter.gradient(state, _drawn(meter, self.batch_size, f"curenewton/gradient/{step}"))
            note(meter, "retain", found.values)
            g = flatten(found.tensors).double()
            g = g + self.weight_decay * flatten(meter.network.moving(state)).double()
            product = self._product(
                meter, state, _drawn(meter, self.curvature_batch_size, f"curenewton/curvature/{step}")
            )
            Hg = product(g)
            s = cauchy_point(g, Hg, self.L)
            length = g.norm(dim=1)
            along = s.norm(dim=1) / torch.where(length > 0, length, 1.0)
            note(meter, "Cauchy radius", s.norm(dim=1))
            noisy = g + self.sigma * self._directions(meter, step, g)
            s, _, lr = descend(noisy, product, s, -along[:, None] * Hg, lipschitz=self.L, lr=lr, steps=self.inner_steps)
            note(meter, "radius", s.norm(dim=1))
            note(meter, "damping", 0.5 * self.L * s.norm(dim=1))
            note(meter, "inner lr", lr)
            state = moved(meter, state, s)
            meter.mark(state)
        if bool((lr < self.lr).any()):
            meter.warn(
                f"inner steps of lr {self.lr:g} raised the cubic model: lr was halved down to {float(lr.min()):.3g}"
            )
        return state

    def _product(self, meter: NetworkMeter, state: State, batch: Batch) -> Product:
        """Products in the model's own precision with directions of length 1, so that a short one keeps its digits."""
        moving = meter.network.moving(state)
        kind = next(iter(moving.values())).dtype

        def product(vectors: Tensor) -> Tensor:
            length = vectors.norm(dim=1, keepdim=True)
            unit = vectors / torch.where(length > 0, length, 1.0)
            image = flatten(meter.product(state, unflatten(unit.to(kind), moving), batch)).double()
            total: Tensor = length * image + self.weight_decay * vectors
            return total

        return product

    @staticmethod
    def _directions(meter: NetworkMeter, step: int, like: Tensor) -> Tensor:
        """For each model a direction uniform on the unit sphere, (K, P)."""
        drawn = [
            torch.from_numpy(stream(seed, f"curenewton/sphere/{step}").standard_normal(like.shape[1]))
            for seed in meter.seeds
        ]
        z = torch.stack(drawn).to(like.device)
        directions: Tensor = z / z.norm(dim=1, keepdim=True)
        return directions


def _drawn(meter: NetworkMeter, size: int, name: str) -> Batch:
    """For each model ``size`` retained records without replacement, all of them where there are fewer."""
    rows = meter.records("retain")
    return collate(
        [
            stream(seed, name).choice(own, size=min(size, len(own)), replace=False)
            for seed, own in zip(meter.seeds, rows, strict=True)
        ],
        device=meter.device,
    )


def cauchy_point(g: Tensor, Hg: Tensor, lipschitz: float) -> Tensor:
    """The minimiser of the cubic model along -g, (K, P); 0 where g is 0.

    ``-R g/||g||`` with ``R = -a + sqrt(a^2 + 2||g||/L)``, ``a = g'Hg / (L ||g||^2)``; written without cancellation for a > 0.

    Args:
        g: gradients, (K, P).
        Hg: Hessians times them.
        lipschitz: L.
    """
    length = g.norm(dim=1)
    safe = torch.where(length > 0, length, 1.0)
    unit = g / safe[:, None]
    a = (unit * (Hg / safe[:, None])).sum(dim=1) / lipschitz
    root = torch.sqrt(a * a + 2 * length / lipschitz)
    radius = torch.where(a > 0, 2 * length / lipschitz / torch.where(a > 0, a + root, 1.0), root - a)
    return -torch.where(length > 0, radius, 0.0)[:, None] * unit


def descend(
    g: Tensor, product: Product, start: Tensor, image: Tensor, *, lipschitz: float, lr: Tensor, steps: int
) -> tuple[Tensor, list[Tensor], Tensor]:
    """Gradient steps on ``g.s + s'Hs/2 + (L/6)||s||^3`` for K models; a step that would raise it halves that model's lr instead.

    Args:
        g: gradients, perturbed or not, (K, P).
        product: H times vectors; asked once a step.
        start: (K, P).
        image: H times the start.
        lipschitz: L.
        lr: step sizes, (K,).
        steps: their number.

    Returns:
        The last iterates (K, P), the models' values (K,) at the start and after each step, and the step sizes that are left.
    """

    def value(s: Tensor, Hs: Tensor) -> Tensor:
        found: Tensor = (g * s).sum(dim=1) + 0.5 * (s * Hs).sum(dim=1) + lipschitz / 6 * s.norm(dim=1) ** 3
        return found

    s, Hs = start, image
    values = [value(s, Hs)]
    for _ in range(steps):
        trial = s - lr[:, None] * (g + Hs + (0.5 * lipschitz * s.norm(dim=1))[:, None] * s)
        theirs = product(trial)
        reached = value(trial, theirs)
        # at the minimum, rounding alone may raise the value
        falls = reached <= values[-1] + 1e-12 * values[-1].abs()
        s, Hs = torch.where(falls[:, None], trial, s), torch.where(falls[:, None], theirs, Hs)
        values.append(torch.where(falls, reached, values[-1]))
        lr = torch.where(falls, lr, 0.5 * lr)
    return s, values, lr
