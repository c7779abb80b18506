"""MIA-efficacy of the SalUn family: the share of forgotten records that an attack on *this* model calls non-members.

A support vector machine (radial kernel, C = 3) learns to tell retained from test records by the confidence in the true class, and is then asked
about the forgotten ones (Jia et al. 2023, Fan et al. 2024). It is reported as "the higher the better", but a retrained model is far from 100 %: whoever it
generalises to looks like a member. It moves by many points between two retrained models, and forgetting too much is rewarded. Only the
difference to retrained models' values means something: :func:`~certify.attacks.legacy.against.values_against_null`.
"""

from typing import Literal

import numpy as np

from certify.attacks.legacy import logistic
from certify.core.arrays import AnyArray
from certify.core.errors import ConfigurationError, InputError
from certify.core.streams import stream


def mia_efficacy(
    retain: AnyArray,
    forget: AnyArray,
    test: AnyArray,
    *,
    classifier: Literal["svm", "logistic"] = "svm",
    seed: int = 0,
) -> float:
    """The share of forgotten records called non-members by one model, in [0, 1].

    Args:
        retain: confidence in the true class of retained records under the model, (n,). The longer of this and ``test`` is drawn down to the shorter: with
            unequal numbers the machine may call everything by the name of the more numerous.
        forget: the same of forgotten records.
        test: the same of records never trained on.
        classifier: "svm" as published (needs scikit-learn), or "logistic", another score by the same recipe: name it so.
        seed: of the draw.

    Raises:
        InputError: no records of a kind, or a confidence that is not finite.
        ConfigurationError: "svm" without scikit-learn.
    """
    known, asked, unseen = (np.asarray(value, dtype=np.float64) for value in (retain, forget, test))
    for name, value in (("retain", known), ("forget", asked), ("test", unseen)):
        if value.ndim != 1 or not value.size or not np.isfinite(value).all():
            raise InputError("needs finite confidences", where=f"mia_efficacy.{name}", mend="give one a record")
    size, generator = min(len(known), len(unseen)), stream(seed, "mia-efficacy")
    known, unseen = (v if len(v) == size else generator.choice(v, size, replace=False) for v in (known, unseen))
    x = np.concatenate([known, unseen])
    member = np.arange(len(x)) < len(known)
    attack = _logistic if classifier == "logistic" else _svm
    return float(1.0 - np.mean(attack(x, member, asked)))


def _logistic(x: AnyArray, member: AnyArray, asked: AnyArray) -> AnyArray:
    return logistic.predict(logistic.fit(x, member), asked)


def _svm(x: AnyArray, member: AnyArray, asked: AnyArray) -> AnyArray:
    try:
        from sklearn.svm import SVC
    except ImportError:
        raise ConfigurationError(
            "the published attack needs scikit-learn",
            where="mia_efficacy",
            mend="pip install 'certify-unlearning[sklearn]', or use classifier='logistic' and name it so",
        ) from None
    machine = SVC(C=3, gamma="auto", kernel="rbf").fit(x[:, None], member)
    return np.asarray(machine.predict(asked[:, None]))
