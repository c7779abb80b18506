"""Entropy attack of Bad Teaching, SSD and SUPREME: the share of forgotten records that a logistic regression calls members.

It learns, with balanced classes, to tell retained from test records by the entropy of the prediction (Chundawat et al. 2023, Foster et al. 2024), and is
asked about the forgotten ones. "The lower the better" it is said; a retrained model's value is neither 0 nor the same twice, and where retained and test
records hardly differ the sign of the fitted slope is chance and the share jumps between 0 and 1. Compare with retrained models:
:func:`~certify.attacks.legacy.against.values_against_null`.
"""

import numpy as np

from certify.attacks.legacy import logistic
from certify.core.arrays import AnyArray
from certify.core.errors import InputError


def entropy_attack(retain: AnyArray, forget: AnyArray, test: AnyArray) -> float:
    """The share of forgotten records called members by one model, in [0, 1].

    Args:
        retain: entropy of the prediction for retained records, (n,), in nats.
        forget: the same for forgotten records.
        test: the same for records never trained on.

    Raises:
        InputError: no records of a kind, or an entropy that is not finite.
    """
    known, asked, unseen = (np.asarray(value, dtype=np.float64) for value in (retain, forget, test))
    if asked.ndim != 1 or not asked.size or not np.isfinite(asked).all():
        raise InputError("needs finite entropies", where="entropy_attack.forget", mend="give one a record")
    x = np.concatenate([known, unseen])
    model = logistic.fit(x, np.arange(len(x)) < len(known), balanced=True)
    return float(np.mean(logistic.predict(model, asked)))
