"""What two versions of a linear model give away of the records between them: reconstruction, with and without noise."""

from typing import Any

import numpy as np

from certify.attacks.audits.findings import Finding, RequestAudit
from certify.attacks.registry import ATTACKS
from certify.attacks.scores.reconstruction import cosines, rank_p_values, reconstruct
from certify.convex.problem import Problem
from certify.core.arrays import FloatArray

NAME = "reconstruction"


def audit_reconstruction(
    original: FloatArray,
    released: list[tuple[FloatArray, FloatArray]],
    problem: Problem,
    unlearned: FloatArray,
    forgotten: Any,
    others: Any,
    *,
    confidence: float,
) -> RequestAudit:
    """Reconstruct what was deleted from the model before and the one after, as if both were published.

    The attacker is given all retained records but not the forgotten ones: the strongest case of Bertran et al. (2024). For information
    alone: the certificate is about the later model, and what the pair gives away is decided by how the earlier one was published.

    Args:
        original: weights before the deletion, (K, p).
        released: draws of both versions as they would be published.
        problem: objective and retained records.
        unlearned: weights after it, without noise, (K, p).
        forgotten: features of the forgotten records, (m, d).
        others: features of records that were not deleted, (t, d), to compare with.
        confidence: of the interval over draws, two-sided.

    Returns:
        Two findings, none of which decides: without noise, and with it.
    """
    bare = _similarity(original, unlearned, problem, forgotten, others)
    noisy = [_similarity(before, after, problem, forgotten, others) for before, after in released]
    values = np.array([value for value, _ in noisy])
    error = (1 - confidence) / 2
    low, high = (float(one) for one in np.quantile(values, [error, 1 - error]))
    count = len(np.atleast_2d(forgotten))
    common: dict[str, Any] = {
        "attack": NAME,
        "game": "two-version",
        "slice": "all",
        "statistic": "largest cosine to a forgotten record",
        "confidence": confidence,
        "source": ATTACKS[NAME].reference,
    }
    many = "" if count == 1 else f"; {count:,} records were forgotten together, which blurs each"
    return RequestAudit(
        (
            Finding(
                **common,
                id=f"{NAME}-bare",
                title=f"{ATTACKS[NAME].title}, weights as they are",
                value=bare[0],
                lower=bare[0],
                upper=bare[0],
                p_value=bare[1],
                units=1,
                method=f"direction read from the two versions and all retained records; p by rank among {len(others):,} records that were not deleted",
                note=f"the best case for the attacker: no noise on either version{many}",
            ),
            Finding(
                **common,
                id=f"{NAME}-noised",
                title=f"{ATTACKS[NAME].title}, versions as published",
                value=float(np.median(values)),
                lower=low,
                upper=high,
                p_value=float(np.median([p for _, p in noisy])),
                units=len(noisy),
                method=f"median and quantiles over {len(noisy)} draws of the noise; p is the median of theirs",
                note=f"the later version with the policy's noise, the earlier one with what it was published with{many}",
            ),
        ),
        (),
    )


def _similarity(
    before: FloatArray, after: FloatArray, problem: Problem, forgotten: Any, others: Any
) -> tuple[float, float]:
    """Largest cosine of the direction to a forgotten record, and its p-value by rank, after Bonferroni over the forgotten ones."""
    if np.array_equal(before, after):
        return 0.0, 1.0
    found = reconstruct(before, after, problem).record
    mine = cosines(found, forgotten)
    ranks = rank_p_values(mine, cosines(found, others))
    return float(mine.max()), float(min(1.0, len(mine) * ranks.min()))
