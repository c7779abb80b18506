"""The set-level coin-flip audit: one unlearned model, no retraining, an exact p-value.

The auditor flips a coin for each of m canaries; those whose coin shows 1 are trained on and then forgotten, the others never seen.
What is retained does not depend on the coins, so neither does a model retrained on it: whatever predicts the coins from the unlearned
model is a leak. If unlearning is (epsilon, delta)-indistinguishable from retraining for the whole set that was forgotten, then for
every region G of (model, coins)

    P(unlearned model and coins in G) <= exp(epsilon) P(retrained model and independent coins in G) + delta,

so a p-value p, exact under independence, satisfies ``P(p <= t) <= exp(epsilon) t + delta``: the claim is refuted at level alpha where
``exp(epsilon) p + delta < alpha``, that is for every epsilon below ``log((alpha - delta)/p)``. Proof: docs/audit_statistics.md.

Scores and guesses may use the model, public data and other models that these coins had no part in; never the coins. The bound is
about the *set*: a guarantee for one record has to be composed over the number of records forgotten first.
"""

import hashlib
import math
import secrets
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from scipy.stats import binom, hypergeom

from certify.attacks.statistics.betting import as_level
from certify.attacks.statistics.counts import as_delta
from certify.core.arguments import as_array, as_whole, at_least, at_most
from certify.core.arrays import AnyArray, FloatArray
from certify.core.bounds import LowerBound
from certify.core.errors import ArgumentError, InputError
from certify.core.rounding import down
from certify.core.streams import stream

_SLACK = 1e-9  # more than rounding moves a logarithm of a probability here, for up to a million canaries


@dataclass(frozen=True)
class SetLevel:
    """What the coins prove.

    Attributes:
        log_p: log of the probability, were the coins independent of the model, of evidence at least this strong; at most 0.
        method: how it was found.
        canaries: m.
    """

    log_p: float
    method: str
    canaries: int

    def epsilon(self, delta: float = 0.0, confidence: float = 0.95) -> LowerBound:
        """The set-level epsilon refuted: ``log((alpha - delta)/p)``, alpha = 1 - confidence; 0 where delta leaves nothing."""
        left = 1 - as_level(confidence) - as_delta(delta)
        return LowerBound(max(0.0, down(down(math.log(left)) - self.log_p)) if left > 0 else 0.0)

    def refutes(self, epsilon: float, delta: float = 0.0, confidence: float = 0.95) -> bool:
        """The gate's rule: whether ``exp(epsilon) p + delta < alpha``, so that the claim (epsilon, delta) is refuted."""
        claimed = at_least(epsilon, "epsilon")
        left = 1 - as_level(confidence) - as_delta(delta)
        return left > 0 and claimed + self.log_p < down(math.log(left))


def draw_coins(n: int, probability: float = 0.5, seed: int | None = None) -> AnyArray:
    """Coins for n canaries, (n,) booleans: 1 is trained on and then forgotten, 0 is never seen.

    Without a seed they come from the operating system's entropy, and nobody can draw them again: keep them. A seed is for tests, or
    for an auditor who keeps it from whoever trains.

    Args:
        n: canaries.
        probability: of a 1, above 0 and below 1; a multiple of 2^-53 is kept exactly.
        seed: for :func:`certify.core.streams.stream`.
    """
    count, chance = as_whole(n, "n"), as_level(probability, "probability")
    if count < 1:
        raise ArgumentError(f"must be at least 1, not {count}", where="n", mend="plant canaries")
    if seed is not None:
        uniform = stream(seed, "coins").random(count)
    else:
        words = np.frombuffer(secrets.token_bytes(8 * count), dtype=np.uint64)
        uniform = (words >> np.uint64(11)).astype(float) * 2.0**-53
    return np.asarray(uniform < chance)


def as_coins(bits: AnyArray, probability: float | FloatArray) -> tuple[AnyArray, FloatArray]:
    """Coins as booleans and each one's probability of 1, (m,) both.

    Raises:
        InputError: no coins, other values than 0 and 1, probabilities outside (0, 1) or of another shape.
    """
    found = as_array(bits, "bits")
    if found.ndim != 1 or not found.size or not np.isin(found, (0, 1)).all():
        raise InputError("coins are not one axis of 0 and 1", where="bits", mend="give one coin a canary")
    chance = as_array(probability, "probability").astype(float)
    if chance.shape not in {(), found.shape} or not ((chance > 0) & (chance < 1)).all():
        raise InputError(
            "is not between 0 and 1, once or for each coin",
            where="probability",
            mend="give what the coins were drawn with",
        )
    return found.astype(bool), np.broadcast_to(chance, found.shape)


