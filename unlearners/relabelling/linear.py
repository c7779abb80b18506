"""Relabelling where theory holds: the head alone moves, on fixed features, with squared loss."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from certify.core.arrays import FloatArray, IntArray
from certify.core.errors import ConfigurationError
from certify.models.networks.losses import squared_error
from certify.models.networks.recipe import Recipe
from certify.models.networks.state import State
from certify.unlearners.evidence import Claim
from certify.unlearners.networks.meter import NetworkMeter
from certify.unlearners.relabelling.conditions import declared, refuse_exactness, trained_on
from certify.unlearners.relabelling.heads import Heads
from certify.unlearners.relabelling.theory import limit, outside_row_space, row_rank

if TYPE_CHECKING:
    from certify.unlearners.methods.muso import Muso

_PROBED = 64
"""Records whose features are compared in both modes."""


def unlearn_linear(method: "Muso", meter: NetworkMeter, state: State, head: Heads) -> State:
    """Relabel by the original's and the initial head, train on, and measure each condition and where it ended.

    The labels are ``Z_u [W_0 + Z_r^+ Z_r (W_p - W_0)]``; the pseudo-inverse stands where rows are dependent too.

    Raises:
        ConfigurationError: more than the head moves, or the loss is not squared.
    """
    _check_shape(meter, head)
    records = [np.concatenate([split.retain, split.forget]) for split in meter.splits]
    features = [part.cpu().numpy() for part in head.features_of(meter, state, records)]
    fits = [_Fit.of(meter, head, model, Z) for model, Z in enumerate(features)]
    if method.fit == "limit":
        ends = np.stack([limit(fit.Z, fit.labels, fit.trained) for fit in fits])
        state = head.written(state, torch.from_numpy(ends).to(meter.device))
    else:
        state = _descend(method, meter, state, records, [fit.labels for fit in fits])
    _judge(method, meter, state, head, fits)
    return state


class _Fit:
    """One model's numbers: features Z, those to keep first; targets; weights before and after training; labels."""

    def __init__(self, Z: FloatArray, y: FloatArray, initial: FloatArray, trained: FloatArray) -> None:
        kept = len(y)
        self.Z, self.y, self.trained, self.initial = Z, y, trained, initial
        self.kept, self.gone = Z[:kept], Z[kept:]
        self.retrained = limit(self.kept, y, initial)
        new = self.gone @ limit(self.kept, self.kept @ trained, initial)
        self.labels = np.concatenate([y, new])

    @classmethod
    def of(cls, meter: NetworkMeter, head: Heads, model: int, Z: FloatArray) -> "_Fit":
        outputs = head.initial.shape[1]
        targets = _targets(meter.y[torch.from_numpy(meter.splits[model].retain)], outputs)
        return cls(Z, targets, head.initial.cpu().numpy(), head.trained[model].cpu().numpy())

    def measures(self, end: FloatArray) -> dict[str, float]:
        """What the claim rests on; all but the two about ranks relative to the original's distance from the retrained weights."""
        scale = float(np.linalg.norm(self.trained - self.retrained))
        missed = limit(self.kept, self.y - self.kept @ self.trained, np.zeros_like(self.trained))
        rank, ratio = row_rank(self.Z)
        return {
            "distance": _over(float(np.linalg.norm(end - self.retrained)), scale),
            "interpolation": _over(float(np.linalg.norm(missed)), scale),
            "outside_row_space": _over(
                outside_row_space(self.Z, self.trained - self.initial)
                * float(np.linalg.norm(self.trained - self.initial)),
                scale,
            ),
            "dependent_rows": float(len(self.Z) - rank),
            "singular_ratio": ratio,
        }


def _judge(method: "Muso", meter: NetworkMeter, state: State, head: Heads, fits: list[_Fit]) -> None:
    """Set the claim: exact when every condition is met, for every model."""
    ends = head.read(state).cpu().numpy()
    each = [fit.measures(end) for fit, end in zip(fits, ends, strict=True)]
    worst = {name: float(np.max([found[name] for found in each])) for name in each[0]}  # NaN stays NaN
    worst["singular_ratio"] = float(np.min([found["singular_ratio"] for found in each]))
    meter.solver.update(worst)
    failed = declared(meter, head) + (trained_on(method) if method.fit == "descent" else [])
    failed += _probe(meter, state, head, fits)
    limits = {
        "interpolation": "the original does not interpolate the retained records ({:.1e} of the way it is to go)",
        "outside_row_space": "the original left the row space of the features ({:.1e} of the way it is to go)",
        "distance": "the result is {:.1e} of the original's distance away from the retrained weights",
    }
    if worst["dependent_rows"]:
        failed.append(f"{worst['dependent_rows']:.0f} rows of the features depend on the others")
    failed += [text.format(worst[name]) for name, text in limits.items() if not worst[name] <= method.tolerance]
    refuse_exactness(meter, failed)
    if failed:
        meter.claim = (Claim.NONE, f"{len(failed)} conditions of exactness are not met, see the warning")
    else:
        what = f"measured within {worst['distance']:.1e} of the original's distance from the retrained weights"
        meter.claim = (Claim.EXACT, f"squared loss on fixed features, retraining from the same start: {what}")


