"""The gradient after a short step from the gradient before it: what a kept Hessian does not foresee is small, and may be read in single precision.

Let g be the gradient at w, ``z_i = x_i . w``, M a Hessian kept from earlier with curvatures m_i (:mod:`certify.convex.anchor`), and
``t_i = x_i . (w' - w)``. For one score a record, whatever the m_i are,

    gradient(w') = g + M (w' - w) + sum_i rho_i x_i,      rho_i = a_i (l'(z_i + t_i) - l'(z_i)) - m_i t_i,

exactly. Near w, rho_i is of second order, and so is what an error of t_i or z_i does to it. So both products with the records are asked of their
shadow in float32 (:mod:`certify.convex.shadow`), which halves the bytes read: a pass over the records is nearly all that an update costs.

What is not known of the gradient is kept in two parts: ``sum_i eta_i x_i`` with a bound on each ``|eta_i|``, and a vector of bounded norm. The
first costs the certificate little, because ``||H^-1 sum_i eta_i x_i|| <= sqrt(sum_i eta_i^2 / h_i) / sqrt(s)``. Both grow from step to step until the
gradient is measured in double precision again. Proofs: docs/theory.md, theorem 5c.
"""

import math
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from certify.convex.anchor import KeptHessian, dense_rows
from certify.convex.enclosure import Enclosed, Scores, gamma, norm_upper
from certify.convex.losses.base import TINY, UNIT, ScalarLoss, weighted
from certify.convex.problem import Problem
from certify.convex.shadow import Passed, Shadow
from certify.core.arrays import AnyArray, FloatArray
from certify.core.stacked import same_rows

_LONGEST_PAUSE = 6
"""Binary logarithm of the certificates for which a trail pauses at most."""

_SHORTEST = 1e-280
"""Steps shorter than this, but for no step at all, are not followed: their products underflow."""

_FEW = 256
"""Records of other weight up to which a trail is followed: their parts are worked out one by one."""


@dataclass(frozen=True, eq=False)
class Traced(Enclosed):
    """A gradient whose error is ``sum_i eta_i x_i`` with ``|eta_i| <= slack_i``, and a vector of norm at most ``rest``.

    ``error`` bounds the norm of both together.
    """

    slack: FloatArray = field(kw_only=True)
    rest: float = field(kw_only=True)

    def split(self, kept: KeptHessian, drift: float) -> tuple[float, float]:
        """Bounds on ``||H^-1/2 e||`` and on ``||f||``, where ``e + f`` is the error of the gradient.

        Args:
            kept: curvatures m_i.
            drift: kappa of theorem 5b, upper bound on ``|h_i - m_i| / sqrt(h_i m_i)``, so that ``h_i >= m_i (1 - kappa/2)^2``.
        """
        counted = kept.weights > 0
        if not drift < 1 or np.any(self.slack[~counted] > 0):
            return 0.0, self.error
        parts = self.slack / np.sqrt(np.where(counted, kept.weights, 1.0))
        return norm_upper(parts) / (1 - drift / 2) * (1 + 16 * UNIT), self.rest


class Onward(NamedTuple):
    """The trail at the next point, and kappa of theorem 5b there."""

    trail: "Trail"
    drift: float


class _Near(NamedTuple):
    """Errors of the scores, of the slopes, of each record's share of the gradient; kappa."""

    dz: FloatArray
    wrong: FloatArray
    owed: FloatArray
    drift: float


