"""The declared objective.

Sum convention everywhere: ``F(w) = sum_i weight_i loss(x_i . w, y_i) + l1 ||w||_1 + (l2/2) ||w||^2``, ``l1`` and ``l2``
the total coefficients.

Shapes: n records, d features, p = d + 1 with an intercept (its column of ones stands last) else d, K outputs.
Parameters ``w`` are (K, p) inside this package.
"""

import math
from dataclasses import dataclass

import numpy as np

from certify.convex.losses import Loss, get_loss
from certify.core.arguments import as_flag, shown
from certify.core.errors import ConfigurationError


def _is_finite_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return False
    try:
        return math.isfinite(float(value))
    except (OverflowError, TypeError):
        return False


@dataclass(frozen=True)
class Objective:
    """What the model was asked to minimise, as data rather than code.

    Args:
        loss: name of a loss (``certify list losses``).
        l2: total coefficient of ``||w||^2 / 2``. In scikit-learn's ``LogisticRegression`` it is ``1 / C``.
        fit_intercept: whether a column of ones is appended to the features.
        penalize_intercept: whether ``l1`` and ``l2`` apply to that column's weight too.
        smoothing: width of ``huber-hinge`` or temperature of ``softplus-hinge``; None for every other loss.
        one_vs_rest: K two-class problems, class k against all others, certified jointly; targets 0..K-1, weights (K, p).
        l1: total coefficient of ``||w||_1`` (elastic net), at least 0.

    Raises:
        ConfigurationError: unknown loss, ``l2`` or ``l1`` not a number, ``l1`` negative, or smoothing or one-vs-rest that does not fit
            the loss.
        ArgumentError: a flag that is neither True nor False.
    """

    loss: str
    l2: float
    fit_intercept: bool = False
    penalize_intercept: bool = True
    smoothing: float | None = None
    one_vs_rest: bool = False
    l1: float = 0.0

    def __post_init__(self) -> None:
        for name in ("fit_intercept", "penalize_intercept", "one_vs_rest"):
            object.__setattr__(self, name, as_flag(getattr(self, name), f"objective.{name}"))
        if self.smoothing is not None:
            if not _is_finite_number(self.smoothing):
                raise ConfigurationError(
                    f"smoothing must be a finite number above 0, not {shown(self.smoothing)}",
                    where="objective.smoothing",
                    mend="declare the one the model was trained with, or remove it",
                )
            object.__setattr__(self, "smoothing", float(self.smoothing))
        get_loss(self.loss, self.smoothing, one_vs_rest=self.one_vs_rest)
        if not _is_finite_number(self.l2):
            raise ConfigurationError(
                f"l2 must be a finite number, not {shown(self.l2)}",
                where="objective.l2",
                mend="give the total coefficient of ||w||^2 / 2",
            )
        if not _is_finite_number(self.l1) or self.l1 < 0:
            raise ConfigurationError(
                f"l1 must be a finite number of at least 0, not {shown(self.l1)}",
                where="objective.l1",
                mend="give the total coefficient of ||w||_1, or leave it out",
            )
        object.__setattr__(self, "l2", float(self.l2))
        object.__setattr__(self, "l1", float(self.l1))

    @property
    def loss_function(self) -> Loss:
        """The loss itself."""
        return get_loss(self.loss, self.smoothing, one_vs_rest=self.one_vs_rest)

    @property
    def smooth(self) -> bool:
        """Whether F has a Hessian everywhere, so that the Newton and self-concordant bounds mean something."""
        return self.l1 == 0 and math.isfinite(self.loss_function.constants.self_concordance)

    @property
    def bent(self) -> bool:
        """Whether Newton steps lead nowhere: an L1 term, or a loss whose slope jumps."""
        jumps = math.isinf(self.loss_function.constants.smoothness)
        return self.l1 > 0 or (jumps and not math.isfinite(self.loss_function.constants.self_concordance))

    @property
    def formula(self) -> str:
        """The objective in one line of text."""
        norm = "||w||^2" if self.penalize_intercept or not self.fit_intercept else "||w without intercept||^2"
        sparse = "" if self.l1 == 0 else f" + l1 {norm.removesuffix('^2')}_1"
        scores = "z = x_i . w_k, s = +1 where y_i = k" if self.one_vs_rest else "z = x_i . w"
        return f"F(w) = sum_i weight_i [{self.loss_function.formula}]{sparse} + (l2/2) {norm},  {scores}"
