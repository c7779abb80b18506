"""Exchanging the labels "unlearned" and "retrained": the null distribution of any number computed from two sets of models.

:mod:`certify.attacks.statistics.permutation` has the tests of a distance matrix alone. Here any statistic can be used, one model can stand
against many, and exchanges can be kept within pairs, which models with a common start or a common draw of records need.
"""

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from certify.core.arguments import as_whole
from certify.core.arrays import FloatArray
from certify.core.errors import ArgumentError, InputError
from certify.core.streams import stream

BoolArray = NDArray[np.bool_]

_TIE = 1e-9
"""Statistics this close, relative to the larger, count as equal: p-values may only grow by it."""


@dataclass(frozen=True, eq=False)
class Exchange:
    """Relabellings of a pool of models, the given one first.

    If unlearned models are honest retrained ones, all relabellings were equally likely beforehand, whatever the models are and
    whatever is computed from them, so that the share of them that look at least as bad is a p-value, exactly.

    Attributes:
        labels: (B, first + second); true where a model of the pool counts as unlearned. Row 0 is the truth.
        first: models that are unlearned; the pool has them before the others.
        paired: whether only members of a pair (k-th unlearned, k-th retrained) were exchanged.
        complete: whether these are all relabellings there are, each once.
    """

    labels: BoolArray
    first: int
    paired: bool
    complete: bool

    @property
    def second(self) -> int:
        """Models of the pool that are retrained."""
        return int(self.labels.shape[1]) - self.first

    def floor(self, *, mirrored: bool = False) -> float:
        """The smallest one-sided p-value that can come out.

        Args:
            mirrored: for statistics that stay the same when both sets swap names.
        """
        twice = mirrored and self.complete and self.first == self.second
        return (2 if twice else 1) / len(self.labels)

    def p_value(self, statistics: FloatArray) -> float:
        """Share of the relabellings whose statistic, (B,), is at least that of the truth."""
        return float(self.p_values(statistics[:, None])[0])

    def p_values(self, statistics: FloatArray) -> FloatArray:
        """The same for several statistics, (B, N) to (N,)."""
        truth = statistics[0]
        if np.isnan(statistics).any():
            raise InputError(
                "a statistic is not a number", where="exchange", mend="give finite numbers for every model"
            )
        slack = _TIE * np.abs(np.where(np.isfinite(truth), truth, 0.0))
        return np.asarray((statistics >= truth - slack).mean(axis=0))

    def two_sided(self, statistics: FloatArray) -> float:
        """Twice the smaller of the two one-sided p-values, at most 1."""
        return min(1.0, 2.0 * min(self.p_value(statistics), self.p_value(-statistics)))


def exchange(first: int, second: int, *, paired: bool | None = None, draws: int = 999, seed: int = 0) -> Exchange:
    """Relabellings of ``first`` unlearned and ``second`` retrained models.

    All of them where there are no more than ``draws`` + 1 (or where one model stands against the others: then the p-value is the
    rank of its statistic, in steps of 1 / (second + 1)); otherwise the true one and ``draws`` random ones.

    Args:
        first: unlearned models.
        second: retrained models.
        paired: exchange only within pairs (k-th unlearned, k-th retrained). Needed where row k of both comes from one draw of
            records or one initialisation; valid, too, where the models are independent. The default pairs where the numbers agree
            and are above 1.
        draws: relabellings drawn.
        seed: of the draws.

    Raises:
        InputError: a set without models, or pairs of unequal numbers.
        ArgumentError: no draws.
    """
    first, second, draws = as_whole(first, "first"), as_whole(second, "second"), as_whole(draws, "draws")
    if first < 1 or second < 1:
        raise InputError("a set of models is empty", where="exchange", mend="give at least one model of each kind")
    if draws < 1:
        raise ArgumentError(f"must be at least 1, not {draws}", where="draws", mend="use 999 or more")
    paired = first == second > 1 if paired is None else paired
    if paired and first != second:
        raise InputError(
            f"{first} unlearned and {second} retrained models make no pairs",
            where="exchange",
            mend="give one retrained model for each unlearned one, or paired=False",
        )
    generator = stream(seed, "exchange")
    total = 2**first if paired else math.comb(first + second, first)
    if total <= draws + 1 or first == 1 or (second == 1 and not paired):
        return Exchange(_all(first, second, paired=paired), first, paired, complete=True)
    if paired:
        flips = generator.random((draws, first)) < 0.5
        drawn = np.concatenate([~flips, flips], axis=1)
    else:
        places = generator.random((draws, first + second)).argsort(axis=1).argsort(axis=1)
        drawn = places < first
    truth = np.arange(first + second) < first
    return Exchange(np.concatenate([truth[None], drawn]), first, paired, complete=False)


def _all(first: int, second: int, *, paired: bool) -> BoolArray:
    """Every relabelling once, the true one first."""
    if paired:
        flips = (np.arange(2**first)[:, None] >> np.arange(first)) % 2 == 1
        return np.concatenate([~flips, flips], axis=1)
    chosen = np.array(list(combinations(range(first + second), first)))
    labels = np.zeros((len(chosen), first + second), dtype=bool)
    np.put_along_axis(labels, chosen, values=True, axis=1)
    return labels


def energy(matrix: FloatArray, labels: BoolArray) -> FloatArray:
    """Energy distance between the models labelled true and the others, for each relabelling.

    ``2 mean d(x, y) - mean d(x, x') - mean d(y, y')`` over different models (Szekely, Rizzo 2013). It is zero in expectation where
    both sets come from one distribution, and grows with a shift as with another spread; for distances of negative type
    (Euclidean, the root of Jensen-Shannon) only equal distributions give zero. A set of one model has no spread: 0.

    Args:
        matrix: distances between all models of the pool, (n, n); only their symmetric part counts.
        labels: (B, n).

    Returns:
        (B,).
    """
    symmetric = 0.5 * (matrix + matrix.T)
    np.fill_diagonal(symmetric, 0.0)
    one = labels.astype(np.float64)
    other = 1.0 - one
    first, second = one.sum(axis=1), other.sum(axis=1)
    between = ((one @ symmetric) * other).sum(axis=1) / (first * second)
    own = ((one @ symmetric) * one).sum(axis=1) / np.maximum(first * (first - 1), 1.0)
    rest = ((other @ symmetric) * other).sum(axis=1) / np.maximum(second * (second - 1), 1.0)
    return np.asarray(2.0 * between - own - rest)
