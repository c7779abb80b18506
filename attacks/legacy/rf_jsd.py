"""RF-JSD of LoTUS (Spartalis et al. 2025): divergence between class means, the unlearned model on forgotten records against the original on unseen ones.

It needs no retrained model, and cannot know what one would say: it takes "like unseen records under the original" for the aim, which a retrained model
misses, and it sees class means alone, so that records which are not forgotten hide behind others of their class. The published ideal is 0;
:func:`~certify.attacks.legacy.against.values_against_null` says what retrained models have.
"""

import numpy as np

from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import InputError
from certify.core.metrics import js_divergence


def rf_jsd(forget: AnyArray, forget_labels: AnyArray, unseen: AnyArray, unseen_labels: AnyArray) -> float:
    """Mean over the classes that both have of the Jensen-Shannon divergence between mean predictions, in nats.

    Args:
        forget: probabilities of forgotten records under the unlearned model, (n, C).
        forget_labels: their classes, (n,).
        unseen: probabilities of records never trained on under the *original* model, (m, C).
        unseen_labels: their classes, (m,).

    Raises:
        InputError: shapes that do not fit, rows that are no distributions, or no class in common.
    """
    one, first = _checked(forget, forget_labels, "forget")
    two, second = _checked(unseen, unseen_labels, "unseen")
    common = np.intersect1d(first, second)
    if not common.size or one.shape[1] != two.shape[1]:
        raise InputError(
            "no class is in both parts", where="rf_jsd", mend="give unseen records of the forgotten classes"
        )
    means = [np.stack([p[labels == c].mean(axis=0) for c in common]) for p, labels in ((one, first), (two, second))]
    return float(js_divergence(means[0], means[1]).mean())


def _checked(probabilities: AnyArray, labels: AnyArray, name: str) -> tuple[FloatArray, AnyArray]:
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    if p.ndim != 2 or y.shape != p.shape[:1]:
        raise InputError(
            f"shapes {p.shape} and {y.shape} do not fit", where=f"rf_jsd.{name}", mend="give one label a row"
        )
    return p, y
