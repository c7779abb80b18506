"""What is measured of one set of weights: the certified distance and what it means under the policy's noise."""

from dataclasses import dataclass

from certify.convex.certificate import DistanceBound, certify_parameters
from certify.convex.problem import Problem
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
        mu: distance over noise_std, rounded up.
        epsilon: upper bound at the policy's delta, the noise being discrete.
    """

    bound: DistanceBound
    mu: float
    epsilon: float

    def meets(self, policy: PolicySpec) -> bool:
        """Whether it is within every limit of the policy."""
        return self.epsilon <= policy.epsilon and (
            policy.tolerance is None or float(self.bound.distance) <= policy.tolerance
        )


def measure(problem: Problem, parameters: FloatArray, policy: PolicySpec) -> Measurement:
    """Certify parameters and convert under the policy.

    Raises:
        AssumptionViolatedError: the theorem does not apply.
    """
    bound = certify_parameters(problem, parameters)
    distance = bound.distance + noise.grid_cost(policy.noise_std, problem.size).extra_shift
    mu = gaussian.ratio(float(distance), policy.noise_std)
    return Measurement(bound, mu, noise.epsilon_on_grid(mu, policy.delta, problem.size))


def try_measure(problem: Problem, parameters: FloatArray, policy: PolicySpec) -> Measurement | None:
    """:func:`measure`, or None where the theorem does not apply at these parameters."""
    try:
        return measure(problem, parameters, policy)
    except AssumptionViolatedError:
        return None


def distance_limit(policy: PolicySpec) -> float:
    """Largest certified distance the policy lets pass, rounded down."""
    allowed = gaussian.mu(policy.epsilon, policy.delta * (1 - 2.0**-10)) * policy.noise_std * (1 - 2.0**-50)
    return min(allowed, policy.tolerance) if policy.tolerance is not None else allowed


def charged_mu(policy: PolicySpec) -> float:
    """What a release costs in the ledger: the policy's limit, not the measured value, which depends on the forgotten."""
    # raised by more than the noise's grid and the brackets of the inversion can add to a measured mu within the limit
    return gaussian.ratio(distance_limit(policy) * (1 + 2.0**-40) + policy.noise_std * 2.0**-80, policy.noise_std)


def look_ahead(problem: Problem, parameters: FloatArray, first: Measurement, policy: PolicySpec) -> list[Measurement]:
    """Certificates after 1, 2, ... Newton steps, until the policy is met; measured, not predicted.

    Empty when ten steps do not get there.
    """
    ahead: list[Measurement] = []
    current, w = first, parameters
    for _ in range(_STEPS_AHEAD):
        w = _next(problem, w, current)
        following = try_measure(problem, w, policy)
        if following is None:
            return []
        current = following
        ahead.append(current)
        if current.meets(policy):
            return ahead
    return []


def _next(problem: Problem, w: FloatArray, current: Measurement) -> FloatArray:
    step = current.bound.newton_step
    if current.bound.radius < 1:
        return w - step
    shortened = line_search(problem, w, step, problem.gradient(w))
    return w - step if shortened is None else shortened
