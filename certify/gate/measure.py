"""What is measured of one set of weights: the certified distance and what it means under the policy's noise."""

from dataclasses import dataclass

from certify.convex.certificate import DistanceBound, certify_parameters
from certify.convex.curvature import NoiseShape, curvature_shape
from certify.convex.problem import Problem
from certify.convex.shaped import ShapedBound, bound_shaped
from certify.convex.solve import line_search
from certify.core.arrays import FloatArray
from certify.core.errors import AssumptionViolatedError
from certify.gate.spec import PolicySpec
from certify.privacy import gaussian, noise

_STEPS_AHEAD = 10


@dataclass(frozen=True, eq=False)
class Measurement:
    """A certified distance, and the privacy it gives under the policy's noise.

    Attributes:
        bound: the certificate.
        mu: distance in the noise's norm over noise_std, rounded up.
        epsilon: upper bound at the policy's delta, the noise being discrete.
        shape: of the noise; None when it is isotropic.
        shaped: the certificate in the norm of that shape.
    """

    bound: DistanceBound
    mu: float
    epsilon: float
    shape: NoiseShape | None = None
    shaped: ShapedBound | None = None

    def meets(self, policy: PolicySpec) -> bool:
        """Whether it is within every limit of the policy."""
        return self.epsilon <= policy.epsilon and (
            policy.tolerance is None or float(self.bound.distance) <= policy.tolerance
        )


def measure(
    problem: Problem, parameters: FloatArray, policy: PolicySpec, shape: NoiseShape | None = None
) -> Measurement:
    """Certify parameters and convert under the policy.

    Args:
        problem: objective and retained records.
        parameters: (K, p).
        policy: the limits and the noise.
        shape: of the policy's noise, when it was computed before and is not isotropic.

    Raises:
        AssumptionViolatedError: the theorem does not apply.
    """
    bound, shaped = certify_parameters(problem, parameters), None
    if policy.noise_shape == "curvature":
        shape = curvature_shape(problem) if shape is None else shape
        shaped = bound_shaped(problem, parameters, bound, shape)
    shift = bound.distance if shaped is None else shaped.shift
    distance = shift + noise.grid_cost(policy.noise_std, problem.size).extra_shift
    mu = gaussian.ratio(float(distance), policy.noise_std)
    return Measurement(bound, mu, noise.epsilon_on_grid(mu, policy.delta, problem.size), shape, shaped)


def try_measure(
    problem: Problem, parameters: FloatArray, policy: PolicySpec, shape: NoiseShape | None = None
) -> Measurement | None:
    """:func:`measure`, or None where the theorem does not apply at these parameters."""
    try:
        return measure(problem, parameters, policy, shape)
    except AssumptionViolatedError:
        return None


def shift_limit(policy: PolicySpec) -> float:
    """Largest certified distance in the noise's norm that the policy lets pass, rounded down.

    The tolerance is Euclidean: it limits this one only where the noise is isotropic.
    """
    allowed = gaussian.mu(policy.epsilon, policy.delta * (1 - 2.0**-10)) * policy.noise_std * (1 - 2.0**-50)
    isotropic = policy.noise_shape == "isotropic"
    return min(allowed, policy.tolerance) if isotropic and policy.tolerance is not None else allowed


def distance_limit(policy: PolicySpec) -> float | None:
    """Largest certified Euclidean distance the policy lets pass, rounded down; None when it sets none."""
    return shift_limit(policy) if policy.noise_shape == "isotropic" else policy.tolerance


def charged_mu(policy: PolicySpec) -> float:
    """What a release costs in the ledger: the policy's limit, not the measured value, which depends on the forgotten."""
    # raised by more than the noise's grid and the brackets of the inversion can add to a measured mu within the limit
    return gaussian.ratio(shift_limit(policy) * (1 + 2.0**-40) + policy.noise_std * 2.0**-80, policy.noise_std)


def look_ahead(problem: Problem, parameters: FloatArray, first: Measurement, policy: PolicySpec) -> list[Measurement]:
    """Certificates after 1, 2, ... Newton steps, until the policy is met; measured, not predicted.

    Empty when ten steps do not get there. Where slopes jump there are no Newton steps: the one step is to the
    reference point of the certificate, where retraining ends.
    """
    ahead: list[Measurement] = []
    current, w = first, parameters
    for _ in range(_STEPS_AHEAD):
        w = _next(problem, w, current)
        following = try_measure(problem, w, policy, current.shape)
        if following is None:
            return []
        current = following
        ahead.append(current)
        if current.meets(policy):
            return ahead
    return []


def _next(problem: Problem, w: FloatArray, current: Measurement) -> FloatArray:
    step = current.bound.newton_step
    if current.bound.radius < 1 or problem.objective.bent:
        return w - step
    shortened = line_search(problem, w, step, problem.gradient(w))
    return w - step if shortened is None else shortened
