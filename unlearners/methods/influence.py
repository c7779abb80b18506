"""Influence: one Newton step for the removal of a subset, solved by conjugate gradients to a measured residual."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field

from certify.core.errors import InputError
from certify.models.networks.state import State, map_tensors
from certify.unlearners.evidence import Claim
from certify.unlearners.interface import Kind, Unlearner
from certify.unlearners.networks.meter import NetworkMeter
from certify.unlearners.networks.solvers import Solution, conjugate_gradient
from certify.unlearners.probe import Probe


@dataclass(frozen=True)
class Influence(Unlearner):
    """``w - scale (C + (weight_decay + damping) I)^-1 d``: the minimiser's first-order answer to the removal of a subset.

    C is the generalised Gauss-Newton matrix or the Hessian of the retained records' mean loss, and d the change of the objective's
    gradient at w. With ``form`` "influence", ``d = g_R - g_D = (n_F / n) (g_R - g_F)``, g the gradients of the mean losses on
    retained, all and forgotten records: the regulariser drops out, and what gradient the original had left stays. Where the
    original is stationary that is the textbook's ``-(n_F / n_R) g_F``. With ``form`` "newton", ``d = g_R + weight_decay w``, a full
    Newton step on the retained objective, which also finishes what training left undone, and does not read the forgotten records.

    On a quadratic objective (linear network, squared error) with no damping "newton" is retraining to the solver's residual, and
    so is "influence" from a minimiser. Elsewhere it is one step, good while the forgotten records are few; on a network whose loss is
    near zero it is small and the damping decides its length.

    The residual is measured, for each model, and reported with the extreme Ritz values (``solver``). A direction of negative
    curvature is refused rather than followed: raise the damping or take the Gauss-Newton matrix. The published code called
    IU or WoodFisher holds no inverse Hessian: its step is collinear with one record's gradient whatever the curvature is. Running
    statistics are left alone: everything runs in evaluation mode.

    Args:
        form: "influence" or "newton".
        curvature: "gauss-newton", positive semi-definite, or "hessian".
        damping: added to the diagonal beside the weight decay.
        scale: length of the step.
        weight_decay: of the objective that was trained, per mean loss; None is the recipe's, 0 without one or with AdamW.
        tolerance: of the solver, residual over right side.
        max_iterations: of the solver.
        batch_size: records in one product; the result does not depend on it but for rounding.
    """

    name: ClassVar[str] = "influence"
    summary: ClassVar[str] = "one Newton step for the removal of a subset, by conjugate gradients with damping"
    needs: ClassVar[str] = "the original model near a minimum, the retained and the forgotten records"
    reference: ClassVar[str] = "Cook, Weisberg 1982; Koh, Liang 2017; Martens 2010 (Gauss-Newton products)"
    claim: ClassVar[Claim] = Claim.APPROXIMATE
    kinds: ClassVar[tuple[Kind, ...]] = ("network",)
    family: ClassVar[str] = "second-order"
    reads_forgotten: ClassVar[bool] = True
    quick: ClassVar[Mapping[str, Any]] = MappingProxyType({"damping": 0.1, "tolerance": 1e-2, "max_iterations": 12})
    # On a quadratic objective the step is exact where nothing is added to the diagonal.
    conformance: ClassVar[Probe] = Probe(oracle={"damping": 0.0, "tolerance": 1e-10, "max_iterations": 200})

    form: Literal["influence", "newton"] = "influence"
    curvature: Literal["gauss-newton", "hessian"] = "gauss-newton"
    damping: Annotated[float, Field(ge=0)] = 1e-3
    scale: Annotated[float, Field(gt=0)] = 1.0
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    max_iterations: Annotated[int, Field(ge=1)] = 200
    batch_size: Annotated[int, Field(ge=1)] = 512

    def run_networks(self, meter: NetworkMeter, state: State) -> State:
        """One solve for all models."""
        decay = self._decay(meter)
        moving = meter.network.moving(state)
        retain = meter.records("retain")

        def product(vector: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            curved = meter.mean_product(
                state, vector, retain, gauss_newton=self.curvature == "gauss-newton", batch_size=self.batch_size
            )
            return map_tensors(lambda c, v: c + (decay + self.damping) * v, curved, vector)

        change = self._change(meter, state, decay)
        found = conjugate_gradient(product, change, tolerance=self.tolerance, max_iterations=self.max_iterations)
        self._report(meter, found)
        meter.charge("steps", meter.models)
        return state.with_parameters(map_tensors(lambda w, x: w - self.scale * x, moving, found.x))

    def _change(self, meter: NetworkMeter, state: State, decay: float) -> dict[str, torch.Tensor]:
        """d, the right side of the system."""
        retained = meter.mean_gradient(state, meter.records("retain"), batch_size=self.batch_size)
        if self.form == "newton":
            return map_tensors(lambda g, w: g + decay * w, retained.tensors, meter.network.moving(state))
        forgotten = meter.mean_gradient(state, meter.records("forget"), batch_size=self.batch_size)
        shares = [len(s.forget) / (len(s.forget) + len(s.retain)) for s in meter.splits]
        share = torch.tensor(shares, dtype=torch.float64, device=meter.device)
        return retained.plus(forgotten.scaled(-1.0)).scaled(share).tensors

    def _decay(self, meter: NetworkMeter) -> float:
        if self.weight_decay is not None:
            return self.weight_decay
        recipe = meter.task.recipe
        return 0.0 if recipe is None or recipe.optimiser == "adamw" else recipe.weight_decay

    def _report(self, meter: NetworkMeter, found: Solution) -> None:
        if bool(found.indefinite.any()):
            raise InputError(
                f"the damped {self.curvature} matrix has curvature {float(found.smallest[found.indefinite].min()):.2g}",
                where="influence.damping",
                mend="raise the damping above its size, or set curvature=gauss-newton",
            )
        meter.report("iterations", found.iterations)
        meter.report("residual", found.residual)
        meter.report("smallest_ritz", found.smallest)
        meter.report("largest_ritz", found.largest)
        if not bool(found.converged.all()):
            meter.warn(
                f"the solver stopped at a relative residual of {float(found.residual.max()):.2g}, above {self.tolerance:g}"
            )