@dataclass(frozen=True, eq=False)
class Trail:
    """Where a gradient is known, and how well. Holds data of records that left as their shadow does: for memory, never for a file.

    Attributes:
        shadow: the records in single precision.
        problem: objective and records it was measured on; X and targets must not change.
        weights: how much each record counted, (n,).
        w: the point, (1, p).
        gradient: there, with its error.
        z: scores there, (n,).
        dz: bounds on their errors.
        slope: l' at these scores as computed, (n,).
        wrong: bounds on the rounding of each.
        steps: how many since double precision.
        spent: whether its errors have grown so much that it is better begun anew.
        lapses: how often in a row it was followed in vain.
        pause: certificates to be measured in double precision before it is followed again.
    """

    shadow: Shadow
    problem: Problem
    weights: FloatArray
    w: FloatArray
    gradient: Traced
    z: FloatArray
    dz: FloatArray
    slope: FloatArray
    wrong: FloatArray
    steps: int = 0
    spent: bool = False
    lapses: int = 0
    pause: int = 0

    @classmethod
    @np.errstate(over="ignore", under="ignore", invalid="ignore")
    def begun(
        cls, shadow: Shadow, problem: Problem, w: FloatArray, gradient: Enclosed, scores: Scores
    ) -> "Trail | None":
        """The trail from a point where gradient and scores were measured; None for other records and where no Hessian is kept."""
        loss, y = problem.objective.loss_function, problem.targets
        beneath = shadow.beneath(problem) if KeptHessian.fits(problem) else None
        if beneath is None or not isinstance(loss, ScalarLoss):
            return None
        traced = Traced(gradient.value, gradient.error, slack=np.zeros(problem.records), rest=gradient.error)
        z = scores.value[:, 0]
        slope = loss.first(z, y)
        wrong = loss.first_rounding_of(slope, z, y)
        return cls(beneath, problem, problem.weights.copy(), w.copy(), traced, z, scores.error[:, 0], slope, wrong)

    @property
    def ready(self) -> bool:
        """Whether it is worth following."""
        return not self.spent and self.pause == 0

    def lapsed(self) -> "Trail":
        """The trail after it was followed in vain: it pauses for longer each time, so that attempts cost less and less.

        One that led somewhere before only ended.
        """
        if self.steps:
            return self
        lapses = self.lapses + 1
        return replace(self, lapses=lapses, pause=2 ** min(lapses, _LONGEST_PAUSE))

    @property
    def scores(self) -> Scores:
        """Scores with their errors, (n, 1)."""
        return Scores(self.z[:, None], self.dz[:, None])

    @np.errstate(over="ignore", under="ignore", invalid="ignore")
    def onward(self, problem: Problem, w: FloatArray, kept: KeptHessian) -> Onward | None:
        """Gradient and scores at w (1, p) for a problem of the same records, a few of which may count otherwise.

        None where the trail does not lead there: other records, a step so long that curvatures change by more than a
        factor e, numbers that overflow.
        """
        before = self._counted_as(problem)
        loss = problem.objective.loss_function
        if before is None or not isinstance(loss, ScalarLoss) or len(kept.weights) != problem.records:
            return None
        step, a, m, y = w - self.w, problem.weights, kept.weights, problem.targets
        counted, length = a > 0, norm_upper(step) * (1 + 4 * UNIT)
        if not np.array_equal(counted, m > 0) or 0 < length < _SHORTEST:  # kappa would be infinite; underflow
            return None
        z, slope = np.empty(len(m)), np.empty(len(m))

        def share(part: slice, t: FloatArray) -> FloatArray:
            np.add(self.z[part], t, out=z[part])
            slope[part] = loss.first(z[part], y[part])
            return weighted(a[part], slope[part] - self.slope[part]) - m[part] * t

        found = self.shadow.passed(step[0], share)
        near = self._nearby(loss, problem, m, found, z, slope)
        if near is None:
            return None
        foreseen = kept.product(step)
        value = before.value + foreseen.value + found.total
        rest = before.rest + foreseen.error + found.error + 4 * UNIT * (kept.size + kept.apart) * length
        rest += 8 * UNIT * (norm_upper(before.value) + norm_upper(foreseen.value) + norm_upper(found.total))
        slack = (before.slack + near.owed) * (1 + 4 * UNIT)
        gradient = _traced(value, slack, rest * (1 + 16 * UNIT), problem.norms)
        if not math.isfinite(gradient.norm):
            return None
        trail = Trail(self.shadow, problem, a.copy(), w.copy(), gradient, z, near.dz, slope, near.wrong, self.steps + 1)
        return Onward(trail, near.drift)

    def _nearby(
        self, loss: ScalarLoss, problem: Problem, m: FloatArray, found: Passed, z: FloatArray, slope: FloatArray
    ) -> "_Near | None":
        """What the errors of the scores, and rounding, do to each record's share of the gradient; None where they are too large."""
        a, y, old = problem.weights, problem.targets, self.dz
        counted, size, height = a > 0, np.abs(found.along), np.abs(z)
        dt = problem.norms * (found.spread * (1 + 2.0**-20)) + 2 * UNIT * height + TINY
        dz = (old + dt) * (1 + 4 * UNIT)
        tau = np.where(counted, (size + dz) * (loss.constants.self_concordance * (1 + 8 * UNIT)), 0.0)
        if not np.max(tau, initial=0.0) <= 1:  # nor where it is not a number
            return None
        wrong = loss.first_rounding_of(slope, z, y)
        second = loss.second(z, y)
        rounding = loss.second_rounding_of(second, z, y)
        h = a * second
        # every score between the two points, as computed or exact, lies within tau / R of z, and e^tau - 1 <= tau + tau^2
        tau *= 1 + tau
        tau *= second + rounding
        tau += rounding
        strayed = a * tau
        strayed += (16 * UNIT) * (h + m)
        strayed += TINY
        farthest = np.abs(h - m)
        farthest += strayed
        farthest *= 1 + 4 * UNIT
        grain = (np.abs(slope) + np.abs(self.slope)) * (8 * UNIT) + (wrong + self.wrong)
        owed = a * grain
        owed += (8 * UNIT) * m * (size + height)
        owed += farthest * dt
        owed += 2 * strayed * old
        owed += TINY
        owed *= 1 + 16 * UNIT
        return _Near(dz, wrong, np.where(counted, owed, 0.0), _drift(counted, farthest, h - strayed, m))

    def _counted_as(self, problem: Problem) -> Traced | None:
        """The gradient at the same point for other sample weights; None where more than those differ, or too many of them."""
        mine = self.problem
        same = same_rows(problem.X, mine.X) and problem.objective == mine.objective and problem.outputs == mine.outputs
        if not same or not (problem.targets is mine.targets or np.array_equal(problem.targets, mine.targets)):
            return None
        changed = np.flatnonzero(problem.weights != self.weights)
        if len(changed) > _FEW:
            return None
        if not len(changed):
            return self.gradient
        moved, error = self._moved(problem, changed)
        norms, slack = problem.norms, self.gradient.slack.copy()
        gone = changed[problem.weights[changed] == 0]
        # what is not known of a record that left no longer has a curvature to be measured by
        error += self.gradient.rest + float(np.sum(slack[gone] * norms[gone])) * (1 + gamma(len(gone) + 16))
        slack[gone] = 0.0
        error += 4 * UNIT * (norm_upper(self.gradient.value) + norm_upper(moved))
        return _traced(self.gradient.value + moved, slack, error * (1 + 16 * UNIT), norms)

    def _moved(self, problem: Problem, places: AnyArray) -> tuple[FloatArray, float]:
        """What other weights of some records change in the gradient, (1, p), with a bound on its error: double precision."""
        part = replace(problem, X=problem.X[places], targets=problem.targets[places], weights=problem.weights[places])
        loss, rows, norms = problem.objective.loss_function, dense_rows(part), problem.norms[places][:, None]
        change = part.weights[:, None] - self.weights[places][:, None]
        width = rows.shape[1]
        z = rows @ self.w.T
        dz = gamma(width + 8) * norm_upper(self.w) * norms + width * TINY
        share, wrong = change * loss.gradient(z, part.targets), loss.gradient_error(z, dz, part.targets)
        error = np.abs(change) * wrong + gamma(len(places) + 8) * np.abs(share) + TINY
        bound = float(np.sum(error * (norms + TINY))) * (1 + gamma(len(places) + 16)) + len(places) * width * TINY
        return np.asarray(share.T @ rows), bound


