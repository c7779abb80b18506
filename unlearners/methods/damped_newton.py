"""Damped Newton: a Newton step with a fixed multiple of the identity added to the Hessian, a baseline that has to be tuned."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from certify.convex.solve import DENSE_LIMIT
from certify.core.arrays import FloatArray
from certify.unlearners.evidence import Claim, Meter
from certify.unlearners.interface import Kind, Unlearner
from certify.unlearners.methods.newton import require_curvature, require_small_problem
from certify.unlearners.spectrum import Spectrum

if TYPE_CHECKING:
    from torch import Tensor

    from certify.models.networks.state import State
    from certify.unlearners.networks.meter import NetworkMeter


@dataclass(frozen=True)
class DampedNewton(Unlearner):
    """Steps ``-(C + damping I)^-1 g`` on the retained objective, C its Hessian or generalised Gauss-Newton matrix.

    The length ``(sum_i (q_i . g)^2 / (damping + lambda_i)^2)^(1/2)`` falls as the damping grows beyond ``-lambda_min``: too
    little destroys the model, too much does nothing, and only trial tells. Below ``-lambda_min`` the step climbs along some
    directions; a warning says so.

    Small networks: the matrix is formed and its spectrum reported. Larger ones: conjugate gradients on products over all
    retained records, which stop at a direction of negative curvature, with a warning; the Gauss-Newton matrix has none.

    Args:
        damping: in units of the **mean** loss, for networks and linear models alike (times the sum of the sample weights for
            the sum that linear models minimise).
        steps: Newton steps.
        curvature: "hessian" or "gauss-newton" (networks; for linear models they are the same).
        solver: "dense", "cg", or "auto": dense up to ``max_parameters``.
        tolerance: relative residual at which conjugate gradients stop.
        iterations: largest number of products of conjugate gradients in a step.
        weight_decay: of networks: adds ``(weight_decay / 2)||w||^2`` to the mean loss.
        max_parameters: largest number of parameters of one model for which a dense matrix is formed.
    """

    name: ClassVar[str] = "damped-newton"
    summary: ClassVar[str] = "Newton steps with a fixed damping (a baseline that has to be tuned)"
    needs: ClassVar[str] = "the original model, the retained records"
    reference: ClassVar[str] = "Bui et al. 2024 (as a baseline); Martens 2010 (conjugate gradients)"
    claim: ClassVar[Claim] = Claim.APPROXIMATE
    kinds: ClassVar[tuple[Kind, ...]] = ("convex", "network")
    family: ClassVar[str] = "second-order"

    damping: Annotated[float, Field(ge=0)] = 1e-3
    steps: Annotated[int, Field(ge=1)] = 1
    curvature: Literal["hessian", "gauss-newton"] = "hessian"
    solver: Literal["auto", "dense", "cg"] = "auto"
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 1e-6
    iterations: Annotated[int, Field(ge=1)] = 200
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_parameters: Annotated[int, Field(ge=1)] = DENSE_LIMIT

    def run(self, meter: Meter, start: FloatArray) -> FloatArray:
        """Steps on the sum, by its eigenvalues.

        Raises:
            ConfigurationError: an L1 term, a loss without second derivative, or too many parameters.
        """
        require_curvature(meter.problem.objective)
        require_small_problem(meter.problem, self.max_parameters, self.name)
        damping, w = self.damping * float(meter.problem.weights.sum()), start
        for _ in range(self.steps):
            gradient = meter.gradient(w).ravel()
            spectrum = Spectrum.of(meter.hessian(w))
            step = spectrum.damped_step(gradient, damping)
            meter.solver |= spectrum.report()
            meter.trace(_told(spectrum, gradient, damping, step))
            w = w + step.reshape(w.shape)
            meter.iterate()
        return w

    def run_networks(self, meter: "NetworkMeter", state: "State") -> "State":
        """Steps on the mean.

        Raises:
            ConfigurationError: "dense" is asked for and the network has too many parameters.
        """
        from certify.unlearners.networks.dense import parameters_of, require_small
        from certify.unlearners.networks.second_order import moved, note, retained_gradient

        dense = self.solver == "dense" or (
            self.solver == "auto" and parameters_of(meter.network, state) <= self.max_parameters
        )
        if dense:
            where = "damped-newton.max_parameters"
            require_small(meter.network, state, self.max_parameters, where=where, instead="use solver=cg")
        meter.claim = (Claim.NONE, "a Newton step on a loss that is not convex leads nowhere in particular")
        for _, begins in meter.rounds(self.steps):
            (state,) = meter.at(begins, state)
            gradient = retained_gradient(meter, state, self.weight_decay)
            step = self._dense(meter, state, gradient) if dense else self._iterative(meter, state, gradient)
            note(meter, "step norm", step.norm(dim=1))
            state = moved(meter, state, step)
            meter.mark(state)
        return state

    def _dense(self, meter: "NetworkMeter", state: "State", gradient: "Tensor") -> "Tensor":
        from certify.unlearners.networks.dense import dense_hessian
        from certify.unlearners.networks.second_order import report, stacked

        g, steps = gradient.cpu().numpy(), []
        for model in range(state.models):
            matrix = dense_hessian(
                meter,
                state,
                meter.records("retain"),
                model=model,
                gauss_newton=self.curvature == "gauss-newton",
                weight_decay=self.weight_decay,
            )
            spectrum = matrix.spectrum()
            steps.append(spectrum.damped_step(g[model], self.damping))
            report(meter, model, {**spectrum.report(), **_told(spectrum, g[model], self.damping, steps[-1])})
            if spectrum.values[0] + self.damping < 0:
                meter.warn(
                    f"the damping {self.damping:g} is below {-spectrum.values[0]:.3g}: the step climbs along some directions"
                )
        return stacked(steps)

    def _iterative(self, meter: "NetworkMeter", state: "State", gradient: "Tensor") -> "Tensor":
        from certify.unlearners.networks.second_order import conjugate_gradients, report

        records, gauss_newton = meter.records("retain"), self.curvature == "gauss-newton"
        found = conjugate_gradients(
            lambda v: meter.mean_product(state, v, records, gauss_newton=gauss_newton),
            -gradient,
            meter.network.moving(state),
            damping=self.damping + self.weight_decay,
            tolerance=self.tolerance,
            iterations=self.iterations,
        )
        for model in range(state.models):
            report(
                meter, model, {"iterations": float(found.iterations[model]), "residual": float(found.residual[model])}
            )
        if bool(found.indefinite.any()):
            meter.warn(
                "a direction of negative curvature stopped conjugate gradients: raise damping, or use gauss-newton"
            )
        elif bool((found.residual > self.tolerance).any()):
            meter.warn(f"conjugate gradients stopped after {self.iterations} products above the tolerance")
        return found.x["x"]


def _told(spectrum: Spectrum, gradient: FloatArray, damping: float, step: FloatArray) -> dict[str, float]:
    return {
        "step norm": float(np.linalg.norm(step)),
        "step norm by eigenvalues": spectrum.damped_norm(gradient, damping),
        "smallest damped eigenvalue": float(spectrum.values[0]) + damping,
    }
