"""Planted mistakes in a certifier, and whether the audit or the known answer finds them.

    .venv/bin/python benchmarks/mutated_certifiers.py [--seeds 5] [--draws 100000]

A certifier takes one Newton step on the retained records, bounds the distance to the retrained weights, claims an epsilon for the
noise that the policy names, and releases weights with noise. For linear models the answer is known: with the noise as declared
both worlds are Gaussians a distance ``||w - w*||`` apart, which gives the instance's own epsilon, and

    epsilon of the audit  <=  epsilon of the instance  <=  epsilon of the certificate.

Each mutant changes one step of the honest certifier. It is found by the instance where the claim lies below the known answer, and by the
audit where an attacker who draws releases of both worlds refutes the claim at 99 %. The honest certifier must not be found.
"""

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import chi2
from scipy.stats import t as student

from certify.attacks.epsilon import epsilon_lower_bound
from certify.convex.certificate import certify_parameters
from certify.convex.objective import Objective
from certify.convex.problem import Problem, bind
from certify.convex.solve import newton_step
from certify.privacy import gaussian

DELTA, MU, CONFIDENCE = 1e-5, 2.0, 0.99
FORGOTTEN = 10
LOSSES = {
    "logistic": {},
    "softmax": {},
    "poisson": {},
    "pseudo-huber": {},
    "log-cosh": {},
    "softplus-hinge": {"smoothing": 0.5},
}


@dataclass(frozen=True, eq=False)
class Case:
    """One deletion.

    Attributes:
        full: objective with all records, the forgotten ones first.
        retained: without them.
        nearly: with the last of the forgotten records still in.
        skipped: retained but for one record.
        original: the minimiser of ``full``.
        retrained: the minimiser of ``retained``, to rounding.
        noise_std: of the policy: the honest certificate reaches mu = 2 with it.
    """

    full: Problem
    retained: Problem
    nearly: Problem
    skipped: Problem
    original: np.ndarray
    retrained: np.ndarray
    noise_std: float = 1.0


def optimum(problem: Problem, w: np.ndarray) -> np.ndarray:
    """Newton steps to rounding level."""
    for _ in range(40):
        w = w - newton_step(problem, w, problem.gradient(w))
    return w


def make_case(seed: int, loss: str = "logistic", records: int = 400, width: int = 8) -> Case:
    """Random records; the policy's noise is set by the honest certifier."""
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(records, width))
    z = X @ np.linspace(1, -1, width) / 2
    y, outputs = z + generator.normal(size=records), 1
    if loss in ("logistic", "softplus-hinge"):
        y = (z + generator.logistic(size=records) > 0).astype(float)
    elif loss == "softmax":
        y, outputs = np.argmax(np.c_[z, -z, 0 * z] + generator.gumbel(size=(records, 3)), axis=1), 3
    elif loss == "poisson":
        y = generator.poisson(np.exp(z)).astype(float)
    objective = Objective(loss, 1.0, **LOSSES[loss])
    bound = [
        bind(objective, X[rows], y[rows], outputs)
        for rows in (slice(None), slice(FORGOTTEN, None), slice(FORGOTTEN - 1, None), slice(FORGOTTEN, -1))
    ]
    original = optimum(bound[0], np.zeros(bound[0].shape))
    case = Case(*bound, original, optimum(bound[1], original))
    distance = HONEST.distance(case, case.retained, HONEST.unlearn(case))
    return replace(case, noise_std=distance / MU)


def newton_length(records: Problem, problem: Problem, w: np.ndarray) -> float:
    """Length of the Newton step by the Hessian of ``records`` for the gradient of ``problem``."""
    return float(np.linalg.norm(newton_step(records, w, problem.gradient(w))))


def after_quadratic(case: Case, problem: Problem, w: np.ndarray) -> float:
    """What a Newton step leaves of the gradient of a quadratic, over l2: rounding."""
    left = problem.gradient(case.original) - problem.hessian_product(case.original, case.original - w)
    return float(np.linalg.norm(left)) / problem.objective.l2


def gradient_over(problem: Problem, w: np.ndarray, modulus: float) -> float:
    """Gradient norm over a modulus."""
    return float(np.linalg.norm(problem.gradient(w))) / modulus


def draw(shape: tuple[int, ...], noise_std: float, generator: np.random.Generator) -> np.ndarray:
    """Noise of many releases, (draws, parameters)."""
    return noise_std * generator.normal(size=shape)


def draw_but_one(shape: tuple[int, ...], noise_std: float, generator: np.random.Generator) -> np.ndarray:
    """The same with a weight without noise."""
    found = draw(shape, noise_std, generator)
    found[:, -1] = 0.0
    return found


