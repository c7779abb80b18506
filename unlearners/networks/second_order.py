"""What the second-order methods for networks share: the retained gradient, steps of flat vectors, notes, conjugate gradients."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from certify.core.arrays import FloatArray
from certify.models.networks.state import State, Tensors, flatten, scale, unflatten
from certify.unlearners.networks.meter import NetworkMeter
from certify.unlearners.networks.solvers import Solution, conjugate_gradient


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


def conjugate_gradients(
    product: Callable[[Tensors], Tensors],
    b: Tensor,
    like: Tensors,
    *,
    damping: float,
    tolerance: float,
    iterations: int,
) -> Solution:
    """Solve ``(A_k + damping I) x_k = b_k`` for K models: :func:`~.solvers.conjugate_gradient` on flat vectors, ``.x["x"]``.

    Args:
        product: A applied to tensors shaped as ``like``.
        b: right-hand sides, (K, P), in double precision.
        like: tensors (K, ...) in the order of the flat vectors.
        damping: added to A.
        tolerance: relative residual at which a system is done.
        iterations: largest number of products.
    """
    kind = next(iter(like.values())).dtype

    def damped(v: dict[str, Tensor]) -> dict[str, Tensor]:
        p = v["x"]
        length = p.norm(dim=1)
        length = torch.where(length > 0, length, 1.0)
        # the product runs in the model's own precision: a tiny direction must not underflow in it
        image = product(unflatten((p / length[:, None]).to(kind), like))
        return {"x": scale(length, flatten(image).double()) + damping * p}

    return conjugate_gradient(damped, {"x": b}, tolerance=tolerance, max_iterations=iterations)
