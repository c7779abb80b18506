"""Two groups of models compared by exchanging them: exact under the null whatever the law, for any statistic of a distance matrix.

Distances between all models are computed once; a permutation only changes which of them belong to which group. Under the null the
models are exchangeable, so the statistic's rank among its values under permutations is uniform, and with the observed arrangement
counted among them ``p = (1 + #{permuted >= observed})/(1 + permutations)`` is exact for any number of permutations.
"""

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats

from certify.attacks.distances.exchange import energy
from certify.core.arguments import as_whole
from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import ArgumentError, InputError
from certify.core.streams import stream

_TIE = 1e-10  # of the largest statistic: arrangements that differ by rounding alone count as ties, against ourselves


@dataclass(frozen=True)
class Comparison:
    """A two-sample test.

    Attributes:
        statistic: observed.
        p_value: exact; never 0.
        floor: the smallest p-value that this many models, and permutations, could have given.
        arrangements: looked at, the observed one included.
    """

    statistic: float
    p_value: float
    floor: float
    arrangements: int


def as_square(matrix: AnyArray, where: str) -> FloatArray:
    """A symmetric finite matrix.

    Raises:
        InputError: it is none.
    """
    found = np.asarray(matrix, dtype=float)
    if found.ndim != 2 or found.shape[0] != found.shape[1] or not np.isfinite(found).all():
        raise InputError(
            f"shape {found.shape} is no finite square matrix", where=where, mend="give all pairs of models"
        )
    if not np.allclose(found, found.T, rtol=1e-6, atol=1e-9 * float(np.abs(found).max() or 1)):
        raise InputError("is not symmetric", where=where, mend="give each pair once, the same both ways")
    return np.asarray((found + found.T) / 2)


def arrangements(first: AnyArray, permutations: int, seed: int) -> tuple[FloatArray, bool]:
    """Which models belong to the first group, (arrangements, K) of 0 and 1, the observed one first; whether these are all.

    All of them where there are no more than ``permutations``; otherwise so many random ones besides the observed.
    """
    chosen = np.asarray(first).astype(bool)
    n, count = int(chosen.sum()), as_whole(permutations, "permutations")
    K = chosen.size
    if chosen.ndim != 1 or n in {0, K}:
        raise InputError("one group is empty", where="groups", mend="give models of both worlds")
    if count < 1:
        raise ArgumentError(f"must be at least 1, not {count}", where="permutations", mend="correct the value")
    if math.comb(K, n) - 1 <= count:
        rows = np.zeros((math.comb(K, n), K))
        for row, members in zip(rows, combinations(range(K), n), strict=True):
            row[list(members)] = 1
        return np.concatenate([chosen[None].astype(float), rows[(rows != chosen).any(axis=1)]]), True
    generator = stream(seed, "permutations")
    order = np.argsort(generator.random((count, K)), axis=1)
    return np.concatenate([chosen[None].astype(float), chosen[order].astype(float)]), False


def _rank(values: FloatArray) -> Comparison:
    margin = _TIE * float(np.abs(values).max())
    at_least = int((values >= values[0] - margin).sum())
    # an arrangement with the groups exchanged has the same statistic when both are of one size: that is part of the floor
    top = int((values >= values.max() - margin).sum())
    return Comparison(float(values[0]), at_least / len(values), top / len(values), len(values))


def energy_test(distances: AnyArray, first: AnyArray, permutations: int = 9999, seed: int = 0) -> Comparison:
    """Energy distance ``2 E d(X, Y) - E d(X, X') - E d(Y, Y')`` (Szekely and Rizzo) between two groups of models.

    Means within a group are over distinct models (unbiased), so that the expected value under the null is 0.

    Args:
        distances: (K, K) between models.
        first: (K,) which models are in the first group; two or more in each.
        permutations: random ones, where there are more arrangements than this.
        seed: of the permutations.

    Raises:
        InputError: a matrix that is none, or a group of one.
    """
    matrix = as_square(distances, "distances").copy()
    np.fill_diagonal(matrix, 0.0)
    return _rank(-_unbiased(matrix, first, permutations, seed))


