"""A Cholesky factor that is kept while rows leave and come: changes of low rank by Woodbury's identity. Untrusted, like every solver.

``M = R'R + U S U'`` with R upper triangular, S diagonal with entries +1 (a row came) and -1 (a row left). Then

    M^-1 g = M0^-1 g - Z (S + U'Z)^-1 Z' g,     M0 = R'R,  Z = M0^-1 U

(Woodbury 1950; Hager 1989). A record with weight a, row x and second derivative ``C = sum_j c_j v_j v_j'`` in its scores adds the columns
``sqrt(a c_j) v_j (x) x``: one for a loss of one score, at most K for softmax.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.linalg import LinAlgError, cho_factor
from scipy.linalg.lapack import dpotri

from certify.convex.anchor import KeptHessian, dense_rows
from certify.convex.blocks import as_block
from certify.convex.problem import Problem
from certify.core.arrays import AnyArray, FloatArray

_APART = 24
"""Columns that are kept apart from the inverse: each makes every product a little dearer."""

_WORKED_IN = 1 / 2
"""Columns worked into the inverse, as a fraction of the parameters, beyond which the root is made again: until then they cost nothing but memory."""

_FORESEEN = 1 / 6
"""Changed rows, as a fraction f of all, beyond which a factor is made anew: where f/(1 - f) passes the limit on contraction."""


@dataclass(frozen=True, eq=False)
class KeptFactor:
    """An approximate inverse of a Hessian. Holds data of records that left, until it is made anew.

    Attributes:
        root: R, upper triangular, (K p, K p).
        columns: the columns of U that are not yet worked into the inverse, (K p, at most ``_APART`` and those of one request).
        solved: those of Z.
        signs: those of the diagonal of S.
        records: number of records when R was made.
        changed: rows that left or came since.
        hessian: the matrix itself with a proven error, where the objective has one score a record; the one part that is trusted.
        inverse: that of R'R and all columns that were worked in; None before any was.
        worked: these columns with their signs, in blocks.
    """

    root: FloatArray
    columns: FloatArray
    solved: FloatArray
    signs: FloatArray
    records: int
    changed: int = 0
    hessian: KeptHessian | None = None
    inverse: FloatArray | None = None
    worked: tuple[tuple[FloatArray, FloatArray], ...] = ()

    @property
    def changes(self) -> int:
        """Columns that R does not have."""
        return len(self.signs) + sum(len(signs) for _, signs in self.worked)

    @cached_property
    def _inverse(self) -> FloatArray:
        """M0^-1, (K p, K p), with what was worked in: a product with it reads half as much as two triangular solutions do, and on all cores."""
        if self.inverse is not None:
            return self.inverse
        upper, failed = dpotri(self.root, lower=0)
        return np.asarray(np.triu(upper) + np.triu(upper, 1).T) if failed == 0 else np.zeros_like(self.root)

    @cached_property
    def _inner(self) -> FloatArray:
        """S + U'Z, (k, k), of the columns that are apart: symmetric, not definite where rows left."""
        return np.asarray(np.diag(self.signs) + self.columns.T @ self.solved)

    @classmethod
    def of(cls, hessian: FloatArray, records: int) -> "KeptFactor | None":
        """The factor of a Hessian (K p, K p); None where it is not positive definite in floating point."""
        try:
            root = np.triu(cho_factor(hessian)[0])
        except (LinAlgError, ValueError):
            return None
        return cls.plain(root, records)

    @classmethod
    def at(cls, problem: Problem, w: FloatArray) -> "KeptFactor | None":
        """The factor of a problem's Hessian at w (K, p), with the Hessian itself where that is kept too."""
        kept = KeptHessian.of(problem, w)
        factor = cls.of(problem.hessian(w) if kept is None else kept.matrix, problem.records)
        return None if factor is None else replace(factor, hessian=kept)

    @classmethod
    def plain(cls, root: FloatArray, records: int, changed: int = 0) -> "KeptFactor":
        """A factor without any change on top."""
        nothing = np.zeros((len(root), 0))
        return cls(root, nothing, nothing, np.zeros(0), records, changed)

    def __call__(self, gradient: FloatArray) -> FloatArray:
        """An approximate solution of ``H z = gradient``, in the gradient's shape; zero where that is not finite."""
        if not np.all(np.isfinite(gradient)):
            return np.zeros(gradient.shape)
        step = np.asarray(self._inverse @ gradient.ravel())
        if self.solved.shape[1]:
            try:
                inner = np.linalg.solve(self._inner, self.solved.T @ gradient.ravel())
            except LinAlgError:  # singular; the step without the changes is a step, too
                return step.reshape(gradient.shape)
            step = step - self.solved @ inner
        return step.reshape(gradient.shape) if np.all(np.isfinite(step)) else np.zeros(gradient.shape)

    def changed_by(
        self,
        left: Problem | None,
        came: Problem | None,
        w: FloatArray,
        places: AnyArray | None = None,
        stay: AnyArray | None = None,
    ) -> "KeptFactor | None":
        """The factor after rows left and came, their curvature taken at w; None where it is better made anew.

        Args:
            left: records that no longer count.
            came: records that count from now on, at the end of the following problem.
            w: parameters (K, p).
            places: where those that left stood; without them the Hessian itself is no longer kept.
            stay: mask of the positions that the following problem still has; all when absent.
        """
        changed = self.changed + sum(part.records for part in (left, came) if part is not None)
        if changed > _FORESEEN * self.records:
            return None
        kept, pairs = self.hessian, []
        try:
            if left is not None:
                # what a row brought into the matrix is what it takes out
                shares = None if kept is None or places is None else kept.weights[places]
                pairs.append((_curved_rows(left, w, shares), -1.0))
                kept = None if kept is None or places is None else kept.without(places, left, stay)
            if came is not None:
                pairs.append((_curved_rows(came, w), 1.0))
                kept = None if kept is None else kept.joined(came, w)
        except LinAlgError:  # scores that overflow
            return None
        more = np.hstack([self.columns[:, :0], *(columns for columns, _ in pairs)])
        if not np.all(np.isfinite(more)):
            return None
        columns = np.hstack([self.columns, more])
        solved = np.hstack([self.solved, self._inverse @ more])
        signs = np.concatenate([self.signs, *(np.full(columns.shape[1], sign) for columns, sign in pairs)])
        following = replace(self, columns=columns, solved=solved, signs=signs, changed=changed, hessian=kept)
        vars(following)["_inverse"] = self._inverse  # of the same root
        if following.changes > max(8, _WORKED_IN * len(self.root)):
            return following.absorbed()
        return following.settled() if solved.shape[1] > _APART else following

    def settled(self) -> "KeptFactor":
        """The same matrix with all changes worked into the inverse; as it is where that is not finite."""
        try:
            inverse = self._inverse - self.solved @ np.linalg.solve(self._inner, self.solved.T)
        except LinAlgError:
            return self
        if not np.all(np.isfinite(inverse)):
            return self
        none, worked = self.columns[:, :0], (*self.worked, (self.columns, self.signs))
        return replace(self, columns=none, solved=none, signs=self.signs[:0], inverse=inverse, worked=worked)

    def absorbed(self) -> "KeptFactor | None":
        """The same matrix with the changes worked into R; None where it is no longer positive definite."""
        if not self.changes:
            return self
        matrix = self.root.T @ self.root
        for columns, signs in (*self.worked, (self.columns, self.signs)):
            matrix += (columns * signs) @ columns.T
        fresh = KeptFactor.of(matrix, self.records)
        return None if fresh is None else replace(fresh, changed=self.changed, hessian=self.hessian)


