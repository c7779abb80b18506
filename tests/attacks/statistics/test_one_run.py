"""Epsilon from one training run: known answers, exact worst cases, and a mechanism that breaks what it should break."""

import math
from functools import cache

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import linprog

from certify.attacks.statistics import one_run
from certify.core.errors import ArgumentError
from certify.privacy import gaussian

ALPHA = 0.1


@cache
def bounds(right: int, made: int, m: int, delta: float, confidence: float) -> tuple[float, ...]:
    return (
        one_run.one_run_epsilon(right, made, m, delta, confidence),
        one_run.product_epsilon(right, made, m, delta, confidence),
        one_run.one_run_gdp(right, made, m, confidence),
        one_run.product_gdp(right, made, m, confidence),
    )


@cache
def alone(right: int, made: int, m: int, delta: float, confidence: float) -> float:
    return one_run.one_run_epsilon(right, made, m, delta, confidence)


def most(runs: int, alpha: float) -> float:
    return float(stats.binom.isf(1e-6, runs, alpha))


def test_known_answers() -> None:
    assert one_run.one_run_epsilon(1000, 1000) == pytest.approx(5.81, abs=0.005)
    q = 0.05 ** (1 / 1000)
    assert one_run.one_run_epsilon(1000, 1000) == pytest.approx(math.log(q / (1 - q)), rel=1e-6)
    for m, right, bound in ((200, 120, 0.16), (1000, 550, 0.09), (1000, 600, 0.30), (1000, 700, 0.73)):
        assert one_run.one_run_epsilon(right, m) == pytest.approx(bound, abs=0.006)
    assert one_run.one_run_epsilon(500, 1000) == 0.0


def test_delta_counts_every_canary_in_the_pool() -> None:
    guessed = one_run.one_run_epsilon(90, 100, 100, 1e-4)
    pool = one_run.one_run_epsilon(90, 100, 10_000, 1e-4)
    assert pool < guessed < one_run.one_run_epsilon(90, 100)
    by_hand = max(stats.binom.pmf(range(90 - i, 90), 100, 0.75).sum() / i for i in range(1, 91))
    expected = stats.binom.sf(89, 100, 0.75) + 2 * 10_000 * 1e-4 * by_hand
    assert one_run.steinke_p(90, 100, 10_000, math.log(3), 1e-4) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("v", "r", "m", "epsilon", "delta"),
    [(8, 10, 10, 0.5, 0.0), (8, 10, 10, 0.5, 0.01), (9, 10, 20, 1.0, 0.02), (20, 20, 20, 0.3, 0.005), (15, 20, 40, 0.1, 0.003)],
)  # fmt: skip
def test_the_recursion_finds_the_worst_law_that_linear_programming_finds(
    v: int, r: int, m: int, epsilon: float, delta: float
) -> None:
    """Over all laws of the number of right guesses that satisfy the recursion's inequalities."""
    i = np.arange(r + 1)
    rows, limits = [], []
    for j in range(1, r + 1):
        right, wrong = np.where(i >= j, i / m, 0), np.where(i >= j - 1, (r - i) / m, 0)
        rows += [right - math.exp(epsilon) * wrong, right - math.exp(-epsilon) * wrong]
        limits += [delta, 1 - math.exp(-epsilon) * (1 - delta)]
    solved = linprog(-(i >= v).astype(float), rows, limits, [np.ones(r + 1)], [1])
    inverse = one_run.pure_inverse(epsilon, delta)
    assert not one_run.recursion_refutes(v, r, m, inverse, -solved.fun * (1 - 1e-6))
    assert one_run.recursion_refutes(v, r, m, inverse, -solved.fun * (1 + 1e-6))


@pytest.mark.parametrize("mu", [0.5, 2.0])
def test_no_bound_exceeds_the_truth_of_a_gaussian_mechanism(mu: float) -> None:
    """Independent Gaussian noise on each canary: all four are valid, the Gaussian product one within 30 % of the truth."""
    generator, m, runs, delta = np.random.default_rng(int(10 * mu)), 200, 1000, 1e-3
    truth = gaussian.epsilon(mu, delta)
    found = []
    for _ in range(runs):
        bits = generator.random(m) < 0.5
        ((right, made),) = one_run.top_guesses(bits, mu * bits + generator.normal(size=m), [60])
        found.append(bounds(right, made, m, delta, 1 - ALPHA))
    wrong = (np.array(found) > [truth, truth, mu, mu]).sum(axis=0)
    assert (wrong <= most(runs, ALPHA)).all()
    median = np.median(np.array(found), axis=0)
    assert median[1] >= median[0] - 0.01
    assert median[3] >= median[2]
    if mu == 2.0:
        assert 0.7 * mu < median[3] < mu


