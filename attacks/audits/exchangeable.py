"""The released model among retrained ones, exactly: is it the odd one out?

If the model under review is one more retrained model, all J + 1 models may change places. A number of each that treats them alike then has
every order equally likely, so that the share of models that are at least as unusual as the one under review is a p-value, whatever the
spread, in however many dimensions, however records depend on each other. It is 1 / (J + 1) at least: J = 19 for 5 %.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from certify.attacks.audits.findings import Finding, RequestAudit
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
    model under review in that is exact, with nothing to pay for their number. What looks at models of its own (those that share the
    original's start) is a second test, and then both are paid for.

    Returns:
        The same audits; no p-value is smaller than before.
    """
    pools = [one.pool for one in parts if one.pool is not None]
    if not pools:
        return list(parts)
    joint = np.max(np.stack(pools), axis=0)
    others = any(one.pool is None and one.retrained is not None for one in parts)
    p, fewest = rank_p(joint), 1 / len(joint)
    found = []
    for one in parts:
        if one.retrained is None:
            found.append(one)
            continue
        level, times = (0.0 if one.pool is None else p), (2 if others else 1)
        findings = tuple(_at_least(finding, level, times) for finding in one.findings)
        odd = one.odd_one_out and (one.pool is None or p <= fewest)
        found.append(replace(one, findings=findings, odd_one_out=odd))
    return found


def _at_least(one: Finding, level: float, times: int) -> Finding:
    return one if one.p_value is None else replace(one, p_value=min(1.0, times * max(one.p_value, level)))