def _curved_rows(problem: Problem, w: FloatArray, shares: FloatArray | None = None) -> FloatArray:
    """Columns u with ``sum u u'`` the part of the Hessian at w that comes from the problem's records, (K p, m).

    ``shares``: the records' curvatures, (n,), where they are known and there is one score.
    """
    block = dense_rows(problem)
    if shares is not None:
        return np.asarray((block * np.sqrt(shares)[:, None]).T)
    curvature = np.zeros((problem.records, problem.outputs, problem.outputs))
    for j, k, entry in problem.objective.loss_function.curvature_blocks(block @ w.T, problem.targets):
        curvature[:, j, k] = curvature[:, k, j] = problem.weights * entry
    values, vectors = np.linalg.eigh(curvature)
    roots = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]  # (m, K, K): record, output, direction
    columns = np.einsum("mkj,mp->kpmj", roots, block).reshape(problem.size, -1)
    return np.asarray(columns[:, np.any(columns != 0, axis=0)])


def residual_of(problem: Problem, w: FloatArray) -> FloatArray:
    """The part of the gradient at w that comes from the problem's records, without the penalty, (K, p)."""
    block = as_block(problem.X[:], intercept=problem.objective.fit_intercept)
    slope = problem.objective.loss_function.gradient(block @ w.T, problem.targets)
    return np.asarray((problem.weights[:, None] * slope).T @ block)
