"""What would mend a failure, measured rather than guessed."""

import math

from certify.core.rounding import format_upper
from certify.gate.inputs import Inputs
from certify.gate.measure import Measurement
from certify.reports.schema import NextStep


def next_steps(inputs: Inputs, ahead: list[Measurement]) -> tuple[NextStep, ...]:
    """The certificates after each further Newton step, for the document; none where there are no Newton steps."""
    if inputs.objective.bent:
        return ()
    return tuple(
        NextStep(steps=steps, distance=float(item.bound.distance), mu=item.mu, epsilon=item.epsilon)
        for steps, item in enumerate(ahead, 1)
    )


def advise(inputs: Inputs, measured: Measurement, ahead: list[Measurement]) -> str:
    """One sentence on the cause and one on the mend."""
    return f"{_cause(inputs, measured)}; {_mend(inputs, measured, ahead)}"


def unchanged(inputs: Inputs) -> bool:
    """Whether the model under review is the original, number for number."""
    return inputs.original is not None and inputs.model.weights.same_as(inputs.original.weights)


def _cause(inputs: Inputs, measured: Measurement) -> str:
    residual = f"residual {format_upper(measured.bound.residual_norm, 2)}"
    if unchanged(inputs):
        return f"nothing was unlearned: the weights equal those of the original model ({residual})"
    if not math.isfinite(float(measured.bound.distance)):
        return f"no bound is finite ({residual}): the weights are far from any minimum, or the loss overflows"
    return f"the weights do not minimise the declared objective on the retained records ({residual}): the solver stopped early, the records were not unlearned, or the objective is not the one that was trained"


def _mend(inputs: Inputs, measured: Measurement, ahead: list[Measurement]) -> str:
    if not ahead and inputs.objective.bent:
        return f"retraining does not reach the policy: raise noise_std or l2, or check the declared objective and {_how(inputs, 'retrain')}"
    if not ahead:
        return f"ten Newton steps do not reach the policy: check the declared objective, {_how(inputs, 'retrain')}, or raise noise_std"
    if inputs.objective.bent:
        change = f"bring mu from {format_upper(measured.mu)} to {format_upper(ahead[-1].mu)}"
        return f"retraining would {change} (measured): {_how(inputs, 'retrain')}"
    steps = "one Newton step" if len(ahead) == 1 else f"{len(ahead)} Newton steps"
    change = f"bring mu from {format_upper(measured.mu)} to {format_upper(ahead[-1].mu)}"
    knob = "" if len(ahead) == 1 else f" --set steps={len(ahead)}"
    return f"{steps} would {change} (measured): {_how(inputs, 'newton', knob)}"


def _how(inputs: Inputs, method: str, knob: str = "") -> str:
    """The command, with what it still needs. ``unlearn`` starts from the original model."""
    command = f"run `certify unlearn --method {method}{knob}`"
    if inputs.original is not None and inputs.original.record.path == inputs.model.record.path:
        return f"name another file in release.model and {command}"
    if inputs.original is None and method == "newton":
        return f"name the original model in release.original and {command}"
    return command