def _probe(meter: NetworkMeter, state: State, head: Heads, fits: list[_Fit]) -> list[str]:
    """Whether the outputs are the head's of the features, and the features the same in training mode."""
    rows = [split.retain[:_PROBED] for split in meter.splits]
    outputs, ends, failed = meter.outputs_of(state, rows), head.read(state).cpu().numpy(), []
    near = float(np.sqrt(torch.finfo(outputs[0].dtype).eps))
    kept = [fit.kept[:_PROBED] for fit in fits]
    told = [part.double().cpu().numpy() for part in outputs]
    if not all(np.allclose(Z @ end, out, rtol=near, atol=near) for Z, end, out in zip(kept, ends, told, strict=True)):
        failed.append("the outputs are not the head's alone")
    if not meter.network.has_batch_statistics:
        moved = [part.cpu().numpy() for part in head.features_of(meter, state, rows, train=True)]
        if not all(np.allclose(Z, other, rtol=near, atol=near) for Z, other in zip(kept, moved, strict=True)):
            failed.append("the features are random in training mode")
    return failed


def _descend(
    method: "Muso", meter: NetworkMeter, state: State, records: list[IntArray], labels: list[FloatArray]
) -> State:
    """Train on all records with their labels, in evaluation mode: nothing but the head moves."""
    recipe = recipe_of(method)
    optimiser = recipe.build()
    memory = optimiser.start(meter.network.moving(state))
    table = torch.zeros(len(records), len(meter.X), labels[0].shape[1], dtype=torch.float64, device=meter.device)
    for model, (rows, values) in enumerate(zip(records, labels, strict=True)):
        table[model, torch.from_numpy(rows)] = torch.from_numpy(values).to(meter.device)
    each = torch.arange(len(records), device=meter.device)[:, None]
    for batch in meter.passes(records, epochs=recipe.epochs, batch_size=recipe.batch_size, name="relabelled"):
        state, memory = meter.at(batch, state, memory)
        gradient = meter.gradient(state, batch, squared_error, (table[each, batch.indices],))
        factor = torch.tensor([recipe.factor(done) for done in batch.done], dtype=torch.float64, device=meter.device)
        state, memory = meter.step(optimiser, state, gradient, memory, batch, factor=factor, purpose="relabelled")
    return state


def recipe_of(method: "Muso") -> Recipe:
    """The method's own training.

    Raises:
        ConfigurationError: Adam and a momentum.
    """
    if method.momentum and method.optimiser != "sgd":
        raise ConfigurationError(
            f"{method.optimiser} has no momentum", where="muso.momentum", mend="leave it out, or use optimiser=sgd"
        )
    return Recipe(
        method.optimiser,
        lr=method.lr,
        epochs=method.epochs,
        batch_size=method.batch_size,
        momentum=method.momentum,
        weight_decay=method.weight_decay,
        schedule=method.schedule,
    )


def _check_shape(meter: NetworkMeter, head: Heads) -> None:
    if meter.task.loss != "squared" or not head.alone:
        why = f"the loss is {meter.task.loss}" if meter.task.loss != "squared" else "more than the head moves"
        raise ConfigurationError(
            f"labels by the theorem need squared loss and a head that moves alone, and {why}",
            where="muso.algorithm",
            mend="use alternating, or a task with loss='squared' and trainable naming the head's parameters",
        )


def _targets(y: Tensor, outputs: int) -> FloatArray:
    """Targets as (n, C): classes stand for one-hot rows where there is more than one output."""
    if not y.is_floating_point() and y.dim() == 1 and outputs > 1:
        y = torch.nn.functional.one_hot(y.long(), outputs)
    return np.asarray(y.double().reshape(len(y), outputs).cpu().numpy())


def _over(value: float, scale: float) -> float:
    return value / scale if scale else (0.0 if value == 0 else float("inf"))
