"""Releases chosen after seeing earlier ones: the likelihood-ratio attack on the whole transcript stays below the composed curve.

One dimension is enough: a release that is mu-GDP is at worst a Gaussian shifted by mu. The adversary picks each further mu from what it
has seen, within a cap on the sum of squares (the ledger's filter), and then tests the two worlds on the whole transcript.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest

from certify import attacks, gaussian
from certify.privacy.composition import total_mu

DRAWS = 100_000
# a statement that fails once in a million runs even if the curve is met exactly
CONFIDENCE = 1 - 1e-6
Rule = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


def steady(cap: float) -> Rule:
    """The same share at every release."""
    return lambda seen, _left, _step: np.full(len(seen), cap / 2)


def after_luck(cap: float) -> Rule:
    """Little as long as the evidence is thin; all that is left once it points to the world with the record."""
    return lambda seen, left, step: np.where((seen > 0.0) & (step > 0), left, np.minimum(left, 0.3 * cap))


def double_or_nothing(cap: float) -> Rule:
    """All that is left while behind, nothing when ahead."""
    return lambda seen, left, step: np.where(step == 0, 0.5 * cap, np.where(seen < 0.0, left, 0.0))


def stop_when_ahead(cap: float) -> Rule:
    """Small bites until the evidence suffices."""
    return lambda seen, left, _step: np.where(seen > 0.5 * cap, 0.0, np.minimum(left, 0.5 * cap))


RULES = {rule.__name__: rule for rule in (steady, after_luck, double_or_nothing, stop_when_ahead)}


def transcript(rule: Rule, cap: float, *, member: bool, seed: int, releases: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Log likelihood ratio of whole transcripts, and the sum of squares each of them spent."""
    rng = np.random.default_rng(seed)
    evidence, spent = np.zeros(DRAWS), np.zeros(DRAWS)
    for step in range(releases):
        mu = rule(evidence, np.sqrt(np.maximum(cap**2 - spent, 0.0)), step)
        output = rng.normal(size=DRAWS) + (mu if member else 0.0)
        evidence = evidence + mu * output - mu * mu / 2
        spent = spent + mu * mu
    return evidence, spent


def proved(rule: Rule, cap: float, epsilon: float, delta: float, seed: int) -> float:
    """Epsilon proved by the likelihood-ratio test that is best at ``epsilon``, in either direction; thresholds fixed before."""
    first, _ = transcript(rule, cap, member=True, seed=seed)
    second, _ = transcript(rule, cap, member=False, seed=seed + 1)
    found = []
    for cut in (epsilon, -epsilon):
        hits, alarms = int(np.sum(first > cut)), int(np.sum(second > cut))
        found.append(float(attacks.epsilon_lower_bound(hits, DRAWS, alarms, DRAWS, delta, CONFIDENCE)))
    return max(found)


@pytest.mark.parametrize("delta", [1e-5, 0.05])
@pytest.mark.parametrize("cap", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("name", RULES)
def test_no_adaptive_choice_beats_the_composed_curve(name: str, cap: float, delta: float) -> None:
    certified = gaussian.epsilon(cap, delta)
    for aim in (certified, certified / 2):
        assert proved(RULES[name](cap), cap, aim, delta, seed=60) <= certified


@pytest.mark.parametrize("name", RULES)
def test_no_transcript_spends_more_than_the_cap(name: str) -> None:
    for member in (True, False):
        _, spent = transcript(RULES[name](1.5), 1.5, member=member, seed=61)
        assert float(spent.max()) <= 1.5**2 * (1 + 1e-12)


def test_the_attack_has_teeth() -> None:
    # four equal releases that spend the cap exactly: the attack comes near the curve
    certified = gaussian.epsilon(1.0, 0.05)
    assert proved(steady(1.0), 1.0, certified, 0.05, seed=62) > 0.85 * certified


def test_control_charging_the_largest_release_alone_is_refuted() -> None:
    mu = 0.5
    claimed = gaussian.epsilon(mu, 0.05)  # what the largest of four releases costs
    found = proved(steady(2 * mu), 2 * mu, gaussian.epsilon(2 * mu, 0.05), 0.05, seed=63)
    assert total_mu([mu] * 4) == pytest.approx(2 * mu)
    assert found > 1.5 * claimed


def test_control_a_cap_that_forgets_what_was_spent_is_refuted() -> None:
    # each release allowed the whole cap: what a retrain trigger that starts from zero every time amounts to
    cap = 0.5
    found = proved(lambda seen, _left, _step: np.full(len(seen), cap), cap, 1.6, 0.05, seed=64)
    assert found > 1.5 * gaussian.epsilon(cap, 0.05)


@pytest.mark.parametrize("mus", [[0.3, 0.4], [1.0] * 9, [2.0, 0.0, 1.5]])
def test_the_transcript_of_fixed_releases_has_the_curve_of_its_total(mus: list[float]) -> None:
    rng, mu = np.random.default_rng(65), total_mu(mus)
    ratio = sum((m * (rng.normal(size=DRAWS) + m) - m * m / 2 for m in mus), np.zeros(DRAWS))
    # under the first world the log likelihood ratio is Gaussian with mean mu^2/2 and variance mu^2
    assert float(ratio.mean()) == pytest.approx(mu**2 / 2, abs=6 * mu / math.sqrt(DRAWS))
    assert float(ratio.std()) == pytest.approx(mu, rel=0.02)