def kernel_test(gram: AnyArray, first: AnyArray, permutations: int = 9999, seed: int = 0) -> Comparison:
    """Squared maximum mean discrepancy ``E k(X, X') + E k(Y, Y') - 2 E k(X, Y)``, unbiased, from a Gram matrix.

    The kernel must not be chosen by which models are in which group; a median distance over all models is fine.
    """
    matrix = as_square(gram, "gram").copy()
    np.fill_diagonal(matrix, 0.0)
    return _rank(_unbiased(matrix, first, permutations, seed))


def _unbiased(matrix: FloatArray, first: AnyArray, permutations: int, seed: int) -> FloatArray:
    groups, _ = arrangements(first, permutations, seed)
    if groups.shape[1] != len(matrix):
        raise InputError(f"{groups.shape[1]} marks for {len(matrix)} models", where="groups", mend="mark each model")
    n, k = int(groups[0].sum()), len(matrix)
    if min(n, k - n) < 2:
        raise InputError("a group has one model", where="groups", mend="give two or more of each world")
    return -energy(matrix, groups > 0)


def median_kernel(distances: AnyArray) -> FloatArray:
    """Gaussian kernel ``exp(-d^2/(2 h^2))`` with h the median distance between distinct models."""
    matrix = as_square(distances, "distances")
    width = float(np.median(matrix[np.triu_indices(len(matrix), 1)])) if len(matrix) > 1 else 1.0
    return np.asarray(np.exp(-((matrix / (width or 1.0)) ** 2) / 2))


def conformal_p(observed: float, reference: AnyArray) -> Comparison:
    """``(1 + #{reference >= observed})/(K + 1)``: exact where the observed model is exchangeable with the K reference models.

    Its floor is ``1/(K + 1)``: 19 retrained models are the fewest that can refute anything at 5 %.
    """
    values = np.asarray(reference, dtype=float)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all() or not math.isfinite(observed):
        raise InputError(
            "is not one axis of finite numbers", where="reference", mend="give one number a retrained model"
        )
    K = values.size
    return Comparison(float(observed), (1 + int((values >= observed).sum())) / (K + 1), 1 / (K + 1), K + 1)


def directional_test(
    parameters: AnyArray, retrained: AnyArray, direction: AnyArray, *, two_sided: bool = True
) -> Comparison:
    """Whether a model lies off the retrained ones along a direction fixed beforehand: t with K - 1 degrees of freedom.

    ``t = <w - mean, g>/(s sqrt(1 + 1/K))``, s the deviation of the retrained models' projections. Exact where those are
    normal; with the gradient of the loss on the forgotten records as g it is the sharpest test of records not forgotten.

    Args:
        parameters: (d,) of the model looked at.
        retrained: (K, d), K at least 2.
        direction: (d,), from neither of them.
        two_sided: forgetting too much counts as well.

    Raises:
        InputError: shapes that differ, one retrained model, or projections that do not vary.
    """
    w, models, g = (np.asarray(array, dtype=float) for array in (parameters, retrained, direction))
    if w.ndim != 1 or g.shape != w.shape or models.ndim != 2 or models.shape[1:] != w.shape or len(models) < 2:
        raise InputError(
            f"shapes {w.shape}, {models.shape} and {g.shape} are not (d,), (K, d) and (d,)",
            where="parameters",
            mend="give K >= 2",
        )
    projected = models @ g
    spread = float(projected.std(ddof=1))
    if not spread > 0:
        raise InputError(
            "does not vary over retrained models", where="direction", mend="give models of different seeds"
        )
    t = float((w @ g - projected.mean()) / (spread * math.sqrt(1 + 1 / len(models))))
    tail = float(stats.t.sf(abs(t) if two_sided else t, len(models) - 1))
    return Comparison(t, min(1.0, 2 * tail) if two_sided else tail, 0.0, len(models) + 1)
