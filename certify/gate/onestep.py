"""One-step bounds from the original model, for the document. No check reads them."""

import numpy as np

from certify.convex.apriori import OneStepBounds, one_step_bounds
from certify.convex.problem import bind
from certify.gate.inputs import Inputs
from certify.reports.schema import OneStep, OneStepBound


def one_step(inputs: Inputs) -> OneStep | None:
    """What was promised of one step before it was taken, and what it measures; None without an original model."""
    if inputs.original is None:
        return None
    found = _bounds(inputs, inputs.original.parameters)
    residual = found.training_residual
    return OneStep(
        training_residual=None if residual is None or not np.isfinite(residual) else float(residual),
        bounds=tuple(
            OneStepBound(
                name=bound.name,
                step=bound.step,
                source=bound.source,
                quantity=bound.quantity,
                value=None if bound.value is None else float(bound.value),
                proven=bound.valid,
                reason=bound.reason,
            )
            for bound in found.bounds
        ),
        skipped=found.skipped,
    )


def _bounds(inputs: Inputs, original: np.ndarray) -> OneStepBounds:
    gone = inputs.dataset.take(inputs.forgotten)
    if gone.sample_weight is not None and not np.any(gone.sample_weight > 0):
        return OneStepBounds((), skipped="every forgotten record has weight 0: they never acted")
    forgotten = bind(inputs.objective, gone.X, gone.y, inputs.problem.outputs, gone.sample_weight)
    return one_step_bounds(inputs.problem, forgotten, original)
