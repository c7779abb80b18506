"""A distance to retrained models beside that of retrained models among themselves: ratio, interval, p-value.

Two designs. *One request*: all models were given the same records, so that any unlearned model can be compared with any retrained one
(:func:`against_pool`, a matrix of distances). *Rows*: model k of every world belongs to its own draw of records, so that only row k
can be compared with row k, and a second retrained model is needed for the null (:func:`against_rows`).

The models are the independent units: unlearned ones must each come from a training run of their own. Models unlearned again and again from one
checkpoint are one unit, and their spread says nothing about that of trainings.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from certify.attacks.distances.exchange import BoolArray, Exchange, energy, exchange
from certify.attacks.estimates import Estimate
from certify.core.arrays import FloatArray
from certify.core.errors import InputError
from certify.core.streams import stream

REMINDER = (
    "Two honest retrained models may differ in their weights and still be equally good; a distance to retraining within that of retrained "
    "models is no proof that the data was forgotten, and closeness proves nothing about which data a model was trained on."
)
"""Stands beside every distance in a report."""

RESAMPLES = 2000


@dataclass(frozen=True, eq=False)
class Distance:
    """One distance of unlearned models to retrained ones against its null.

    Attributes:
        name: of the distance: "l2", "js".
        part: of the model or of the records: "whole", "parameters/0", "forget".
        value: mean distance of unlearned to retrained models.
        values: mean distance of each unlearned model to the retrained ones (of other pairs, where there are pairs), (U,).
        null: the same among retrained models: for each of them, its mean distance to the others.
        mean_null: mean of ``null``.
        ratio: ``value / mean_null``: 1 where unlearning is retraining; bootstrap over models, an approximate interval. Of one unlearned
            model alone the interval is for that model, and holds what the retrained ones leave open.
        p_value: how often exchanging the labels of the models makes the statistic at least as large; exact under the null.
        floor: the smallest p-value that this many models can give.
        test: what was tested, in words.
        models: unlearned and retrained models.
        caveat: what it does not say.
        pool: mean distance of every model to all others, unlearned ones first, (U + R,): one more retrained model is one more of these,
            which it is not of ``null``, from which it is left out; None where rows are compared.
    """

    name: str
    part: str
    value: float
    values: FloatArray
    null: FloatArray
    mean_null: float
    ratio: Estimate
    p_value: float
    floor: float
    test: str
    models: tuple[int, int]
    caveat: str = REMINDER
    pool: FloatArray | None = None


def against_pool(
    name: str,
    part: str,
    matrix: FloatArray,
    unlearned: int,
    *,
    paired: bool | None = None,
    draws: int = 999,
    confidence: float = 0.95,
    seed: int = 0,
) -> Distance:
    """One request: all pairs of models.

    The test exchanges labels and recomputes the energy distance: a shift shows, and so does a spread that is too small (models
    unlearned from one checkpoint) or too large. For one unlearned model it is the rank of its mean distance among the retrained models' own,
    p at least 1 / (R + 1): 19 retrained models are the fewest that can show anything at 5 %.

    Where pairs are exchanged, the two models of a pair are not compared: they may share their start and be closer than any two
    retrained models, which do not. What lies between them needs a second retrained model (:func:`against_rows`).

    Args:
        name: of the distance.
        part: of the model.
        matrix: distances from each model of the pool to each, (U + R, U + R), the unlearned ones first. Where the distance has a
            direction, it goes from the row's model to the column's.
        unlearned: U.
        paired: see :func:`~certify.attacks.distances.exchange.exchange`. A single pair of sets of equal size is paired unless told otherwise.
        draws: relabellings drawn.
        confidence: of the ratio's interval.
        seed: of relabellings and bootstrap.

    Raises:
        InputError: fewer than two retrained models, a matrix that is not square, or a distance that is not a number.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    size = len(matrix)
    retrained = size - unlearned
    if matrix.shape != (size, size) or unlearned < 1 or retrained < 2:
        raise InputError(
            f"{unlearned} unlearned models and a matrix of shape {matrix.shape} leave fewer than two retrained models",
            where=f"{name} ({part})",
            mend="give the distances of at least one unlearned and two retrained models, all with all",
        )
    if np.isnan(matrix).any():
        raise InputError(
            "a distance is not a number", where=f"{name} ({part})", mend="give finite weights or predictions"
        )
    found = exchange(unlearned, retrained, paired=paired, draws=draws, seed=seed)
    between, within = matrix[:unlearned, unlearned:], matrix[unlearned:, unlearned:].copy()
    np.fill_diagonal(within, 0.0)
    null = within.sum(axis=1) / (retrained - 1)
    counted = ~np.eye(unlearned, dtype=bool) if found.paired else np.ones(between.shape, dtype=bool)
    values = np.where(counted, between, 0.0).sum(axis=1) / counted.sum(axis=1)
    return Distance(
        name,
        part,
        float(values.mean()),
        values,
        null,
        float(null.mean()),
        _pool_ratio(between, within, counted, paired=found.paired, confidence=confidence, seed=seed),
        found.p_value(energy(matrix, found.labels)),
        found.floor(mirrored=True),
        in_words("energy distance" if unlearned > 1 else "rank of the mean distance", found),
        (unlearned, retrained),
        pool=(matrix.sum(axis=1) - np.diagonal(matrix)) / (size - 1),
    )


