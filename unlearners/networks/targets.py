"""Targets of single records: outputs of a teacher computed once, and labels drawn anew."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from certify.core.arrays import IntArray
from certify.core.errors import ConfigurationError
from certify.models.networks.batches import Batch
from certify.models.networks.losses import class_logits, cross_entropy, divergence_from
from certify.models.networks.network import Loss
from certify.models.networks.state import State
from certify.unlearners.networks.meter import NetworkMeter


@dataclass(frozen=True, eq=False)
class Targets:
    """A value for each of some records of each model.

    Attributes:
        places: row in ``values`` by position of the record, (K, n); 0 for a record that has none.
        values: (K, m, ...), padded with zeros.
    """

    places: Tensor
    values: Tensor

    @classmethod
    def of(cls, meter: NetworkMeter, records: Sequence[IntArray], values: Sequence[Tensor]) -> "Targets":
        """Values by record.

        Args:
            meter: how many records there are.
            records: for each model, positions of its records.
            values: for each model, (records, ...).
        """
        places = np.zeros((len(records), len(meter.X)), dtype=np.int64)
        for model, rows in enumerate(records):
            places[model, rows] = np.arange(len(rows))
        return cls(
            torch.from_numpy(places).to(meter.device), torch.nn.utils.rnn.pad_sequence(list(values), batch_first=True)
        )

    def at(self, batch: Batch) -> Tensor:
        """The values of a batch's records, (K, B, ...)."""
        rows = self.places.gather(1, batch.indices)
        return self.values[torch.arange(len(rows), device=rows.device)[:, None], rows]


def logits_of(meter: NetworkMeter, state: State, records: Sequence[IntArray]) -> list[Tensor]:
    """Class logits of each model on its own records in evaluation mode, (n_k, C); counted as forward passes."""
    return [class_logits(values) for values in meter.outputs_of(state, records)]


def taught(temperature: float) -> Loss:
    """``T^2 KL(teacher || student)`` of a record, from the student's outputs and the teacher's class logits."""

    def loss(outputs: Tensor, teacher: Tensor) -> Tensor:
        return divergence_from(class_logits(outputs), teacher, temperature)

    return loss


def soft_cross_entropy(outputs: Tensor, target: Tensor) -> Tensor:
    """``-sum_c target_c log p_c`` of a record, the target a distribution."""
    return cross_entropy(class_logits(outputs), target)


def need_probabilities(meter: NetworkMeter) -> None:
    """Refuse a task whose outputs are no class logits.

    Raises:
        ConfigurationError: names the loss.
    """
    if meter.task.loss == "squared":
        raise ConfigurationError(
            "this method compares probabilities of classes, and outputs trained by squared error are none",
            where=f"{meter.name}: loss",
            mend="use a method that works on the loss itself: neggrad-plus, npo, gradient-ascent",
        )


def need_classes(meter: NetworkMeter, state: State) -> int:
    """Number of classes the models tell apart; no record is looked at.

    Raises:
        ConfigurationError: the targets are not whole numbers, one a record.
    """
    need_probabilities(meter)
    if meter.y.is_floating_point() or meter.y.dim() != 1:
        raise ConfigurationError(
            "this method needs one class a record, and the targets are distributions or numbers",
            where=f"{meter.name}: y",
            mend="number the classes from 0, or use neggrad-plus or npo",
        )
    blank = torch.zeros_like(meter.X[:1])[None]
    return class_logits(meter.network.outputs(state.pick([0]), blank)[0]).shape[1]
