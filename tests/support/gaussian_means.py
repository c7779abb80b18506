"""Models whose optimal attack is known: means of records, one coordinate a record.

A model is the mean of n records N(0, I), plus record i / n for each planted record i that it was given; planted record i is ``mu_i sqrt(n)``
along axis i. Coordinate i times sqrt(n) is then N(b_i mu_i, 1), independent of all others, and the best test has the power
``Phi(Phi^-1(alpha) + mu_i)``: the closed form ``mu = ||z|| / sqrt(n)`` of Gaussian mean estimation.
"""

import numpy as np
from scipy import stats

from certify.attacks.observations import Cell, Observations
from certify.core.arrays import AnyArray, FloatArray


def observations(
    models: int,
    records: int,
    mu: float | FloatArray,
    *,
    left: float | FloatArray = 1.0,
    spread: float = 1.0,
    shift: float | FloatArray = 0.0,
    seed: int = 0,
    shares: tuple[float, float, float] = (0.5, 0.0, 0.5),
) -> Observations:
    """All four worlds; the unlearned ones keep a share ``left`` of the planted records.

    Args:
        models: K.
        records: N.
        mu: of each record.
        left: what the method leaves of mu.
        spread: standard deviation where mu is, relative to where it is not.
        shift: what every model says of a record, (N,): records differ in how hard they are.
        seed: of everything.
        shares: of out, retain and forget.
    """
    generator = np.random.default_rng(seed)
    assignment = generator.choice(3, size=(models, records), p=shares)
    given, kept = assignment != Cell.OUT, assignment == Cell.RETAIN
    forgotten = assignment == Cell.FORGET

    def world(strength: AnyArray) -> dict[str, FloatArray]:
        noise = generator.standard_normal((models, records)) * np.where(strength > 0, spread, 1.0)
        phi = strength * mu + shift + noise
        return {"phi": phi, "correct": (phi > 0).astype(float), "entropy": -phi, "modified-entropy": -phi}

    worlds = {
        "original": world(given * 1.0),
        "unlearned": world(kept + forgotten * left),
        "retrained": world(kept * 1.0),
        "again": world(kept * 1.0),
    }
    return Observations(assignment, worlds)


def power(mu: float, fpr: float) -> float:
    """``Phi(Phi^-1(fpr) + mu)``."""
    return float(stats.norm.cdf(stats.norm.ppf(fpr) + mu))


def rate_at(scores: FloatArray, positive: AnyArray, fpr: float) -> float:
    """Share of positives above the threshold that a share ``fpr`` of negatives exceeds."""
    threshold = np.quantile(scores[~positive], 1 - fpr, method="higher")
    return float(np.mean(scores[positive] > threshold))


def area(scores: FloatArray, positive: AnyArray) -> float:
    """Under the ROC curve, ties half."""
    ranks, hits = stats.rankdata(scores), int(positive.sum())
    return float((ranks[positive].sum() - hits * (hits + 1) / 2) / (hits * (len(scores) - hits)))
