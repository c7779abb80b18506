"""Stopping early, three outcomes, and plans that keep what they promise."""

import math

import numpy as np
import pytest
from scipy import stats

from certify.attacks.estimates import Estimate
from certify.attacks.observations import Trials
from certify.attacks.statistics import bootstrap, equivalence, means, sequential
from certify.attacks.statistics.betting import mean_interval
from certify.core.errors import ArgumentError, InputError
from certify.core.verdict import Verdict

LAWS = ("normal", "cauchy", "ties", "skewed")


def most(runs: int, alpha: float) -> float:
    return float(stats.binom.isf(1e-6, runs, alpha))


def draw(law: str, generator: np.random.Generator, n: int) -> np.ndarray:
    if law == "normal":
        return generator.normal(size=n)
    if law == "cauchy":
        return generator.standard_cauchy(n)
    if law == "ties":
        return generator.integers(0, 3, n).astype(float)
    return generator.exponential(size=n) ** 3


@pytest.mark.parametrize("law", LAWS)
def test_looking_after_every_pair_raises_no_more_alarms_than_stated(law: str) -> None:
    generator, alarms, alpha = np.random.default_rng([1, LAWS.index(law)]), 0, 0.2
    for _ in range(1000):
        wealth = sequential.pair_wealth(draw(law, generator, 60), draw(law, generator, 60))
        alarms += wealth.max() >= math.log(1 / alpha)
    assert alarms <= most(1000, alpha)


def test_a_bettor_that_scales_by_the_sign_is_caught() -> None:
    """The mutant learns its slope from the pair it bets on."""
    generator, alarms, alpha = np.random.default_rng(2), 0, 0.2
    for _ in range(200):
        d = generator.normal(size=60)
        steps = math.log(2) - np.logaddexp(0, -np.sign(np.cumsum(d)) * d)
        alarms += np.cumsum(steps).max() >= math.log(1 / alpha)
    assert alarms > most(200, alpha)


def test_the_wealth_has_mean_one_under_all_exchanges() -> None:
    generator = np.random.default_rng(3)
    first, second = generator.standard_cauchy((2, 8))
    total = 0.0
    for code in range(2**8):
        swap = ((code >> np.arange(8)) & 1).astype(bool)
        total += math.exp(sequential.pair_wealth(np.where(swap, second, first), np.where(swap, first, second))[-1])
    assert total / 2**8 == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize(("mu", "pairs"), [(0.25, 345), (0.5, 77), (1.0, 19), (2.0, 6)])
def test_normal_scores_stop_at_the_known_times(mu: float, pairs: int) -> None:
    generator, stops = np.random.default_rng(int(100 * mu)), []
    runs = 400 if pairs < 100 else 200
    for _ in range(runs):
        n = 12 * pairs + 40
        wealth = sequential.gaussian_pair_wealth(generator.normal(mu, 1, n), generator.normal(size=n), 1.0)
        stops.append(int(np.argmax(wealth >= math.log(20))) + 1)
        assert wealth.max() >= math.log(20)
    assert np.mean(stops) == pytest.approx(pairs, rel=0.15)


def test_normal_bets_raise_no_more_alarms_than_stated() -> None:
    generator, alarms = np.random.default_rng(4), 0
    for _ in range(1000):
        wealth = sequential.gaussian_pair_wealth(*generator.normal(size=(2, 1000)), 1.0)
        alarms += wealth.max() >= math.log(20)
    assert 0 < alarms <= most(1000, 0.05)


def test_any_scores_stop_nearly_as_early() -> None:
    generator, stops = np.random.default_rng(5), []
    for _ in range(60):
        wealth = sequential.pair_wealth(generator.normal(0.5, 1, 600), generator.normal(size=600))
        stops.append(int(np.argmax(wealth >= math.log(20))) + 1)
    assert np.mean(stops) < 1.3 * 77


def test_stops_on_either_side() -> None:
    generator = np.random.default_rng(6)
    leak = sequential.stop(generator.normal(3, 1, 64), generator.normal(size=64), 0.2)
    assert leak.verdict is Verdict.FAIL
    assert leak.pairs in {8, 16}
    assert leak.lower > 0.5
    alternating = np.tile([1.0, -1.0], 400) * generator.random(800)
    same = sequential.stop(alternating, np.zeros(800), 0.2)
    assert same.verdict is Verdict.PASS
    assert same.pairs < 800
    assert 0.3 <= same.lower <= same.upper <= 0.7
    short = sequential.stop(alternating[:20], np.zeros(20), 0.2)
    assert short.verdict is Verdict.INCONCLUSIVE
    assert short.pairs == 20


