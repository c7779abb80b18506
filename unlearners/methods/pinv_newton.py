"""PINV-Newton: one Newton step with the pseudo-inverse, a baseline that shows what a degenerate Hessian does."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from pydantic import Field

from certify.convex.solve import DENSE_LIMIT
from certify.core.arrays import FloatArray
from certify.unlearners.evidence import Claim, Meter
from certify.unlearners.interface import Kind, Unlearner
from certify.unlearners.methods.newton import require_curvature, require_small_problem
from certify.unlearners.spectrum import Spectrum

if TYPE_CHECKING:
    from certify.models.networks.state import State
    from certify.unlearners.networks.meter import NetworkMeter


@dataclass(frozen=True)
class PinvNewton(Unlearner):
    """Steps ``-H^+ g`` on the retained objective, H^+ the pseudo-inverse of its Hessian.

    For a strictly convex objective it is Newton's step. The Hessian of a trained network has many eigenvalues near zero, of
    both signs: the step leaps along them and destroys the model; its length and the spectrum are reported so that this can be
    seen. Units as for curenewton: a mean for networks, a sum for linear models; the step is the same.

    Args:
        rcond: eigenvalues of at most ``rcond`` times the largest absolute one count as zero and are left out.
        steps: Newton steps.
        weight_decay: of networks: adds ``(weight_decay / 2)||w||^2`` to the mean loss.
        max_parameters: largest number of parameters of one model for which a dense Hessian is formed.
    """

    name: ClassVar[str] = "pinv-newton"
    summary: ClassVar[str] = "Newton steps with the pseudo-inverse of the Hessian (a baseline that overshoots)"
    needs: ClassVar[str] = "the original model, the retained records"
    reference: ClassVar[str] = "Bui et al. 2024 (as a baseline)"
    claim: ClassVar[Claim] = Claim.APPROXIMATE
    kinds: ClassVar[tuple[Kind, ...]] = ("convex", "network")
    family: ClassVar[str] = "second-order"

    rcond: Annotated[float, Field(ge=0, lt=1)] = 1e-10
    steps: Annotated[int, Field(ge=1)] = 1
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_parameters: Annotated[int, Field(ge=1)] = DENSE_LIMIT

    def run(self, meter: Meter, start: FloatArray) -> FloatArray:
        """Steps on the sum.

        Raises:
            ConfigurationError: an L1 term, a loss without second derivative, or too many parameters.
        """
        require_curvature(meter.problem.objective)
        require_small_problem(meter.problem, self.max_parameters, self.name)
        w = start
        for _ in range(self.steps):
            gradient = meter.gradient(w).ravel()
            spectrum = Spectrum.of(meter.hessian(w))
            step = spectrum.pseudo_inverse_step(gradient, self.rcond)
            meter.solver |= spectrum.report()
            meter.trace(self._told(spectrum, gradient, step))
            w = w + step.reshape(w.shape)
            meter.iterate()
        return w

    def run_networks(self, meter: "NetworkMeter", state: "State") -> "State":
        """Steps on the mean, model by model within a step.

        Raises:
            ConfigurationError: the network has too many parameters for a dense Hessian.
        """
        from certify.unlearners.networks.dense import dense_hessian, require_small
        from certify.unlearners.networks.second_order import moved, note, report, retained_gradient, stacked

        where = "pinv-newton.max_parameters"
        require_small(meter.network, state, self.max_parameters, where=where, instead="use --method damped-newton")
        meter.claim = (Claim.NONE, "a Newton step on a loss that is not convex leads nowhere in particular")
        for _, begins in meter.rounds(self.steps):
            (state,) = meter.at(begins, state)
            gradient = retained_gradient(meter, state, self.weight_decay).cpu().numpy()
            steps = []
            for model in range(state.models):
                dense = dense_hessian(
                    meter, state, meter.records("retain"), model=model, weight_decay=self.weight_decay
                )
                spectrum = dense.spectrum()
                steps.append(spectrum.pseudo_inverse_step(gradient[model], self.rcond))
                told = self._told(spectrum, gradient[model], steps[-1])
                report(meter, model, {**spectrum.report(), **told})
            note(meter, "step norm", stacked(steps).norm(dim=1))
            state = moved(meter, state, stacked(steps))
            meter.mark(state)
        return state

    def _told(self, spectrum: Spectrum, gradient: FloatArray, step: FloatArray) -> dict[str, float]:
        return {
            "step norm": float(np.linalg.norm(step)),
            "step norm by eigenvalues": spectrum.pseudo_inverse_norm(gradient, self.rcond),
            "eigenvalues left out": float(np.sum(~spectrum.kept(self.rcond))),
        }
