"""Reconstructing a deleted record from the parameters before and after (Bertran et al. 2024), for linear models.

Let ``F`` be the objective on the retained records, ``w`` the minimiser with the deleted ones and ``v`` the minimiser of F. The
gradient of the full objective vanishes at w, so

    grad F(w) - grad F(v)  =  -sum_deleted l'(x_i . w) x_i,          and the left side is the mean Hessian times (w - v).

One deleted record is therefore known up to its length (with an intercept, whose column is 1, in full), and for softmax up to the
outer product of ``p - onehot(y)`` with it, which gives the label away too. Whoever has no retained records takes the Hessian from public ones of the
same population, or none. This is why publishing both versions of a convex model needs noise even when the deletion is exact.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from certify.convex.numbers import as_matrix
from certify.convex.objective import Objective
from certify.convex.problem import Problem, bind
from certify.core.arguments import as_number, as_whole, shown
from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import ArgumentError
from certify.core.streams import stream

Knowledge = Literal["exact", "local", "none"]


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """What the update gives away of the records behind it.

    Attributes:
        matrix: ``-sum l' x'`` as the attacker sees it, (K, p), with the intercept's column last where there is one.
        record: the direction of the record, unit length, (d,); the first right singular vector where K > 1. Its sign is free,
            except with an intercept.
        scaled: the record itself, (d,), from the intercept's column; None without an intercept, or where that column is 0.
        label: the class, for softmax with one deleted record: where ``p - onehot(y)`` is negative; None otherwise.
    """

    matrix: FloatArray
    record: FloatArray
    scaled: FloatArray | None
    label: int | None


def public_problem(objective: Objective, X: Any, records: int, outputs: int = 1) -> Problem:
    """Public records in place of the retained ones: the Hessian of a sample, weighted to the retained number of records.

    Right for losses whose second derivative does not depend on the target (logistic, softmax, squared, Poisson); their targets
    are set to 0, and only the Hessian of the result means anything.

    Args:
        objective: the declared objective.
        X: public features, (m, d).
        records: how many records the model was trained on.
        outputs: K.

    Raises:
        ArgumentError: not one record.
    """
    matrix = as_matrix(X)
    count = as_whole(records, "records")
    if count < 1:
        raise ArgumentError(f"{count} records", where="records", mend="give the number the model was trained on")
    m = int(matrix.shape[0])
    return bind(objective, matrix, np.zeros(m), outputs, np.full(m, count / m))


def reconstruct(
    before: AnyArray, after: AnyArray, problem: Problem | None = None, *, knowledge: Knowledge = "exact"
) -> Reconstruction:
    """Reconstruct one deleted record from two versions of a linear model.

    Args:
        before: parameters with the record, (K, p) or (p,), the intercept last.
        after: parameters without it.
        problem: objective with the retained records, or with public ones (:func:`public_problem`); for "none" it only says
            whether there is an intercept, and may be left out without one.
        knowledge: "exact" takes the difference of the retained gradients, which is the mean Hessian between the two times their
            difference, and is exact for every smooth loss; "local" the Hessian of ``problem`` at ``after``, the right choice with public
            records; "none" the difference of the parameters alone.

    Raises:
        ArgumentError: shapes that do not fit, equal parameters, or no problem where one is needed.
    """
    w, v = (np.atleast_2d(np.asarray(values, dtype=np.float64)) for values in (before, after))
    if knowledge not in get_args(Knowledge):
        raise ArgumentError(f"unknown: {shown(knowledge)}", where="knowledge", mend="choose exact, local or none")
    if w.shape != v.shape or not (np.isfinite(w).all() and np.isfinite(v).all()):
        raise ArgumentError(
            f"parameters have shapes {w.shape} and {v.shape}, or are not finite",
            where="reconstruction",
            mend="give both versions of one model",
        )
    if problem is None and knowledge != "none":
        raise ArgumentError(
            "a Hessian needs records", where="reconstruction.problem", mend='give a problem, or knowledge="none"'
        )
    if problem is not None and problem.shape != w.shape:
        raise ArgumentError(
            f"parameters have shape {w.shape}, the problem {problem.shape}",
            where="reconstruction",
            mend="give (outputs, features), with the intercept last",
        )
    matrix = _matrix(w, v, problem, knowledge)
    if not np.any(matrix):
        raise ArgumentError(
            "both versions are the same", where="reconstruction", mend="nothing was updated: there is nothing to read"
        )
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    intercept = problem is not None and problem.objective.fit_intercept
    row, column = right[0], left[:, 0]
    direction = row[:-1] if intercept else row
    scaled = direction / row[-1] if intercept and row[-1] else None
    if scaled is not None:  # the column of ones settles the sign
        column, direction = column * np.sign(row[-1]), direction * np.sign(row[-1])
    length = np.linalg.norm(direction)
    return Reconstruction(
        matrix, direction / length if length else direction, scaled, _label(column, settled=scaled is not None)
    )


def _matrix(w: FloatArray, v: FloatArray, problem: Problem | None, knowledge: Knowledge) -> FloatArray:
    if problem is None or knowledge == "none":
        return w - v
    if knowledge == "local":
        return problem.hessian_product(v, w - v)
    return np.asarray(problem.smooth_gradient(w) - problem.smooth_gradient(v))


def _label(column: FloatArray, *, settled: bool) -> int | None:
    """``-(p - onehot(y))`` has one entry of its own sign: that of y, as large as all others together."""
    if len(column) < 3:  # two classes differ in sign alone, which only an intercept settles
        return int(np.argmax(column)) if settled and len(column) == 2 else None
    return int(np.argmax(np.abs(column)))


def cosines(found: AnyArray, records: Any) -> FloatArray:
    """Absolute cosine of a reconstructed direction, (d,), to each of the records, (m, d): (m,); 0 for a zero vector.

    Of a random direction it is about ``sqrt(2 / (pi d))``, and more where features are not centred: compare with records that
    were never there (:func:`rank_p_values`).

    Raises:
        ArgumentError: widths that differ.
    """
    direction, rows = np.asarray(found, dtype=np.float64), np.atleast_2d(np.asarray(records, dtype=np.float64))
    if direction.shape != rows.shape[1:]:
        raise ArgumentError(
            f"a direction of shape {direction.shape}, records of {rows.shape}",
            where="reconstruction",
            mend="leave the intercept's column out of both",
        )
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(direction)
    return np.asarray(np.divide(np.abs(rows @ direction), lengths, out=np.zeros(len(rows)), where=lengths > 0))


def rank_p_values(forgotten: AnyArray, never: AnyArray) -> FloatArray:
    """Conformal p-value of each forgotten record's cosine against records that were never there: ``(1 + #{>=}) / (1 + T)``.

    Valid for one record that was drawn like the T others; over several records they share those others.
    """
    found, others = (np.asarray(values, dtype=np.float64) for values in (forgotten, never))
    above = len(others) - np.searchsorted(np.sort(others), found, side="left")
    return np.asarray((1.0 + above) / (1 + len(others)))


def deleted_sum(objective: Objective, w: AnyArray, X: Any, y: Any) -> FloatArray:
    """``-sum_i l'(x_i . w) x_i`` over deleted records, (K, p): what :attr:`Reconstruction.matrix` shows of several at once.

    Args:
        objective: the declared objective.
        w: parameters before the deletion, (K, p) or (p,).
        X: the deleted records, (m, d).
        y: their targets, (m,).
    """
    parameters = np.atleast_2d(np.asarray(w, dtype=np.float64))
    problem = bind(objective, X, y, len(parameters))
    return np.asarray(problem.penalty * parameters - problem.smooth_gradient(parameters))


def explained(matrix: AnyArray, record: AnyArray) -> float:
    """Share of a record's length that lies in the span of the rows of a reconstructed matrix, in [0, 1].

    One output gives one direction, to which :func:`cosines` is the same. K outputs give a span of up to K - 1 dimensions, in
    which several deleted records can lie at once.
    """
    rows, x = np.atleast_2d(np.asarray(matrix, dtype=np.float64)), np.asarray(record, dtype=np.float64)
    _, sizes, right = np.linalg.svd(rows, full_matrices=False)
    basis = right[sizes > 1e-9 * max(float(sizes[0]), 1e-300)]
    length = float(np.linalg.norm(x))
    return float(np.linalg.norm(basis @ x)) / length if length else 0.0


def under_noise(
    before: AnyArray,
    after: AnyArray,
    record: AnyArray,
    noise_stds: AnyArray,
    problem: Problem | None = None,
    *,
    knowledge: Knowledge = "exact",
    draws: int = 100,
    seed: int = 0,
) -> FloatArray:
    """Cosine to a deleted record when both versions are published with Gaussian noise.

    Args:
        before: see :func:`reconstruct`.
        after: likewise.
        record: the deleted record, (d,).
        noise_stds: standard deviations of the noise on each parameter of each version, (s,).
        problem: see :func:`reconstruct`.
        knowledge: likewise.
        draws: of the noise, for each standard deviation.
        seed: of these draws; a simulation, no release.

    Returns:
        (s, draws).

    Raises:
        ArgumentError: a standard deviation below 0.
    """
    w, v = (np.atleast_2d(np.asarray(values, dtype=np.float64)) for values in (before, after))
    result = np.empty((len(np.atleast_1d(noise_stds)), as_whole(draws, "draws")))
    for place, noise_std in enumerate(np.atleast_1d(noise_stds).tolist()):
        if not 0 <= as_number(noise_std, "noise_std") < np.inf:
            raise ArgumentError("noise_std must be at least 0", where="noise_std", mend="correct the value")
        generator = stream(seed, f"reconstruction/{place}")
        for draw in range(result.shape[1]):
            first, second = (values + noise_std * generator.normal(size=values.shape) for values in (w, v))
            found = reconstruct(first, second, problem, knowledge=knowledge).record
            result[place, draw] = cosines(found, np.asarray(record))[0]
    return result