def test_passes_where_the_worlds_differ_beyond_the_tolerance_are_rare() -> None:
    """P(x > y) = 0.8 and a tolerance of 0.25: each PASS is an error."""
    generator, passed = np.random.default_rng(7), 0
    for _ in range(40):
        first = np.where(generator.random(100) < 0.8, 1.0, -1.0)
        passed += (
            sequential.stop(first, np.zeros(100), 0.25, alpha=0.2, log_wealth=np.zeros(100)).verdict is Verdict.PASS
        )
    assert passed <= most(40, 0.2)


@pytest.mark.parametrize(
    ("lower", "upper", "verdict"),
    [
        (0.1, 0.3, Verdict.PASS), (0.3, 0.5, Verdict.INCONCLUSIVE), (0.41, 0.5, Verdict.FAIL), (-0.3, -0.1, Verdict.INCONCLUSIVE),
        (-0.5, -0.3, Verdict.FAIL), (0.2, 0.4, Verdict.PASS), (0.4, 0.6, Verdict.INCONCLUSIVE), (-1.0, 1.0, Verdict.INCONCLUSIVE),
        (math.nan, math.nan, Verdict.INCONCLUSIVE),
    ],
)  # fmt: skip
def test_the_whole_interval_decides(lower: float, upper: float, verdict: Verdict) -> None:
    assert equivalence.judge(lower, upper, -0.2, 0.4) is verdict


def test_more_units_settle_it_as_planned() -> None:
    """A normal mean: the number the plan names decides about as often as planned."""
    generator, n, truth, limit = np.random.default_rng(8), 50, 0.1, 0.25

    def estimate(size: int) -> Estimate:
        values = generator.normal(truth, 1, size)
        half = 1.96 / math.sqrt(size)
        return Estimate(values.mean(), values.mean() - half, values.mean() + half, 0.95, "z", size)

    exact = Estimate(truth, truth - 1.96 / math.sqrt(n), truth + 1.96 / math.sqrt(n), 0.95, "z", n)
    needed = equivalence.decide(exact, limit).needed
    assert needed is not None
    settled = np.mean([equivalence.decide(estimate(needed), limit).verdict is Verdict.PASS for _ in range(1000)])
    assert settled == pytest.approx(0.8, abs=0.05)
    detectable = equivalence.decide(exact, limit).detectable
    shifted = generator.normal(detectable, 1, (2000, n)).mean(axis=1) - 1.96 / math.sqrt(n)
    assert (shifted > limit).mean() == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("value", [0.0, 0.001])
def test_a_rate_of_nothing_does_not_make_an_audit_sharp(value: float) -> None:
    """Its lower end is cut off at 0: that tells nothing of how far a leak's interval would reach down."""
    wide = equivalence.decide(Estimate(value, 0.0, 1.0, 0.95, "", 8), 0.0271)
    assert wide.detectable > 1
    models = equivalence.decide(Estimate(value, 0.0, 0.02, 0.95, "", 200), 0.0271)
    assert models.verdict is Verdict.PASS
    assert models.detectable >= 0.0271 + 0.019


def test_no_number_settles_an_estimate_at_its_limit() -> None:
    found = equivalence.decide(Estimate(0.5, 0.4, 0.6, 0.95, "", 10), 0.5)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.needed is None
    assert "no number" in str(found)


def test_a_mean_of_models_is_decided_and_planned() -> None:
    generator = np.random.default_rng(9)
    near = np.clip(generator.normal(0.52, 0.05, 12), 0, 1)
    found = equivalence.decide_mean(near, 0.6, 0.4)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.needed is not None
    assert found.needed > 12
    assert 0.6 < found.detectable < 1
    assert "would settle it" in str(found)
    more = [mean_interval(generator.choice(near, found.needed)) for _ in range(100)]
    settled = [equivalence.judge(one.lower, one.upper, 0.4, 0.6) is Verdict.PASS for one in more]
    assert 0.6 < np.mean(settled) < 1
    assert equivalence.decide_mean(np.clip(near + 0.45, 0, 1), 0.6, 0.4).verdict is Verdict.FAIL
    assert equivalence.decide_mean(np.zeros(40), 0.6, 0.4).verdict is Verdict.FAIL
    passed = equivalence.decide_mean(generator.choice(near, 200), 0.6, 0.4)
    assert passed.verdict is Verdict.PASS
    assert passed.needed == 0
    assert "within" in str(passed)


