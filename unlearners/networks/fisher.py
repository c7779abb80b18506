"""Diagonals of information matrices from gradients of single records, never from squared means over batches."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from certify.core.arrays import IntArray
from certify.core.errors import ConfigurationError
from certify.models.networks.batches import Batch, epochs
from certify.models.networks.bench import Bench, whole
from certify.models.networks.losses import binary_cross_entropy, cross_entropy, squared_error
from certify.models.networks.network import Loss
from certify.models.networks.state import State

Term = tuple[Loss, tuple[Tensor, ...], Tensor]
"""A loss, its further arguments (K, B, ...), and the weight of its squared gradient, (K, B)."""


def empirical_fisher(bench: Bench, state: State, records: Sequence[IntArray], *, batch_size: int) -> dict[str, Tensor]:
    """``mean_i (grad loss_i)^2`` with the labels of the data, for each model's records; shapes as the parameters that may move.

    Costs one gradient a record. The result does not depend on the batch size but for rounding.
    """

    def terms(batch: Batch) -> list[Term]:
        return [(bench.loss, (bench.y[batch.indices],), torch.ones_like(batch.weights))]

    return _mean_squares(bench, state, records, batch_size, terms)


def true_fisher(bench: Bench, state: State, records: Sequence[IntArray], *, batch_size: int) -> dict[str, Tensor]:
    """``mean_i E[(grad log p(Y | x_i))^2]`` with Y drawn from the model, the expectation taken in full.

    Cross-entropy: ``sum_c p_c (grad log p_c)^2``, one gradient a record and class. Binary cross-entropy: the same for two
    classes. Squared error (Y normal of variance 1 about the outputs): ``sum_c (grad output_c)^2``. The data's labels are not used.

    Raises:
        ConfigurationError: the loss is none of these.
    """
    if bench.loss not in {cross_entropy, binary_cross_entropy, squared_error}:
        raise ConfigurationError(
            "the Fisher information needs a likelihood", where=bench.name, mend="use one of the built-in losses"
        )

    def terms(batch: Batch) -> list[Term]:
        bench.charge("forwards", int(batch.records.sum()))
        outputs = bench.network.outputs(state, bench.X[batch.indices])
        outputs = outputs.reshape(*batch.weights.shape, -1)
        shape, device = batch.weights.shape, outputs.device
        if bench.loss is squared_error:
            return [(_output(c), (), torch.ones(shape, device=device)) for c in range(outputs.shape[2])]
        if bench.loss is binary_cross_entropy:
            p = torch.sigmoid(outputs[..., 0])
            chances = torch.stack([1 - p, p], dim=2)
        else:
            chances = torch.softmax(outputs, dim=2)
        return [(bench.loss, (torch.full(shape, c, device=device),), chances[..., c]) for c in range(chances.shape[2])]

    return _mean_squares(bench, state, records, batch_size, terms)


def _mean_squares(
    bench: Bench,
    state: State,
    records: Sequence[IntArray],
    batch_size: int,
    terms: Callable[[Batch], list[Term]],
) -> dict[str, Tensor]:
    total = {name: torch.zeros_like(value) for name, value in bench.network.moving(state).items()}
    for part in epochs(records, batch_size=batch_size, shuffle=False, device=bench.device):
        batch = whole(part, records)
        bench.reads(batch)
        for loss, extras, chance in terms(batch):
            bench.charge("gradients", int(batch.records.sum()))
            found = bench.network.sample_gradients(state, loss, bench.X[batch.indices], extras)
            weight = batch.weights * chance
            for name, value in found.items():
                total[name] += torch.einsum("kb,kb...->k...", weight.to(value.dtype), value.square())
    return total


def _output(c: int) -> Loss:
    def one(outputs: Tensor) -> Tensor:
        return outputs.flatten(1)[:, c]

    return one