def draw_once(shape: tuple[int, ...], noise_std: float, _: np.random.Generator) -> np.ndarray:
    """One draw for all releases."""
    return np.broadcast_to(draw(shape[1:], noise_std, np.random.default_rng(0)), shape)


@dataclass(frozen=True, eq=False)
class Certifier:
    """The steps of a certifier; as they stand here, the honest one.

    Attributes:
        problem: what it takes for the retained records of a case.
        distance: bound on the distance to the retrained weights, from the case, that problem, and the weights after one Newton step.
        mu: shift in units of the noise, from the distance and noise_std.
        epsilon: claimed, from mu and delta.
        publish: what happens to the weights between certificate and noise.
        noise: of many releases.
    """

    problem: Callable[[Case], Problem] = lambda case: case.retained
    distance: Callable[[Case, Problem, np.ndarray], float] = lambda _, problem, w: float(
        certify_parameters(problem, w).distance
    )
    mu: Callable[[float, float], float] = gaussian.ratio
    epsilon: Callable[[float, float], float] = gaussian.epsilon
    publish: Callable[[np.ndarray], np.ndarray] = lambda w: w
    noise: Callable[[tuple[int, ...], float, np.random.Generator], np.ndarray] = draw

    def unlearn(self, case: Case) -> np.ndarray:
        """One Newton step."""
        problem = self.problem(case)
        return case.original - newton_step(problem, case.original, problem.gradient(case.original))


HONEST = Certifier()

MUTANTS = {
    "draws noise of half the standard deviation": replace(HONEST, noise=lambda n, std, g: draw(n, std / 2, g)),
    "takes the variance for the standard deviation": replace(HONEST, noise=lambda n, std, g: draw(n, std**2, g)),
    "leaves one weight without noise": replace(HONEST, noise=draw_but_one),
    "draws the same noise for every release": replace(HONEST, noise=draw_once),
    "steps by the Hessian with the forgotten records in it": replace(
        HONEST, distance=lambda case, problem, w: newton_length(case.full, problem, w)
    ),
    "counts every record twice in the Hessian": replace(
        HONEST, distance=lambda _, problem, w: newton_length(problem, problem, w) / 2
    ),
    "takes the loss for a quadratic": replace(HONEST, distance=after_quadratic),
    "loses one retained record": replace(HONEST, problem=lambda case: case.skipped),
    "deletes all but the last of the forgotten records": replace(HONEST, problem=lambda case: case.nearly),
    "takes the residual on all records": replace(HONEST, problem=lambda case: case.full),
    "spends a hundred times the delta it names": replace(HONEST, epsilon=lambda mu, d: gaussian.epsilon(mu, 100 * d)),
    "divides by the largest eigenvalue, not the smallest": replace(
        HONEST,
        distance=lambda _, problem, w: gradient_over(problem, w, np.linalg.eigvalsh(problem.hessian(w))[-1]),
    ),
    "multiplies l2 by the number of records": replace(
        HONEST, distance=lambda _, problem, w: gradient_over(problem, w, problem.objective.l2 * problem.records)
    ),
    "measures the largest weight's error, not the norm": replace(
        HONEST, distance=lambda _, problem, w: float(np.abs(newton_step(problem, w, problem.gradient(w))).max())
    ),
    "forgets a square root": replace(
        HONEST, distance=lambda _, problem, w: float(certify_parameters(problem, w).distance) ** 2
    ),
    "divides the noise by the distance": replace(HONEST, mu=lambda distance, std: std / distance),
    "uses mu sqrt(2 ln(1.25/delta)), false for large epsilon": replace(
        HONEST, epsilon=lambda mu, d: mu * math.sqrt(2 * math.log(1.25 / d))
    ),
    "stores two decimals of the weights it certified": replace(HONEST, publish=lambda w: np.round(w, 2)),
}


@dataclass(frozen=True)
class Outcome:
    """Three epsilons at the same delta, and the shifts behind two of them.

    Attributes:
        certificate: claimed.
        instance: of the known distance and the declared noise, from below.
        audit: refuted at 99 % by draws of both worlds, under the Gaussian model.
        plain: refuted at 99 % without a model, at a threshold that was fixed before.
    """

    certificate: float
    instance: float
    audit: float
    plain: float

    @property
    def by_instance(self) -> bool:
        """Whether the known answer lies above the claim."""
        return self.instance > self.certificate

    @property
    def by_audit(self) -> bool:
        """Whether the attack refutes the claim."""
        return max(self.audit, self.plain) > self.certificate

    @property
    def caught(self) -> bool:
        """Either."""
        return self.by_instance or self.by_audit


