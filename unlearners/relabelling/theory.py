"""Labels that make squared-loss training end at the retrained weights (Yang et al. 2024, MUSO), and where training ends.

Shapes: features ``Z`` (N, D), split into retained ``Z_r`` and forgotten ``Z_u``; targets ``y`` (N,) or (N, C); weights (D,) or
(D, C). Gradients lie in the row space of Z, so gradient descent on ``||Z w - y||^2 / 2`` from ``start``, without weight decay,
ends at ``start + Z^+ (y - Z start)`` (:func:`limit`) if it ends at all. With

    w_p = limit(Z, y, w_0)              the original
    w_r = limit(Z_r, y_r, w_0)          retrained from the same start
    P_r = Z_r^+ Z_r                     the projector on the row space of Z_r

and Z of full row rank (so that the fits interpolate), the labels

    Z_u [w_0 + Z_r^+ (y_r - Z_r w_0)]  =  Z_u [w_0 + P_r (w_p - w_0)]  =  Z_u w_r

are one and the same, and training goes on from w_p to w_r exactly: the labels (y_r, Z_u w_r) are Z w_r, so it ends at
``w_p + Z^+ Z (w_r - w_p)``, and ``w_r - w_p`` lies in the row space of Z. The second form needs neither targets nor retraining.
Without interpolation (more records than features) only the last form holds.

With a ridge the projector is ``Z'(Z Z' + e I)^-1 Z = (Z'Z + e I)^-1 Z'Z``: symmetric, eigenvalues ``s^2 / (s^2 + e)`` in [0, 1).
Both forms solve a positive definite system. The inverse of ``Z Z' + e I`` by Woodbury's identity subtracts numbers of size 1/e and
is wrong in floating point for small e; it is not used here.
"""

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from certify.core.arrays import FloatArray
from certify.core.errors import InputError


def limit(Z: FloatArray, y: FloatArray, start: FloatArray) -> FloatArray:
    """Where (stochastic) gradient descent from ``start`` ends: the least-squares solution nearest to it."""
    return start + _fit(Z, y - Z @ start)


def labels_from_targets(Z_u: FloatArray, Z_r: FloatArray, y_r: FloatArray, w_0: FloatArray) -> FloatArray:
    """``Z_u [w_0 + Z_r'(Z_r Z_r')^-1 (y_r - Z_r w_0)]``, from the retained targets.

    Raises:
        InputError: the rows of ``Z_r`` are linearly dependent in floating point.
    """
    return Z_u @ (w_0 + Z_r.T @ _solve(Z_r @ Z_r.T, y_r - Z_r @ w_0))


def labels_from_weights(
    Z_u: FloatArray, Z_r: FloatArray, w_p: FloatArray, w_0: FloatArray, *, ridge: float = 0.0
) -> FloatArray:
    """``Z_u [w_0 + P_r (w_p - w_0)]``, from the original's weights and its start: no target and no retraining.

    Raises:
        InputError: as for :func:`project`.
    """
    return Z_u @ (w_0 + project(Z_r, w_p - w_0, ridge=ridge))


def labels_from_retrained(Z_u: FloatArray, w_r: FloatArray) -> FloatArray:
    """``Z_u w_r``: what the retrained model says of the forgotten records."""
    return Z_u @ w_r


def project(Z: FloatArray, V: FloatArray, *, ridge: float = 0.0) -> FloatArray:
    """``Z'(Z Z' + ridge I)^-1 Z V`` by the smaller of the two systems; V is (D,) or (D, C).

    Without a ridge always by records: the other system is singular where D > N.

    Raises:
        InputError: the system is singular in floating point.
    """
    records, columns = Z.shape
    by_records = ridge == 0 or records <= columns
    return project_by_records(Z, V, ridge=ridge) if by_records else project_by_columns(Z, V, ridge=ridge)


def project_by_records(Z: FloatArray, V: FloatArray, *, ridge: float = 0.0) -> FloatArray:
    """``Z' (Z Z' + ridge I)^-1 Z V``, an N x N system; errors as for :func:`project`."""
    return Z.T @ _solve(Z @ Z.T + ridge * np.eye(len(Z)), Z @ V)


def project_by_columns(Z: FloatArray, V: FloatArray, *, ridge: float) -> FloatArray:
    """``(Z'Z + ridge I)^-1 Z'Z V``, a D x D system (push-through identity); errors as for :func:`project`."""
    return _solve(Z.T @ Z + ridge * np.eye(Z.shape[1]), Z.T @ (Z @ V))


def row_rank(Z: FloatArray) -> tuple[int, float]:
    """Numerical rank of Z, and its smallest singular value over its largest (of min(N, D))."""
    singular = np.linalg.svd(Z, compute_uv=False)
    if not len(singular) or singular[0] == 0:
        return 0, 0.0
    ratio = float(singular[-1] / singular[0])
    return int(np.sum(singular > singular[0] * max(Z.shape) * np.finfo(np.float64).eps)), ratio


def outside_row_space(Z: FloatArray, V: FloatArray) -> float:
    """``||V - Z^+ Z V|| / ||V||``: 0 where every column of V is a combination of the rows of Z; 0 for V = 0."""
    length = float(np.linalg.norm(V))
    return float(np.linalg.norm(V - _fit(Z, Z @ V))) / length if length else 0.0


def _fit(Z: FloatArray, y: FloatArray) -> FloatArray:
    """``Z^+ y``."""
    return np.asarray(np.linalg.lstsq(Z, y, rcond=None)[0])


def _solve(matrix: FloatArray, right: FloatArray) -> FloatArray:
    try:
        return np.asarray(cho_solve(cho_factor(matrix), right))
    except LinAlgError:
        raise InputError(
            f"the {len(matrix)} x {len(matrix)} matrix of the projector is singular in floating point",
            where="relabelling",
            mend="leave out repeated records, or give a ridge",
        ) from None
