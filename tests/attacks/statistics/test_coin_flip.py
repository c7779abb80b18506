"""The coin-flip audit: exact where the model knows nothing, never above the truth where it knows something."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from certify.attacks.statistics import coin_betting, coin_flip
from certify.attacks.statistics.coin_flip import SetLevel
from certify.core.bounds import LowerBound
from certify.core.errors import ArgumentError, InputError
from certify.core.streams import stream
from certify.privacy import gaussian

ALPHA = 0.1
RUNS = 1000


def extremes(bits: np.ndarray, scores: np.ndarray, chance: float) -> SetLevel:
    quarter = bits.size // 4
    return coin_flip.by_guesses(bits, coin_flip.guess_extremes(scores, quarter, quarter), chance)


def top(bits: np.ndarray, scores: np.ndarray, chance: float) -> SetLevel:
    return coin_flip.by_top(bits, scores, [bits.size // 8, bits.size // 2])


def centred(bits: np.ndarray, scores: np.ndarray, chance: float) -> SetLevel:
    return coin_flip.by_sum(bits, scores - np.median(scores), chance)


def hoeffding(bits: np.ndarray, scores: np.ndarray, chance: float) -> SetLevel:
    return coin_flip.by_sum(bits, scores - np.median(scores), chance, hoeffding=True)


FORMS: dict[str, Callable[[np.ndarray, np.ndarray, float], SetLevel]] = {
    "guesses": extremes,
    "top": top,
    "chernoff": centred,
    "hoeffding": hoeffding,
    "betting": coin_betting.by_betting,
}


def most(runs: int, alpha: float) -> float:
    return float(stats.binom.isf(1e-6, runs, alpha))


@pytest.mark.parametrize("chance", [0.5, 0.2])
@pytest.mark.parametrize("form", FORMS)
def test_a_model_that_knows_nothing_is_refuted_no_more_often_than_stated(form: str, chance: float) -> None:
    generator, alarms = np.random.default_rng([3, int(10 * chance)]), 0
    runs = RUNS if form != "betting" else RUNS // 2
    for k in range(runs):
        # heavy tails, and every third time ties
        scores = generator.standard_t(2, 64) if k % 3 else generator.integers(0, 3, 64).astype(float)
        alarms += FORMS[form](generator.random(64) < chance, scores, chance).refutes(0.0, 0.0, 1 - ALPHA)
    assert alarms <= most(runs, ALPHA)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("rho", "m"), [(0.2, 64), (1.0, 64)])
def test_the_bound_stays_below_a_gaussian_mechanisms_epsilon(form: str, rho: float, m: int) -> None:
    """All m canaries forgotten at worst: the outputs differ by rho in m coordinates of unit noise, mu = rho sqrt(m)."""
    generator, delta = np.random.default_rng([int(10 * rho), m]), 1e-5
    truth, above, found = gaussian.epsilon(rho * math.sqrt(m), delta), 0, []
    runs = 200
    for _ in range(runs):
        bits = generator.random(m) < 0.5
        found.append(FORMS[form](bits, rho * bits + generator.normal(size=m), 0.5).epsilon(delta, 1 - ALPHA))
        above += found[-1] > truth
    assert above <= most(runs, ALPHA)
    if rho == 1.0:
        assert np.mean(np.array(found) > 0) > 0.9


def test_a_leak_of_all_coins_with_probability_delta_is_refuted_at_most_alpha_of_the_time() -> None:
    """The worst (0, delta) mechanism: with probability delta it says everything."""
    generator, delta, above, runs = np.random.default_rng(5), 0.04, 0, 1000
    for _ in range(runs):
        bits = generator.random(64) < 0.5
        scores = bits.astype(float) if generator.random() < delta else generator.normal(size=64)
        above += extremes(bits, scores, 0.5).epsilon(delta, 1 - ALPHA) > 0
    assert 0 < above <= most(runs, ALPHA)


def test_a_mutant_that_forgets_delta_is_caught() -> None:
    generator, above, runs = np.random.default_rng(5), 0, 400
    for _ in range(runs):
        bits = generator.random(64) < 0.5
        scores = bits.astype(float) if generator.random() < 0.3 else generator.normal(size=64)
        above += extremes(bits, scores, 0.5).epsilon(0.0, 1 - ALPHA) > 0
    assert above > most(runs, ALPHA)


def test_a_bettor_that_sees_the_coin_is_caught() -> None:
    generator, alarms = np.random.default_rng(6), 0
    for _ in range(100):
        bits = generator.random(64) < 0.5
        # the histogram's predictions moved one coin early
        named, shares = coin_betting.predictions_of(generator.normal(size=64), bits, 0.5)
        early = np.concatenate([0.45 + 0.1 * bits[:, None], named], axis=1)
        path = coin_betting.betting_path(bits, early, 0.5, np.concatenate([[0.5], shares / 2]))
        alarms += path.max() > math.log(1 / ALPHA)
    assert alarms > most(100, ALPHA)


@pytest.mark.parametrize(
    ("m", "right", "bound"), [(200, 120, 2.86), (1000, 550, 4.05), (1000, 600, 19.7), (1000, 700, 82.3)]
)
def test_known_answers_of_accuracy(m: int, right: int, bound: float) -> None:
    bits = np.arange(m) < right
    found = coin_flip.by_guesses(bits, np.ones(m, dtype=int)).epsilon()
    assert isinstance(found, LowerBound)
    assert found == pytest.approx(bound, abs=0.05)
    exact = math.log(0.05 / stats.binom.sf(right - 1, m, 0.5))
    assert exact - 1e-6 < found < exact


def test_the_tail_is_exact_and_does_not_underflow() -> None:
    generator = np.random.default_rng(7)
    chances = generator.random(12)
    outcomes = np.array(np.meshgrid(*[[0, 1]] * 12)).reshape(12, -1)
    law = np.prod(np.where(outcomes, chances[:, None], 1 - chances[:, None]), axis=0)
    for count in range(14):
        expected = law[outcomes.sum(axis=0) >= count].sum()
        assert math.exp(coin_flip.log_tail(chances, count)) == pytest.approx(expected, rel=1e-7, abs=1e-300)
    assert coin_flip.log_tail(np.full(5000, 0.5), 5000) == pytest.approx(-5000 * math.log(2), rel=1e-12)
    mixed = np.tile([0.5, 0.25], 1000)
    assert coin_flip.log_tail(mixed, 2000) == pytest.approx(-1000 * math.log(8), rel=1e-9)


def test_hypergeometric_known_answer() -> None:
    bits = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    found = coin_flip.by_top(bits, -np.arange(10.0), [4])
    assert math.exp(found.log_p) == pytest.approx(1 / math.comb(10, 4), rel=1e-6)
    two = coin_flip.by_top(bits, -np.arange(10.0), [4, 5])
    assert math.exp(two.log_p) == pytest.approx(2 / math.comb(10, 4), rel=1e-6)


def test_chernoff_is_never_above_hoeffding() -> None:
    generator = np.random.default_rng(8)
    for _ in range(50):
        bits, scores = generator.random(40) < 0.3, generator.standard_cauchy(40)
        assert centred(bits, scores, 0.3).log_p <= hoeffding(bits, scores, 0.3).log_p + 1e-6


def test_hoeffding_is_the_rademacher_form_for_fair_coins() -> None:
    bits, scores = np.array([1, 0, 1, 1, 0, 1]), np.array([2.0, -1.0, 0.5, 1.0, -2.0, 0.25])
    signed = float(((2 * bits - 1) * scores).sum())
    expected = -(signed**2) / (2 * float((scores**2).sum()))
    assert coin_flip.by_sum(bits, scores, hoeffding=True).log_p == pytest.approx(expected, abs=1e-8)


def test_refutes_exactly_below_its_epsilon() -> None:
    found = SetLevel(math.log(1e-4), "", 10)
    epsilon = float(found.epsilon(0.01))
    assert epsilon == pytest.approx(math.log(0.04 / 1e-4), rel=1e-12)
    assert found.refutes(epsilon * (1 - 1e-12), 0.01)
    assert not found.refutes(epsilon * (1 + 1e-9), 0.01)
    assert found.epsilon(0.05) == 0.0
    assert not found.refutes(0.0, 0.06)


def test_wealth_has_mean_one_over_all_coins() -> None:
    """The e-value itself, by enumeration of all 2^8 coins: unfair ones, all bettors, learned ones included."""
    chance, scores = 0.3, np.random.default_rng(9).normal(size=8)
    total = 0.0
    for code in range(2**8):
        bits = (code >> np.arange(8)) & 1
        named, shares = coin_betting.predictions_of(scores, bits, chance)
        wealth = math.exp(coin_betting.betting_path(bits, named, chance, shares)[-1])
        total += wealth * chance ** bits.sum() * (1 - chance) ** (8 - bits.sum())
    assert total == pytest.approx(1.0, rel=1e-12)


def test_over_forgetting_wins_bets_too() -> None:
    generator = np.random.default_rng(10)
    bits = generator.random(300) < 0.5
    assert coin_betting.by_betting(bits, -2.0 * bits + generator.normal(size=300)).epsilon() > 5
    both_tails = np.where(bits, generator.choice([-2.0, 2.0], 300), 0.0) + generator.normal(size=300)
    assert coin_betting.by_betting(bits, both_tails).epsilon() > 5


def test_several_attacks_are_averaged() -> None:
    generator = np.random.default_rng(11)
    bits = generator.random(200) < 0.5
    good, bad = 1.5 * bits + generator.normal(size=200), generator.normal(size=200)
    alone = coin_betting.by_betting(bits, good).epsilon()
    both = coin_betting.by_betting(bits, np.stack([good, bad], axis=1)).epsilon()
    assert alone - math.log(2) - 1e-6 <= both <= alone
    assert coin_flip.best_of([extremes(bits, good, 0.5), top(bits, good, 0.5)]).epsilon() > 5


def test_coins_are_fair_seeded_or_not() -> None:
    assert (coin_flip.draw_coins(100, seed=1) == coin_flip.draw_coins(100, seed=1)).all()
    assert (coin_flip.draw_coins(200) != coin_flip.draw_coins(200)).any()
    for chance in (0.5, 0.1):
        ones = int(coin_flip.draw_coins(100_000, chance, seed=2).sum())
        assert stats.binomtest(ones, 100_000, chance).pvalue > 1e-6
    unseeded = int(coin_flip.draw_coins(100_000).sum())
    assert stats.binomtest(unseeded, 100_000, 0.5).pvalue > 1e-9


def test_what_an_audit_can_see() -> None:
    accuracy = coin_flip.detectable_accuracy(200, 1.0)
    assert 0.55 < accuracy < 0.65
    hits = np.random.default_rng(12).binomial(200, accuracy, 2000)
    seen = [SetLevel(coin_flip.log_tail(np.full(200, 0.5), int(v)), "", 200).refutes(1.0) for v in range(201)]
    assert np.mean([seen[v] for v in hits]) == pytest.approx(0.8, abs=0.05)
    assert coin_flip.detectable_accuracy(4, 5.0) == 1.0


def test_scores_of_one_value_prove_nothing() -> None:
    bits = np.arange(40) % 2
    assert coin_flip.by_sum(bits, np.zeros(40)).log_p == 0
    assert coin_betting.by_betting(bits, np.zeros(40)).epsilon() == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda: coin_flip.by_guesses(np.array([0, 2]), np.array([1, 1])),
        lambda: coin_flip.by_guesses(np.array([0, 1]), np.array([1, 3])),
        lambda: coin_flip.by_guesses(np.array([0, 1]), np.array([1, 1]), 1.0),
        lambda: coin_flip.by_top(np.array([0, 1]), np.array([1.0, 2.0]), [3]),
        lambda: coin_flip.by_top(np.array([0, 1]), np.array([1.0, np.nan]), [1]),
        lambda: coin_betting.betting_path(np.array([0, 1]), np.array([0.5, 1.5])),
        lambda: coin_betting.betting_path(np.array([0, 1]), np.array([0.5, 0.5]), 0.5, np.array([2.0])),
    ],
)
def test_what_makes_no_sense_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(InputError):
        call()


def test_no_coins_and_too_many_guesses_are_refused() -> None:
    with pytest.raises(ArgumentError):
        coin_flip.draw_coins(0)
    with pytest.raises(ArgumentError):
        coin_flip.guess_extremes(np.zeros(4), 3, 2)


@pytest.mark.parametrize("form", ["guesses", "top", "betting"])
def test_an_order_that_knows_the_coins_wins_nothing(form: str) -> None:
    """The planted canaries stand first, and the scores are those of a model that knows nothing, or all the same."""
    generator, alarms = np.random.default_rng(21), 0
    for k in range(60):
        bits = np.sort(generator.random(64) < 0.5)[::-1]
        scores = generator.integers(0, 2, 64).astype(float) if k % 2 else np.zeros(64) + k
        alarms += FORMS[form](bits, scores, 0.5).refutes(0.0, 0.0, 1 - ALPHA)
    assert alarms <= most(60, ALPHA)
    bits = np.sort(generator.random(64) < 0.5)[::-1]
    if form == "betting":  # the same twice; a seed or an order of one's own where it was drawn before the coins
        scores = generator.normal(size=64)
        assert coin_betting.by_betting(bits, scores) == coin_betting.by_betting(bits, scores)
        drawn = stream(5, "order of the canaries").permutation(64)
        assert coin_betting.by_betting(bits, scores, seed=5) == coin_betting.by_betting(bits, scores, order=drawn)
        with pytest.raises(InputError, match="order"):
            coin_betting.by_betting(bits, scores, order=np.zeros(64, dtype=int))
    else:
        ties = [coin_flip.guess_extremes(np.zeros(64), 16, 16, seed=seed) for seed in (1, 1, 2)]
        assert np.array_equal(ties[0], ties[1])
        assert not np.array_equal(ties[0], ties[2])