def as_scores(scores: AnyArray, m: int) -> FloatArray:
    """(m,) scores.

    Raises:
        InputError: of another shape, or not finite.
    """
    found = as_array(scores, "scores").astype(float)
    if found.shape != (m,) or not np.isfinite(found).all():
        raise InputError(
            f"shape {found.shape} is not ({m},), or a score is not finite", where="scores", mend="score each canary"
        )
    return found


def log_tail(chances: FloatArray, count: int) -> float:
    """``log P(at least count successes)`` of independent trials with these chances, rounded up; exact far into the tail."""
    r = len(chances)
    if count <= 0 or r == 0:
        return 0.0 if count <= 0 else -math.inf
    if count > r:
        return -math.inf
    if (chances == chances[0]).all():
        logs = binom.logpmf(np.arange(count, r + 1), r, chances[0])
    else:  # the convolution, in logarithms
        logs = np.full(r + 1, -math.inf)
        logs[0] = 0.0
        for chance in chances:
            logs[1:] = np.logaddexp(logs[1:] + math.log1p(-chance), logs[:-1] + math.log(chance))
            logs[0] += math.log1p(-chance)
        logs = logs[count:]
    return min(0.0, float(logsumexp(logs)) + _SLACK)


def by_guesses(bits: AnyArray, guesses: AnyArray, probability: float | FloatArray = 0.5) -> SetLevel:
    """Exact p-value of the number of right guesses: a sum of independent trials (binomial for fair coins).

    Args:
        bits: (m,) the coins.
        guesses: (m,) 1 for "was forgotten", -1 for "never there", 0 for no guess; from the model, not from the coins. How many are
            made must not depend on how many turn out right.
        probability: of a 1, once or (m,).

    Raises:
        InputError: shapes or values that make no sense.
    """
    coins, chance = as_coins(bits, probability)
    said = np.asarray(guesses)
    if said.shape != coins.shape or not np.isin(said, (-1, 0, 1)).all():
        raise InputError("guesses are not -1, 0 or 1 for each coin", where="guesses", mend="guess, or say 0")
    made = said != 0
    right = int((coins == (said == 1))[made].sum())
    chances = np.where(said == 1, chance, 1 - chance)[made]
    return SetLevel(log_tail(chances, right), f"{right} of {made.sum()} guesses right", coins.size)


