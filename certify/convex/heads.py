"""One-vs-rest heads: K problems that share the records, and one bound on all of them together.

The objective is a sum over heads of functions of different parameters, so the heads' minimisers are found and certified
separately, and ``||w - w*||^2 = sum_k ||w_k - w_k*||^2`` joins the bounds. One release of all heads with fresh noise is then
one Gaussian mechanism with that joint shift, not K mechanisms to be composed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from certify.convex.enclosure import norm_upper
from certify.convex.losses import OneVsRest
from certify.convex.problem import Problem
from certify.core.arrays import FloatArray
from certify.core.bounds import LowerBound, UpperBound

if TYPE_CHECKING:
    from certify.convex.certificate import DistanceBound

_BOUNDS = ("strong_convexity", "self_concordant", "refined", "duality_gap")

Proposal = Callable[[FloatArray], FloatArray]


def heads(problem: Problem) -> tuple[Problem, ...]:
    """The two-class problems of a one-vs-rest problem, class by class; none for any other problem."""
    loss = problem.objective.loss_function
    if not isinstance(loss, OneVsRest):
        return ()
    objective, signs = replace(problem.objective, one_vs_rest=False), loss.signs(problem.targets, problem.outputs)
    return tuple(Problem(objective, problem.X, signs[:, k], problem.weights, 1) for k in range(problem.outputs))


def for_head(propose: Proposal | None, k: int, w: FloatArray) -> Proposal | None:
    """A proposal for all heads, asked for one of them."""
    if propose is None:
        return None

    def proposed(gradient: FloatArray) -> FloatArray:
        whole = np.zeros(w.shape)
        whole[k] = gradient[0]
        return propose(whole)[[k]]

    return proposed


def join(bounds: Sequence[DistanceBound]) -> DistanceBound:
    """The heads' certificates as one: norms over heads, the largest radius and row norm, the smallest modulus.

    The distance is the smallest of the joined bounds, so that a bound that does not apply to one head is not used for any.
    """
    joined: dict[str, Any] = {
        name: UpperBound(norm_upper(np.array([float(getattr(bound, name)) for bound in bounds])))
        for name in (*_BOUNDS, "rounding", "newton_decrement")
    }
    residual = np.vstack([bound.residual for bound in bounds])
    return replace(
        bounds[0],
        **joined,
        distance=min(joined[name] for name in _BOUNDS),
        residual_norm=norm_upper(residual),
        radius=UpperBound(max(bound.radius for bound in bounds)),
        modulus=LowerBound(min(bound.modulus for bound in bounds)),
        max_row_norm=UpperBound(max(bound.max_row_norm for bound in bounds)),
        newton_step=np.vstack([bound.newton_step for bound in bounds]),
        residual=residual,
    )
