"""Difficulty calibration (Watson et al. 2022): phi minus what reference models, never given the record, say of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from certify.attacks.scores.references import Target, reference_values, require_references, score_each, target_values
from certify.attacks.scores.student import Moments
from certify.core.arrays import FloatArray


@dataclass(frozen=True)
class Calibrated:
    """``phi* - mean phi of the references``: LiRA for one reference, offline, with equal variances.

    Attributes:
        signal: what is calibrated.
    """

    signal: str = "phi"
    name: str = "calibrated"

    def least(self, views: int = 1) -> tuple[int, int]:  # noqa: ARG002
        """One reference."""
        return 0, 1

    def fit(self, inside: FloatArray, outside: FloatArray) -> "_FittedCalibrated":  # noqa: ARG002
        """Means over references, (K, N[, A]), NaN where a model is none."""
        return _FittedCalibrated(outside, Moments.of(outside))


@dataclass(frozen=True, eq=False)
class _FittedCalibrated:
    outside: FloatArray
    moments: Moments

    def score(self, target: Target) -> FloatArray:
        left = self.moments if target.row is None else self.moments.without(self.outside[target.row])
        scores = target.values - left.mean
        return np.asarray(scores.mean(axis=-1) if scores.ndim == 2 else scores)


def difficulty_calibration(out_confidences: Any, target_confidences: Any) -> FloatArray:
    """Phi of the target minus the mean phi of references that were not given the record.

    Args:
        out_confidences: (K, N[, A]), NaN where a model was given the record; one reference is enough.
        target_confidences: (N[, A]) or (T, N[, A]).

    Returns:
        (N,) or (T, N); averaged over views.

    Raises:
        InputError: a record without reference, shapes that do not fit.

    >>> difficulty_calibration([[1.0, -2.0]], [3.0, -1.0]).tolist()
    [2.0, 1.0]
    """
    outside = reference_values(out_confidences, "out_confidences", "difficulty_calibration")
    targets = target_values(target_confidences, outside.shape[1:], "difficulty_calibration")
    require_references(outside, 1, "out_confidences", "difficulty_calibration")
    return score_each(Calibrated().fit(outside, outside), targets, target_confidences)
