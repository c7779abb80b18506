"""Retrain: the reference every certificate speaks of."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from certify.convex.solve import exact_line_search, line_search
from certify.core.arrays import FloatArray
from certify.core.errors import ConfigurationError
from certify.core.progress import track
from certify.unlearners.evidence import Claim, Meter
from certify.unlearners.interface import Kind, Unlearner

if TYPE_CHECKING:
    from certify.models.networks.state import State
    from certify.unlearners.networks.meter import NetworkMeter

_VISIBLE = 2.0**-50
"""Relative fall of the objective that is not its rounding."""

_NOISE = 2.0**-40
"""Relative rise of the objective that may be its rounding."""


@dataclass(frozen=True)
class Retrain(Unlearner):
    """Train again on the retained records alone: the oracle.

    Linear models: damped Newton from zero, polished until the residual stops falling.

    Where the objective has kinks (hinge loss, an L1 term) the solver is the one of :mod:`certify.convex.nonsmooth`.

    Networks: the task's recipe from a fresh initialisation, verified tensor by tensor. Another seed gives another model: the
    reference is a distribution, and a method is to be compared with several retrained models.

    The original model is not looked at, so nothing of the forgotten records can come through it; but for the parameters of a
    network that may not move (a frozen backbone), which are the original's: the claim then supposes that no forgotten record shaped
    them, and says so.

    Args:
        max_iterations: for linear models, Newton iterations after which it gives up with a warning.
    """

    name: ClassVar[str] = "retrain"
    summary: ClassVar[str] = "train again from zero on the retained records (the oracle)"
    needs: ClassVar[str] = "the retained records"
    reference: ClassVar[str] = "Nocedal, Wright 2006, chapter 3"
    claim: ClassVar[Claim] = Claim.EXACT
    kinds: ClassVar[tuple[Kind, ...]] = ("convex", "network")
    family: ClassVar[str] = "exact"
    stochastic: ClassVar[bool] = True
    needs_original: ClassVar[bool] = False

    max_iterations: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_iterations < 1:
            raise ConfigurationError(
                f"max_iterations must be at least 1, not {self.max_iterations}",
                where="retrain.max_iterations",
                mend="give a positive number",
            )

    def run(self, meter: Meter, start: FloatArray) -> FloatArray:
        """From zero, whatever the start."""
        w = np.zeros_like(start)
        if meter.problem.objective.bent:
            return meter.solve(w)
        found = minimise(meter, w, self.max_iterations, "retraining")
        if meter.warnings:
            meter.claim = (Claim.NONE, meter.warnings[-1])
        return found

    def run_networks(self, meter: "NetworkMeter", state: "State") -> "State":
        """The task's recipe from fresh weights; of the state given the names of what may not move are looked at alone."""
        from certify.unlearners.networks.fresh import fresh

        if meter.task.train is not None:
            return by_function(meter, meter.task.train)
        recipe = meter.task.need_recipe()
        fixed = list(meter.network.fixed(state))
        if fixed:
            why = f"it supposes that no forgotten record shaped the {len(fixed)} tensors that do not move ({fixed[0]}, ...)"
            meter.claim = (self.claim, why)
            meter.warn(f"the claim is {self.claim}: {why}")
        return meter.train(
            fresh(meter.task, meter.seeds, meter.device), meter.records("retain"), recipe, name="retrain"
        )


def by_function(meter: "NetworkMeter", train: Callable[[Any, Any, int], Any]) -> "State":
    """Models trained by the task's own function, each on its retained records, seeded and checked to be fresh."""
    from certify.models.networks.batches import collate
    from certify.models.networks.state import State
    from certify.unlearners.networks.fresh import check_fresh, seeded

    modules = []
    for model, rows in enumerate(meter.records("retain")):
        meter.reads(
            collate([rows if other == model else rows[:0] for other in range(meter.models)], device=meter.device)
        )
        X, y = meter.task.X[rows], meter.task.y[rows]
        modules.append(seeded(partial(train, X, y, meter.seeds[model]), meter.seeds[model], "train"))
    meter.warn("trained by the task's own function, whose gradients are not counted")
    state = State.of(*modules)
    check_fresh(state, State.of(meter.task.model), "train")
    return state.to(meter.device)


def minimise(meter: Meter, w: FloatArray, max_iterations: int, purpose: str) -> FloatArray:
    """Damped Newton on the meter's problem from ``w``, until the residual is at rounding level; warns when it gives up."""
    gradient = meter.gradient(w)
    for _ in track(range(max_iterations), purpose):
        improved = _improve(meter, w, gradient)
        if improved is None:
            return w
        w, gradient = improved
        meter.iterate()
    meter.warnings.append(f"the residual was still falling after {max_iterations} iterations")
    return w


def _improve(meter: Meter, w: FloatArray, gradient: FloatArray) -> tuple[FloatArray, FloatArray] | None:
    """The next iterate and its gradient, or None when the residual is at rounding level.

    A full step is taken where it halves the residual without raising the objective: close to the minimum, values of the
    objective differ by less than their rounding and only the gradient still tells better from worse. Elsewhere the objective
    decides, and a full step that does not lower it enough is shortened, or lengthened, to the minimum along it.
    """
    if not np.any(gradient):
        return None
    step = meter.newton_step(w, gradient)
    full = w - step
    full_gradient = meter.gradient(full)
    start = meter.problem.value(w)
    if _halves(full_gradient, gradient) and not meter.problem.value(full) > start + _NOISE * abs(start):
        return full, full_gradient
    best, best_gradient = full, full_gradient
    damped = line_search(meter.problem, w, step, gradient)
    if damped is None or not np.array_equal(damped, full):
        found = exact_line_search(meter.problem, w, step)
        found = damped if found is None else found
        if found is None:
            return None
        best, best_gradient = found, meter.gradient(found)
    falls = start - meter.problem.value(best) > _VISIBLE * abs(start)
    return (best, best_gradient) if falls or _halves(best_gradient, gradient) else None


def _halves(after: FloatArray, before: FloatArray) -> bool:
    return bool(np.linalg.norm(after) < 0.5 * np.linalg.norm(before))
