"""Which records are told apart best: a test for each, corrected for how many there are."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from certify.attacks.observations import Observations
from certify.attacks.scores.games import Game, Side
from certify.attacks.statistics.multiple import benjamini_hochberg
from certify.core.arrays import FloatArray, IntArray

LEAST_A_SIDE = 3
"""Models on each side of a record that is ranked: two may agree by accident, and then any difference is many of their deviations."""

PRIOR = 4.0
"""Models that the typical spread of all records counts as in each record's unit."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """Records by how far phi moves between the two sides of a game, the farthest first.

    Attributes:
        records: positions, (M,), of those with :data:`LEAST_A_SIDE` models or more on each side.
        difference: mean phi of the first side less that of the second, over the pooled standard deviation, (M,), moderated: its square
            is averaged with the median of all records' as if that came from :data:`PRIOR` more models.
        lower: lower end of its interval (Welch's t for the means, the deviation taken as known).
        upper: upper end.
        p_values: two-sided, Welch's t test.
        adjusted: after Benjamini and Hochberg.
        tested: M.
        rejected: how many have an adjusted p-value of at most ``level``.
        level: share of false discoveries, expected, among them.
        confidence: of the intervals.
        left_out: records that have models on both sides, but too few on one.
    """

    records: IntArray
    difference: FloatArray
    lower: FloatArray
    upper: FloatArray
    p_values: FloatArray
    adjusted: FloatArray
    tested: int
    rejected: int
    level: float
    confidence: float
    left_out: int = 0


def rank_records(
    observations: Observations, game: Game, *, level: float = 0.05, confidence: float = 0.95
) -> Ranking | None:
    """Test each record: is phi the same on both sides of the game?

    Models are the units, so that the test of one record is valid; those of several records depend on each other, and Benjamini and
    Hochberg's correction is proven for positive dependence alone. A ranking informs, it decides nothing.

    Args:
        observations: a fleet.
        game: what is told apart from what.
        level: of false discoveries.
        confidence: of the intervals.

    Returns:
        None where no record has :data:`LEAST_A_SIDE` models on each side.
    """
    first, second = (_moments(observations, side) for side in (game.positive, game.negative))
    fewest = np.minimum(first[0], second[0])
    known = np.flatnonzero(fewest >= LEAST_A_SIDE)
    if not known.size:
        return None
    (n, mean_n, var_n), (m, mean_m, var_m) = (tuple(part[known] for part in side) for side in (first, second))
    error = var_n / n + var_m / m
    gap = mean_n - mean_m
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = error**2 / ((var_n / n) ** 2 / (n - 1) + (var_m / m) ** 2 / (m - 1))
        freedom = np.where(np.isfinite(freedom), freedom, 1.0)
        score = np.where(error > 0, gap / np.sqrt(error), np.where(gap == 0, 0.0, np.sign(gap) * np.inf))
    own = (n - 1) * var_n + (m - 1) * var_m
    spread = np.sqrt((own + PRIOR * np.median(own / (n + m - 2))) / (n + m - 2 + PRIOR))
    unit = np.where(spread > 0, spread, 1.0)
    p = np.asarray(2 * student.sf(np.abs(score), freedom))
    half = student.isf((1 - confidence) / 2, freedom) * np.sqrt(error)
    adjusted = benjamini_hochberg(p)
    order = np.lexsort((known, -np.abs(gap / unit), p))
    return Ranking(
        records=known[order],
        difference=(gap / unit)[order],
        lower=((gap - half) / unit)[order],
        upper=((gap + half) / unit)[order],
        p_values=p[order],
        adjusted=adjusted[order],
        tested=len(known),
        rejected=int(np.count_nonzero(adjusted <= level)),
        level=level,
        confidence=confidence,
        left_out=int(np.count_nonzero((fewest > 0) & (fewest < LEAST_A_SIDE))),
    )


def _moments(observations: Observations, side: Side) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Models, mean and variance of phi of each record, over models that were given it so."""
    phi = np.asarray(observations.get(side.world), dtype=np.float64)
    inside = observations.assignment == int(side.cell)
    count = inside.sum(axis=0).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(inside, phi, 0.0).sum(axis=0) / count
        squares = np.where(inside, (phi - mean) ** 2, 0.0).sum(axis=0) / (count - 1)
    return count, mean, squares
