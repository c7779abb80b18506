"""The gradient and the Hessian product with rounding errors bounded by norms: next to no work beside the products themselves.

As :mod:`certify.convex.enclosure`, but ``gamma ||x_i|| ||w||`` bounds the error of a score and ``gamma sum_i |v_i| ||x_i||`` that of ``V' X``
(Cauchy-Schwarz, triangle inequality): nothing but the row norms, which are worked out once a problem. A little larger where the
features have one scale, and much larger where they have not. Errors are worked out for all records at once, after the pass: a chunk
stays in cache for its two products, and the interpreter's share does not grow with the chunks.
"""

from collections.abc import Callable

import numpy as np

from certify.convex.blocks import Block, terms
from certify.convex.enclosure import (
    Enclosed,
    Scores,
    Sum,
    gamma,
    minimum_norm,
    norm_upper,
    reach_of,
    require_smooth,
    spans,
    summation,
    with_penalty,
)
from certify.convex.losses.base import TINY, UNIT, weighted
from certify.convex.problem import Problem
from certify.core.arrays import FloatArray

Errors = tuple[FloatArray, FloatArray, float]


def gradient_by_norms(problem: Problem, w: FloatArray) -> tuple[Enclosed, Scores]:
    """The gradient of F at ``w``, and the scores on the way: :func:`certify.convex.enclosure.enclose_gradient` with coarser errors."""
    loss, z = problem.objective.loss_function, np.empty((problem.records, problem.outputs))
    slope, longest = np.empty_like(z), [0]

    def part(rows: slice, block: Block) -> FloatArray:
        z[rows] = block @ w.T
        slope[rows] = weighted(problem.weights[rows, None], loss.gradient(z[rows], problem.targets[rows]))
        longest[0] = max(longest[0], terms(block))
        return np.asarray(slope[rows].T @ block)

    total, dz = problem.over_records(part), np.empty_like(z)
    lengths = _lengths(w, longest[0])

    def errors(rows: slice) -> Errors:
        dz[rows] = problem.norms[rows, None] * lengths + longest[0] * TINY
        y = problem.targets[rows]
        return slope[rows], loss.gradient_error(z[rows], dz[rows], y), 0.0

    gradient = with_penalty(problem, _summed(problem, total, errors), w)
    return minimum_norm(problem, w, gradient), Scores(z, dz)


def product_by_norms(problem: Problem, scores: Scores, direction: FloatArray) -> Enclosed:
    """The Hessian times a direction: :func:`certify.convex.enclosure.enclose_hessian_product` with coarser errors.

    Raises:
        AssumptionViolatedError: the objective has an L1 term.
    """
    require_smooth(problem)
    loss, u = problem.objective.loss_function, np.empty((problem.records, problem.outputs))
    curved, longest = np.empty_like(u), [0]

    def part(rows: slice, block: Block) -> FloatArray:
        u[rows] = block @ direction.T
        product = loss.curvature_product(scores.value[rows], problem.targets[rows], u[rows])
        curved[rows] = weighted(problem.weights[rows, None], product)
        longest[0] = max(longest[0], terms(block))
        return np.asarray(curved[rows].T @ block)

    total, lengths = problem.over_records(part), _lengths(direction, longest[0])

    def errors(rows: slice) -> Errors:
        du = problem.norms[rows, None] * lengths + longest[0] * TINY
        z, dz, y = scores.value[rows], scores.error[rows], problem.targets[rows]
        reach = reach_of(u[rows], du, problem.weights[rows, None])
        return curved[rows], loss.curvature_product_error(z, dz, y, u[rows], du), reach

    return with_penalty(problem, _summed(problem, total, errors), direction)


def _lengths(w: FloatArray, terms_in_a_score: int) -> FloatArray:
    """What the norm of a row is multiplied by to bound the error of its scores, (K,)."""
    factor = gamma(terms_in_a_score + 2) * (1 + gamma(terms_in_a_score + 8))
    return np.array([factor * norm_upper(row) for row in w])


@np.errstate(over="ignore", invalid="ignore", under="ignore")
def _summed(problem: Problem, total: FloatArray, errors: Callable[[slice], Errors]) -> Sum:
    """``V' X`` with one bound an output on its error, (K, 1).

    ``errors`` gives, for some rows, V as computed, the error of its entries before they were multiplied by the weights, and their reach.
    """
    bound, reach = np.zeros((total.shape[0], 1)), 0.0
    for rows in spans(problem.records):
        value, error, along = errors(rows)
        raised = (summation(problem) + 2 * UNIT) * np.abs(value) + weighted(problem.weights[rows, None], error) + TINY
        bound, reach = bound + raised.T @ problem.norms[rows, None], max(reach, along)
    return Sum(total, bound, reach)
