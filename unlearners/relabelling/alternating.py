"""Relabelling for any network (Yang et al. 2024): the map from features to labels and the network change in turn."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from certify.core.errors import ConfigurationError
from certify.core.streams import stream
from certify.models.networks.batches import Batch, collate
from certify.models.networks.losses import cross_entropy, squared_error
from certify.models.networks.network import Gradient, Loss
from certify.models.networks.state import State
from certify.unlearners.evidence import Claim
from certify.unlearners.networks.meter import NetworkMeter
from certify.unlearners.relabelling.conditions import declared, refuse_exactness, trained_on
from certify.unlearners.relabelling.heads import Heads
from certify.unlearners.relabelling.linear import recipe_of
from certify.unlearners.relabelling.theory import project

if TYPE_CHECKING:
    from certify.unlearners.methods.muso import Muso

_ORDER = "relabelled"
"""Name of the stream of the order of records."""

_LITTLE = 0.05
"""Share of the way from W_0 to W_p below which the map is as good as W_p."""


def alternate(method: "Muso", meter: NetworkMeter, state: State, head: Heads) -> State:
    """Each epoch: the map from the present features of a sample of the retained records, then one pass over all records.

    ``W = W_0 + P (W_p - W_0)`` with P the ridged projector on the sample's features; a forgotten record x is labelled by
    ``q(x) = f(x)' W + (f(x) - f_p(x))' W_p``, f the features now and f_p those at the start. Retained records keep their labels
    and go through in training mode, forgotten ones in evaluation mode: they must not shift batch statistics.

    Raises:
        ConfigurationError: hard labels where targets are no classes.
    """
    _check_labels(method, meter)
    start, recipe = state, recipe_of(method)
    optimiser = recipe.build()
    memory = optimiser.start(meter.network.moving(state))
    members = [np.concatenate([split.retain, split.forget]) for split in meter.splits]
    for epoch in range(method.epochs):
        if meter.is_done(f"{_ORDER}/{epoch}"):
            continue
        mapped = mapping(method, meter, state, head, epoch)
        if epoch == 0:
            _note_change(meter, head, mapped)
        for batch in meter.passes(members, epochs=1, batch_size=method.batch_size, name=_ORDER, first=epoch):
            state, memory, mapped = meter.at(batch, state, memory, mapped)
            gradient = _gradient(method, meter, state, start, head, mapped, batch)
            done = [recipe.factor((epoch + part) / method.epochs) for part in batch.done]
            factor = torch.tensor(done, dtype=torch.float64, device=meter.device)
            state, memory = meter.step(optimiser, state, gradient, memory, batch, factor=factor, purpose=_ORDER)
        meter.mark(state)
    refuse_exactness(meter, declared(meter, head) + trained_on(method) + _own(method))
    meter.claim = (
        Claim.NONE,
        "the alternating algorithm is a heuristic; exactness is claimed for algorithm=linear alone",
    )
    return state


def ridge_at(start: float, end: float, epoch: int, epochs: int) -> float:
    """Half a cosine from ``start`` in the first epoch to ``end`` in the last; ``start`` where there is one epoch."""
    part = epoch / (epochs - 1) if epochs > 1 else 0.0
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * part))


def mapping(method: "Muso", meter: NetworkMeter, state: State, head: Heads, epoch: int) -> Tensor:
    """``W_0 + P (W_p - W_0)`` for each model, (K, D, C), from the present features of its sample of retained records."""
    ridge = ridge_at(method.ridge_start, method.ridge_end, epoch, method.epochs)
    rows = []
    for model, split in enumerate(meter.splits):
        count = math.ceil(method.sample * len(split.retain))
        drawn = stream(meter.seeds[model], f"muso/sample/{epoch}").choice(split.retain, count, replace=False)
        rows.append(np.sort(drawn))
    moved = (head.trained - head.initial).cpu().numpy()
    features = [part.cpu().numpy() for part in head.features_of(meter, state, rows)]
    found = np.stack([project(part, moved[model], ridge=ridge) for model, part in enumerate(features)])
    return head.initial + torch.from_numpy(found).to(meter.device)


def _note_change(meter: NetworkMeter, head: Heads, mapped: Tensor) -> None:
    """How far the map is from W_p, as a share of what training moved; with next to nothing the labels are the original's own."""
    way = (head.trained - head.initial).flatten(1).norm(dim=1).clamp(min=torch.finfo(torch.float64).tiny)
    shares = (mapped - head.trained).flatten(1).norm(dim=1) / way
    meter.report("map_moved", shares)
    share = float(shares.min())
    if share < _LITTLE:
        meter.warn(
            f"the sampled features span all but {share:.1e} of what training moved the head: the labels are the original's own"
        )


