"""The released model among retrained ones, exactly: is it the odd one out?

If the model under review is one more retrained model, all J + 1 models may change places. A number of each that treats them alike then has
every order equally likely, so that the share of models that are at least as unusual as the one under review is a p-value, whatever the
spread, in however many dimensions, however records depend on each other. It is 1 / (J + 1) at least: J = 19 for 5 %.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from certify.attacks.audits.findings import RequestAudit
from certify.core.arrays import FloatArray

_TIE = 1e-9
"""Numbers this close, relative to the larger, count as equal: p-values may only grow by it."""


def unusual(values: FloatArray) -> FloatArray:
    """How far each of n values lies from the others, (n,): Student's ``|t|`` of the prediction from all others.

    ``t_i = (v_i - mean_-i) / (sd_-i sqrt(1 + 1/(n - 1)))``; infinite where the others have no spread and the value is another one.
    All values are treated alike, so that exchanging them exchanges the results.

    >>> unusual(np.array([1.0, 2.0, 3.0, 99.0])).argmax()
    np.int64(3)
    """
    n = len(values)
    others = np.broadcast_to(values, (n, n))[~np.eye(n, dtype=bool)].reshape(n, n - 1)
    gap = np.abs(values - others.mean(axis=1))
    spread = others.std(axis=1, ddof=1) * math.sqrt(1 + 1 / (n - 1))
    flat = spread <= 1e-12 * np.abs(values).max()
    return np.where(flat, np.where(gap <= spread, 0.0, np.inf), gap / np.where(flat, 1.0, spread))


def rank_p(pool: FloatArray) -> float:
    """Share of the models that are at least as unusual as the first, which is counted too; exact where all may change places.

    >>> rank_p(np.array([9.0, 1.0, 2.0, 3.0])), rank_p(np.array([1.0, 1.0, 2.0, 3.0]))
    (0.25, 1.0)
    """
    own = pool[0]
    return float(np.mean(pool >= (own if np.isinf(own) else own * (1 - _TIE))))


def together(parts: Sequence[RequestAudit]) -> list[RequestAudit]:
    """What attacks on one model found, with p-values that hold for all of them at once.

    Attacks that look at the same J + 1 models are one test: each model counts by its largest unusualness in any attack, and the rank of the
    model under review in that is exact, with nothing to pay for their number. Where one of them asks besides whether the model shares the
    original's start, two kinds of retraining are honest. One more of those that begin anew is refuted by the rank in all attacks and in
    the distance to those that share the start; one more of the latter by the rank among *them* and, in the other attacks, by the rank in these
    alone: two tests, for which both pay twice. A finding needs both kinds refuted.

    Returns:
        The same audits; no p-value is smaller than before.
    """
    pools = [one.pool for one in parts if one.pool is not None]
    if not pools:
        return list(parts)
    everything = rank_p(np.max(pools, axis=0))
    others = [one.pool for one in parts if one.pool is not None and one.second is None]
    if not others or len(others) == len(pools):
        return [_no_less(one, everything, one.second or 0.0) for one in parts]
    alone = rank_p(np.max(others, axis=0))
    return [_no_less(one, everything, 2 * (alone if one.second is None else one.second)) for one in parts]


def _no_less(one: RequestAudit, *levels: float) -> RequestAudit:
    """Its p-values with these as the least; the odd one out among J + 1 has 1 / (J + 1), or twice that where two tests are paid for."""
    if one.pool is None:
        return one
    least, fewest = max(levels), 1 / len(one.pool)
    findings = tuple(
        finding if finding.p_value is None else replace(finding, p_value=min(1.0, max(finding.p_value, least)))
        for finding in one.findings
    )
    odd = one.odd_one_out and levels[0] <= fewest and least <= 2 * fewest
    return replace(one, findings=findings, odd_one_out=odd)
