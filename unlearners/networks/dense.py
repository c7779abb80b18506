"""The Hessian of a mean loss over a network's parameters as a matrix, for networks small enough to hold one."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from certify.core.arrays import FloatArray, IntArray
from certify.core.errors import ConfigurationError, InputError
from certify.models.networks.batches import epochs
from certify.models.networks.bench import Bench, whole
from certify.models.networks.network import Loss, Network
from certify.models.networks.state import State, flatten, unflatten
from certify.unlearners.spectrum import Spectrum


@dataclass(frozen=True, eq=False)
class DenseHessian:
    """A symmetric matrix over the parameters that may move, in the order of :func:`~certify.models.networks.state.flatten`.

    Attributes:
        matrix: ``(A + A') / 2`` in double precision, (P, P).
        asymmetry: largest ``|A_ij - A_ji|`` of the A that was computed: rounding, or a defect.
    """

    matrix: FloatArray = field(repr=False)
    asymmetry: float

    def spectrum(self) -> Spectrum:
        """Eigenvalues and eigenvectors."""
        return replace(Spectrum.of(self.matrix), asymmetry=self.asymmetry)


def parameters_of(network: Network, state: State) -> int:
    """P, the number of parameters of one model that may move."""
    return sum(value[0].numel() for value in network.moving(state).values())


def require_small(network: Network, state: State, limit: int, *, where: str, instead: str) -> None:
    """Refuse a network whose dense Hessian would be too large.

    Raises:
        ConfigurationError: it has more than ``limit`` parameters that may move.
    """
    count = parameters_of(network, state)
    if count > limit:
        raise ConfigurationError(
            f"the network has {count:,} parameters that may move and a dense Hessian of at most {limit:,} is allowed",
            where=where,
            mend=f"{instead}, or let fewer parameters move (trainable), or raise the limit (memory grows with its square)",
        )


def dense_hessian(
    bench: Bench,
    state: State,
    records: Sequence[IntArray],
    *,
    model: int = 0,
    loss: Loss | None = None,
    gauss_newton: bool = False,
    weight_decay: float = 0.0,
    chunk: int = 64,
    batch_size: int | None = None,
) -> DenseHessian:
    """Second derivatives of ``mean loss + (weight_decay / 2) ||w||^2`` over one model's records, in evaluation mode.

    Column j is the product with the j-th unit vector, forward over reverse; ``chunk`` columns run as one batch. The products
    are counted: P for each record.

    Args:
        bench: network and records.
        state: K models.
        records: for each of the K models, positions of its records; only those of ``model`` are read.
        model: which one.
        loss: losses of records; the bench's own where none is given.
        gauss_newton: the generalised Gauss-Newton matrix instead of the Hessian.
        weight_decay: added to the diagonal.
        chunk: columns in a batch; memory grows with chunk times batch_size.
        batch_size: records in a batch; the bench's ``chunk`` where none is given.

    Raises:
        InputError: an entry is not finite.
    """
    network, one = bench.network, state.pick([model])
    moving = network.moving(one)
    count = parameters_of(network, one)
    product = network.gauss_newton_product if gauss_newton else network.hessian_product
    kind = next(iter(moving.values())).dtype
    total = np.zeros((count, count))
    own = [rows if place == model else np.zeros(0, dtype=np.int64) for place, rows in enumerate(records)]
    for batch in epochs(own, batch_size=batch_size or bench.chunk, shuffle=False, device=bench.device):
        part = whole(batch, own)
        indices, weights = part.indices[[model]], part.weights[[model]]
        inputs, extras = bench.X[indices], (bench.y[indices],)
        bench.reads(batch)
        for start in range(0, count, chunk):
            stop = min(start + chunk, count)
            bench.charge("products", int(batch.records.sum()) * (stop - start))
            units = torch.zeros(stop - start, 1, count, dtype=kind, device=bench.device)
            units[torch.arange(stop - start), 0, torch.arange(start, stop)] = 1

            def column(
                unit: Tensor, inputs: Tensor = inputs, weights: Tensor = weights, extras: tuple[Tensor, ...] = extras
            ) -> Tensor:
                vector = unflatten(unit, moving)
                return flatten(product(one, vector, loss or bench.loss, inputs, weights, extras))

            total[start:stop] += torch.vmap(column)(units)[:, 0].double().cpu().numpy()
    if not np.all(np.isfinite(total)):
        raise InputError(
            "the Hessian holds a number that is not finite",
            where=bench.name,
            mend="the model has diverged, or its inputs are too large; no weights were written",
        )
    asymmetry = float(np.max(np.abs(total - total.T)))
    return DenseHessian(0.5 * (total + total.T) + weight_decay * np.eye(count), asymmetry)
