"""Worst-case forget sets: the records that are hardest to forget, instead of random ones.

Average records are forgotten by forgetting nothing, since a model without them behaves the same. Hard are those that were memorised
(a gap between models with and without them), that lie far from the others, that were learned late or unsteadily, that pull hard
on the parameters, and groups of records that stand for each other. Each function here gives one number a record, the larger the
harder; :func:`hardest` and :func:`forget_sets` choose.

Rank with other models than those that are audited (:meth:`~certify.attacks.observations.Observations.pick`): scores of models whose
chance fluctuations chose the records are no fair sample.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from certify.convex.objective import Objective
from certify.convex.problem import bind
from certify.core.arguments import as_whole
from certify.core.arrays import AnyArray, FloatArray, IntArray
from certify.core.errors import ArgumentError
from certify.core.streams import stream

if TYPE_CHECKING:
    from certify.models.networks import Bench, State

_CHUNK = 32_000_000
"""Bytes of one block of distances."""


@dataclass(frozen=True, eq=False)
class Memorisation:
    """How much each record's own outcome hangs on its having been trained on (Feldman, Zhang 2020).

    Attributes:
        gap: mean over models with the record minus mean over models without it, (N,); NaN where one kind is missing.
        error: its standard error over models, (N,); NaN where a kind has fewer than two.
        without: mean over models without the record, (N,).
    """

    gap: FloatArray
    error: FloatArray
    without: FloatArray


def memorisation(signal: AnyArray, member: AnyArray) -> Memorisation:
    """Leave-one-out gap of a signal from shadow models that were trained on random subsets.

    With "correct" as the signal it is the memorisation of Feldman and Zhang, in [-1, 1]; with phi it tells apart the many records
    for which that is 0.

    Args:
        signal: what model k says of record n, (K, N).
        member: whether it was trained on it, (K, N).

    Raises:
        ArgumentError: shapes that differ, or numbers that are not finite.
    """
    values, inside = np.asarray(signal, dtype=np.float64), np.asarray(member).astype(bool)
    if values.ndim != 2 or values.shape != inside.shape or not np.isfinite(values).all():
        raise ArgumentError(
            f"signal and membership have shapes {values.shape} and {inside.shape}, or a number is not finite",
            where="worst-case",
            mend="give one row a model and one column a record in both",
        )
    sides = []
    for mask in (inside, ~inside):
        count = mask.sum(axis=0).astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.where(mask, values, 0.0).sum(axis=0) / count
            spread = np.where(mask, (values - mean) ** 2, 0.0).sum(axis=0) / (count - 1) / count
        sides.append((np.where(count > 0, mean, np.nan), np.where(count > 1, spread, np.nan)))
    (mean_in, spread_in), (mean_out, spread_out) = sides
    return Memorisation(mean_in - mean_out, np.sqrt(spread_in + spread_out), mean_out)


def outlyingness(features: AnyArray, neighbours: int = 10) -> FloatArray:
    """Mean Euclidean distance of each record to its nearest others, (N,).

    Args:
        features: of the records, (N, ...), such as a network's last hidden layer; bring columns to one scale first.
        neighbours: how many, at least 1 and below N.

    Raises:
        ArgumentError: too few records, or numbers that are not finite.
    """
    rows, count = _rows(features), as_whole(neighbours, "neighbours")
    if not 1 <= count < len(rows):
        raise ArgumentError(
            f"{count} neighbours among {len(rows)} records", where="worst-case", mend="ask for fewer neighbours"
        )
    result = np.empty(len(rows))
    for part, squared in _distances(rows):
        squared[np.arange(len(squared)), np.arange(part.start, part.stop)] = np.inf  # a record is not its own neighbour
        result[part] = np.sqrt(np.partition(squared, count - 1, axis=1)[:, :count]).mean(axis=1)
    return result


def loss_spread(losses: AnyArray) -> FloatArray:
    """Interquartile range of each record's losses over the course of training, (N,); mean over models where there are several.

    Args:
        losses: after each pass, (T, N), or of K models (K, T, N), at least two passes.

    Raises:
        ArgumentError: another shape, or numbers that are not finite.
    """
    values = np.asarray(losses, dtype=np.float64)
    if values.ndim not in (2, 3) or values.shape[-2] < 2 or not np.isfinite(values).all():
        raise ArgumentError(
            f"losses have shape {values.shape}, or are not finite",
            where="worst-case",
            mend="give (passes, records) or (models, passes, records), at least two passes",
        )
    low, high = np.quantile(values, [0.25, 0.75], axis=-2)
    spread = high - low
    return np.asarray(spread.mean(axis=0) if values.ndim == 3 else spread)


def linear_gradient_norms(objective: Objective, w: AnyArray, X: Any, y: Any) -> FloatArray:
    """Norm of each record's gradient in the parameters of a linear model, ``||l'(x . w)|| ||x||``, (N,).

    Args:
        objective: the declared objective; the penalty belongs to no record.
        w: parameters, (K, p) or (p,).
        X: features, (N, d).
        y: targets, (N,).
    """
    parameters = np.atleast_2d(np.asarray(w, dtype=np.float64))
    problem = bind(objective, X, y, len(parameters))
    slope = objective.loss_function.gradient(problem.scores(parameters), problem.targets)
    return np.asarray(np.linalg.norm(slope, axis=1) * problem.norms)


def network_gradient_norms(
    bench: "Bench", state: "State", positions: AnyArray | None = None, batch_size: int = 64
) -> FloatArray:
    """Norm of each record's gradient in the parameters that may move, (K, N).

    Args:
        bench: data and loss.
        state: K models.
        positions: of the records; all of them where none are given.
        batch_size: records whose gradients are held at once.
    """
    import torch

    rows = np.arange(len(bench.X)) if positions is None else np.asarray(positions, dtype=np.int64)
    parts = []
    for start in range(0, len(rows), batch_size):
        own = torch.as_tensor(rows[start : start + batch_size], device=bench.device)
        bench.charge("gradients", state.models * len(own))
        inputs, labels = (values[own].expand(state.models, *values[own].shape) for values in (bench.X, bench.y))
        found = bench.network.sample_gradients(state, bench.loss, inputs, (labels,))
        squares = [value.double().flatten(2).square().sum(dim=2) for value in found.values()]
        parts.append(torch.stack(squares).sum(dim=0).sqrt())
    return np.asarray(torch.cat(parts, dim=1).cpu().numpy())


def hardest(
    scores: AnyArray, size: int, *, seed: int = 0, eligible: AnyArray | None = None, name: str = "hardest"
) -> IntArray:
    """Positions of the records with the largest scores, in ascending order; ties are broken by a draw.

    The larger choice contains the smaller one under one seed.

    Args:
        scores: (N,); records with NaN are never chosen.
        size: how many.
        seed: of the draw between ties.
        eligible: which records may be chosen, (N,); all where absent.
        name: of the random stream.

    Raises:
        ArgumentError: fewer candidates than asked for, or shapes that do not fit.
    """
    values, count = np.asarray(scores, dtype=np.float64), as_whole(size, "size")
    allowed = ~np.isnan(values) if eligible is None else np.asarray(eligible).astype(bool) & ~np.isnan(values)
    if values.ndim != 1 or allowed.shape != values.shape or not 1 <= count <= allowed.sum():
        raise ArgumentError(
            f"{count} of {int(allowed.sum())} candidates", where="worst-case.size", mend="ask for fewer, at least one"
        )
    draw = stream(seed, f"worst-case/{name}").permutation(len(values))
    order = np.lexsort((draw, np.where(allowed, -values, np.inf), ~allowed))
    return np.sort(order[:count]).astype(np.int64)


def coherent_cluster(
    features: AnyArray,
    size: int,
    *,
    seed: int = 0,
    centre: int | None = None,
    eligible: AnyArray | None = None,
) -> IntArray:
    """A record and its nearest neighbours, in ascending order of position: records that stand for each other.

    Args:
        features: of the records, (N, ...).
        size: records in the cluster, the centre included.
        seed: of the draw of the centre, and between ties.
        centre: position of the centre; drawn among the eligible records where absent.
        eligible: which records may be chosen, (N,), for example one class; all where absent.

    Raises:
        ArgumentError: a centre that may not be chosen, or fewer candidates than asked for.
    """
    rows = _rows(features)
    allowed = np.ones(len(rows), dtype=bool) if eligible is None else np.asarray(eligible).astype(bool)
    if centre is None:
        if not allowed.any():
            raise ArgumentError("no record may be chosen", where="worst-case.eligible", mend="allow some")
        centre = int(stream(seed, "worst-case/centre").choice(np.flatnonzero(allowed)))
    if not (0 <= as_whole(centre, "centre") < len(rows) and allowed[centre]):
        raise ArgumentError("the centre may not be chosen", where="worst-case.centre", mend="name an eligible record")
    closeness = -np.linalg.norm(rows - rows[centre], axis=1)
    closeness[centre] = np.inf  # before its own copies
    return hardest(closeness, size, seed=seed, eligible=allowed, name="cluster")


def forget_sets(
    scores: Mapping[str, AnyArray],
    sizes: Sequence[int],
    *,
    seed: int = 0,
    features: AnyArray | None = None,
    eligible: AnyArray | None = None,
) -> dict[tuple[str, int], IntArray]:
    """Forget sets to audit, by kind and size: the hardest by each score, a random one, and a cluster.

    Sets of one kind contain each other from size to size.

    Args:
        scores: by name of the kind, such as "memorised" or "outlier", (N,) each.
        sizes: of the groups.
        seed: of every draw.
        features: for the kind "cluster", (N, ...); no such sets where absent.
        eligible: which records may be chosen, (N,); all where absent.

    Returns:
        positions in ascending order, by (kind, size); kinds "random" and "cluster" beside those of ``scores``.

    Raises:
        ArgumentError: scores of different lengths, a kind called "random" or "cluster", or fewer candidates than asked for.
    """
    kinds = {name: np.asarray(values, dtype=np.float64) for name, values in scores.items()}
    lengths = {len(values) for values in kinds.values()} | ({len(features)} if features is not None else set())
    lengths |= {len(eligible)} if eligible is not None else set()
    if len(lengths) != 1 or {"random", "cluster"} & set(kinds):
        raise ArgumentError(
            f"scores of {sorted(lengths)} records, kinds {', '.join(kinds)}",
            where="worst-case.scores",
            mend='give one number a record in each, under other names than "random" and "cluster"',
        )
    kinds["random"] = stream(seed, "worst-case/random").random(lengths.pop())
    found = {
        (kind, size): hardest(values, size, seed=seed, eligible=eligible, name=kind)
        for kind, values in kinds.items()
        for size in sizes
    }
    if features is not None:
        found |= {("cluster", size): coherent_cluster(features, size, seed=seed, eligible=eligible) for size in sizes}
    return found


def _rows(features: AnyArray) -> FloatArray:
    rows = np.asarray(features, dtype=np.float64)
    rows = rows.reshape(len(rows), -1) if rows.ndim > 1 else rows[:, None]
    if not len(rows) or not np.isfinite(rows).all():
        raise ArgumentError("features are missing or not finite", where="worst-case.features", mend="check them")
    return rows


def _distances(rows: FloatArray) -> Any:
    """Squared distances of some records to all, block by block: (slice, (B, N))."""
    rows = rows - rows.mean(axis=0)  # the expansion below cancels less around the origin
    squares = np.einsum("nd,nd->n", rows, rows)
    step = max(1, _CHUNK // (8 * len(rows)))
    for start in range(0, len(rows), step):
        part = slice(start, min(start + step, len(rows)))
        yield part, np.maximum(squares[part, None] + squares - 2 * rows[part] @ rows.T, 0.0)
