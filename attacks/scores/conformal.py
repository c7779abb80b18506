"""Attack-R (Ye et al. 2022): the rank of a record's phi among reference models that were not given it, a conformal p-value."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from certify.attacks.scores.references import Target, reference_values, require_references, target_values
from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import InputError


@dataclass(frozen=True)
class AttackR:
    """``-log p``, ``p = (1 + number of references with phi >= phi*) / (K + 1)``.

    For a record that was never given, among exchangeable models, ``P(p <= alpha) <= alpha`` exactly, ties included. No p-value is below
    1/(K + 1): 19 references are needed for 5 %.

    Attributes:
        signal: what is ranked.
    """

    signal: str = "phi"
    name: str = "attack-r"

    def least(self, views: int = 1) -> tuple[int, int]:  # noqa: ARG002
        """One reference."""
        return 0, 1

    def fit(self, inside: FloatArray, outside: FloatArray) -> "_FittedR":  # noqa: ARG002
        """References (K, N), NaN where a model is none."""
        if outside.ndim != 2:
            raise InputError("several views have no rank", where=self.name, mend="give one, or average phi over them")
        return _FittedR(outside, (~np.isnan(outside)).sum(axis=0))


@dataclass(frozen=True, eq=False)
class _FittedR:
    outside: FloatArray
    count: AnyArray

    def score(self, target: Target) -> FloatArray:
        above, count = (self.outside >= target.values).sum(axis=0), self.count
        if target.row is not None:
            own = self.outside[target.row]
            above, count = above - (own >= target.values), count - ~np.isnan(own)
        return np.asarray(np.log(count + 1) - np.log(above + 1))


def attack_r(out_confidences: Any, target_confidences: Any) -> FloatArray:
    """Conformal p-values of records under "the target was not given it"; small ones mean members.

    Args:
        out_confidences: phi of references that were not given the record, (K, N), NaN where one was.
        target_confidences: phi of the target, (N,), or of T targets, (T, N).

    Returns:
        p-values, (N,) or (T, N).

    Raises:
        InputError: a record without reference, shapes that do not fit.

    >>> attack_r([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]], [3.0, 1.0]).tolist()
    [0.25, 0.75]
    """
    outside = reference_values(out_confidences, "out_confidences", "attack_r")
    if outside.ndim != 2:
        raise InputError("several views have no rank", where="attack_r", mend="give one, or average phi over them")
    targets = target_values(target_confidences, outside.shape[1:], "attack_r")
    require_references(outside, 1, "out_confidences", "attack_r")
    count = (~np.isnan(outside)).sum(axis=0)
    p = np.stack([(1 + (outside >= values).sum(axis=0)) / (count + 1) for values in targets])
    return p if np.ndim(target_confidences) == 2 else p[0]
