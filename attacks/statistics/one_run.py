"""Epsilon for one record from a single training run: m canaries, each in by its own fair coin, r guesses of which v are right.

Three bounds, none of them a rate over independent trials: the canaries share one model.

* :func:`one_run_epsilon`, (epsilon, delta): the better of Steinke, Nasr and Jagielski 2023 and the recursion below. Any mechanism.
* :func:`one_run_gdp`, mu-GDP: the recursion of Mahloujifar, Melis and Chaudhuri 2024. Any mechanism, if its trade-off is Gaussian.
* :func:`product_epsilon`, :func:`product_gdp`: order statistics, after Xiang et al. 2025. Only for mechanisms that treat each
  canary independently of the others given the coins; one that reveals all coins together with a small probability satisfies
  (0, delta) and breaks them (a test shows it). Not for a model as it stands.

The number of guesses is fixed before the scores are seen; several numbers are paid for by Bonferroni (:func:`top_guesses`).
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import beta, binom

from certify.attacks.statistics.betting import as_level
from certify.attacks.statistics.coin_flip import as_coins, as_scores, highest_first, log_tail
from certify.attacks.statistics.counts import as_delta
from certify.core.arguments import as_whole
from certify.core.arrays import AnyArray, FloatArray
from certify.core.bounds import LowerBound
from certify.core.errors import ArgumentError
from certify.core.rounding import down

Inverse = Callable[[float], float]
"""For a trade-off function f: the least false positive rate of a test whose true positive rate is at least this."""

Accuracy = Callable[[FloatArray], FloatArray]
"""How often the surest share of guesses is right, for each share."""

_STEPS, _CELLS = 40, 200
_SLACK = 1e-9


def _counts(correct: object, guesses: object, canaries: object | None) -> tuple[int, int, int]:
    v, r = as_whole(correct, "correct"), as_whole(guesses, "guesses")
    m = r if canaries is None else as_whole(canaries, "canaries")
    if not 0 <= v <= r <= m or r == 0:
        raise ArgumentError(
            "must satisfy 0 <= correct <= guesses <= canaries, guesses above 0",
            where="counts",
            mend="count the guesses again",
        )
    return v, r, m


def _largest(refuted: Callable[[float], bool], start: float = 1.0) -> float:
    """The largest parameter that bisection finds refuted; each one found refutes all that are smaller.

    A p-value here bounds ``P(V >= v)`` under every stricter claim too, so the least of them over laxer claims is one as well: it does
    not matter by which path a refuted parameter is found, nor whether the p-values are monotone.
    """
    if not refuted(0.0):
        return 0.0
    low, high = 0.0, start
    while refuted(high) and high < 1e4:
        low, high = high, 2 * high
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return max(0.0, down(low))


def steinke_p(correct: int, guesses: int, canaries: int, epsilon: float, delta: float) -> float:
    """``P(V >= v)`` at most, of v right guesses among r on m canaries, under (epsilon, delta).

    ``P(B >= v) + 2 m delta max over i in 1..m of P(v > B >= v - i)/i`` with B binomial(r, e^epsilon/(1 + e^epsilon)).
    """
    chance = 1 / (1 + math.exp(-epsilon))
    tail = math.exp(log_tail(np.full(guesses, chance), correct))
    if delta == 0 or correct == 0:
        return min(1.0, tail)
    below = np.cumsum(binom.pmf(np.arange(correct - 1, -1, -1), guesses, chance))
    worst = float((below / np.arange(1, correct + 1)).max()) * (1 + _SLACK)
    return min(1.0, tail + 2 * canaries * delta * worst)


def one_run_epsilon(
    correct: int, guesses: int, canaries: int | None = None, delta: float = 0.0, confidence: float = 0.95
) -> LowerBound:
    """The epsilon for one record that v of r right guesses refute, whatever the mechanism.

    :func:`steinke_p` and :func:`recursion_refutes` both bound ``P(V >= v)``, so the smaller bound is one, with nothing to correct
    for: at delta = 0 it is the former, with many guesses and a delta often the latter.

    Args:
        correct: v, right guesses.
        guesses: r, made; the rest are abstentions.
        canaries: m, in the pool; r if not given. It enters with delta.
        delta: of the guarantee tested.
        confidence: one-sided.

    >>> print(one_run_epsilon(1000, 1000))
    5.8
    """
    v, r, m = _counts(correct, guesses, canaries)
    slack, alpha = as_delta(delta), 1 - as_level(confidence)

    def refuted(epsilon: float) -> bool:
        if steinke_p(v, r, m, epsilon, slack) < alpha:
            return True
        return slack > 0 and recursion_refutes(v, r, m, pure_inverse(epsilon, slack), alpha)

    return LowerBound(_largest(refuted))


def gaussian_inverse(mu: float) -> Inverse:
    """:data:`Inverse` of mu-GDP: ``Phi(Phi^-1(y) - mu)``."""
    return lambda y: float(ndtr(ndtri(min(y, 1.0)) - mu))


def pure_inverse(epsilon: float, delta: float) -> Inverse:
    """:data:`Inverse` of (epsilon, delta): ``max(0, e^-epsilon (y - delta), 1 - delta - e^epsilon (1 - y))``."""
    return lambda y: max(0.0, math.exp(-epsilon) * (y - delta), 1 - delta - math.exp(epsilon) * (1 - y))


def recursion_refutes(correct: int, guesses: int, canaries: int, inverse: Inverse, alpha: float) -> bool:
    """Whether ``P(V >= v) >= alpha`` is impossible under a trade-off function.

    With ``p_i = P(V = i)``, ``R_i = sum over j >= i of (j/m) p_j`` is the chance that a random canary is guessed right and V >= i, and
    ``H_i`` the same with "guessed wrong". Flipping the canary's coin turns "right and V >= i + 1" into "wrong and V >= i", so
    ``H_i >= inverse(R_(i+1))``. From ``R_v = v alpha/m, H_v = (r - v) alpha/m`` the least masses below v follow one after
    another; where they add up to more than ``r/m`` there is no such law. Proof: docs/audit_statistics.md.
    """
    right, wrong = correct * alpha / canaries, (guesses - correct) * alpha / canaries
    for i in range(correct - 1, -1, -1):
        added = max(0.0, inverse(right) - wrong)
        wrong += added
        right += i / (guesses - i) * added
        if right + wrong > guesses / canaries * (1 + _SLACK):
            return True
    return False


def one_run_gdp(correct: int, guesses: int, canaries: int | None = None, confidence: float = 0.95) -> LowerBound:
    """The mu that v of r right guesses refute: no mechanism that is mu-GDP for one record does so well but with 1 - confidence.

    An epsilon follows by ``certify.privacy.gaussian.epsilon(mu, delta)``, for mechanisms whose trade-off *is* Gaussian alone.
    """
    v, r, m = _counts(correct, guesses, canaries)
    alpha = 1 - as_level(confidence)
    return LowerBound(_largest(lambda mu: recursion_refutes(v, r, m, gaussian_inverse(mu), alpha)))


def _order_statistics_p(correct: int, guesses: int, canaries: int, accuracy: Accuracy) -> float:
    """``P(V >= v)`` at most, where canaries are independent and the r surest of m are guessed.

    Given that the surest r are those in the top share u of certainty, their guesses are right independently with probability
    ``accuracy(u)``, which falls with u; u is Beta(r + 1, m - r). Cells of its law are each counted at their lower end.
    """
    if guesses == canaries:
        return math.exp(log_tail(np.full(guesses, accuracy(np.ones(1))[0]), correct))
    # fine cells where u is small: the first one, which counts as certainty, weighs 1e-12
    quantiles = np.concatenate([[0.0], np.geomspace(1e-12, 1e-3, 40), np.linspace(1e-3, 1, _CELLS)[1:]])
    edges = beta.ppf(quantiles[:-1], guesses + 1, canaries - guesses) * (1 - _SLACK)
    tails = binom.sf(correct - 1, guesses, accuracy(edges))
    return min(1.0, float(np.sum(tails * np.diff(quantiles))) * (1 + _SLACK))


def product_epsilon(
    correct: int, guesses: int, canaries: int | None = None, delta: float = 0.0, confidence: float = 0.95
) -> LowerBound:
    """:func:`one_run_epsilon` where the mechanism is *known* to treat canaries independently: the r surest of m were guessed."""
    v, r, m = _counts(correct, guesses, canaries)
    slack, alpha = as_delta(delta), 1 - as_level(confidence)

    def refuted(epsilon: float) -> bool:
        return _order_statistics_p(v, r, m, lambda u: _pure_accuracy(epsilon, slack, u)) < alpha

    return LowerBound(_largest(refuted))


def product_gdp(correct: int, guesses: int, canaries: int | None = None, confidence: float = 0.95) -> LowerBound:
    """:func:`one_run_gdp` where the mechanism is *known* to treat canaries independently: the r surest of m were guessed."""
    v, r, m = _counts(correct, guesses, canaries)
    alpha = 1 - as_level(confidence)

    def refuted(mu: float) -> bool:
        return _order_statistics_p(v, r, m, lambda u: _gaussian_accuracy(mu, u)) < alpha

    return LowerBound(_largest(refuted))


def _pure_accuracy(epsilon: float, delta: float, share: FloatArray) -> FloatArray:
    """A share delta is told outright, the rest by randomised response."""
    told = np.minimum(share, delta)
    rest = (share - told) / (1 + math.exp(-epsilon))
    return np.asarray(np.where(share > 0, (told + rest) / np.where(share > 0, share, 1), 1.0))


def _gaussian_accuracy(mu: float, share: FloatArray) -> FloatArray:
    """How often the surest ``share`` of guesses about N(0, 1) or N(mu, 1) is right, rounded up."""
    # guessing "in" above mu/2 + t, "out" below mu/2 - t: right with Phi(mu/2 - t), wrong with Phi(-mu/2 - t), share their sum
    low, high = np.zeros_like(share), np.full_like(share, 40.0 + mu)
    for _ in range(_STEPS):
        t = (low + high) / 2
        more = ndtr(mu / 2 - t) + ndtr(-mu / 2 - t) > share
        low, high = np.where(more, t, low), np.where(more, high, t)
    # the surer end; 1 where both underflow
    right, wrong = ndtr(mu / 2 - high), ndtr(-mu / 2 - high)
    exact = np.divide(right, right + wrong, out=np.ones_like(share), where=right > 0)
    return np.asarray(np.minimum(1.0, exact * (1 + _SLACK)))


def top_guesses(bits: AnyArray, scores: AnyArray, numbers: Sequence[int]) -> list[tuple[int, int]]:
    """(right, made) for each number of guesses: half of them "in" for the highest scores, half "out" for the lowest; ties by chance.

    With n numbers, planned beforehand, each bound is to be taken at confidence ``1 - (1 - confidence)/n``.
    """
    coins, _ = as_coins(bits, 0.5)
    order = highest_first(as_scores(scores, coins.size))
    found = []
    for number in numbers:
        r = as_whole(number, "numbers")
        if not 1 <= r <= coins.size:
            raise ArgumentError(f"{r} guesses about {coins.size} canaries", where="numbers", mend="guess fewer")
        most, least = (r + 1) // 2, r // 2
        right = int(coins[order[:most]].sum()) + int((~coins[order[coins.size - least :]]).sum())
        found.append((right, r))
    return found