def test_the_decision_is_wrong_no_more_often_than_stated() -> None:
    """A mean that lies on the limit: neither verdict may come more often than half of 10 %."""
    generator, found = np.random.default_rng(10), []
    for _ in range(1000):
        interval = mean_interval(generator.beta(4, 6, 30), 0.9)
        found.append(equivalence.judge(interval.lower, interval.upper, -math.inf, 0.4))
    assert found.count(Verdict.PASS) <= most(1000, 0.05)
    assert found.count(Verdict.FAIL) <= most(1000, 0.05)


def trials(generator: np.random.Generator, models: int, records: int, shared: float) -> Trials:
    common = generator.normal(size=(models, 1)) * math.sqrt(shared)
    scores = common + generator.normal(size=(models, records)) * math.sqrt(1 - shared)
    positive = np.tile(np.arange(records) % 2 == 0, (models, 1))
    return Trials(
        scores.ravel(), positive.ravel(), np.repeat(np.arange(models), records), np.tile(np.arange(records), models)
    )


def flagged(found: Trials) -> float:
    return float((found.scores > 0).mean())


def test_models_are_drawn_and_not_trials() -> None:
    generator, missed, naive, runs = np.random.default_rng(11), 0, 0, 60
    for k in range(runs):
        found = trials(generator, 40, 20, 0.9)
        interval = bootstrap.bootstrap_over_models(found, flagged, 0.9, 200, seed=k)
        missed += not interval.lower <= 0.5 <= interval.upper
        each = Trials(found.scores, found.positive, np.arange(len(found)), found.records)
        half = 1.645 * 0.5 / math.sqrt(len(each))
        naive += not abs(flagged(each) - 0.5) <= half
    assert missed <= most(runs, 0.15)  # asymptotic: some slack
    assert naive > most(runs, 0.15)


def test_the_bootstrap_agrees_with_the_textbook_on_a_mean() -> None:
    found = trials(np.random.default_rng(12), 100, 10, 0.5)
    interval = bootstrap.bootstrap_over_models(found, lambda one: float(one.scores.mean()), 0.95, 1000)
    per_model = found.scores.reshape(100, 10).mean(axis=1)
    half = 1.96 * per_model.std(ddof=1) / 10
    assert interval.value == pytest.approx(per_model.mean())
    assert interval.upper - interval.lower == pytest.approx(2 * half, rel=0.15)
    assert "asymptotic" in interval.method
    again = bootstrap.bootstrap_over_models(found, lambda one: float(one.scores.mean()), 0.95, 1000)
    assert again == interval


def test_a_model_drawn_twice_counts_as_two() -> None:
    found = trials(np.random.default_rng(13), 8, 6, 0.5)
    counts: list[int] = []

    def statistic(one: Trials) -> float:
        counts.append(len(np.unique(one.models)))
        return means.auc_over_models(one).value

    bootstrap.bootstrap_over_models(found, statistic, 0.9, 50)
    assert set(counts) == {7, 8}


def test_a_constant_statistic_has_an_interval_of_one_point() -> None:
    found = bootstrap.bootstrap_over_models(trials(np.random.default_rng(14), 5, 4, 0.5), lambda _: 0.5, 0.9, 50)
    assert (found.lower, found.value, found.upper) == (0.5, 0.5, 0.5)


def test_what_makes_no_sense_is_refused() -> None:
    one = trials(np.random.default_rng(15), 1, 4, 0.5)
    with pytest.raises(InputError, match="one model"):
        bootstrap.bootstrap_over_models(one, flagged)
    with pytest.raises(InputError, match="not finite"):
        bootstrap.bootstrap_over_models(trials(np.random.default_rng(15), 3, 4, 0.5), lambda _: math.nan)
    with pytest.raises(ArgumentError, match="too few"):
        bootstrap.bootstrap_over_models(one, flagged, 0.95, 10)
    with pytest.raises(ArgumentError, match="not below"):
        equivalence.decide(Estimate(0.5, 0.4, 0.6, 0.95, "", 10), 0.1, 0.2)
    with pytest.raises(InputError, match="no pairs"):
        sequential.pair_wealth(np.zeros(3), np.zeros(4))
    with pytest.raises(ArgumentError, match="tolerance"):
        sequential.stop(np.zeros(3), np.zeros(3), 0.7)
