"""The coin-flip audit by betting: coins are revealed one at a time, and bets that win prove that the model knows them.

Before coin i is revealed, a prediction q_i of a 1 is made from the model and the coins already seen; the wealth is multiplied by
``q_i(b_i)/pi_i(b_i)``. Were the coins independent of the model, the wealth would be a martingale of mean one, so that it ever reaches w
has probability at most 1/w (Ville): ``1/max wealth`` is a p-value for :class:`~certify.attacks.statistics.coin_flip.SetLevel`. Nothing is
held out for training, one may stop at any time, and the average of many bettors is one too, so that choosing between attacks is free.
"""

import numpy as np
from scipy.special import expit, logit, ndtri
from scipy.stats import rankdata

from certify.attacks.statistics.coin_flip import SetLevel, as_coins, as_scores, seed_of
from certify.core.arguments import as_array, as_whole
from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import InputError
from certify.core.streams import stream

_SLACK = 1e-9
# What each kind of bettor is given of the wealth, and its knobs. A leak of one sign, monotone in the score, is what one expects.
_CALIBRATED, _CALIBRATED_SHARE = (0.5, 1.0), 0.3
_CENTRED, _CENTRED_SHARE = (0.15, 0.3, 0.6, 1.2, 2.4), 0.4
_TOP, _TOP_SHARE = ((1.0, 0.6), (1.0, 1.2), (1.0, 2.4), (2.0, 0.6), (2.0, 1.2), (2.0, 2.4)), 0.12
_REVERSED, _REVERSED_SHARE = (-0.3, -0.9), 0.08
_BINS, _BINS_SHARE = (4, 12), 0.1
_PRIOR = 2.0


def betting_path(
    bits: AnyArray,
    predictions: FloatArray,
    probability: float | FloatArray = 0.5,
    shares: FloatArray | None = None,
) -> FloatArray:
    """Log wealth after each coin of all bettors together, (m,).

    Args:
        bits: (m,) coins in the order of their revelation.
        predictions: (m,) or (m, bettors): the probability of a 1 that was named *before* the coin was seen.
        probability: of a 1, once or (m,).
        shares: (bettors,) of the wealth at the start, adding up to one; equal if not given.

    Raises:
        InputError: shapes that differ, predictions outside [0, 1], or shares that add up to more than one.
    """
    coins, chance = as_coins(bits, probability)
    named = np.asarray(predictions, dtype=float)
    named = named[:, None] if named.ndim == 1 else named
    if named.ndim != 2 or len(named) != coins.size or not ((named >= 0) & (named <= 1)).all():
        raise InputError(
            "are not (coins, bettors) in [0, 1]", where="predictions", mend="name a probability for each coin"
        )
    first = np.full(named.shape[1], 1 / named.shape[1]) if shares is None else np.asarray(shares, dtype=float)
    if first.shape != named.shape[1:] or not (first >= 0).all() or first.sum() > 1 + 1e-12:
        raise InputError("are not (bettors,) that add up to one", where="shares", mend="divide by their sum")
    with np.errstate(divide="ignore"):
        # chances are those of the coins as drawn: both sides of a bet are rounded alike, so it stays fair to the last bit
        steps = np.where(
            coins[:, None], np.log(named) - np.log(chance)[:, None], np.log1p(-named) - np.log1p(-chance)[:, None]
        )
        return np.asarray(np.logaddexp.reduce(np.cumsum(steps, axis=0) + np.log(first), axis=1))


