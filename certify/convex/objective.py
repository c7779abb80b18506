"""The declared objective, and the objective bound to data: one home for values and derivatives.

Sum convention everywhere: ``F(w) = sum_i weight_i loss(x_i . w, y_i) + (l2/2) ||w||^2``, ``l2`` the total coefficient.

Shapes: n records, d features, p = d + 1 with an intercept (its column of ones stands last) else d, K outputs.
Parameters ``w`` are (K, p) inside this package.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from certify.convex.losses import Loss, TargetError, get_loss
from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import ConfigurationError, InputError

# A chunk and its absolute values fit the second-level cache: four products then cost one reading of the data.
_CHUNK_BYTES = 1_000_000


def _is_finite_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return False
    try:
        return math.isfinite(float(value))
    except (OverflowError, TypeError):
        return False


@dataclass(frozen=True)
class Objective:
    """What the model was asked to minimise, as data rather than code.

    Args:
        loss: name of a loss (``certify list losses``).
        l2: total coefficient of ``||w||^2 / 2``. In scikit-learn's ``LogisticRegression`` it is ``1 / C``.
        fit_intercept: whether a column of ones is appended to the features.
        penalize_intercept: whether ``l2`` applies to that column's weight too.

    Raises:
        ConfigurationError: unknown loss, or ``l2`` not a number.
    """

    loss: str
    l2: float
    fit_intercept: bool = False
    penalize_intercept: bool = True

    def __post_init__(self) -> None:
        get_loss(self.loss)
        if not _is_finite_number(self.l2):
            raise ConfigurationError(
                f"l2 must be a finite number, not {self.l2!r}",
                where="objective.l2",
                mend="give the total coefficient of ||w||^2 / 2",
            )
        object.__setattr__(self, "l2", float(self.l2))

    @property
    def loss_function(self) -> Loss:
        """The loss itself."""
        return get_loss(self.loss)

    @property
    def formula(self) -> str:
        """The objective in one line of text."""
        norm = "||w||^2" if self.penalize_intercept or not self.fit_intercept else "||w without intercept||^2"
        return f"F(w) = sum_i weight_i [{self.loss_function.formula}] + (l2/2) {norm},  z = x_i . w"


@dataclass(frozen=True, eq=False)
class Problem:
    """An objective bound to records.

    Attributes:
        objective: what is minimised.
        X: features without the column of ones, (n, d), float64 or float32 (converted exactly, in chunks).
        targets: prepared targets, (n,).
        weights: sample weights, (n,), at least 0.
        outputs: K.
    """

    objective: Objective
    X: AnyArray
    targets: AnyArray
    weights: FloatArray
    outputs: int

    @property
    def records(self) -> int:
        """n."""
        return len(self.X)

    @property
    def shape(self) -> tuple[int, int]:
        """(K, p), the shape of the parameters."""
        return self.outputs, self.X.shape[1] + int(self.objective.fit_intercept)

    @property
    def size(self) -> int:
        """K p, the number of parameters."""
        return self.shape[0] * self.shape[1]

    @cached_property
    def penalty(self) -> FloatArray:
        """Coefficient of each parameter's square, (p,)."""
        result = np.full(self.shape[1], self.objective.l2)
        if self.objective.fit_intercept and not self.objective.penalize_intercept:
            result[-1] = 0.0
        return result

    @property
    def chunk(self) -> int:
        """Records in a chunk: small enough to stay in cache, large enough for BLAS."""
        return max(64, min(self.records, _CHUNK_BYTES // (8 * max(1, self.shape[1]))))

    def chunks(self) -> Iterator[tuple[slice, FloatArray]]:
        """Rows of the design matrix, chunk by chunk, as float64 with the column of ones."""
        for start in range(0, self.records, self.chunk):
            rows = slice(start, min(start + self.chunk, self.records))
            block = np.asarray(self.X[rows], dtype=np.float64)
            if self.objective.fit_intercept:
                block = np.hstack([block, np.ones((len(block), 1))])
            yield rows, block

    def scores(self, w: FloatArray) -> FloatArray:
        """``X w'``, (n, K)."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.concatenate([block @ w.T for _, block in self.chunks()])

    def value(self, w: FloatArray) -> float:
        """F(w); infinite where the loss overflows."""
        with np.errstate(over="ignore", invalid="ignore"):
            losses = self.objective.loss_function.value(self.scores(w), self.targets)
            total = float(self.weights @ losses) + 0.5 * float(np.sum(self.penalty * w * w))
        return total if math.isfinite(total) else math.inf

    @np.errstate(over="ignore", invalid="ignore")
    def gradient(self, w: FloatArray) -> FloatArray:
        """The gradient of F, (K, p), without an error bound (:mod:`certify.convex.enclosure` has one)."""
        loss = self.objective.loss_function
        total = self.penalty * w
        for rows, block in self.chunks():
            slope = loss.gradient(block @ w.T, self.targets[rows])
            total += (self.weights[rows, None] * slope).T @ block
        return np.asarray(total)

    @np.errstate(over="ignore", invalid="ignore")
    def hessian(self, w: FloatArray) -> FloatArray:
        """The Hessian of F, (K p, K p), in the order of ``w.ravel()``."""
        loss, (outputs, width) = self.objective.loss_function, self.shape
        total = np.zeros((outputs, width, outputs, width))
        for rows, block in self.chunks():
            for j, k, curvature in loss.curvature_blocks(block @ w.T, self.targets[rows]):
                total[j, :, k, :] += (block.T * (self.weights[rows] * curvature)) @ block
        for j in range(outputs):
            total[j, :, j, :] += np.diag(self.penalty)
            for k in range(j):
                total[j, :, k, :] = total[k, :, j, :].T
        return total.reshape(self.size, self.size)

    @np.errstate(over="ignore", invalid="ignore")
    def hessian_product(self, w: FloatArray, direction: FloatArray) -> FloatArray:
        """The Hessian applied to a direction of shape (K, p), without forming it."""
        loss = self.objective.loss_function
        total = self.penalty * direction
        for rows, block in self.chunks():
            curved = loss.curvature_product(block @ w.T, self.targets[rows], block @ direction.T)
            total += (self.weights[rows, None] * curved).T @ block
        return np.asarray(total)


def _numbers(values: Any, name: str) -> AnyArray:
    if isinstance(values, np.ma.MaskedArray):
        raise InputError(
            f"{name} is a masked array", where=name, mend="drop or fill the masked entries before training"
        )
    try:
        array = np.asarray(values)
    except ValueError:
        raise InputError(f"{name} has rows of different lengths", where=name, mend="give a numeric array") from None
    if array.dtype.kind not in "fiub":
        raise InputError(f"{name} has type {array.dtype}, not numbers", where=name, mend="give a numeric array")
    return array


def as_matrix(X: Any) -> AnyArray:
    """Features as a numeric matrix, float64 or float32; whether they are finite is checked by :func:`bind`.

    Raises:
        InputError: not a matrix of numbers, or numbers that float64 cannot hold exactly.
    """
    array = _numbers(X, "X")
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(
            f"X has shape {array.shape}, not (records, features)",
            where="X",
            mend="give a matrix with at least one row and column",
        )
    if array.dtype not in (np.float64, np.float32):
        array = _exactly_float64(array, "X")
    return array


def _exactly_float64(array: AnyArray, name: str) -> FloatArray:
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        raise InputError(
            f"has type {array.dtype}, wider than float64",
            where=name,
            mend="convert it to float64 before training and certifying",
        )
    converted = array.astype(np.float64)
    if array.dtype.kind in "iu":
        beyond = 2.0 ** (8 * array.dtype.itemsize - int(array.dtype.kind == "i"))  # what the type itself cannot hold
        if np.any(converted >= beyond) or not np.array_equal(converted.astype(array.dtype), array):
            raise InputError("holds whole numbers too large for float64", where=name, mend="rescale that column")
    return converted


def _column(values: Any, name: str, records: int) -> FloatArray:
    array = _numbers(values, name)
    if array.shape != (records,):
        raise InputError(
            f"{name} has shape {array.shape}, X has {records} rows",
            where=name,
            mend=f"give an array of shape ({records},)",
        )
    column = _exactly_float64(array, name)
    require_finite(column, name)
    return column


def require_finite(array: AnyArray, name: str, start: int = 0) -> None:
    """Refuse NaN and infinity, saying how many and where the first one is, never its row's content.

    ``start`` is the number of the array's first row in the whole.
    """
    bad = ~np.isfinite(array)
    if bad.any():
        first = start + int(np.argwhere(bad)[0][0])
        raise InputError(
            f"{name} has {int(bad.sum())} NaN or infinite entries (first in row {first})",
            where=name,
            mend="clean the data and train again",
        )


def bind(objective: Objective, X: Any, y: Any, outputs: int = 1, sample_weight: Any = None) -> Problem:
    """Bind an objective to records, checking everything once.

    Args:
        objective: what is minimised.
        X: features, (n, d).
        y: targets, (n,).
        outputs: K; 1 for every loss but softmax.
        sample_weight: (n,), at least 0; all 1 when absent.

    Raises:
        InputError: shapes that do not fit, entries that are not finite, targets outside the loss's domain.
    """
    matrix = as_matrix(X)
    for start in range(0, len(matrix), 65536):
        require_finite(matrix[start : start + 65536], "X", start)
    targets = _column(y, "y", len(matrix))
    weights = np.ones(len(matrix)) if sample_weight is None else _column(sample_weight, "sample_weight", len(matrix))
    if np.any(weights < 0) or not np.any(weights > 0):
        raise InputError(
            "sample weights must be at least 0 and not all 0",
            where="sample_weight",
            mend="drop the records instead",
        )
    try:
        prepared = objective.loss_function.prepare(targets, outputs)
    except TargetError as error:
        raise InputError(
            str(error), where="y", mend="check the loss in [objective] or the targets in the data"
        ) from None
    return Problem(objective, matrix, prepared, weights, outputs)


def as_parameters(objective: Objective, w: Any, features: int) -> FloatArray:
    """Weights in any accepted form as (K, p).

    Accepted: an array (d,), (K, d), or with the intercept as last column; a pair (coef, intercept); a fitted
    scikit-learn estimator (its ``coef_`` and ``intercept_``).

    Raises:
        InputError: the shape fits neither the features nor the loss, or an entry is not finite.
    """
    coef, intercept = _split(w)
    matrix = np.atleast_2d(_exactly_float64(_numbers(coef, "coef"), "coef"))
    if intercept is not None:
        bias = _exactly_float64(_numbers(intercept, "intercept"), "intercept")
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
            mend="check objective.loss",
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
