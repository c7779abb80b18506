"""What the second-order methods for networks share: the retained gradient, steps of flat vectors, notes, conjugate gradients."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from certify.core.arrays import FloatArray
from certify.models.networks.state import State, Tensors, flatten, scale, unflatten
from certify.unlearners.networks.meter import NetworkMeter


def retained_gradient(meter: NetworkMeter, state: State, weight_decay: float) -> Tensor:
    """Gradient of ``mean retained loss + (weight_decay / 2) ||w||^2`` in evaluation mode, in double precision, (K, P)."""
    found = meter.mean_gradient(state, meter.records("retain"))
    note(meter, "retain", found.values)
    return flatten(found.tensors).double() + weight_decay * flatten(meter.network.moving(state)).double()


def moved(meter: NetworkMeter, state: State, step: Tensor) -> State:
    """The K models after a step of flat vectors (K, P), checked to be finite and counted.

    Raises:
        InputError: a weight is not finite.
    """
    moving = meter.network.moving(state)
    change = unflatten(step.to(meter.device), moving)
    meter.charge("steps", state.models)
    after = state.with_parameters(
        {name: (moving[name].double() + change[name]).to(moving[name].dtype) for name in moving}
    )
    meter.check(after)
    return after


def stacked(vectors: list[FloatArray]) -> Tensor:
    """One flat vector a model as a tensor (K, P)."""
    return torch.from_numpy(np.stack(vectors))


def note(meter: NetworkMeter, purpose: str, values: Tensor) -> None:
    """Keep one number a model of this step in the traces: ``purpose``, or ``purpose [k]`` for model k of several."""
    for name, value in zip(_labels(purpose, len(values)), values.tolist(), strict=True):
        meter.traces.setdefault(name, []).append(value)


def report(meter: NetworkMeter, model: int, values: Mapping[str, float]) -> None:
    """Keep numbers of one model in ``meter.solver``, named as in :func:`note`."""
    for purpose, value in values.items():
        meter.solver[_labels(purpose, meter.models)[model]] = value


def _labels(purpose: str, models: int) -> list[str]:
    return [purpose] if models == 1 else [f"{purpose} [{model}]" for model in range(models)]


@dataclass(frozen=True, eq=False)
class Solution:
    """What conjugate gradients found for K systems.

    Attributes:
        x: solutions, (K, P).
        iterations: products used, (K,).
        residual: ``||b - A x|| / ||b||`` as the recurrence has it, (K,).
        negative: systems in which a direction of curvature at most 0 was met, (K,); they stopped there.
    """

    x: Tensor
    iterations: Tensor
    residual: Tensor
    negative: Tensor


def conjugate_gradients(
    product: Callable[[Tensors], Tensors],
    b: Tensor,
    like: Tensors,
    *,
    damping: float,
    tolerance: float,
    iterations: int,
) -> Solution:
    """Solve ``(A_k + damping I) x_k = b_k`` for K models at once.

    A system that is done rests while others go on, so its solution is the one it has alone.

    Args:
        product: A applied to tensors shaped as ``like``.
        b: right-hand sides, (K, P), in double precision.
        like: tensors (K, ...) in the order of the flat vectors.
        damping: added to A.
        tolerance: relative residual at which a system is done.
        iterations: largest number of products.
    """
    kind = next(iter(like.values())).dtype
    x, r = torch.zeros_like(b), b.clone()
    p, old = r.clone(), (r * r).sum(dim=1)
    start = old.sqrt()
    active = start > 0
    used, negative = torch.zeros_like(old), torch.zeros_like(active)
    for _ in range(iterations):
        if not bool(active.any()):
            break
        length = torch.where(active, p.norm(dim=1), 1.0)
        unit = (
            p / length[:, None]
        )  # the product runs in the model's own precision: a tiny direction must not underflow in it
        image = flatten(product(unflatten(unit.to(kind), like))).double()
        Ap = scale(length, image) + damping * p
        curved = (p * Ap).sum(dim=1)
        used = used + active
        negative = negative | (active & (curved <= 0))
        active = active & (curved > 0)
        alpha = torch.where(active, old / torch.where(active, curved, 1.0), 0.0)
        x, r = x + scale(alpha, p), r - scale(alpha, Ap)
        new = (r * r).sum(dim=1)
        beta = torch.where(active, new / torch.where(old > 0, old, 1.0), 0.0)
        p, old = torch.where(active[:, None], r + scale(beta, p), p), torch.where(active, new, old)
        active = active & (old.sqrt() > tolerance * start)
    residual = old.sqrt() / torch.where(start > 0, start, 1.0)
    return Solution(x, used, residual, negative)
