"""Rates, AUC and epsilon over models: never too narrow, whatever records of one model have in common."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from certify.attacks.observations import Trials
from certify.attacks.statistics import betting, means
from certify.core.bounds import LowerBound
from certify.core.errors import InputError
from certify.privacy import gaussian

RUNS = 1000
ALPHA = 0.1
LAWS: dict[str, tuple[Callable[[np.random.Generator, int], np.ndarray], float]] = {
    "coin": (lambda g, n: g.binomial(1, 0.3, n).astype(float), 0.3),
    "rare": (lambda g, n: g.binomial(1, 0.02, n).astype(float), 0.02),
    "few records": (lambda g, n: g.binomial(20, 0.05, n) / 20, 0.05),
    "skewed": (lambda g, n: g.beta(0.3, 2.7, n), 0.1),
}


def most(runs: int, alpha: float) -> float:
    """Errors that a procedure erring with probability ``alpha`` reaches with probability below 1e-6."""
    return float(stats.binom.isf(1e-6, runs, alpha))


def trials_of(hits: np.ndarray, alarms: np.ndarray, records: int) -> Trials:
    """Models whose records are all flagged alike: ``records`` of each kind, the same ones on both sides."""
    scores = np.concatenate([np.repeat(hits, records), np.repeat(alarms, records)]).astype(float)
    model = np.tile(np.repeat(np.arange(len(hits)), records), 2)
    record = np.tile(np.arange(records), 2 * len(hits))
    return Trials(scores, np.repeat([True, False], len(hits) * records), model, record)


@pytest.mark.parametrize("law", LAWS)
def test_the_interval_misses_the_mean_no_more_often_than_stated(law: str) -> None:
    draw, mean = LAWS[law]
    generator, missed = np.random.default_rng(1), 0
    for _ in range(RUNS):
        found = betting.mean_interval(draw(generator, 40), 1 - ALPHA)
        missed += not found.lower <= mean <= found.upper
    assert missed <= most(RUNS, ALPHA)


def test_a_mutant_that_counts_each_model_many_times_is_caught_by_the_same_test() -> None:
    draw, mean = LAWS["coin"]
    generator, missed = np.random.default_rng(1), 0
    for _ in range(300):
        found = betting.mean_interval(np.repeat(draw(generator, 40), 16), 1 - ALPHA)
        missed += not found.lower <= mean <= found.upper
    assert missed > most(300, ALPHA)


def test_one_sided_bounds_hold_for_different_means_too() -> None:
    generator, missed = np.random.default_rng(2), np.zeros(2)
    rates = np.linspace(0, 0.4, 30)
    for _ in range(RUNS):
        values = generator.binomial(1, rates).astype(float)
        missed += betting.mean_lower(values, ALPHA) > 0.2, betting.mean_upper(values, ALPHA) < 0.2
    assert (missed <= most(RUNS, ALPHA)).all()


def test_the_sequence_holds_at_all_times_together() -> None:
    generator, missed, runs = np.random.default_rng(3), 0, 120
    for _ in range(runs):
        lower, upper = betting.mean_sequence(generator.binomial(1, 0.3, 20).astype(float), 0.6)
        missed += bool((lower > 0.3).any() or (upper < 0.3).any())
    assert missed <= most(runs, 0.4)
    assert (np.diff(lower) >= 0).all()
    assert (np.diff(upper) <= 0).all()


def test_the_sequence_ends_near_the_interval_and_contains_its_mean() -> None:
    values = np.random.default_rng(4).beta(2, 18, 150)
    lower, upper = betting.mean_sequence(values)
    fixed = betting.mean_interval(values)
    assert lower[-1] < values.mean() < upper[-1]
    assert upper[-1] - lower[-1] < 1.6 * (fixed.upper - fixed.lower)


def test_betting_is_narrower_than_empirical_bernstein() -> None:
    generator = np.random.default_rng(5)
    for n in (32, 256):
        values = generator.beta(2, 18, n)
        ours, theirs = betting.mean_interval(values), betting.empirical_bernstein(values)
        assert ours.upper - ours.lower < 0.5 * (theirs.upper - theirs.lower)
        assert theirs.lower <= ours.value <= theirs.upper


@pytest.mark.parametrize("value", [0.0, 1.0, 0.5])
def test_constant_values(value: float) -> None:
    found = betting.mean_interval(np.full(30, value))
    assert found.lower <= value <= found.upper
    assert 0 < found.upper - found.lower < 0.3
    # the whole wealth staked: (1-m)^-n weighs 0.4 and a half
    if value == 0:
        assert found.upper == pytest.approx(1 - (0.05 * 0.4 / 2) ** (1 / 30), rel=0.1)


def test_records_of_one_model_are_not_independent() -> None:
    """Every record of a model is flagged or none is: counting records misses the rate most of the time, counting models does not."""
    generator, records, naive, ours = np.random.default_rng(6), 50, 0, 0
    for _ in range(300):
        flags = generator.binomial(1, 0.3, 40)
        rate = means.rate_over_models(trials_of(flags, flags, records), 0.5).tpr
        ours += not rate.lower <= 0.3 <= rate.upper
        low, high = stats.beta.interval(0.95, flags.sum() * records + 0.5, (1 - flags).sum() * records + 0.5)
        naive += not low <= 0.3 <= high
    assert naive > 150
    assert ours <= most(300, 0.05)


@pytest.mark.parametrize(("mu", "delta"), [(0.0, 0.0), (0.0, 1e-2), (0.5, 1e-3), (1.0, 1e-2), (1.0, 0.1)])
def test_epsilon_exceeds_the_truth_no_more_often_than_stated(mu: float, delta: float) -> None:
    """Gaussian mechanisms of known epsilon, whose models flag their records together in part."""
    truth = gaussian.epsilon(mu, delta) if delta and mu else 0.0
    generator, records, wrong = np.random.default_rng([int(10 * mu), int(1000 * delta)]), 10, 0
    threshold = 0.0 if mu == 0 else 1.0
    allowed = max(truth, 0.0)
    for _ in range(RUNS // 2):
        common = generator.normal(size=(2, 60, 1)) * math.sqrt(0.7)
        scores = common + generator.normal(size=(2, 60, records)) * math.sqrt(0.3)
        flags = scores + np.array([mu, 0.0]).reshape(2, 1, 1) >= threshold
        hits, alarms = flags.mean(axis=2)
        wrong += means.epsilon_of_shares(hits, alarms, delta, 1 - ALPHA) > allowed
    assert wrong <= most(RUNS // 2, ALPHA)


def test_epsilon_of_a_perfect_attack_is_near_its_ceiling() -> None:
    found = means.epsilon_lower_bound_over_models(trials_of(np.ones(200), np.zeros(200), 3), 0.5)
    assert isinstance(found, LowerBound)
    # refuting takes wealth of 20, (1 + exp(-epsilon))^K for the whole stake alone, which weighs 0.4
    ceilings = [-math.log(math.expm1(math.log(needed) / 200)) for needed in (20 / 0.4 / 0.9, 20)]
    assert ceilings[0] < found < ceilings[1]
    assert means.epsilon_lower_bound_over_models(trials_of(np.zeros(200), np.ones(200), 3), 0.5) > 3.4


def test_epsilon_is_monotone_in_delta_and_models() -> None:
    generator = np.random.default_rng(7)
    hits, alarms = generator.beta(2, 5, 100), generator.beta(1, 30, 100)
    found = [means.epsilon_of_shares(hits, alarms, delta, 0.95) for delta in (0.0, 1e-3, 1e-2, 1e-1)]
    assert found == sorted(found, reverse=True)
    assert found[0] > means.epsilon_of_shares(hits[:50], alarms[:50], 0.0, 0.95) > 0.5


def test_no_smaller_epsilon_than_the_bound_is_left_standing() -> None:
    """The e-value itself, without the allowance for delta, refutes every epsilon up to the bound."""
    generator = np.random.default_rng(8)
    hits, alarms, delta = generator.beta(0.2, 0.8, 200), generator.beta(0.05, 5, 200), 0.02
    bound = means.epsilon_of_shares(hits, alarms, delta, 0.95)
    assert bound > 0.3
    for epsilon in np.linspace(0, float(bound), 50):
        ratio = math.exp(epsilon)
        first = betting.log_wealth((hits + ratio * (1 - alarms)) / (ratio + delta))
        second = betting.log_wealth((1 - alarms + ratio * hits) / (ratio + delta))
        assert np.logaddexp(first, second) + math.log(0.5) >= math.log(20)


def test_auc_over_models_equals_the_counted_pairs() -> None:
    generator = np.random.default_rng(9)
    scores, positive = generator.integers(0, 5, 120).astype(float), generator.random(120) < 0.4
    model = generator.integers(0, 4, 120)
    found = means.auc_of_models(Trials(scores, positive, model, np.arange(120)))
    for k in range(4):
        first, second = scores[(model == k) & positive], scores[(model == k) & ~positive]
        pairs = np.sign(first[:, None] - second[None, :])
        assert found[k] == pytest.approx((pairs.mean() + 1) / 2)
    estimate = means.auc_over_models(Trials(scores, positive, model, np.arange(120)))
    assert estimate.value == pytest.approx(found.mean())
    assert estimate.units == 4


def test_constant_scores_have_auc_one_half() -> None:
    trials = Trials(np.zeros(40), np.tile([True, False], 20), np.repeat(np.arange(4), 10), np.tile(np.arange(10), 4))
    assert means.auc_over_models(trials).value == 0.5


def test_thresholds_never_flag_more_than_asked() -> None:
    generator = np.random.default_rng(10)
    for fpr in (0.0, 0.01, 0.1, 0.5, 1.0):
        scores = generator.integers(0, 30, 200).astype(float)
        trials = Trials(scores, np.tile([True, False], 100), np.zeros(200, int), np.arange(200))
        threshold = means.threshold_at(trials, fpr)
        negative = scores[1::2]
        assert (negative >= threshold).mean() <= fpr
        lower = scores[scores < threshold]
        if lower.size:
            assert (negative >= lower.max()).mean() > fpr


def test_splits_share_no_model() -> None:
    trials = trials_of(np.ones(11), np.zeros(11), 2)
    first, second = means.split_models(trials, 0.4, seed=1)
    assert not np.isin(first.models, second.models).any()
    assert len(first) + len(second) == len(trials)
    assert len(np.unique(first.models)) == 4


def test_models_without_a_kind_are_left_out() -> None:
    trials = Trials(np.array([1.0, 0.0, 1.0]), np.array([1, 0, 1]), np.array([0, 0, 1]), np.array([0, 1, 1]))
    assert means.rate_over_models(trials, 0.5).tpr.units == 2
    assert means.rate_over_models(trials, 0.5).fpr.units == 1


@pytest.mark.parametrize(
    ("trials", "match"),
    [
        (Trials(np.array([1.0, 0.0]), np.array([1, 0]), np.array([0, 0]), np.array([0, 1])), "both sides"),
        (Trials(np.array([1.0, 0.0]), np.array([2, 0]), np.array([0, 0]), np.array([0, 0])), "not 0 or 1"),
        (Trials(np.array([1.0, 0.0]), np.array([1, 1]), np.array([0, 0]), np.array([0, 0])), "both sides"),
    ],
)
def test_trials_that_prove_nothing_are_refused(trials: Trials, match: str) -> None:
    with pytest.raises(InputError, match=match):
        means.epsilon_lower_bound_over_models(trials, 0.5)


def test_values_outside_are_refused() -> None:
    for bad in ([1.2], [], [float("nan")]):
        with pytest.raises(InputError):
            betting.mean_interval(np.array(bad))
