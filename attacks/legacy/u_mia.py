"""U-MIA: how well a logistic regression tells forgotten from test records by their loss under the unlearned model (Kurmanji et al. 2023).

Balanced accuracy by cross-validation; 0.5 is the ideal, and rightly so where both kinds are drawn alike, since a retrained model has seen neither.
Where they are not (a class, mislabelled records), a retrained model is above 0.5, too: then only its values are a yardstick
(:func:`~certify.attacks.legacy.against.values_against_null`). With n records it is off by 0.5 / sqrt(n) by chance, and since one threshold
serves all records it misses those that stand out only for themselves.
"""

import numpy as np

from certify.attacks.legacy import logistic
from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import InputError
from certify.core.streams import stream

LIMIT = 400.0


def u_mia(forget: AnyArray, test: AnyArray, *, folds: int = 10, seed: int = 0) -> float:
    """Balanced accuracy of one model on records left out of the fit, in [0, 1].

    Args:
        forget: losses of forgotten records under the model, (n,); cut at +-400, and the longer list is drawn down to the shorter.
        test: losses of records never trained on.
        folds: parts, each left out once, half forgotten and half test records.
        seed: of the draws.

    Raises:
        InputError: fewer records of a kind than folds, or a loss that is not a number.
    """
    one, two = (np.clip(np.asarray(value, dtype=np.float64), -LIMIT, LIMIT) for value in (forget, test))
    size = min(one.size, two.size)
    if one.ndim != 1 or two.ndim != 1 or size < folds or folds < 2 or np.isnan(one).any() or np.isnan(two).any():
        raise InputError(
            f"{one.size} and {two.size} losses do not fill {folds} folds, or are not numbers",
            where="u_mia",
            mend="give more records, or fewer folds",
        )
    generator = stream(seed, "u-mia")
    one, two = (generator.permutation(value)[:size] for value in (one, two))
    fold = np.arange(size) % folds
    right = [_right(one, two, fold == left_out) for left_out in range(folds)]
    return float(np.sum(right) / (2 * size))


def u_mia_of_models(forget: AnyArray, test: AnyArray, *, folds: int = 10, seed: int = 0) -> FloatArray:
    """The same for each of K models, (K, n) and (K, m) to (K,); :func:`~certify.attacks.legacy.against.over_models` has the interval."""
    pairs = zip(np.asarray(forget), np.asarray(test), strict=True)
    return np.array([u_mia(one, two, folds=folds, seed=seed) for one, two in pairs])


def _right(one: FloatArray, two: FloatArray, out: AnyArray) -> int:
    """Right answers on the records left out."""
    known = np.concatenate([one[~out], two[~out]])
    model = logistic.fit(known, np.arange(len(known)) < (~out).sum())
    return int(logistic.predict(model, one[out]).sum() + (~logistic.predict(model, two[out])).sum())
