"""Quantile regression (Bertran et al. 2023): what phi of a record with these features can be where it was not trained on."""

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from certify.attacks.scores.phi import to_numpy
from certify.attacks.scores.population import conformal_threshold
from certify.core.arguments import as_number
from certify.core.arrays import FloatArray
from certify.core.errors import ArgumentError, InputError
from certify.core.streams import stream

_LOG_CHI_SQUARED = -1.2703628454614782  # mean of the logarithm of a chi-squared number with 1 degree of freedom


@dataclass(frozen=True, eq=False)
class QuantileAttack:
    """A fitted attack: a record is called a member where its score is above ``threshold``.

    Attributes:
        location: coefficients of the quantile (or mean) of phi, on standardised features with a constant first, (d + 1,).
        spread: coefficients of half the log-variance (the Gaussian head), or None.
        centre: means of the features, (d,).
        unit: their standard deviations, 1 where one is constant.
        calibration: sorted scores of the non-members kept for calibration, (c,).
        threshold: conformal, for the false positive rate the attack was fitted for; infinite with too few of them.
    """

    location: FloatArray
    spread: FloatArray | None
    centre: FloatArray
    unit: FloatArray
    calibration: FloatArray
    threshold: float

    def score(self, features: Any, phi: Any) -> FloatArray:
        """Phi minus the quantile, or standardised by the Gaussian head, (N,).

        Args:
            features: (N, d).
            phi: of the target, (N,).
        """
        X, y = _table(features, phi, "quantile_attack")
        if X.shape[1] != len(self.centre):
            raise InputError(
                f"{X.shape[1]} features, {len(self.centre)} when fitted", where="quantile_attack", mend="give the same"
            )
        return self._score(X, y)

    def p_values(self, features: Any, phi: Any) -> FloatArray:
        """Conformal: the rank of each score among those of the calibration split, (N,)."""
        scores, size = self.score(features, phi), len(self.calibration)
        return np.asarray((1 + size - np.searchsorted(self.calibration, scores, side="left")) / (size + 1))

    def _score(self, X: FloatArray, y: FloatArray) -> FloatArray:
        rows = _design(X, self.centre, self.unit)
        gap = y - rows @ self.location
        return np.asarray(gap if self.spread is None else gap * np.exp(-np.clip(rows @ self.spread, -50, 50)))


def quantile_attack(
    features: Any,
    phi: Any,
    *,
    alpha: float = 0.01,
    head: Literal["pinball", "gaussian"] = "gaussian",
    calibration: float = 0.5,
    seed: int = 0,
) -> QuantileAttack:
    """Learn from public non-members what phi to expect, then calibrate on others of them, so that the false positive rate holds.

    ``pinball``: linear quantile regression at ``1 - alpha`` (statsmodels QuantReg). ``gaussian``: least squares for the mean, then
    for the logarithm of squared residuals, less the mean -1.27 of log chi-squared (Harvey 1976). Either may be wrong: the conformal
    threshold (Romano et al. 2019) makes the rate at most alpha for any non-member exchangeable with these, on average over
    records and calibration splits, not for each record by itself.

    Args:
        features: what is known of a record beside the model, such as embeddings, (n, d); a class belongs in as indicators.
        phi: the target's, on records it was not given, (n,).
        alpha: false positive rate that the threshold is for.
        head: how the quantile is learned.
        calibration: share of records kept for calibration.
        seed: of the split.

    Raises:
        InputError: shapes that do not fit, numbers that are not finite, or fewer records to learn from than coefficients.
    """
    X, y = _table(features, phi, "quantile_attack")
    level, share = as_number(alpha, "alpha"), as_number(calibration, "calibration")
    if not 0 < level < 1 or not 0 < share < 1 or head not in {"pinball", "gaussian"}:
        raise ArgumentError(
            "alpha and calibration are shares, head is pinball or gaussian",
            where="quantile_attack",
            mend="see its documentation",
        )
    order = stream(seed, "quantile attack").permutation(len(y))
    cut = len(y) - max(1, round(share * len(y)))
    learn, keep = order[:cut], order[cut:]
    if cut < X.shape[1] + 2:
        raise InputError(
            f"{cut} records to learn {X.shape[1] + 1} coefficients from",
            where="quantile_attack",
            mend="give more public records or fewer features",
        )
    centre, unit = X[learn].mean(axis=0), X[learn].std(axis=0)
    unit = np.where(unit > 1e-12 * np.maximum(1.0, np.abs(centre)), unit, 1.0)
    rows = _design(X[learn], centre, unit)
    spread = None
    if head == "pinball":
        location = _pinball(rows, y[learn], 1 - level)
    else:
        location = np.asarray(np.linalg.lstsq(rows, y[learn])[0], dtype=np.float64)
        squares = (y[learn] - rows @ location) ** 2
        logs = np.log(np.maximum(squares, 1e-300 + 1e-12 * squares.mean())) - _LOG_CHI_SQUARED
        spread = np.asarray(np.linalg.lstsq(rows, logs)[0] / 2, dtype=np.float64)
    fitted = QuantileAttack(location, spread, centre, unit, np.zeros(0), np.inf)
    scores = np.sort(fitted._score(X[keep], y[keep]))  # noqa: SLF001 - its own
    return QuantileAttack(location, spread, centre, unit, scores, conformal_threshold(scores, level))


def _pinball(rows: FloatArray, y: FloatArray, level: float) -> FloatArray:
    from statsmodels.regression.quantile_regression import QuantReg
    from statsmodels.tools.sm_exceptions import IterationLimitWarning

    with warnings.catch_warnings():
        # calibration makes up for a quantile that is not quite the best; constant phi has a residual density of no width
        warnings.simplefilter("ignore", IterationLimitWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        found = QuantReg(y, rows).fit(q=level, max_iter=2000)
    return np.asarray(found.params, dtype=np.float64)


def _design(X: FloatArray, centre: FloatArray, unit: FloatArray) -> FloatArray:
    return np.column_stack([np.ones(len(X)), (X - centre) / unit])


def _table(features: Any, phi: Any, where: str) -> tuple[FloatArray, FloatArray]:
    X, y = to_numpy(features).astype(np.float64), to_numpy(phi).astype(np.float64)
    if X.ndim != 2 or y.shape != X.shape[:1] or not y.size:
        raise InputError(
            f"features have shape {X.shape}, phi {y.shape}", where=where, mend="give one row and one phi a record"
        )
    if not (np.isfinite(X).all() and np.isfinite(y).all()):
        raise InputError("a number is not finite", where=where, mend="leave those records out")
    return X, y