def try_certifier(certifier: Certifier, case: Case, draws: int, seed: int) -> Outcome:
    """Claim, known answer, and audit of one certifier on one case."""
    w = certifier.unlearn(case)
    claimed = certifier.mu(certifier.distance(case, certifier.problem(case), w), case.noise_std)
    released = certifier.publish(w)
    slack = float(certify_parameters(case.retained, case.retrained).distance)
    known = max(0.0, float(np.linalg.norm(released - case.retrained)) - slack) * (1 - 1e-12)
    generator = np.random.default_rng([seed, 1])
    size = (2 * draws, w.size)
    first = released.ravel() + certifier.noise(size, case.noise_std, generator)
    second = case.retrained.ravel() + certifier.noise(size, case.noise_std, generator)
    mu, plain = attack(first, second)
    return Outcome(
        certifier.epsilon(claimed, DELTA),
        gaussian.epsilon(known / case.noise_std, DELTA) * (1 - 1e-9),
        gaussian.epsilon(mu, DELTA) * (1 - 1e-9),
        plain,
    )


def attack(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Lower bounds at 99 %: on mu for two Gaussians of one covariance, and on epsilon without any model.

    The direction (Fisher's discriminant) and the threshold come from the first half of the draws, the bounds from the second.
    Student's limit for the difference of means and the chi-squared limit for the variance share the error.
    """
    half = len(first) // 2
    mean = first[:half].mean(axis=0) - second[:half].mean(axis=0)
    centred = np.concatenate([world[:half] - world[:half].mean(axis=0) for world in (first, second)])
    covariance = centred.T @ centred / (len(centred) - 2)
    scale = np.trace(covariance) / len(covariance)
    direction = np.linalg.solve(covariance + (1e-9 * scale + 1e-300) * np.eye(len(covariance)), mean)
    direction /= max(np.linalg.norm(direction), 1e-300)
    threshold = 0.5 * float((first[:half].mean(axis=0) + second[:half].mean(axis=0)) @ direction)
    one, two = first[half:] @ direction, second[half:] @ direction
    counts = int(np.sum(one > threshold)), len(one), int(np.sum(two > threshold)), len(two)
    plain = float(epsilon_lower_bound(*counts, DELTA, CONFIDENCE))
    freedom, error = len(one) + len(two) - 2, (1 - CONFIDENCE) / 2
    spread = math.sqrt((np.sum((one - one.mean()) ** 2) + np.sum((two - two.mean()) ** 2)) / freedom)
    difference = float(one.mean() - two.mean())
    if spread <= 1e-12 * abs(difference):  # no noise at all: the worlds never meet
        return math.inf, plain
    margin = student.isf(error, freedom) * spread * math.sqrt(1 / len(one) + 1 / len(two))
    widest = spread * math.sqrt(freedom / chi2.ppf(error, freedom))
    return max(0.0, (difference - margin) / widest), plain


def table(seeds: int, draws: int, loss: str = "logistic") -> Iterator[tuple[str, list[Outcome]]]:
    """Outcomes over seeds, by what is wrong; the honest certifier first."""
    cases = [make_case(seed, loss) for seed in range(seeds)]
    for name, certifier in {"nothing": HONEST, **MUTANTS}.items():
        yield name, [try_certifier(certifier, case, draws, seed) for seed, case in enumerate(cases)]


def main() -> None:
    """Print the table and the score."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--draws", type=int, default=100_000)
    given = parser.parse_args()
    print(
        f"{given.seeds} cases, medians; delta {DELTA:g}, {given.draws} draws of each world, audit at {CONFIDENCE:.0%}"
    )
    print(f"{'certificate':>12} {'instance':>10} {'audit':>10}  {'found by':18}  what is wrong")
    score, totals = 0, {"instance": 0, "audit": 0}
    for name, found in table(given.seeds, given.draws):
        shown = [
            float(np.median([getattr(one, part) for one in found])) for part in ("certificate", "instance", "audit")
        ]
        each = {"instance": all(one.by_instance for one in found), "audit": all(one.by_audit for one in found)}
        names = " and ".join(part for part, hit in each.items() if hit)
        print(f"{shown[0]:12.4g} {shown[1]:10.4g} {shown[2]:10.4g}  {names or '-':18}  {name}")
        if name == "nothing":
            print(f"{'':54}(alarms: {sum(one.caught for one in found)} of {len(found)})")
            continue
        score += all(one.caught for one in found)
        for part, hit in each.items():
            totals[part] += hit
    print(f"found: {score} of {len(MUTANTS)}; by the instance {totals['instance']}, by the audit {totals['audit']}")


if __name__ == "__main__":
    main()
