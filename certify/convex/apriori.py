"""One-step bounds computed before the step is taken, beside what is measured after it. Informative: no gate reads them.

Each bounds the distance to the retained minimiser ``w*`` after one step from the original weights ``w0``
(:mod:`certify.convex.onestep`). Sum convention, ``L = l2`` (total, the same before and after the deletion), U the forgotten
records, R the retained ones, C, B, g the loss's Lipschitz, smoothness and Hessian-Lipschitz constants, and

    K1 = sum_U a_i ||x_i||,   K2 = sum_U a_i ||x_i||^2,   K3 = sum_R a_i ||x_i||^3,   r_S = ||grad F_S(w0)||.

Proven (docs/theory.md, theorems P1 to P4; what the solver and the addition missed is added to each):

* Newton, worst case:         ``(g/2) K3 ((C K1 + r_S)/L)^2 / L``
* Newton, data-dependent:     ``(g/2) ||A^(1/2) X||_2 sqrt(sum a_i ||s x_i||^4) / L``
* Newton, self-concordant:    theorem 3 after the step, from ``||r_1||_{H^-1} <= ||s||_H (e^T - 1 - T)/T``
* jackknife, worst case:      ``(r_S + B K2 C K1/L + (g/2) K3 (C K1/L)^2) / L``
* jackknife, data-dependent:  ``(||grad F_R(w0) + H_R s|| + (g/2) ||A^(1/2) X||_2 sqrt(sum a_i ||s x_i||^4)) / L``

As published (Guo, Sekhari, NGD) in the mean convention, with ``mu = L/(n - m)``: not proofs here, and labelled so, because the
papers take the original for the exact minimiser on all records.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from certify.convex.certificate import certify_parameters
from certify.convex.enclosure import max_row_norm, norm_upper
from certify.convex.losses.base import TINY, LossConstants
from certify.convex.onestep import Start, Step, jackknife, newton, start_at
from certify.convex.problem import Problem
from certify.convex.solve import DENSE_LIMIT
from certify.convex.spectral import largest_singular_value, power_sum
from certify.core.arrays import FloatArray
from certify.core.bounds import UpperBound
from certify.core.errors import AssumptionViolatedError
from certify.core.rounding import format_upper

GUO_GAMMA = 0.25
"""Lipschitz constant of the logistic l'' in Guo et al. 2020 and after; the smallest one is 1/(6 sqrt 3) = 0.0962."""

_RAISE = 1 + 2.0**-44
"""More than the rounding error of the few scalar operations of one formula."""


@dataclass(frozen=True)
class OneStepBound:
    """One bound on the distance to the retained minimiser after one step.

    Attributes:
        name: which bound; unique together with the step.
        step: "newton" or "jackknife", the step that it is about.
        source: where the formula comes from.
        quantity: what is bounded, in words.
        value: the bound; None where it does not apply.
        valid: whether the value is proven for this data and this step. A published formula whose assumptions were not
            checked is not.
        reason: why there is no value, or why it is not a proof; empty for a proven one.
    """

    name: str
    step: str
    source: str
    quantity: str
    value: UpperBound | None
    valid: bool
    reason: str = ""


@dataclass(frozen=True)
class OneStepBounds:
    """All bounds of both steps.

    Attributes:
        bounds: measured first, then from sharp to crude.
        training_residual: upper bound on the gradient norm of the original on *all* records; None when skipped.
        skipped: why nothing was computed; empty otherwise.
    """

    bounds: tuple[OneStepBound, ...]
    training_residual: UpperBound | None = None
    skipped: str = ""


def one_step_bounds(retained: Problem, forgotten: Problem, w0: FloatArray) -> OneStepBounds:
    """Every one-step bound from the original weights.

    Args:
        retained: the objective on the retained records.
        forgotten: the same objective on the forgotten records (its penalty is not used).
        w0: the original weights, (K, p); they need not be optimal for anything.

    Example:
        Squared error: the Newton step is exact, and every bound knows it.

        >>> import numpy as np
        >>> from certify.convex.objective import Objective
        >>> from certify.convex.problem import bind
        >>> objective = Objective("squared", l2=1.0)
        >>> found = one_step_bounds(bind(objective, [[1.0]], [3.0]), bind(objective, [[1.0]], [5.0]), np.array([[2.0]]))
        >>> [bound.value < 1e-12 for bound in found.bounds if bound.step == "newton" and bound.value is not None]
        [True, True, True]
    """
    if retained.size > DENSE_LIMIT:
        return OneStepBounds((), skipped=f"more than {DENSE_LIMIT:,} parameters: the Hessians are not formed")
    start = start_at(retained, forgotten, w0)
    if start is None:
        return OneStepBounds((), skipped="the Hessian at the original weights is singular to working precision")
    found = []
    for kind, step in (("newton", newton(start)), ("jackknife", jackknife(start))):
        facts = _Facts(start, step)
        found += [_evaluate(entry, facts) for entry in _ENTRIES if entry.step == kind]
    return OneStepBounds(tuple(found), UpperBound(start.training_residual))


@dataclass(frozen=True, eq=False)
class _Facts:
    """Everything the formulas take, each an upper bound (but L, a given number)."""

    start: Start
    step: Step

    @property
    def modulus(self) -> float:
        """The modulus that holds everywhere; 0 with a free intercept."""
        return float(self.start.retained.penalty.min())

    @property
    def loss(self) -> LossConstants:
        return self.start.retained.objective.loss_function.constants

    @property
    def loss_name(self) -> str:
        return self.start.retained.objective.loss

    @cached_property
    def spectral(self) -> float:
        return float(largest_singular_value(self.start.retained))

    @cached_property
    def row_norm_retained(self) -> float:
        return max_row_norm(self.start.retained)

    @property
    def row_norm(self) -> float:
        return max(self.row_norm_retained, max_row_norm(self.start.forgotten))

    def forgotten_powers(self, power: int) -> float:
        return float(power_sum(self.start.forgotten, power))

    @property
    def records(self) -> tuple[int, int]:
        """n and m: all records, and the forgotten ones."""
        forgotten = self.start.forgotten.records
        return self.start.retained.records + forgotten, forgotten

    @property
    def unweighted(self) -> bool:
        return bool((self.start.retained.weights == 1).all() and (self.start.forgotten.weights == 1).all())

    @property
    def slack(self) -> float:
        """Between the exact step and the one that float64 took: the solver's defect and one addition."""
        return self.step.defect / self.start.modulus + self.step.rounding


