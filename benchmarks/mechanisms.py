"""Mechanisms whose epsilon is known, and bounds on it from simulated audits: how often each exceeds the truth, and how near it comes."""

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from scipy.stats import norm
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from certify.attacks.epsilon import epsilon_from_scores, epsilon_lower_bound
from certify.attacks.statistics.coin_betting import by_betting
from certify.attacks.statistics.coin_flip import by_top
from certify.attacks.statistics.counts import Counts
from certify.attacks.statistics.gaussian import epsilon_of_mu, mu_lower_bound, noncentrality_lower_bound
from certify.attacks.statistics.means import epsilon_of_shares
from certify.privacy import gaussian

DELTA, CONFIDENCE = 1e-5, 0.95
Draw = Callable[[np.random.Generator], float]
"""One audit: draws its trials, returns its bound."""


@dataclass(frozen=True)
class Case:
    """A mechanism, and a bound.

    Attributes:
        mechanism: for readers.
        bound: for readers.
        trials: in each world.
        truth: epsilon.
        draw: one audit.
        floor: mean bound over truth that theory promises; 0 where it promises none.
    """

    mechanism: str
    bound: str
    trials: str
    truth: float
    draw: Draw
    floor: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """Many audits.

    Attributes:
        audits: how many.
        above: bounds above the truth.
        share: mean bound over the truth.
    """

    audits: int
    above: int
    share: float


def audits_of(case: Case, runs: int, seed: int = 0) -> Outcome:
    """Audit again and again."""
    generator = np.random.default_rng([seed, sum(map(ord, case.mechanism + case.bound))])
    found = np.array([case.draw(generator) for _ in range(runs)])
    return Outcome(runs, int(np.count_nonzero(found > case.truth)), float(found.mean() / case.truth))


@lru_cache(maxsize=100_000)
def from_counts(hits: int, alarms: int, trials: int, delta: float, method: str) -> float:
    """Bound from counts; counts come again, bounds are kept."""
    return float(epsilon_lower_bound(hits, trials, alarms, trials, delta, CONFIDENCE, method))


def from_normal_scores(first: np.ndarray, second: np.ndarray) -> float:
    """Bound of :func:`certify.attacks.statistics.gaussian.gaussian_from_scores`, without its checks of normality."""
    n1, n0 = len(first), len(second)
    freedom, size = n1 + n0 - 2, math.sqrt(n1 * n0 / (n1 + n0))
    spread = math.sqrt((first.var() * n1 + second.var() * n0) / freedom)
    statistic = float(first.mean() - second.mean()) / spread * size
    return float(epsilon_of_mu(max(0.0, noncentrality_lower_bound(statistic, freedom, 1 - CONFIDENCE) / size), DELTA))


