"""Labels, weights and coefficients of other libraries as plain arrays."""

import math
from typing import Any

import numpy as np

from certify.convex.numbers import as_numbers, exactly_float64
from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import InputError


def class_numbers(y: Any, classes: AnyArray, records: int) -> AnyArray:
    """Position of each label in the sorted ``classes``."""
    try:
        labels = np.asarray(y)
    except ValueError:
        raise InputError("y has rows of different lengths", where="y", mend="give one label a record") from None
    if labels.shape != (records,):
        raise InputError(
            f"y has shape {labels.shape}, X has {records} rows", where="y", mend=f"give an array of shape ({records},)"
        )
    try:
        places = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
        unknown = int(np.sum(classes[places] != labels))
    except TypeError:  # numbers where the model has texts, say
        unknown = records
    if unknown:
        raise InputError(
            f"{unknown} of {records} labels are none of the model's {len(classes)} classes",
            where="y",
            mend="give the labels as the model was trained with them",
        )
    return np.asarray(places)


def class_weights(given: Any, classes: AnyArray, y: AnyArray, sample_weight: FloatArray | None) -> FloatArray:
    """One weight a class, from scikit-learn's own function: what "balanced" means has changed between its versions.

    ``sample_weight`` counts where that function takes it; None where the estimator does not hand it over.
    """
    from inspect import signature

    from sklearn.utils.class_weight import compute_class_weight

    counts = sample_weight is not None and "sample_weight" in signature(compute_class_weight).parameters
    options = {"sample_weight": sample_weight} if counts else {}
    try:
        return np.asarray(compute_class_weight(given, classes=classes, y=y, **options), np.float64)
    except (TypeError, ValueError, LookupError, AttributeError):
        raise InputError(
            "class_weight does not give each of the model's classes a weight",
            where="class_weight",
            mend='give None, "balanced", or a number for each class',
        ) from None


def total(weights: FloatArray) -> float:
    """Sum of the weights, correctly rounded, so that the order of the records does not matter."""
    try:
        return math.fsum(weights)
    except OverflowError:
        return math.inf


def matrix_of(values: Any) -> AnyArray:
    """Coefficients (K, d), in the precision they are stored in."""
    array = as_numbers(values, "coef")
    return np.atleast_2d(array if array.dtype.kind == "f" else exactly_float64(array, "coef"))


def column_of(values: Any, rows: int) -> AnyArray:
    """Intercepts (K,); libraries also store a single number."""
    array = np.atleast_1d(as_numbers(values, "intercept"))
    if array.shape != (rows,):
        raise InputError(
            f"the intercept has shape {array.shape}, coef has {rows} rows",
            where="intercept",
            mend="store one number a row of coef",
        )
    return array
