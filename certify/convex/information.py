"""Fisher information of linear models: the loss's second derivative in the scores, expected under the model's own labels.

``I(w) = sum_i a_i E[A_i] (x) x_i x_i' + diag(penalty)``, A_i the (K, K) second derivative of loss i in its scores. Where the link is
canonical A_i does not depend on the target: the information is the Hessian, and also the Gauss-Newton matrix. Elsewhere they differ by
the residuals, and a guarantee that takes one for the other is wrong.

=============  ==================================  =====================  =============================
loss           model of the target                 E[A]                   is the Hessian
=============  ==================================  =====================  =============================
logistic       Bernoulli, logit link (also K of    l''(z)                 yes
               them, one-vs-rest)
softmax        categorical                         diag(p) - p p'         yes
squared        normal, variance 1                  1                      yes
poisson        Poisson, log link                   exp(z)                 yes
gamma          gamma, log link, times its shape    E[y exp(-z)] = 1       no (the canonical link is 1/z)
log-cosh       density sech(y - z) / pi            1/2                    no
pseudo-huber   density exp(-sqrt(1 + (y - z)^2))   Ki_2(1) / K_1(1)       no
               / (2 K_1(1))
=============  ==================================  =====================  =============================

The hinge losses are the negative logarithm of no density of two labels and have none.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from certify.convex.problem import Problem, ScoreFunction
from certify.convex.solve import Factor
from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import ConfigurationError
from certify.core.rows import is_sparse

CANONICAL = frozenset({"logistic", "softmax", "squared", "poisson"})
"""Losses whose information is their Hessian."""

EXPECTED = {"gamma": 1.0, "log-cosh": 0.5, "pseudo-huber": 0.4545895751018898}
"""E[A] of the others; of pseudo-Huber the ratio of ``int exp(-cosh u) / cosh^2 u du`` and ``int exp(-cosh u) cosh u du``."""


@dataclass(frozen=True)
class _Expected:
    """A loss with the expected second derivative in the second derivative's place."""

    loss: ScoreFunction
    curvature: float

    def value(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """Of the loss."""
        return self.loss.value(z, y)

    def gradient(self, z: FloatArray, y: AnyArray) -> FloatArray:
        """Of the loss."""
        return self.loss.gradient(z, y)

    def curvature_product(self, z: FloatArray, y: AnyArray, u: FloatArray) -> FloatArray:
        """E[A] u."""
        del z, y
        return self.curvature * u

    def curvature_blocks(self, z: FloatArray, y: AnyArray) -> Iterator[tuple[int, int, FloatArray]]:
        """E[A], the same for every record."""
        del y
        yield 0, 0, np.full(len(z), self.curvature)


class _Information(Problem):
    """The same objective and records; ``hessian`` and ``hessian_product`` are the information."""

    @property
    def loss(self) -> ScoreFunction:
        return _Expected(self.objective.loss_function, EXPECTED[self.objective.loss])


def information(problem: Problem) -> Problem:
    """A problem of the same value and gradient whose ``hessian`` is the Fisher information with the penalty.

    Raises:
        ConfigurationError: the loss is no negative log-likelihood.
    """
    loss = problem.objective.loss
    if loss in CANONICAL:
        return problem
    if loss not in EXPECTED:
        raise ConfigurationError(
            f"the {loss} loss is the logarithm of no density, so there is no Fisher information",
            where="--method",
            mend="use --method newton",
        )
    return _Information(**{part.name: getattr(problem, part.name) for part in fields(Problem)})


def roots(problem: Problem, w: FloatArray) -> FloatArray:
    """V, (K p, n K'), with ``V V'`` the information of the records without the penalty; K' = K, or 1 for a loss of one score."""
    outputs, width = problem.shape
    parts = []
    for rows, block in problem.chunks():
        dense = np.asarray(block.toarray() if is_sparse(block) else block)
        curvature = np.zeros((len(dense), outputs, outputs))
        for j, k, values in problem.loss.curvature_blocks(dense @ w.T, problem.targets[rows]):
            curvature[:, j, k] = curvature[:, k, j] = problem.weights[rows] * values
        values, vectors = np.linalg.eigh(curvature)
        root = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
        parts.append(np.einsum("ijc,ip->jpic", root, dense).reshape(outputs * width, -1))
    return np.hstack(parts)


class Downdated:
    """``(A - V V')^-1`` from a factor of A, by Woodbury's identity: A is not factored again.

    ``(A - V V')^-1 = A^-1 + A^-1 V (I - V' A^-1 V)^-1 V' A^-1``; the matrix in the middle is positive definite exactly where
    ``A - V V'`` is.

    Args:
        factor: of A.
        V: (K p, c), few columns.

    Raises:
        numpy.linalg.LinAlgError: ``A - V V'`` is not positive definite in floating point.
    """

    def __init__(self, factor: Factor, V: FloatArray) -> None:
        self._factor, self._V = factor, V
        self._image = factor.columns(V)
        self._middle = cho_factor(np.eye(V.shape[1]) - V.T @ self._image)

    def __call__(self, gradient: FloatArray) -> FloatArray:
        """An approximate solution of ``(A - V V') z = gradient``, in the gradient's shape."""
        first = self._factor(gradient)
        more = self._image @ cho_solve(self._middle, self._V.T @ first.ravel())
        return first + more.reshape(gradient.shape)