def against_rows(
    name: str,
    part: str,
    own: FloatArray,
    null: FloatArray,
    *,
    side: Literal["farther", "both"] = "farther",
    draws: int = 999,
    confidence: float = 0.95,
    seed: int = 0,
) -> Distance:
    """Rows: each draw of records has one unlearned model and two retrained ones.

    If unlearning is retraining, the unlearned and the second retrained model of a row can be exchanged: the sign of
    ``own - null`` is a fair coin, and the sum of the differences is compared with those of all signs.

    Args:
        name: of the distance.
        part: of the model or the records.
        own: distance of unlearned model k to retrained model k, (K,).
        null: distance of the second retrained model k to retrained model k, (K,).
        side: "farther" looks for unlearned models that are too far, whether they kept too much or forgot too much; "both" finds models that
            are too close, too, as those are that were made from the retrained ones.
        draws: relabellings drawn.
        confidence: of the ratio's interval.
        seed: of relabellings and bootstrap.

    Raises:
        InputError: arrays of different lengths, or a distance that is not finite.
    """
    own, null = np.asarray(own, dtype=np.float64), np.asarray(null, dtype=np.float64)
    if own.shape != null.shape or own.ndim != 1 or not own.size or not np.isfinite([own, null]).all():
        raise InputError(
            f"distances have shapes {own.shape} and {null.shape}, or are not finite",
            where=f"{name} ({part})",
            mend="give one finite distance a row in both",
        )
    found = exchange(len(own), len(own), paired=True, draws=draws, seed=seed)
    statistic = np.where(found.labels[:, : len(own)], 1.0, -1.0) @ (own - null)
    value, mean_null = float(own.mean()), float(null.mean())
    picked = stream(seed, "bootstrap").integers(0, len(own), (RESAMPLES, len(own)))
    ratios = _divide(own[picked].mean(axis=1), null[picked].mean(axis=1))
    return Distance(
        name,
        part,
        value,
        own,
        null,
        mean_null,
        _interval(float(_divide(value, mean_null)), ratios, confidence, len(own)),
        found.p_value(statistic) if side == "farther" else found.two_sided(statistic),
        found.floor() if side == "farther" else min(1.0, 2 * found.floor()),
        in_words(f"mean difference, {side}", found),
        (len(own), len(own)),
    )


def _pool_ratio(
    between: FloatArray, within: FloatArray, counted: BoolArray, *, paired: bool, confidence: float, seed: int
) -> Estimate:
    """Ratio of means with a bootstrap over models; copies of one model, or of one pair, are not compared with each other."""
    generator, (first, second) = stream(seed, "bootstrap"), between.shape
    rows = generator.multinomial(first, np.full(first, 1 / first), RESAMPLES).astype(np.float64)
    columns = (
        rows if paired else generator.multinomial(second, np.full(second, 1 / second), RESAMPLES).astype(np.float64)
    )
    others = ~np.eye(second, dtype=bool)
    outside = _weighted(between, counted, np.ones((1, first)), np.ones((1, second)))
    inside = _weighted(within, others, np.ones((1, second)), np.ones((1, second)))
    resampled = _divide(_weighted(between, counted, rows, columns), _weighted(within, others, columns, columns))
    value = float(_divide(outside, inside)[0])
    return _interval(value, resampled[~np.isnan(resampled)], confidence, min(first, second))


def _weighted(matrix: FloatArray, counted: BoolArray, rows: FloatArray, columns: FloatArray) -> FloatArray:
    """Mean of the entries that count, row i and column j as often as drawn; NaN where none was drawn."""
    total = ((rows @ np.where(counted, matrix, 0.0)) * columns).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray(total / ((rows @ counted.astype(np.float64)) * columns).sum(axis=1))


def _divide(value: FloatArray | float, null: FloatArray | float) -> FloatArray:
    """Ratios; 1 where both are 0, infinite where the null alone is."""
    value, null = np.asarray(value, dtype=np.float64), np.asarray(null, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((value == 0) & (null == 0), 1.0, value / null)


def _interval(value: float, resampled: FloatArray, confidence: float, units: int) -> Estimate:
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    lower, upper = np.quantile(resampled, tails, method="inverted_cdf")  # interpolating would subtract infinities
    return Estimate(value, float(lower), float(upper), confidence, "percentile bootstrap over models", units)


def in_words(statistic: str, found: Exchange) -> str:
    """What was tested, for the report."""
    how = "within pairs" if found.paired else "over all models"
    count = f"all {len(found.labels)}" if found.complete else f"{len(found.labels) - 1} random"
    return f"{statistic}; labels exchanged {how}, {count} relabellings"
