"""Which state of a run to return, chosen without an oracle: the one that errs on forgotten records as on records never seen."""

from collections.abc import Sequence

import numpy as np
import torch

from certify.core.arrays import FloatArray, IntArray
from certify.core.errors import InputError
from certify.models.networks.losses import correct
from certify.models.networks.state import State
from certify.unlearners.networks.meter import NetworkMeter


def nearest_to_held_out(meter: NetworkMeter, states: Sequence[State]) -> State:
    """For each model the state whose error on its forgotten records is nearest to a reference (the rule of SCRUB+R).

    The reference is the last state's error on held-out records of the forgotten records' classes, each class weighted by its
    share among them: ``sum_c share_c error_c``. Of two equally near states the later one is taken, which has been repaired for
    longer. The rule takes forgotten records for ones like any other: records forgotten because their labels are wrong, of which
    a retrained model gets nearly all wrong, are left half learnt by it. The reference and each state's error, means over the models, are kept in ``meter.traces``, the chosen state's
    number, from 1, is reported.

    Args:
        meter: whose records, one class each.
        states: of the same K models, in order of time.

    Raises:
        InputError: no held-out records, or none of any class of a model's forgotten records.
    """
    reference = _reference(meter, states[-1])
    forget = meter.records("forget")
    errors = np.stack([[wrong.mean() for wrong in errors_of(meter, state, forget)] for state in states])
    chosen = len(states) - 1 - np.abs(errors - reference)[::-1].argmin(axis=0)
    meter.traces["held-out error aimed at"] = [float(reference.mean())]
    meter.traces["forget error"] = errors.mean(axis=1).tolist()
    meter.report("rewound to", torch.from_numpy(chosen + 1.0))
    return State.join([states[epoch].pick([model]) for model, epoch in enumerate(chosen.tolist())])


def _reference(meter: NetworkMeter, state: State) -> FloatArray:
    y = meter.y.cpu().numpy()
    held_out = meter.records("held-out")[0]
    shares = [_shares(y[rows], y[held_out]) for rows in meter.records("forget")]
    rows = [held_out[np.isin(y[held_out], list(own))] for own in shares]
    for own, split, found in zip(shares, meter.splits, rows, strict=True):
        if not len(found):
            raise InputError(
                "no held-out record is of a class of the forgotten records",
                where=f"{meter.name}: held_out",
                mend="give held-out records of those classes, or leave rewind off",
            )
        if len(own) < len(np.unique(y[split.forget])):
            meter.warn("some classes of the forgotten records have no held-out record: the others stand for them")
    wrong = errors_of(meter, state, rows)
    return np.array(
        [
            sum(share * part[y[found] == label].mean() for label, share in own.items())
            for own, found, part in zip(shares, rows, wrong, strict=True)
        ]
    )


def _shares(labels: IntArray, known: IntArray) -> dict[int, float]:
    """Share of each class among the labels, of the classes that are known."""
    found, counts = np.unique(labels[np.isin(labels, known)], return_counts=True)
    return dict(zip(found.tolist(), (counts / max(1, counts.sum())).tolist(), strict=True))


def errors_of(meter: NetworkMeter, state: State, records: Sequence[IntArray]) -> list[FloatArray]:
    """1 for a wrong prediction, 0 for a right one, for each model's records; counted as forward passes."""
    outputs = meter.outputs_of(state, records)
    rows = [torch.from_numpy(own).to(meter.device) for own in records]
    right = [correct(z.reshape(len(z), -1), meter.y[own]) for z, own in zip(outputs, rows, strict=True)]
    return [1.0 - flags.cpu().numpy() for flags in right]