def _gradient(
    method: "Muso", meter: NetworkMeter, state: State, start: State, head: Heads, mapped: Tensor, batch: Batch
) -> Gradient:
    """Of the batch's mean loss: forgotten records with their new labels, then retained ones with their own."""
    forgets = [
        torch.from_numpy(np.isin(batch.indices[model].cpu().numpy(), split.forget))
        for model, split in enumerate(meter.splits)
    ]
    gone = torch.stack(forgets).to(meter.device)
    kept, forgotten = _part(batch, ~gone), _part(batch, gone)
    found = meter.gradient(state, kept, train=True) if bool(kept.active.any()) else None
    if not bool(forgotten.active.any()):
        assert found is not None
        return found
    now = head.features(meter, state, forgotten)
    q = now @ mapped
    if method.drift:
        q = q + (now - head.features(meter, start, forgotten)) @ head.trained
    loss = _LOSSES[meter.task.loss]
    relabelled = meter.gradient(state, forgotten, loss, (labels_of(q, meter.task.loss, hard=method.labels == "hard"),))
    return relabelled if found is None else relabelled.plus(found)


def labels_of(q: Tensor, loss: str, *, hard: bool) -> Tensor:
    """Labels (K, B, C) from the map's outputs: of squared loss as they are, of a classifier its distribution; or one-hot."""
    if loss == "binary-cross-entropy":
        return (q > 0).double() if hard else torch.sigmoid(q)
    if hard:
        return functional.one_hot(q.argmax(dim=-1), q.shape[-1]).double()
    return q if loss == "squared" else functional.softmax(q, dim=-1)


def _soft_binary(outputs: Tensor, labels: Tensor) -> Tensor:
    """``log(1 + exp z) - label z``."""
    z = outputs.reshape(len(outputs))
    return functional.softplus(z) - labels.to(z.dtype).reshape(len(z)) * z


_LOSSES: dict[str, Loss] = {
    "cross-entropy": cross_entropy,
    "squared": squared_error,
    "binary-cross-entropy": _soft_binary,
}
"""Losses that take soft labels."""


def _part(batch: Batch, wanted: Tensor) -> Batch:
    """The wanted records of a batch; weights as in the whole."""
    wanted = wanted & (batch.weights > 0)
    rows = [batch.indices[model][wanted[model]].cpu().numpy() for model in range(len(wanted))]
    part = collate(rows, device=batch.indices.device)
    share = wanted.sum(dim=1).double() / batch.records.clamp(min=1)
    return replace(part, weights=part.weights * share[:, None], epoch=batch.epoch, seeds=batch.seeds)


def _own(method: "Muso") -> list[str]:
    hard = ["hard labels lose the retrained weights even where soft ones reach them"] if method.labels == "hard" else []
    return [*hard, "the projector is ridged and made from a sample"]


def _check_labels(method: "Muso", meter: NetworkMeter) -> None:
    if method.labels == "hard" and meter.task.loss == "squared" and meter.y.is_floating_point():
        raise ConfigurationError(
            "hard labels need classes and the targets are numbers",
            where="muso.labels",
            mend="use --set labels=soft",
        )
