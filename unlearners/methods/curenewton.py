"""CureNewton (CuReNU): Newton steps whose damping finds itself through a cubic term."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from certify.convex.problem import Problem
from certify.convex.solve import DENSE_LIMIT
from certify.convex.spectral import power_sum
from certify.core.arrays import FloatArray
from certify.core.errors import ConfigurationError
from certify.unlearners.cubic import CubicStep, cubic_step
from certify.unlearners.evidence import Claim, Meter
from certify.unlearners.interface import Kind, Unlearner
from certify.unlearners.methods.newton import require_curvature, require_small_problem
from certify.unlearners.probe import Probe

if TYPE_CHECKING:
    from certify.models.networks.state import State
    from certify.unlearners.networks.meter import NetworkMeter

NETWORK_L = 5.0
"""L for networks where none is given: the published value for the smallest of the published networks; others go up to 400."""


@dataclass(frozen=True)
class CureNewton(Unlearner):
    """Exact cubic-regularised Newton steps on the retained objective F, from the original model.

    Each step is the global minimiser of ``g.s + s'Hs/2 + (L/6)||s||^3`` with the gradient g and the Hessian H of F at the
    current weights: ``s = -(H + t I)^-1 g`` with the damping ``t = (L/2)||s||``, which the step reports. Where H is degenerate
    or indefinite, as it is for trained networks, the pseudo-inverse and a small fixed damping leap; this step cannot, its length
    being at most ``sqrt(2||g||/L)`` where H is positive semi-definite. The price: one step hardly forgets. Forgetting is bought
    with ``steps``.

    *Units.* F is the mean over the retained records for networks, and the sum for linear models, as everywhere here. ``L`` is
    always that of the **mean** loss, as in the paper; for linear models it is multiplied by the sum of the sample weights.

    *Linear models.* Where ``L`` is None, ``L = sum_i weight_i M ||x_i||^3`` with M = sup |l'''|, the Hessian-Lipschitz constant
    L_H of the sum. Then F falls by at least ``(L/12)||s||^3`` a step. If F is mu-strongly convex, after a step from w of length r

        ``||w + s - w_R|| <= ((L_H + L) r^2 / 2 + ||g + Hs + (L/2)||s|| s||) / mu``,

    reported for each step as ``certificate before rounding`` with the penalty as mu, infinite where a parameter is not penalised
    or M has no bound. It is one of exact arithmetic: g, H and w + s are rounded, and near the minimum nothing else is left. The
    gate's own certificate is measured on the result and does not lean on it.

    *Networks.* The Hessian is formed, (P, P), and decomposed: P^2 numbers of memory, P^3 time for each step and model. Batch
    statistics stay as they are. What the paper proves is convergence to a second-order point of the retained loss, which need
    not be near the retrained weights: the claim is "approximate" for linear models and "none" for networks.

    Args:
        L: Hessian-Lipschitz constant of the mean retained loss, or any cubic weight; None is derived for linear models and 5 for
            networks.
        steps: cubic steps.
        weight_decay: of networks: adds ``(weight_decay / 2)||w||^2`` to the mean loss, as the training did.
        max_parameters: largest number of parameters of one model for which a dense Hessian is formed.
    """

    name: ClassVar[str] = "curenewton"
    summary: ClassVar[str] = "exact cubic-regularised Newton steps on the retained records; small models"
    needs: ClassVar[str] = "the original model, the retained records"
    reference: ClassVar[str] = "Bui et al. 2024 (arXiv 2406.14507); Nesterov, Polyak 2006 (the step)"
    claim: ClassVar[Claim] = Claim.APPROXIMATE
    kinds: ClassVar[tuple[Kind, ...]] = ("convex", "network")
    family: ClassVar[str] = "second-order"

    quick: ClassVar[Mapping[str, Any]] = MappingProxyType({"steps": 3})
    # On a quadratic objective no cubic term is needed.
    conformance: ClassVar[Probe] = Probe(oracle={"L": 0.0, "steps": 1})

    L: Annotated[float, Field(ge=0)] | None = None
    steps: Annotated[int, Field(ge=1)] = 10
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_parameters: Annotated[int, Field(ge=1)] = DENSE_LIMIT

    def run(self, meter: Meter, start: FloatArray) -> FloatArray:
        """Cubic steps on the sum.

        Raises:
            ConfigurationError: an L1 term, a loss without second derivative, one without a constant where ``L`` is None, or too
                many parameters.
            InputError: L is 0 and the Hessian is not positive definite.
        """
        problem, w = meter.problem, start
        require_curvature(problem.objective)
        require_small_problem(problem, self.max_parameters, self.name)
        own = hessian_lipschitz(problem)
        lipschitz = own if self.L is None else self.L * float(problem.weights.sum())
        if not math.isfinite(lipschitz):
            raise ConfigurationError(
                f"the {problem.objective.loss} loss has no bound on its third derivative to derive L from",
                where="curenewton.L",
                mend="give L, the Hessian-Lipschitz constant of the mean loss near the weights",
            )
        modulus = float(problem.penalty.min())
        for _ in range(self.steps):
            gradient = meter.gradient(w)
            found = cubic_step(meter.hessian(w), gradient.ravel(), lipschitz)
            w = w + found.step.reshape(problem.shape)
            meter.trace({**_told(found), "certificate before rounding": certificate(found, own, lipschitz, modulus)})
            meter.iterate()
        meter.solver |= {"L of the sum": lipschitz, "Hessian-Lipschitz constant of the sum": own}
        return w

    def run_networks(self, meter: "NetworkMeter", state: "State") -> "State":
        """Cubic steps on the mean, model by model within a step.

        Raises:
            ConfigurationError: the network has too many parameters for a dense Hessian.
            InputError: L is 0 and a Hessian is not positive definite.
        """
        import torch

        from certify.unlearners.networks.dense import dense_hessian, require_small
        from certify.unlearners.networks.second_order import moved, note, report, retained_gradient, stacked

        require_small(
            meter.network,
            state,
            self.max_parameters,
            where="curenewton.max_parameters",
            instead="use --method curenewton-stochastic",
        )
        meter.claim = (Claim.NONE, "a second-order point of the retained loss need not be near the retrained weights")
        lipschitz = NETWORK_L if self.L is None else self.L
        records = meter.records("retain")
        for _, begins in meter.rounds(self.steps):
            (state,) = meter.at(begins, state)
            gradient = retained_gradient(meter, state, self.weight_decay).cpu().numpy()
            found = []
            for model in range(state.models):
                dense = dense_hessian(meter, state, records, model=model, weight_decay=self.weight_decay)
                spectrum = dense.spectrum()
                found.append(cubic_step(spectrum, gradient[model], lipschitz))
                report(meter, model, {**spectrum.report(), **_told(found[-1])})
            for purpose in _told(found[0]):
                note(meter, purpose, torch.tensor([_told(one)[purpose] for one in found], dtype=torch.float64))
            state = moved(meter, state, stacked([one.step for one in found]))
            meter.mark(state)
        return state


def hessian_lipschitz(problem: Problem) -> float:
    """``sum_i weight_i M ||x_i||^3``, M = sup |l'''|: a Lipschitz constant of the Hessian of the sum, rounded up.

    The third derivative of record i in directions of Frobenius norm 1 is at most M times the product of three changes of its
    scores, each at most ``||x_i||``. Infinite where M has no bound; 0 for squared error.
    """
    constant = problem.objective.loss_function.constants.hessian_lipschitz
    return constant * float(power_sum(problem, 3)) * (1 + 2.0**-48) if constant else 0.0


def certificate(step: CubicStep, own: float, lipschitz: float, modulus: float) -> float:
    """``((L_H + L) r^2 / 2 + residual of the step) / mu``: distance to the minimiser after the step; infinite without mu.

    Args:
        step: taken from the point where g and H were.
        own: L_H, a Lipschitz constant of the Hessian.
        lipschitz: L of the cubic model.
        modulus: mu, of strong convexity.
    """
    if not modulus > 0 or not math.isfinite(own):
        return math.inf
    return (0.5 * (own + lipschitz) * step.radius**2 + step.stationarity) / modulus


def _told(step: CubicStep) -> dict[str, float]:
    return {
        "damping": step.damping,
        "radius": step.radius,
        "model value": step.value,
        "duality gap": step.gap,
        "stationarity": step.stationarity,
        "smallest damped eigenvalue": step.curvature,
        "secular residual": step.secular,
    }