def test_the_product_bounds_fail_where_canaries_leak_together_and_the_general_ones_hold() -> None:
    """With probability delta everything is said, else nothing: (0, delta) for each record. alpha is below delta."""
    m, delta, alpha = 20, 0.05, 0.04
    law_of_all = delta + (1 - delta) * 0.5**m
    assert law_of_all > alpha
    # all right happens more often than alpha: whoever refutes then is wrong too often
    assert one_run.product_epsilon(m, m, m, delta, 1 - alpha) > 1
    assert one_run.one_run_epsilon(m, m, m, delta, 1 - alpha) == 0.0


def test_the_recursion_holds_for_that_mechanism() -> None:
    for m, delta in ((20, 0.05), (50, 0.01)):
        inverse = one_run.pure_inverse(0.0, delta)
        for v in range(m + 1):
            tail = delta + (1 - delta) * stats.binom.sf(v - 1, m, 0.5)
            assert not one_run.recursion_refutes(v, m, m, inverse, tail * (1 - 1e-9))
            assert one_run.steinke_p(v, m, m, 0.0, delta) >= tail * (1 - 1e-9)


def test_randomised_response_is_bounded_and_nearly_reached() -> None:
    epsilon = 1.0
    drawn = np.random.default_rng(3).binomial(500, 1 / (1 + math.exp(-epsilon)), 1000)
    found = [alone(int(right), 500, 500, 0.0, 1 - ALPHA) for right in drawn]
    assert 0 < (np.array(found) > epsilon).sum() <= most(1000, ALPHA)
    assert np.median(found) > 0.8 * epsilon


def test_an_answer_of_order_statistics_by_simulation() -> None:
    """The tail of the number right among the 30 surest of 100 with mu = 1, whose integral is bounded from above."""
    generator, runs = np.random.default_rng(4), 20_000
    bits = generator.random((runs, 100)) < 0.5
    score = bits + generator.normal(size=(runs, 100)) - 0.5
    surest = np.argsort(-np.abs(score), axis=1)[:, :30]
    right = (np.take_along_axis(score > 0, surest, 1) == np.take_along_axis(bits, surest, 1)).sum(axis=1)
    for v in (24, 27, 29):
        bound = one_run._order_statistics_p(v, 30, 100, lambda u: one_run._gaussian_accuracy(1.0, u))
        share = (right >= v).mean()
        assert share - 5 * math.sqrt(bound / runs) < bound < 1.1 * share + 5 * math.sqrt(bound / runs)


def test_guesses_by_hand() -> None:
    bits = np.array([1, 0, 1, 0, 1, 0])
    scores = np.array([5.0, 4.0, 3.0, 2.0, 1.0, 0.0])
    assert one_run.top_guesses(bits, scores, [1, 2, 3, 6]) == [(1, 1), (2, 2), (2, 3), (4, 6)]


def test_a_mutant_that_leaves_out_the_pools_size_is_caught() -> None:
    """delta times the canaries, not times the guesses: 1000 canaries of which a rare leak shows one."""
    m, delta, alpha, generator = 1000, 1e-3, 0.1, np.random.default_rng(5)
    wrong = mutant = 0
    runs = 1000
    for _ in range(runs):
        # each canary is told with probability delta; the sure ones are guessed first, one guess is made
        told = generator.random(m) < delta
        right = bool(told.any() or generator.random() < 0.5)
        wrong += alone(int(right), 1, m, delta, 1 - alpha) > 0
        mutant += alone(int(right), 1, 1, delta, 0.45) > 0
    assert wrong <= most(runs, alpha)
    assert mutant > most(runs, 0.55)


@pytest.mark.parametrize("counts", [(5, 4, 10), (1, 0, 3), (1, 5, 4), (-1, 4, 4)])
def test_counts_that_make_no_sense_are_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ArgumentError):
        one_run.one_run_epsilon(*counts)