def _drift(counted: AnyArray, farthest: FloatArray, low: FloatArray, m: FloatArray) -> float:
    """``max farthest_i / sqrt(low_i m_i)``, rounded up, over the records that count; infinite where ``low_i`` is not above 0."""
    # two roots: the product may overflow, or underflow
    roots = np.where(counted, np.sqrt(np.maximum(low, 0.0)) * np.sqrt(m), 1.0)
    if not (np.min(roots, initial=1.0) > 0 and np.max(roots, initial=1.0) < math.inf):
        return math.inf
    worst = float(np.max(np.where(counted, farthest / roots, 0.0), initial=0.0))
    return worst * (1 + 32 * UNIT) if math.isfinite(worst) else math.inf


def begin(
    known: Trail | Shadow | None, problem: Problem, w: FloatArray, gradient: Enclosed, scores: Scores
) -> Trail | None:
    """A new trail from where gradient and scores were measured, over the shadow of an earlier one; None without a shadow."""
    if known is None:
        return None
    shadow = known.shadow if isinstance(known, Trail) else known
    fresh = Trail.begun(shadow, problem, w, gradient, scores)
    if fresh is None or not isinstance(known, Trail):
        return fresh
    return replace(fresh, lapses=known.lapses, pause=max(known.pause - 1, 0))


def _traced(value: FloatArray, slack: FloatArray, rest: float, norms: FloatArray) -> Traced:
    whole = (rest + float(slack @ norms) * (1 + gamma(len(slack) + 16))) * (1 + 8 * UNIT)
    return Traced(value, whole, slack=slack, rest=rest)
