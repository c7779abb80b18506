"""Untrusted reference solutions of objectives with kinks: hinge loss, L1 term, or both.

The hinge loss is the largest of ``alpha (1 - s z)`` over alpha in [0, 1]. Subtracting ``(h/2)(alpha - c)^2`` makes it smooth, with
``alpha = clip(c + (1 - s z)/h, 0, 1)``; moving the centre c to that alpha and solving again is the proximal point method on the
dual (Rockafellar 1976), which ends after a few rounds and, unlike letting h go to zero, keeps every digit.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from certify.convex.blocks import weighted_gram
from certify.convex.composite import Unwatched, Watch, minimise_composite
from certify.convex.heads import heads
from certify.convex.losses.hinge import Hinge
from certify.convex.problem import Problem, ScoreFunction
from certify.core.arrays import AnyArray, FloatArray

_ROUNDS = 60
_NARROWEST = 1e-6


@dataclass(frozen=True, eq=False)
class Reference:
    """Parameters (K, p) near the minimiser, and for the hinge loss a dual point.

    Attributes:
        w: parameters.
        alpha: dual variables in [0, 1], (n,); None where the loss's own slopes are the dual point.
    """

    w: FloatArray
    alpha: FloatArray | None = None


def solve_reference(problem: Problem, start: FloatArray, watch: Watch | None = None) -> Reference:
    """A point near the minimiser of any objective of this package; nothing about its quality is promised.

    Args:
        problem: objective and records.
        start: where to begin, unless zero is better.
        watch: told of each evaluation.
    """
    parts = heads(problem)
    if parts:
        return Reference(np.vstack([solve_reference(part, start[[k]], watch).w for k, part in enumerate(parts)]))
    observer = Unwatched() if watch is None else watch
    zero = np.zeros(problem.shape)
    better = start if problem.value(start) < problem.value(zero) else zero
    if isinstance(problem.loss, Hinge):
        return _solve_hinge(problem, better, observer)
    return Reference(minimise_composite(problem, better, observer))


@dataclass(frozen=True)
class _Smoothed:
    """The hinge loss with dual centres: targets are (n, 2), the sign and the centre of each record."""

    width: float

    def dual(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """alpha = clip(c + (1 - s z)/h, 0, 1), (n, 1)."""
        return np.clip(y[:, 1:] + (1 - y[:, :1] * z) / self.width, 0.0, 1.0)

    def value(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """alpha (1 - s z) - (h/2)(alpha - c)^2."""
        alpha = self.dual(z, y)
        return np.asarray(alpha * (1 - y[:, :1] * z) - 0.5 * self.width * (alpha - y[:, 1:]) ** 2)[:, 0]

    def gradient(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """-s alpha."""
        return np.asarray(-y[:, :1] * self.dual(z, y))

    def curvature_product(self, z: FloatArray, y: AnyArray, u: FloatArray) -> FloatArray:
        """u/h where alpha is inside [0, 1], else 0."""
        alpha = self.dual(z, y)
        return np.where((alpha > 0) & (alpha < 1), 1 / self.width, 0.0) * u

    def curvature_blocks(self, z: FloatArray, y: AnyArray) -> Iterator[tuple[int, int, FloatArray]]:
        """The one entry 1/h or 0."""
        yield 0, 0, self.curvature_product(z, y, np.ones_like(z))[:, 0]


@dataclass(frozen=True, eq=False)
class _SmoothedProblem(Problem):
    """A hinge problem with the smoothed loss in the hinge loss's place."""

    width: float

    @property
    def loss(self) -> ScoreFunction:
        return _Smoothed(self.width)

    @np.errstate(over="ignore", invalid="ignore")
    def hessian(self, w: FloatArray) -> FloatArray:
        """Few records are inside their bounds, and only they have curvature."""
        total = np.diag(self.penalty)
        for rows, block in self.chunks():
            ((_, _, curvature),) = self.loss.curvature_blocks(block @ w.T, self.targets[rows])
            weight = self.weights[rows] * curvature
            inside = np.flatnonzero(weight > 0)
            total += weighted_gram(block[inside], weight[inside])
        return total


def _solve_hinge(problem: Problem, w: FloatArray, watch: Watch) -> Reference:
    """Proximal point rounds on the dual until the gap stops falling; the best pair seen."""
    alpha, width = np.full(problem.records, 0.5), 1.0
    best, best_gap, stalled = Reference(w, alpha), np.inf, 0
    for _ in range(_ROUNDS):
        centred = np.column_stack([problem.targets, alpha])
        smoothed = _SmoothedProblem(problem.objective, problem.X, centred, problem.weights, problem.outputs, width)
        w = minimise_composite(smoothed, w, watch)
        scores = problem.scores(w)
        residual = float(np.linalg.norm(smoothed.gradient(w)))
        alpha = _Smoothed(width).dual(scores, centred)[:, 0]
        slack = 1 - problem.targets * scores[:, 0]
        lost = float(problem.weights @ ((1 - alpha) * np.maximum(slack, 0) + alpha * np.maximum(-slack, 0)))
        gap = residual + np.sqrt(residual**2 + 4 * problem.objective.l2 * lost)
        stalled = 0 if gap < 0.5 * best_gap else stalled + 1
        if gap < best_gap:
            best, best_gap = Reference(w, alpha), gap
        if stalled >= 2 or best_gap == 0:
            return best
        width = max(width / 10, _NARROWEST)
    return best
