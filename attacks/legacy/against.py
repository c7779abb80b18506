"""A score as papers report it, beside what it gives exactly retrained models: the distribution, a p-value, the difference."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t as student

from certify.attacks.distances.exchange import exchange
from certify.attacks.estimates import Estimate
from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import InputError
from certify.core.streams import stream

Score = Callable[[Any, Any], float]
"""One number from the observations of two sets of models, (K, ...) each."""

RESAMPLES = 2000


@dataclass(frozen=True, eq=False)
class AgainstNull:
    """A score and its null.

    Attributes:
        name: of the score.
        value: of the unlearned models, as published.
        published_ideal: what the score is said to be for perfect unlearning.
        null: the score of retrained models in the unlearned ones' place, many times.
        null_of: how ``null`` was made.
        mean_null: mean of ``null``: the value that perfect unlearning really has.
        corrected: ``value - mean_null``; 0 in expectation for perfect unlearning where ``null`` is made of retrained models alone.
        p_value: exact, two-sided, by exchanging the labels of unlearned and retrained models.
        floor: the smallest p-value that can come out.
        models: unlearned and retrained models.
        interval: of ``corrected``, where there is one value a model.
    """

    name: str
    value: float
    published_ideal: float
    null: FloatArray
    null_of: str
    mean_null: float
    corrected: float
    p_value: float
    floor: float
    models: tuple[int, int]
    interval: Estimate | None = None


def against_null(
    score: Score,
    unlearned: AnyArray,
    retrained: AnyArray,
    again: AnyArray | None = None,
    *,
    name: str = "score",
    published_ideal: float = 0.0,
    paired: bool | None = None,
    draws: int = 199,
    seed: int = 0,
) -> AgainstNull:
    """A score of two sets of models, as NeurIPS-2023 or KLoM.

    Such a score compares two *samples*, and most are biased: two sets of retrained models do not reach the ideal either, and miss it by the
    more the fewer models there are. The null is the score of ``again`` against ``retrained``, labels exchanged between these two.

    Args:
        score: of (unlearned, retrained); with as many models in each as given here, since its bias depends on that.
        unlearned: observations (K, ...).
        retrained: observations (R, ...).
        again: retrained once more, as many as unlearned, row by row. Without it the null comes from exchanging the labels of unlearned and
            retrained models: still right for the p-value, but where unlearning fails it holds half of the failure, and ``corrected`` is too small.
        name: of the score.
        published_ideal: its value for perfect unlearning, as published.
        paired: see :func:`~certify.attacks.distances.exchange.exchange`.
        draws: relabellings; the score is computed so often, twice with ``again``.
        seed: of the relabellings.

    Raises:
        InputError: sets that do not fit together, or a score that is not a number.
    """
    one, two = np.asarray(unlearned), np.asarray(retrained)
    if one.shape[1:] != two.shape[1:]:
        raise InputError(
            f"observations have shapes {one.shape} and {two.shape}", where=name, mend="observe the same records"
        )
    found = exchange(len(one), len(two), paired=paired, draws=draws, seed=seed)
    exchanged = _scores(score, one, two, found.labels)
    null, null_of = exchanged, "labels of unlearned and retrained models exchanged"
    if again is not None:
        other = np.asarray(again)
        if other.shape != one.shape:
            raise InputError(
                f"again has shape {other.shape}, the unlearned models {one.shape}",
                where=name,
                mend="retrain as many models again",
            )
        null, null_of = _scores(score, other, two, found.labels), "retrained models against retrained models"
    value, mean_null = float(exchanged[0]), float(null.mean())
    return AgainstNull(
        name,
        value,
        published_ideal,
        null,
        null_of,
        mean_null,
        value - mean_null,
        found.two_sided(exchanged),
        min(1.0, 2 * found.floor()),
        (len(one), len(two)),
    )


def values_against_null(
    unlearned: AnyArray,
    retrained: AnyArray,
    *,
    name: str = "score",
    published_ideal: float = 0.0,
    paired: bool | None = None,
    draws: int = 1999,
    confidence: float = 0.95,
    seed: int = 0,
) -> AgainstNull:
    """A score of single models, as MIA-efficacy: one value an unlearned model, one a retrained one.

    Tested is the difference of the means; for one unlearned model the rank of its value. ``null`` holds the retrained models' values: their spread is
    what two honest runs differ by.

    Args:
        unlearned: values, (K,).
        retrained: values, (R,).
        name: of the score.
        published_ideal: its value for perfect unlearning, as published.
        paired: see :func:`~certify.attacks.distances.exchange.exchange`.
        draws: relabellings.
        confidence: of the interval.
        seed: of relabellings and bootstrap.

    Raises:
        InputError: no values, or one that is not finite.
    """
    one, two = np.asarray(unlearned, dtype=np.float64), np.asarray(retrained, dtype=np.float64)
    if one.ndim != 1 or two.ndim != 1 or not (np.isfinite(one).all() and np.isfinite(two).all()):
        raise InputError(
            f"values have shapes {one.shape} and {two.shape}, or are not finite",
            where=name,
            mend="give one value a model",
        )
    found = exchange(len(one), len(two), paired=paired, draws=draws, seed=seed)
    chosen = found.labels.astype(np.float64)
    pool = np.concatenate([one, two])
    statistic = chosen @ pool / len(one) - (1 - chosen) @ pool / len(two)
    generator = stream(seed, "bootstrap")
    rows = generator.integers(0, len(one), (RESAMPLES, len(one)))
    columns = rows if found.paired else generator.integers(0, len(two), (RESAMPLES, len(two)))
    resampled = one[rows].mean(axis=1) - two[columns].mean(axis=1)
    corrected = float(one.mean() - two.mean())
    lower, upper = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return AgainstNull(
        name,
        float(one.mean()),
        published_ideal,
        two,
        "values of retrained models",
        float(two.mean()),
        corrected,
        found.two_sided(statistic),
        min(1.0, 2 * found.floor()),
        (len(one), len(two)),
        Estimate(
            corrected,
            float(lower),
            float(upper),
            confidence,
            "percentile bootstrap over models",
            min(len(one), len(two)),
        ),
    )


def over_models(values: AnyArray, confidence: float = 0.95) -> Estimate:
    """Mean of one value a model with Student's interval; models are independent, the records of one model are not.

    Raises:
        InputError: fewer than two values, or one that is not finite.
    """
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or len(found) < 2 or not np.isfinite(found).all():
        raise InputError("needs two finite values or more", where="over_models", mend="give one value a model")
    mean, error = float(found.mean()), float(found.std(ddof=1) / np.sqrt(len(found)))
    reach = float(student.ppf(0.5 + confidence / 2, len(found) - 1)) * error
    return Estimate(mean, mean - reach, mean + reach, confidence, "Student's t over models", len(found))


def _scores(score: Score, one: AnyArray, two: AnyArray, labels: AnyArray) -> FloatArray:
    """The score under each relabelling of the pool; order of models is kept within pairs and sets."""
    pool = np.concatenate([one, two])
    return np.array([float(score(pool[row], pool[~row])) for row in labels])
