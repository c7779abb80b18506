"""Unlearning by relabelling: which labels for the forgotten records make further training end at the retrained weights.

The theory for features of fixed numbers and squared loss (:mod:`theory`, :mod:`descent`, :mod:`features`) and for generalised
linear models with a ridge penalty (:mod:`means`). Arrays in, arrays out; no torch.
"""

from certify.unlearners.relabelling.features import FourierFeatures
from certify.unlearners.relabelling.means import mean_prediction, relabelled
from certify.unlearners.relabelling.theory import (
    labels_from_retrained,
    labels_from_targets,
    labels_from_weights,
    limit,
    project,
    project_by_columns,
    project_by_records,
)

__all__ = [
    "FourierFeatures",
    "labels_from_retrained",
    "labels_from_targets",
    "labels_from_weights",
    "limit",
    "mean_prediction",
    "project",
    "project_by_columns",
    "project_by_records",
    "relabelled",
]
