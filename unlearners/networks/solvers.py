"""Conjugate gradients for K symmetric systems at once; every model converges, or is found indefinite, on its own."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from certify.models.networks.state import Tensors, dot, map_tensors, norm, scale, select

Product = Callable[[dict[str, Tensor]], dict[str, Tensor]]
"""K symmetric matrices times K vectors, tensor by tensor, each (K, ...)."""


@dataclass(frozen=True, eq=False)
class Solution:
    """What conjugate gradients found for K systems.

    Attributes:
        x: the solutions, tensors (K, ...).
        residual: ``||b - A x|| / ||b||``, measured with a product of its own at the end; zero where b is, shape (K,).
        iterations: products each model used to move, shape (K,).
        converged: whether ``residual`` reached the tolerance, shape (K,).
        indefinite: a direction without positive curvature was met; ``x`` is then the last iterate before it, shape (K,).
        smallest, largest: extreme Ritz values of the first sweep, estimates from inside of A's extreme eigenvalues, and in an
            indefinite system the curvature met where that is smaller; NaN where no step was made, shape (K,).
    """

    x: dict[str, Tensor]
    residual: Tensor
    iterations: Tensor
    converged: Tensor
    indefinite: Tensor
    smallest: Tensor
    largest: Tensor


def conjugate_gradient(
    product: Product, right: Tensors, *, tolerance: float = 1e-6, max_iterations: int = 200
) -> Solution:
    """Solve ``A_k x_k = b_k`` for K symmetric positive definite matrices (Hestenes, Stiefel 1952).

    Inner products are in double precision. When the residual carried along has reached the tolerance it is measured again from
    ``x``; where rounding kept the two apart, the search starts anew from there, as long as that at least halves the residual.
    A model that is done rests bit for bit while the others go on, and its vectors are zero then: :meth:`Bench.mean_product`
    and :meth:`Curvature.apply` look at no record for those.

    Args:
        product: A times a vector, for all K models; zero for a vector of zeros.
        right: b.
        tolerance: on the residual, relative to the norm of b.
        max_iterations: products for each model, those that measure the residual not counted.
    """
    models = next(iter(right.values())).shape[0]
    max_iterations = min(max_iterations, 2**62)  # a tensor counts no further
    device = next(iter(right.values())).device
    target = tolerance * norm(right)
    search = _Search(
        x=map_tensors(torch.zeros_like, right),
        residual=dict(right),
        iterations=torch.zeros(models, dtype=torch.int64, device=device),
        indefinite=torch.zeros(models, dtype=torch.bool, device=device),
        curvature=torch.full((models,), float("inf"), dtype=torch.float64, device=device),
    )
    measured = norm(right)
    active = measured > target
    ritz: tuple[Tensor, Tensor] | None = None
    while bool(active.any()):
        search.sweep(product, active, target, max_iterations)
        ritz = search.ritz() if ritz is None else ritz
        image = product(_of_these(active, search.x))
        search.residual = map_tensors(torch.sub, right, image)
        before, measured = measured, torch.where(active, norm(search.residual), measured)
        spent = search.iterations >= max_iterations
        active = active & (measured > target) & (measured <= 0.5 * before) & ~search.indefinite & ~spent
    length = norm(right)
    nothing = torch.full((models,), float("nan"), dtype=torch.float64, device=device)
    smallest, largest = (nothing, nothing) if ritz is None else ritz
    smallest = torch.where(search.indefinite, torch.fmin(smallest, search.curvature), smallest)
    return Solution(
        x=search.x,
        residual=torch.where(length > 0, measured / torch.where(length > 0, length, 1.0), 0.0),
        iterations=search.iterations,
        converged=measured <= target,
        indefinite=search.indefinite,
        smallest=smallest,
        largest=largest,
    )


@dataclass
class _Search:
    """The iterates of one run, and the coefficients from which the Ritz values follow."""

    x: dict[str, Tensor]
    residual: dict[str, Tensor]
    iterations: Tensor
    indefinite: Tensor
    curvature: Tensor
    steps: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)

    def sweep(self, product: Product, active: Tensor, target: Tensor, max_iterations: int) -> None:
        """Conjugate directions from the present residual until every active model is done."""
        direction = dict(self.residual)
        square = dot(self.residual, self.residual)
        self.steps = []
        active = active.clone()
        while bool(active.any()):
            image = product(_of_these(active, direction))
            bend = dot(direction, image)
            go = active & (bend > 0)
            met = active & ~go  # zero, negative, or not a number
            self.indefinite = self.indefinite | met
            quotient = bend / torch.clamp(dot(direction, direction), min=torch.finfo(torch.float64).tiny)
            self.curvature = torch.where(met, quotient, self.curvature)
            length = torch.where(go, square / torch.where(go, bend, 1.0), 0.0)
            self.x = self._moved(go, self.x, length, direction)
            self.residual = self._moved(go, self.residual, -length, image)
            after = dot(self.residual, self.residual)
            turn = torch.where(go, after / torch.where(square > 0, square, 1.0), 0.0)
            direction = self._moved(go, self.residual, turn, direction)
            self.steps.append((go, length, turn))
            square = torch.where(go, after, square)
            self.iterations = self.iterations + go.long()
            active = go & (after.sqrt() > target) & (self.iterations < max_iterations)

    def ritz(self) -> tuple[Tensor, Tensor]:
        """Extreme eigenvalues of each model's Lanczos matrix, which the coefficients of the steps make up."""
        models = len(self.iterations)
        bounds = np.full((models, 2), np.nan)
        went, lengths, turns = (torch.stack([step[part] for step in self.steps]).cpu().numpy() for part in range(3))
        for model in range(models):
            length, turn = lengths[went[:, model], model], turns[went[:, model], model]
            if len(length):
                diagonal = 1 / length + np.concatenate([[0.0], turn[:-1] / length[:-1]])
                beside = np.sqrt(turn[:-1]) / length[:-1]
                values = np.linalg.eigvalsh(np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1))
                bounds[model] = values[0], values[-1]
        found = torch.from_numpy(bounds).to(self.iterations.device)
        return found[:, 0], found[:, 1]

    @staticmethod
    def _moved(go: Tensor, start: Tensors, length: Tensor, along: Tensors) -> dict[str, Tensor]:
        return {name: select(go, value + scale(length, along[name]), value) for name, value in start.items()}


def _of_these(models: Tensor, vectors: Tensors) -> dict[str, Tensor]:
    """The vectors of some models, and zeros for the others."""
    return {name: select(models, value, torch.zeros_like(value)) for name, value in vectors.items()}