def seed_of(*arrays: AnyArray) -> int:
    """A seed from the bytes of arrays: the same for the same, and as good as drawn by chance for any."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array, dtype=np.float64).tobytes())
    return int(digest.hexdigest()[:12], 16)


def highest_first(scores: FloatArray, seed: int | None = None) -> AnyArray:
    """Positions by falling score, ties by chance: in the order given they might tell the coins (planted ones first, say).

    Args:
        scores: (m,).
        seed: of the order of ties; a digest of the scores if not given.
    """
    drawn = seed_of(scores) if seed is None else as_whole(seed, "seed")
    ties = stream(drawn, "ties of the canaries").permutation(scores.size)
    return np.lexsort((ties, -scores))


def guess_extremes(scores: AnyArray, most: int, least: int, *, seed: int | None = None) -> AnyArray:
    """Guesses from scores: 1 for the ``most`` highest, -1 for the ``least`` lowest, 0 between; ties by chance, from ``seed``."""
    found = np.asarray(scores, dtype=float)
    order, said = highest_first(found, seed), np.zeros(found.size, dtype=int)
    if most < 0 or least < 0 or most + least > found.size:
        raise ArgumentError(f"{most} + {least} guesses about {found.size} canaries", where="most", mend="guess fewer")
    said[order[:most]] = 1
    said[order[found.size - least :]] = -1
    return said


def by_top(bits: AnyArray, scores: AnyArray, tops: Sequence[int], *, seed: int | None = None) -> SetLevel:
    """How many of the k highest scores were forgotten, given how many were forgotten at all: hypergeometric, exact.

    Given their sum, coins of one probability are a random arrangement, whatever that probability: it need not even be known. Several
    k, fixed beforehand, are paid for by Bonferroni. Ties are broken by chance.

    Args:
        bits: (m,) coins that all had the same probability.
        scores: (m,) the higher, the more like forgotten.
        tops: the values of k.
        seed: of the order of ties; a digest of the scores if not given.

    Raises:
        InputError: a k that is not between 1 and m, or none.
    """
    coins, _ = as_coins(bits, 0.5)
    order = highest_first(as_scores(scores, coins.size), seed)
    if not tops or not all(1 <= as_whole(k, "tops") <= coins.size for k in tops):
        raise InputError(
            f"are not between 1 and {coins.size}", where="tops", mend="give one or more numbers of top canaries"
        )
    total, logs = int(coins.sum()), []
    for k in tops:
        hits = int(coins[order[:k]].sum())
        reach = np.arange(hits, min(k, total) + 1)
        logs.append(float(logsumexp(hypergeom.logpmf(reach, coins.size, total, k))) + _SLACK)
    log_p = min(0.0, min(logs) + math.log(len(tops)))
    return SetLevel(log_p, f"hypergeometric, top {', '.join(map(str, tops))}", coins.size)


def by_sum(
    bits: AnyArray, scores: AnyArray, probability: float | FloatArray = 0.5, *, hoeffding: bool = False
) -> SetLevel:
    """Tail bound of ``T = sum (b_i - pi_i) s_i``: large where high scores go with ones.

    Chernoff's bound with the coins' own moment generating functions, ``log p = min over a >= 0 of
    sum log E exp(a (b_i - pi_i) s_i) - a T``, holds for every a, so however well the minimum is found. With ``hoeffding``
    ``exp(-2 T^2 / sum s_i^2)``, its worst case (for fair coins ``exp(-S^2/(2 sum s_i^2))`` of ``S = sum (2 b_i - 1) s_i``).

    Args:
        bits: (m,) coins.
        scores: (m,) from the model alone; they work best when they are centred and in proportion to what they tell.
        probability: of a 1, once or (m,).
        hoeffding: take the simpler bound.
    """
    coins, chance = as_coins(bits, probability)
    found = as_scores(scores, coins.size)
    scale = float(np.abs(found).max())
    if scale == 0:
        return SetLevel(0.0, "weighted sum, all scores zero", coins.size)
    weights = found / scale
    total = float(((coins - chance) * weights).sum())
    if total <= 0:
        return SetLevel(0.0, "weighted sum", coins.size)
    if hoeffding:
        return SetLevel(-2 * total**2 / float((weights**2).sum()) + _SLACK, "weighted sum, Hoeffding", coins.size)

    def bound(log_a: float) -> float:
        a = math.exp(log_a)
        steps = np.logaddexp(np.log1p(-chance) - a * chance * weights, np.log(chance) + a * (1 - chance) * weights)
        return float(steps.sum()) - a * total

    best = minimize_scalar(bound, bounds=(-12.0, 8.0), method="bounded")
    return SetLevel(
        min(0.0, float(best.fun) + _SLACK * (1 + math.exp(min(best.x, 8.0)))), "weighted sum, Chernoff", coins.size
    )


def best_of(found: Sequence[SetLevel]) -> SetLevel:
    """The strongest of several p-values that were all planned beforehand, paid for by Bonferroni."""
    best = min(found, key=lambda one: one.log_p)
    return replace(
        best, log_p=min(0.0, best.log_p + math.log(len(found))), method=f"{best.method}; best of {len(found)}"
    )


def detectable_accuracy(
    canaries: int, epsilon: float, delta: float = 0.0, confidence: float = 0.95, power: float = 0.8
) -> float:
    """The accuracy of m guesses on fair coins that refutes the set-level claim with probability ``power``: what an audit can see.

    Returns 1.0 where not even certainty is enough (``2^-m exp(epsilon) + delta >= alpha``).
    """
    m, chance = as_whole(canaries, "canaries"), as_level(power, "power")
    claimed, chances = at_most(epsilon, "epsilon"), np.full(m, 0.5)

    def enough(right: int) -> bool:
        return SetLevel(log_tail(chances, right), "", m).refutes(claimed, delta, confidence)

    if not enough(m):
        return 1.0
    least = bisect_left(range(m + 1), 1, key=enough)  # more right guesses prove more
    low, high = 0.5, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if binom.sf(least - 1, m, middle) >= chance else (middle, high)
    return high