def gaussian_cases(mu: float, n: int) -> Iterator[Case]:
    """Two normal worlds whose means lie mu apart."""
    truth, name = gaussian.epsilon(mu, DELTA), f"Gaussian, mu = {mu:g}"
    members = np.repeat([True, False], n)
    at = float(norm.isf(0.05))

    def worlds(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return generator.normal(mu, 1, n), generator.normal(0, 1, n)

    def counted(generator: np.random.Generator) -> tuple[int, int]:
        return tuple(int(np.count_nonzero(world > at)) for world in worlds(generator))

    trials = f"{n}"
    yield Case(
        name,
        "threshold fixed, Clopper-Pearson",
        trials,
        truth,
        lambda g: from_counts(*counted(g), n, DELTA, "clopper-pearson"),
    )
    yield Case(
        name,
        "threshold chosen, bands",
        trials,
        truth,
        lambda g: float(epsilon_from_scores(np.concatenate(worlds(g)), members, DELTA, CONFIDENCE)),
    )

    def by_gdp(generator: np.random.Generator) -> float:
        hits, alarms = counted(generator)
        return float(epsilon_of_mu(float(mu_lower_bound(Counts(hits, n, alarms, n), CONFIDENCE)), DELTA))

    near = 0.8 if mu >= 1 else 0.0  # at 500 trials and less than one deviation the interval itself is wide
    near = 0.9 if n >= 5000 else near
    yield Case(name, "threshold fixed, GDP", trials, truth, by_gdp)
    yield Case(name, "scores, GDP", trials, truth, lambda g: from_normal_scores(*worlds(g)), near)


def discrete_cases(epsilon: float, n: int) -> Iterator[Case]:
    """Two outcomes, and a Laplace pair at a threshold in its tail: the truth can be reached without any model of it."""
    p = math.exp(epsilon) / (1 + math.exp(epsilon))
    for method, title, trials in (("clopper-pearson", "Clopper-Pearson", n), ("exact", "exact test", n // 10)):

        def draw(g: np.random.Generator, m: int = trials, how: str = method) -> float:
            return from_counts(int(g.binomial(m, p)), int(g.binomial(m, 1 - p)), m, 0.0, how)

        yield Case(
            f"randomised response, epsilon = {epsilon:g}",
            title,
            f"{trials}",
            epsilon,
            draw,
            0.8 if trials == n else 0.0,
        )

    def laplace(g: np.random.Generator) -> float:
        hits, alarms = (int(np.count_nonzero(g.laplace(epsilon * side, 1.0, n) > epsilon)) for side in (1, 0))
        return from_counts(hits, alarms, n, 0.0, "clopper-pearson")

    yield Case(
        f"Laplace, epsilon = {epsilon:g}", "threshold in the tail, Clopper-Pearson", f"{n}", epsilon, laplace, 0.8
    )


def fleet_case(models: int = 64, records: int = 100, epsilon: float = 1.0, common: float = 0.5) -> Case:
    """A fleet whose records each betray themselves by randomised response, and whose models differ in how readily they do.

    Model k flags at chances ``(p1, p0)`` or ``(1 - p0, 1 - p1)``, by a coin of its own with probability ``common``: both pairs sit
    at the same epsilon, and the records of a model depend on each other.
    """
    p0 = 0.1
    p1 = math.exp(epsilon) * p0

    def draw(g: np.random.Generator) -> float:
        other = g.random(models) < common
        chances = np.where(other[:, None], [p1 / 2, p0 / 2], [p1, p0])
        hits, alarms = (g.binomial(records, chances[:, side]) / records for side in (0, 1))
        return float(epsilon_of_shares(hits, alarms, 0.0, CONFIDENCE))

    return Case("fleet, randomised response a record", "bets over models", f"{models} models", epsilon, draw)


def set_cases(canaries: int = 200, shift: float = 0.5) -> Iterator[Case]:
    """One release a run: each planted canary moves its own coordinate of a normal vector; as a set they are ``shift sqrt(m)``-GDP."""
    truth = gaussian.epsilon(shift * math.sqrt(canaries), DELTA)

    def coins(g: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        bits = g.random(canaries) < 0.5
        return bits.astype(int), shift * bits + g.normal(size=canaries)

    name = f"set of {canaries}, mu = {shift * math.sqrt(canaries):.3g}"

    def bets(g: np.random.Generator) -> float:
        bits, seen = coins(g)
        found = by_betting(bits, shift * (seen - shift / 2), 0.5, order=np.arange(len(bits)))  # drawn in this order
        return float(found.epsilon(DELTA, CONFIDENCE))

    def top(g: np.random.Generator) -> float:
        return float(by_top(*coins(g), (10, 25, 50)).epsilon(DELTA, CONFIDENCE))

    yield Case(name, "coins by bets", "1 release", truth, bets)
    yield Case(name, "coins among the highest", "1 release", truth, top)


@dataclass(eq=False)
class PrivateSGD:
    """DP-SGD by opacus of a linear model whose loss is minus its outputs: each canary's clipped gradient is a coordinate of its own.

    All records are in every batch, so that coordinate i is normal with a mean that canary i moves by ``sqrt(steps)/sigma`` deviations:
    one training gives as many independent trials of a mechanism that is exactly ``sqrt(steps)/sigma``-GDP as there are canaries.

    Attributes:
        sigma: noise multiplier that is claimed.
        steps: of training.
        real: noise multiplier that is drawn.
        width: canaries.
    """

    sigma: float
    steps: int
    real: float | None = None
    width: int = 250
    spare: tuple[np.ndarray, np.ndarray] | None = None
    trained: int = 0

    @property
    def mu(self) -> float:
        """Of the claim."""
        return math.sqrt(self.steps) / self.sigma

    def claimed(self) -> float:
        """Epsilon by opacus' accountant."""
        engine, _ = self._train(np.ones(self.width, dtype=bool), 0)
        return float(engine.get_epsilon(DELTA))

    def _train(self, planted: np.ndarray, seed: int) -> tuple[object, np.ndarray]:
        import opacus

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            X = torch.from_numpy(3.0 * np.diag(planted.astype(float)))
            model = nn.Linear(self.width, 1, bias=False).double()
            engine = opacus.PrivacyEngine(accountant="rdp")
            model, optimiser, loader = engine.make_private(
                module=model,
                optimizer=torch.optim.SGD(model.parameters(), lr=1.0),
                data_loader=DataLoader(TensorDataset(X), batch_size=self.width),
                noise_multiplier=self.sigma,
                max_grad_norm=1.0,
                poisson_sampling=False,
                noise_generator=torch.Generator().manual_seed(seed),
            )
            if self.real is not None:
                optimiser.noise_multiplier = self.real
            weight = next(iter(model.parameters()))
            start = weight.detach().clone()
            for _ in range(self.steps):
                for (x,) in loader:
                    optimiser.zero_grad()
                    (-model(x).sum()).backward()
                    optimiser.step()
        return engine, (weight.detach() - start).numpy()[0] * self.width

    def trials(self, n: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """n of each world; models are trained as they are needed, and each trial is used once."""
        first, second = self.spare if self.spare is not None else (np.zeros(0), np.zeros(0))
        while min(len(first), len(second)) < n:
            planted = generator.random(self.width) < 0.5
            _, moved = self._train(planted, int(generator.integers(2**31)))
            self.trained += 1
            first, second = np.append(first, moved[planted]), np.append(second, moved[~planted])
        self.spare = (first[n:], second[n:])
        return first[:n], second[:n]

    def cases(self, n: int) -> Iterator[Case]:
        """Audits with n trials of each world."""
        truth, half = gaussian.epsilon(self.mu, DELTA), self.steps / 2
        name = f"DP-SGD (opacus), sigma = {self.sigma:g}, {self.steps} steps"

        def counted(g: np.random.Generator) -> float:
            hits, alarms = (int(np.count_nonzero(side > half)) for side in self.trials(n, g))
            return from_counts(hits, alarms, n, DELTA, "clopper-pearson")

        yield Case(name, "scores, GDP", f"{n}", truth, lambda g: from_normal_scores(*self.trials(n, g)))
        yield Case(name, "threshold fixed, Clopper-Pearson", f"{n}", truth, counted)


def cases(n: int = 500) -> Iterator[Case]:
    """All of them."""
    for mu in (0.5, 1.0, 2.0):
        yield from gaussian_cases(mu, n)
    yield list(gaussian_cases(1.0, 10 * n))[-1]
    yield from discrete_cases(1.0, 4 * n)
    yield fleet_case()
    yield from set_cases()
    yield from PrivateSGD(0.7, 2).cases(n // 5)
