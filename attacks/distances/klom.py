"""KLOM, the divergence of margins record by record, with the part taken out that retrained models have among themselves.

KLOM (Georgiev et al. 2024) is, for each record, the KL divergence between histograms of the margins that unlearned and retrained models give
it. Its ideal is said to be 0, and no finite number of models reaches it: with 20 bins and 100 models the plug-in value of two sets of
retrained models is a third of a nat. Here every record has its own null, from exchanging the labels of the models, which gives the excess
(0 in expectation if unlearning is retraining), a p-value each, and one for all records together.
"""

from dataclasses import dataclass

import numpy as np
from statsmodels.stats.multitest import multipletests

from certify.attacks.distances.exchange import Exchange, exchange
from certify.core.arguments import as_whole
from certify.core.arrays import AnyArray, FloatArray, IntArray
from certify.core.errors import ArgumentError, InputError

_CELLS = 2**24
"""Numbers of single precision that one block of records may take: 64 MiB."""


@dataclass(frozen=True, eq=False)
class Klom:
    """KLOM of N records.

    Attributes:
        values: ``KL(unlearned || retrained)`` of histograms with half a count in each bin, in nats, (N,).
        null: mean over relabellings, (N,): what models that do not differ at all have.
        excess: ``values - null``, (N,); may be negative.
        p_values: exact for each record, (N,); two-sided in what they find, since any difference of the distributions makes the divergence grow.
        flagged: records found by Benjamini and Hochberg at ``level``, (N,): of those, a share of at most ``level`` is expected to be
            wrong where p-values of records do not oppose each other.
        mean: mean of ``values``.
        mean_excess: mean of ``excess``.
        p_value: exact, for the mean over all records, the same labels exchanged for all.
        models: unlearned (and retrained) models behind each record, (N,).
        floor: the smallest p-value that can come out. Benjamini and Hochberg can flag nothing unless at least ``N floor / level`` records
            reach it: draw more where N is large.
        level: of ``flagged``.
    """

    values: FloatArray
    null: FloatArray
    excess: FloatArray
    p_values: FloatArray
    flagged: AnyArray
    mean: float
    mean_excess: float
    p_value: float
    models: IntArray
    floor: float
    level: float

    def quantiles(self, at: tuple[float, ...] = (0.05, 0.5, 0.95, 0.99)) -> dict[float, float]:
        """Quantiles of the excess over the records: means hide the few that were not forgotten."""
        return {share: float(np.quantile(self.excess, share)) for share in at}


def klom_per_record(
    unlearned: FloatArray,
    retrained: FloatArray,
    *,
    used: AnyArray | None = None,
    bins: int = 20,
    draws: int = 999,
    level: float = 0.05,
    seed: int = 0,
) -> Klom:
    """KLOM of each record against its null.

    Labels are exchanged within pairs (k-th unlearned, k-th retrained model), which is valid whether row k of both belongs to one
    draw of records or all models are independent.

    Args:
        unlearned: margins, ``phi`` of :class:`~certify.attacks.observations.Observations`, (K, N).
        retrained: the same of retrained models, (K, N).
        used: which models count for which record, (K, N): those that were to forget it. All where nothing is given.
        bins: of equal width over the common range of both sets, the right end included.
        draws: relabellings drawn; all of them where K is small.
        level: of the false discovery rate.
        seed: of the relabellings.

    Raises:
        InputError: arrays of different shape, a margin that is not finite, or a record that fewer than two models were to forget.
        ArgumentError: bins or a level that make no sense.
    """
    one, two, chosen = _checked(unlearned, retrained, used)
    bins = as_whole(bins, "bins")
    if bins < 2 or not 0 < level < 1:
        raise ArgumentError("needs at least 2 bins and a level in (0, 1)", where="klom", mend="use 20 and 0.05")
    found = exchange(len(one), len(one), paired=True, draws=draws, seed=seed)
    values, null, p_values = (np.empty(one.shape[1]) for _ in range(3))
    total = np.zeros(len(found.labels))
    width = max(1, _CELLS // (bins * (len(found.labels) + 2 * len(one))))
    for start in range(0, one.shape[1], width):
        part = slice(start, start + width)
        each = _relabelled(one[:, part], two[:, part], chosen[:, part], bins, found)
        values[part], null[part], p_values[part] = each[0], each.mean(axis=0), found.p_values(each)
        total += each.sum(axis=1)
    return Klom(
        values,
        null,
        values - null,
        p_values,
        multipletests(p_values, alpha=level, method="fdr_bh")[0],
        float(values.mean()),
        float((values - null).mean()),
        found.p_value(total),
        chosen.sum(axis=0),
        found.floor(),
        level,
    )


def _relabelled(one: FloatArray, two: FloatArray, used: AnyArray, bins: int, found: Exchange) -> FloatArray:
    """KLOM of each record under each relabelling, (B, n)."""
    pool, counted = np.concatenate([one, two]), np.concatenate([used, used])
    low = np.where(counted, pool, np.inf).min(axis=0)
    high = np.where(counted, pool, -np.inf).max(axis=0)
    spread = np.where(high > low, high - low, 1.0)
    with np.errstate(over="ignore", invalid="ignore"):
        place = np.clip(np.floor((pool - low) / spread * bins), 0, bins - 1)  # the last bin holds its right end
    held = (place.T[:, None, :] == np.arange(bins)[:, None]) & counted.T[:, None, :]
    held32 = held.astype(np.float32)  # counts of models: exact in single precision
    first = np.rint(held32 @ found.labels.T.astype(np.float32)).astype(np.int64)  # (n, bins, B)
    second = held.sum(axis=2)[:, :, None] - first
    logs = np.log(np.arange(len(pool) + 1) + 0.5)  # half a count in each bin
    kept = used.sum(axis=0) + 0.5 * bins
    return np.asarray((((first + 0.5) * (logs[first] - logs[second])).sum(axis=1) / kept[:, None]).T)


def _checked(
    unlearned: FloatArray, retrained: FloatArray, used: AnyArray | None
) -> tuple[FloatArray, FloatArray, AnyArray]:
    one, two = np.asarray(unlearned, dtype=np.float64), np.asarray(retrained, dtype=np.float64)
    chosen = np.ones(one.shape, dtype=bool) if used is None else np.asarray(used, dtype=bool)
    if one.ndim != 2 or one.shape != two.shape or chosen.shape != one.shape or not one.size:
        raise InputError(
            f"margins have shapes {one.shape} and {two.shape}, used {chosen.shape}",
            where="klom",
            mend="give (models, records), as many unlearned as retrained models",
        )
    if not (np.isfinite(one[chosen]).all() and np.isfinite(two[chosen]).all()):
        raise InputError("a margin is not finite", where="klom", mend="compute phi from the logits")
    if chosen.sum(axis=0).min() < 2:
        raise InputError(
            "a record was to be forgotten by fewer than two models",
            where="klom.used",
            mend="leave the record out, or add models",
        )
    return np.where(chosen, one, 0.0), np.where(chosen, two, 0.0), chosen