def _measured(facts: _Facts) -> float:
    propose = facts.start.factor_retained if facts.modulus > 0 else None
    try:
        return float(certify_parameters(facts.start.retained, facts.step.landing, propose).distance)
    except AssumptionViolatedError:
        return math.inf


def _worst_remainder(facts: _Facts, length: float) -> float:
    """``||r_1||`` for any step of at most this length: the Hessian of F_R changes by at most g K3 a unit."""
    return facts.loss.hessian_lipschitz / 2 * float(power_sum(facts.start.retained, 3)) * length**2


def _guo_worst(facts: _Facts) -> float:
    length = (facts.loss.lipschitz * facts.forgotten_powers(1) + facts.start.training_residual) / facts.modulus
    return _worst_remainder(facts, length) / facts.modulus + facts.slack


def _jackknife_worst(facts: _Facts) -> float:
    length = facts.loss.lipschitz * facts.forgotten_powers(1) / facts.modulus
    mismatch = facts.loss.smoothness * facts.forgotten_powers(2) * length
    return (facts.start.training_residual + mismatch + _worst_remainder(facts, length)) / facts.modulus + facts.slack


def _componentwise(facts: _Facts) -> float:
    remainder = facts.loss.hessian_lipschitz / 2 * facts.spectral * facts.step.fourths
    return (facts.step.linear_residual + remainder) / facts.modulus + facts.slack


def _guo_data(facts: _Facts) -> float:
    # published for rows of norm at most 1: l'' changes by at most gamma |x . s| <= gamma ||x|| ||s||
    remainder = GUO_GAMMA * facts.row_norm_retained * facts.spectral * facts.step.norm * facts.step.squares
    return (facts.step.linear_residual + remainder) / facts.modulus + facts.slack


def _growth(turn: float) -> float:
    """Upper bound on ``(e^T - 1 - T)/T``: its series is below ``(T/2) sum (T/3)^k``; direct where nothing cancels."""
    if turn < 0.5:
        return turn / 2 / (1 - turn / 3) * _RAISE
    return (math.expm1(turn) - turn) / turn * _RAISE if turn < 700 else math.inf


def _self_concordant(facts: _Facts) -> float:
    constant = facts.loss.self_concordance * facts.row_norm_retained * _RAISE
    turn, modulus = constant * facts.step.norm * _RAISE, facts.start.modulus
    if not turn < 700:
        return math.inf
    decrement = facts.step.linear_residual / math.sqrt(modulus) + facts.step.energy * _growth(turn)
    decrement *= math.exp(turn / 2) * _RAISE
    after = max(facts.modulus, modulus * math.exp(-turn) / _RAISE)
    scaled = decrement / math.sqrt(after) * _RAISE
    radius = constant * scaled * _RAISE
    if not radius < 1 - 2.0**-40:
        return math.inf
    # -ln(1 - rho)/rho <= 1/(1 - rho), and is sharper only where rho is not small
    distance = scaled / (1 - radius) if radius < 2.0**-30 else -math.log1p(-radius) / constant
    return distance * _RAISE + facts.slack


def _published_modulus(facts: _Facts) -> float:
    """mu of the mean convention: the retained objective is ``mean loss + (mu/2) ||w||^2``, times n - m."""
    n, m = facts.records
    return facts.modulus / (n - m)


def _guo_worst_published(facts: _Facts) -> float:
    n, m = facts.records
    mu, norm = _published_modulus(facts), facts.row_norm
    residual = 4 * GUO_GAMMA * norm**3 * (facts.loss.lipschitz * norm) ** 2 * m**2 / (mu**2 * (n - m))
    return residual / facts.modulus


