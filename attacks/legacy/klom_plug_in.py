"""KLoM as it is reported: histograms of margins, a KL divergence for each record, no null.

Georgiev et al. 2024 (arXiv 2410.23232) with the constants of public code: 20 bins, margins cut at +-100, retrained shares of at least 1e-5. The published ideal is 0;
retrained models against retrained models have 0.35 at 100 models. :func:`certify.attacks.distances.klom_per_record` is the one to decide
on; this one is for tables beside published ones, with :func:`~certify.attacks.legacy.against.against_null`.
"""

import numpy as np

from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import InputError

LIMIT = 100.0
LEAST = 1e-5


def klom_plug_in(unlearned: AnyArray, retrained: AnyArray, *, bins: int = 20) -> float:
    """Mean over records of :func:`records`."""
    return float(records(unlearned, retrained, bins=bins).mean())


def records(unlearned: AnyArray, retrained: AnyArray, *, bins: int = 20) -> FloatArray:
    """``KL(unlearned || retrained)`` of each record, (N,), in nats; both ends of the common range are counted.

    Args:
        unlearned: margins (K, N).
        retrained: margins (R, N).
        bins: of equal width.

    Raises:
        InputError: arrays that do not fit, or a margin that is not a number.
    """
    one, two = (np.clip(np.asarray(value, dtype=np.float64), -LIMIT, LIMIT) for value in (unlearned, retrained))
    if one.ndim != 2 or one.shape[1:] != two.shape[1:] or not one.size or not len(two):
        raise InputError(
            f"margins have shapes {one.shape} and {two.shape}",
            where="klom_plug_in",
            mend="give (models, records) twice",
        )
    if np.isnan(one).any() or np.isnan(two).any():
        raise InputError("a margin is not a number", where="klom_plug_in", mend="compute phi from the logits")
    both = np.concatenate([one, two])
    low, high = both.min(axis=0), both.max(axis=0)
    width = np.where(high > low, high - low, 1.0)
    p, q = (_shares(value, low, width, bins) for value in (one, two))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(p > 0, p * np.log(p / np.maximum(q, LEAST)), 0.0).sum(axis=1))


def _shares(values: FloatArray, low: FloatArray, width: FloatArray, bins: int) -> FloatArray:
    place = np.clip(np.floor((values - low) / width * bins), 0, bins - 1).astype(np.int64)
    column = np.arange(values.shape[1])
    counts = np.bincount((column * bins + place).ravel(), minlength=values.shape[1] * bins)
    return counts.reshape(-1, bins) / len(values)
