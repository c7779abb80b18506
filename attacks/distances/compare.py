"""Distances of K unlearned models to retrained ones, over weights and over predictions, each against its null."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from certify.attacks.distances.alignment import aligned_distances
from certify.attacks.distances.functions import DISTANCES, all_pairs, cka
from certify.attacks.distances.null import Distance, against_pool, against_rows
from certify.attacks.distances.parameters import METRICS, Metric, Stack, Weights, is_count, moments, plain
from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import InputError

FUNCTIONS = ("js", "activation-mean-of-norms", "churn")
"""Compared where nothing is said."""

ALIGNED = "aligned-l2"
"""Label of distances after the hidden units of plain perceptrons were put in order."""


def weight_distances(
    unlearned: Weights,
    retrained: Weights,
    again: Weights | None = None,
    *,
    metrics: Sequence[Metric] = METRICS,
    by: Literal["layer", "tensor"] = "layer",
    align: bool = False,
    paired: bool | None = None,
    draws: int = 999,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[Distance]:
    """Every metric on the whole and on every part, buffers included.

    Args:
        unlearned: U models.
        retrained: R models.
        again: retrained once more, row by row: then rows are compared (:func:`~certify.attacks.distances.null.against_rows`), as they have to be where
            models were given different records. Otherwise all with all.
        metrics: which.
        by: parts, layers or tensors.
        align: add :data:`ALIGNED`, all with all; see :mod:`certify.attacks.distances.alignment` for what it assumes.
        paired: see :func:`~certify.attacks.distances.exchange.exchange`.
        draws: relabellings.
        confidence: of the ratio's interval.
        seed: of relabellings and bootstrap.

    Returns:
        One entry a part and metric: many p-values, of which some are small by chance. Decide on ``whole``, or correct them (Holm).

    Raises:
        InputError: models that do not fit together, or fewer than two retrained ones.
        AssumptionViolatedError: ``align`` where the model is no plain perceptron.
    """
    if again is not None:
        own, null = moments(unlearned, retrained, by=by), moments(again, retrained, by=by)
        return [
            against_rows(
                metric,
                part,
                own[part].distance(metric),
                null[part].distance(metric),
                draws=draws,
                confidence=confidence,
                seed=seed,
            )
            for metric in metrics
            for part in own
        ]
    pool, first = _joined(unlearned, retrained)
    found = moments(pool, pool, pairs="all", by=by)
    tables = [(str(metric), part, value.distance(metric)) for metric in metrics for part, value in found.items()]
    tables += [(ALIGNED, "parameters", aligned_distances(pool, pool))] if align else []
    return [
        against_pool(name, part, matrix, first, paired=paired, draws=draws, confidence=confidence, seed=seed)
        for name, part, matrix in tables
    ]


def function_distances(
    unlearned: AnyArray,
    retrained: AnyArray,
    again: AnyArray | None = None,
    *,
    part: str = "forget",
    used: AnyArray | None = None,
    names: Sequence[str] = FUNCTIONS,
    paired: bool | None = None,
    draws: int = 999,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[Distance]:
    """Distances between predictions on one part of the records.

    Args:
        unlearned: probabilities (U, N, C); features for "cka".
        retrained: the same, (R, N, C).
        again: retrained once more, row by row, (U, N, C); see :func:`weight_distances`.
        part: of the records, for the report: "forget", "retain", "test".
        used: records of each row's own part, (U, N); with ``again`` alone.
        names: of :data:`~certify.attacks.distances.functions.DISTANCES`, or "cka" for ``1 - cka``.
        paired: see :func:`~certify.attacks.distances.exchange.exchange`.
        draws: relabellings.
        confidence: of the ratio's interval.
        seed: of relabellings and bootstrap.

    Raises:
        InputError: an unknown name, shapes that do not fit, or ``used`` without ``again``.
    """
    chosen = {name: _function(name) for name in names}
    if again is not None:
        extra = {} if used is None else {"used": used}
        return [
            against_rows(
                name,
                part,
                between(unlearned, retrained, **extra),
                between(again, retrained, **extra),
                draws=draws,
                confidence=confidence,
                seed=seed,
            )
            for name, between in chosen.items()
        ]
    if used is not None:
        raise InputError(
            "models with forgotten records of their own cannot be compared all with all",
            where="used",
            mend="give again, a second retrained model a row",
        )
    pool = np.concatenate([np.asarray(unlearned, dtype=np.float64), np.asarray(retrained, dtype=np.float64)])
    return [
        against_pool(
            name,
            part,
            all_pairs(between, pool, pool),
            len(unlearned),
            paired=paired,
            draws=draws,
            confidence=confidence,
            seed=seed,
        )
        for name, between in chosen.items()
    ]


def _function(name: str) -> Callable[..., FloatArray]:
    if name == "cka":
        return _one_minus_cka
    if name not in DISTANCES:
        raise InputError(f"{name!r} is unknown", where="names", mend=f"known are {', '.join([*DISTANCES, 'cka'])}")
    return DISTANCES[name]


def _one_minus_cka(x: AnyArray, y: AnyArray) -> FloatArray:
    return np.asarray(1.0 - cka(x, y))


def _joined(unlearned: Weights, retrained: Weights) -> tuple[Stack, int]:
    """All models in one stack; kinds of numbers are kept, so that counters stay counters."""
    trees = []
    for kind in ("parameters", "buffers"):
        one, two = getattr(unlearned, kind), getattr(retrained, kind)
        if one.keys() != two.keys():
            odd = sorted(one.keys() ^ two.keys())[0]
            raise InputError(
                f"{kind} {odd!r} is in one of two sets of models", where="weights", mend="compare one architecture"
            )
        trees.append({name: _stacked(name, value, two[name]) for name, value in one.items()})
    return Stack(*trees), len(next(iter(unlearned.parameters.values())))


def _stacked(name: str, one: object, two: object) -> AnyArray:
    first, second = plain(one), plain(two)
    if first.shape[1:] != second.shape[1:]:
        raise InputError(
            f"{name!r} has shapes {first.shape} and {second.shape}", where="weights", mend="compare one architecture"
        )
    both = np.concatenate([first, second])
    return both.astype(np.int64) if is_count(one) else both