def predictions_of(
    scores: AnyArray, bits: AnyArray, probability: float | FloatArray = 0.5
) -> tuple[FloatArray, FloatArray]:
    """Bettors for one score a canary, (m, bettors), and their shares; none looks at a coin before it is revealed.

    Logistic ones see scores alone: some take them for log likelihood ratios as they stand, others their normal ranks, for a leak in
    all, in the highest, or of the other sign (a record forgotten too much is seen too). Histograms learn the share of ones in
    each band of ranks from the coins already revealed.
    """
    coins, chance = as_coins(bits, probability)
    found = as_scores(scores, coins.size)
    ranks = rankdata(found)
    normal, prior = ndtri((ranks - 0.5) / coins.size), logit(chance)
    kinds = [
        (_CALIBRATED_SHARE, [expit(prior + slope * found) for slope in _CALIBRATED]),
        (_CENTRED_SHARE, [expit(prior + slope * normal) for slope in _CENTRED]),
        (_TOP_SHARE, [expit(prior + slope * (normal - centre)) for centre, slope in _TOP]),
        (_REVERSED_SHARE, [expit(prior + slope * normal) for slope in _REVERSED]),
        (_BINS_SHARE, [_learned(np.floor((ranks - 0.5) * bins / coins.size), coins, chance) for bins in _BINS]),
    ]
    shares = np.concatenate([np.full(len(named), share / len(named)) for share, named in kinds])
    return np.stack([one for _, named in kinds for one in named], axis=1), shares / shares.sum()


def _learned(bands: FloatArray, coins: AnyArray, chance: FloatArray) -> FloatArray:
    """Prediction for each coin from the earlier coins of its band: its own chance, moved by their mean excess."""
    named = np.empty(coins.size)
    for band in np.unique(bands):
        members = np.flatnonzero(bands == band)
        excess = np.concatenate([[0.0], np.cumsum(coins[members] - chance[members])[:-1]])
        named[members] = chance[members] + excess / (_PRIOR + np.arange(members.size))
    return np.clip(named, chance / 20, 1 - (1 - chance) / 20)


def _order(coins: AnyArray, columns: FloatArray, seed: int | None) -> AnyArray:
    drawn = seed_of(coins, columns) if seed is None else as_whole(seed, "seed")
    return stream(drawn, "order of the canaries").permutation(coins.size)


def by_betting(
    bits: AnyArray,
    scores: AnyArray,
    probability: float | FloatArray = 0.5,
    *,
    seed: int | None = None,
    order: AnyArray | None = None,
) -> SetLevel:
    """The p-value ``1/max wealth`` of :func:`predictions_of` on the coins in an order drawn here.

    Bets learn from the coins before, so that the order must know nothing of the coins; that in which they are given may (planted ones
    first, say). So they are shuffled, by ``seed`` or by a digest of what is given: a second look sees the same.

    Args:
        bits: (m,) coins.
        scores: (m,), or (m, attacks) for several attacks, whose bettors are averaged: no correction for choosing is due. The
            higher, the more like forgotten; log likelihood ratios are best left as they are.
        probability: of a 1, once or (m,).
        seed: of the order, chosen without looking at coins and scores together.
        order: (m,) positions in the order of the bets, in place of a drawn one: that of the pool, fixed before the coins were drawn.

    Raises:
        InputError: shapes that differ, or an order that does not name each coin once.
    """
    coins, chance = as_coins(bits, probability)
    columns = as_array(scores, "scores").astype(float)
    columns = columns[:, None] if columns.ndim == 1 else columns
    if columns.ndim != 2 or not columns.size:
        raise InputError(
            f"have shape {columns.shape}", where="scores", mend="give one score a canary, or one an attack"
        )
    if len(columns) != coins.size:
        raise InputError(f"{len(columns)} scores for {coins.size} coins", where="scores", mend="score each canary")
    taken = _order(coins, columns, seed) if order is None else np.asarray(order)
    if not np.array_equal(np.sort(taken), np.arange(coins.size)):
        raise InputError("does not name each coin once", where="order", mend="give a permutation of the positions")
    coins, chance, columns = coins[taken], chance[taken], columns[taken]
    found = [predictions_of(column, coins, chance) for column in columns.T]
    named = np.concatenate([one for one, _ in found], axis=1)
    path = betting_path(coins, named, chance, np.concatenate([shares for _, shares in found]) / len(found))
    return SetLevel(min(0.0, _SLACK - float(path.max())), f"betting, {named.shape[1]} bettors", len(path))
