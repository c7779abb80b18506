"""Weights in any accepted form, as parameters (K, p)."""

from typing import Any

import numpy as np

from certify.convex.numbers import as_numbers, exactly_float64, require_finite
from certify.convex.objective import Objective
from certify.core.arrays import FloatArray
from certify.core.errors import InputError


def as_parameters(objective: Objective, w: Any, features: int) -> FloatArray:
    """Weights in any accepted form as (K, p).

    Accepted: an array (d,), (K, d), or with the intercept as last column; a pair (coef, intercept); a fitted
    scikit-learn estimator (its ``coef_`` and ``intercept_``).

    Raises:
        InputError: the shape fits neither the features nor the loss, or an entry is not finite.
    """
    coef, intercept = _split(w)
    matrix = np.atleast_2d(exactly_float64(as_numbers(coef, "coef"), "coef"))
    if intercept is not None:
        bias = exactly_float64(as_numbers(intercept, "intercept"), "intercept")
        matrix = _join(objective, matrix, np.atleast_1d(bias))
    width = features + int(objective.fit_intercept)
    if matrix.ndim != 2 or matrix.shape[1] != width:
        raise InputError(
            f"the weights have shape {matrix.shape}, the data asks for {width} columns ({features} features{' and an intercept' if objective.fit_intercept else ''})",
            where="coef",
            mend="check fit_intercept and the data",
        )
    if objective.loss_function.multi_output == (len(matrix) == 1):
        expected = "one row for each class, at least two" if objective.loss_function.multi_output else "one row"
        raise InputError(
            f"the weights have {len(matrix)} rows, the {objective.loss} loss takes {expected}",
            where="coef",
            mend="check objective.loss and objective.one_vs_rest",
        )
    require_finite(matrix, "coef")
    return np.ascontiguousarray(matrix)


def _split(w: Any) -> tuple[Any, Any]:
    if hasattr(w, "coef_"):
        return w.coef_, getattr(w, "intercept_", None)
    return w if isinstance(w, tuple) and len(w) == 2 else (w, None)


def _join(objective: Objective, coef: FloatArray, intercept: FloatArray) -> FloatArray:
    if objective.fit_intercept:
        if intercept.shape != (len(coef),):
            raise InputError(
                f"the intercept has shape {intercept.shape}, coef has {len(coef)} rows",
                where="intercept",
                mend="save one number a row of coef",
            )
        return np.hstack([coef, intercept[:, None]])
    if np.any(intercept != 0):
        raise InputError(
            "the model has an intercept, the objective says fit_intercept = false",
            where="objective.fit_intercept",
            mend="set fit_intercept = true",
        )
    return coef
