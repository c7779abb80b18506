"""Symmetric matrices by their eigenvalues: Newton's step repaired by a pseudo-inverse or by damping, and what it costs in length."""

from dataclasses import dataclass, field

import numpy as np

from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import InputError

NEAR_ZERO = 1e-6
"""Eigenvalues of a mean loss's Hessian below this in absolute value count as near zero in reports."""

_ASYMMETRY = 1e-4
"""Largest asymmetry, relative to the matrix, that rounding in single precision explains."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A symmetric matrix ``H = Q diag(values) Q'``.

    Attributes:
        values: eigenvalues in ascending order, (P,).
        vectors: eigenvectors in the columns of Q, (P, P).
        matrix: H, (P, P).
        asymmetry: largest ``|A_ij - A_ji|`` of the matrix that was given, before it was made symmetric.
    """

    values: FloatArray
    vectors: FloatArray
    matrix: FloatArray = field(repr=False)
    asymmetry: float = 0.0

    @classmethod
    def of(cls, matrix: FloatArray) -> "Spectrum":
        """The eigenvalues of ``(A + A') / 2``.

        Raises:
            InputError: A is not square, not finite, or further from symmetric than rounding explains.
        """
        given = np.asarray(matrix, dtype=np.float64)
        if given.ndim != 2 or given.shape[0] != given.shape[1] or not given.size:
            raise InputError(
                f"has shape {given.shape} and not (P, P)",
                where="hessian",
                mend="give a square matrix of second derivatives",
            )
        if not np.all(np.isfinite(given)):
            raise InputError(
                "holds a number that is not finite",
                where="hessian",
                mend="the model has diverged or its loss has no curvature there",
            )
        asymmetry = float(np.max(np.abs(given - given.T)))
        if asymmetry > _ASYMMETRY * float(np.max(np.abs(given))):
            raise InputError(
                f"is not symmetric (entries differ by up to {asymmetry:.2g})",
                where="hessian",
                mend="give second derivatives of one loss",
            )
        symmetric = 0.5 * (given + given.T)
        values, vectors = np.linalg.eigh(symmetric)
        return cls(values, vectors, symmetric, asymmetry)

    @property
    def size(self) -> float:
        """Spectral norm of H."""
        return float(max(abs(self.values[0]), abs(self.values[-1])))

    def coordinates(self, gradient: FloatArray) -> FloatArray:
        """``Q' g``, (P,)."""
        return np.asarray(self.vectors.T @ gradient)

    def kept(self, rcond: float) -> AnyArray:
        """Which eigenvalues the pseudo-inverse inverts, ``|lambda_i| > rcond max |lambda|``, (P,) of booleans."""
        return np.asarray(np.abs(self.values) > rcond * self.size)

    def pseudo_inverse_step(self, gradient: FloatArray, rcond: float) -> FloatArray:
        """``-H^+ g``, (P,)."""
        keep, b = self.kept(rcond), self.coordinates(gradient)
        return np.asarray(-(self.vectors[:, keep] @ (b[keep] / self.values[keep])))

    def pseudo_inverse_norm(self, gradient: FloatArray, rcond: float) -> float:
        """Its length by the formula ``(sum_i (q_i . g)^2 / lambda_i^2)^(1/2)`` over the eigenvalues that are kept."""
        keep, b = self.kept(rcond), self.coordinates(gradient)
        return float(np.sqrt(np.sum((b[keep] / self.values[keep]) ** 2)))

    def damped_step(self, gradient: FloatArray, damping: float) -> FloatArray:
        """``-(H + damping I)^-1 g``, (P,).

        Raises:
            InputError: the damped matrix is singular.
        """
        return np.asarray(-(self.vectors @ (self.coordinates(gradient) / self._damped(damping))))

    def damped_norm(self, gradient: FloatArray, damping: float) -> float:
        """Its length by the formula ``(sum_i (q_i . g)^2 / (damping + lambda_i)^2)^(1/2)``; errors as for the step."""
        return float(np.linalg.norm(self.coordinates(gradient) / self._damped(damping)))

    def _damped(self, damping: float) -> FloatArray:
        shifted = np.asarray(self.values + damping)
        if np.any(shifted == 0):
            raise InputError(
                f"with damping {damping:g} is singular",
                where="hessian",
                mend="another damping, or --method pinv-newton",
            )
        return shifted

    def report(self, near_zero: float = NEAR_ZERO) -> dict[str, float]:
        """Number of eigenvalues, those below zero, those within ``near_zero`` of it, the extreme ones, and the asymmetry."""
        return {
            "eigenvalues": float(len(self.values)),
            "negative eigenvalues": float(np.sum(self.values < 0)),
            "eigenvalues near zero": float(np.sum(np.abs(self.values) < near_zero)),
            "smallest eigenvalue": float(self.values[0]),
            "largest eigenvalue": float(self.values[-1]),
            "asymmetry": self.asymmetry,
        }