def _sekhari_published(facts: _Facts) -> float:
    n, m = facts.records
    mu = _published_modulus(facts)
    gradient = facts.loss.lipschitz * facts.row_norm + mu * norm_upper(facts.start.w0)
    return 2 * facts.loss.hessian_lipschitz * facts.row_norm**3 * (m * gradient) ** 2 / (mu**3 * n**2)


def _ngd_published(facts: _Facts) -> float:
    n, m = facts.records
    mu, norm = _published_modulus(facts), facts.row_norm
    lipschitz = facts.loss.lipschitz * norm
    newton_error = facts.loss.hessian_lipschitz * norm**3 * (m * lipschitz) ** 2 / (mu**3 * n**2)
    return newton_error + 2 * m**2 * lipschitz * facts.loss.smoothness * norm**2 / (mu**2 * n**2)


def _modulus_everywhere(facts: _Facts) -> str:
    return "" if facts.modulus > 0 else "an intercept without penalty leaves no modulus that holds everywhere"


def _lipschitz(facts: _Facts) -> str:
    return "" if math.isfinite(facts.loss.lipschitz) else f"the {facts.loss_name} loss has no Lipschitz constant"


def _hessian_lipschitz(facts: _Facts) -> str:
    known = math.isfinite(facts.loss.hessian_lipschitz)
    return "" if known else f"the {facts.loss_name} loss has no Hessian-Lipschitz constant"


def _logistic(facts: _Facts) -> str:
    return "" if facts.loss_name == "logistic" else "its constant, gamma = 1/4, is that of the logistic loss"


def _no_weights(facts: _Facts) -> str:
    return "" if facts.unweighted else "the published statement has no sample weights"


def _assumes_optimum(facts: _Facts) -> str:
    residual = format_upper(facts.start.training_residual)
    return (
        f"takes the original for the exact minimiser on all records; its training residual, {residual}, is not charged"
    )


@dataclass(frozen=True)
class _Entry:
    name: str
    step: str
    source: str
    formula: Callable[[_Facts], float]
    needs: tuple[Callable[[_Facts], str], ...] = ()
    caveat: Callable[[_Facts], str] | None = None
    infinite: str = "larger than any floating-point number"


_OWN = "docs/theory.md, one step bounded in advance"
_TOO_LONG = "the step is too long: R nu / sqrt(s) after it could not be shown to be below 1"
_WORST = (_modulus_everywhere, _lipschitz, _hessian_lipschitz)
_DATA = (_modulus_everywhere, _hessian_lipschitz)
_ENTRIES = (
    _Entry("measured after the step", "newton", "docs/theory.md, theorems 2 to 4", _measured, infinite=_TOO_LONG),
    _Entry("self-concordance", "newton", _OWN, _self_concordant, infinite=_TOO_LONG),
    _Entry("data-dependent, right constants", "newton", f"Guo et al. 2020; {_OWN}", _componentwise, _DATA),
    _Entry("data-dependent, published constants", "newton", "Guo et al. 2020", _guo_data, (_logistic, *_DATA)),
    _Entry("worst case, right constants", "newton", f"Guo et al. 2020; {_OWN}", _guo_worst, _WORST),
    _Entry(
        "worst case, published",
        "newton",
        "Guo et al. 2020",
        _guo_worst_published,
        (_logistic, *_WORST, _no_weights),
        _assumes_optimum,
    ),
    _Entry(
        "worst case of Sekhari, published",
        "newton",
        "Sekhari et al. 2021",
        _sekhari_published,
        (*_WORST, _no_weights),
        _assumes_optimum,
    ),
    _Entry("measured after the step", "jackknife", "docs/theory.md, theorems 2 to 4", _measured, infinite=_TOO_LONG),
    _Entry("self-concordance", "jackknife", _OWN, _self_concordant, infinite=_TOO_LONG),
    _Entry("data-dependent", "jackknife", f"Suriyakumar, Wilson 2022; {_OWN}", _componentwise, _DATA),
    _Entry("worst case, derived", "jackknife", f"Lev, Wilson 2024 (NGD); {_OWN}", _jackknife_worst, _WORST),
    _Entry(
        "worst case of NGD, as re-implemented",
        "jackknife",
        "a public re-implementation of Lev, Wilson 2024",
        _ngd_published,
        (*_WORST, _no_weights),
        _assumes_optimum,
    ),
)

_QUANTITY = {
    "newton": "distance to the retained minimiser after one Newton step from the original",
    "jackknife": "distance to the retained minimiser after one jackknife (natural-gradient) step from the original",
}


def _evaluate(entry: _Entry, facts: _Facts) -> OneStepBound:
    missing = next((reason for need in entry.needs if (reason := need(facts))), "")
    value = math.inf
    if not missing:
        try:
            value = entry.formula(facts) * _RAISE + TINY
        except (OverflowError, ZeroDivisionError):
            missing = entry.infinite
        if not math.isfinite(value):
            missing = entry.infinite
    caveat = entry.caveat(facts) if entry.caveat is not None and not missing else ""
    return OneStepBound(
        name=entry.name,
        step=entry.step,
        source=entry.source,
        quantity=_QUANTITY[entry.step],
        value=None if missing else UpperBound(value),
        valid=not missing and entry.caveat is None,
        reason=missing or caveat,
    )
