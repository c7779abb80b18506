"""One-step bounds computed before the step is taken, beside what is measured after it. Informative: no gate reads them.

Each bounds the distance to the retained minimiser ``w*`` after one step from the original weights ``w0``
(:mod:`certify.convex.onestep`). Sum convention, ``L = l2`` (total, the same before and after the deletion), U the forgotten
records, R the retained ones, C, B, g the loss's Lipschitz, smoothness and Hessian-Lipschitz constants, and

    K1 = sum_U a_i ||x_i||,   K2 = sum_U a_i ||x_i||^2,   K3 = sum_R a_i ||x_i||^3,   r_S = ||grad F_S(w0)||.

Proven (docs/theory.md, theorems P1 to P4; what the solver and the addition missed is added to each):

* Newton, worst case:         ``(g/2) K3 ((C K1 + r_S)/L)^2 / L``
* Newton, data-dependent:     ``(g/2) ||A^(1/2) X||_2 sqrt(sum a_i ||s x_i||^4) / L``
* Newton, self-concordant:    theorem 3 after the step, from ``||r_1||_{H^-1} <= ||s||_H (e^T - 1 - T)/T``,
  ``T = R_loss max_i ||s x_i||``
* jackknife, worst case:      ``(r_S + B K2 C K1/L + (g/2) K3 (C K1/L)^2) / L``
* jackknife, data-dependent:  ``(||grad F_R(w0) + H_R s|| + (g/2) ||A^(1/2) X||_2 sqrt(sum a_i ||s x_i||^4)) / L``

As published (Guo, Sekhari, NGD) in the mean convention, with ``mu = L/(n - m)``: not proofs here, and labelled so, because the
papers take the original for the exact minimiser on all records.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from certify.convex.formulas import (
    RAISE,
    Facts,
    Sizes,
    assumes_optimum,
    componentwise,
    guo_data,
    guo_worst,
    guo_worst_published,
    jackknife_worst,
    measured,
    needs_hessian_lipschitz,
    needs_lipschitz,
    needs_logistic,
    needs_modulus,
    needs_unit_weights,
    ngd_published,
    sekhari_published,
    self_concordant,
)
from certify.convex.losses.base import TINY
from certify.convex.onestep import jackknife, newton, start_at
from certify.convex.problem import Problem
from certify.convex.solve import DENSE_LIMIT
from certify.core.arrays import FloatArray
from certify.core.bounds import UpperBound


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
    if retained.objective.bent:
        return OneStepBounds(
            (), skipped="the objective has no second derivative: Newton steps do not lead to its minimum"
        )
    if retained.size > DENSE_LIMIT:
        return OneStepBounds((), skipped=f"more than {DENSE_LIMIT:,} parameters: the Hessians are not formed")
    start = start_at(retained, forgotten, w0)
    if start is None:
        return OneStepBounds((), skipped="the Hessian at the original weights is singular to working precision")
    found = []
    sizes = Sizes(retained, start.forgotten)
    for kind, step in (("newton", newton(start)), ("jackknife", jackknife(start))):
        facts = Facts(start, step, sizes)
        found += [_evaluate(entry, facts) for entry in _ENTRIES if entry.step == kind]
    return OneStepBounds(tuple(found), UpperBound(start.training_residual))


@dataclass(frozen=True)
class _Entry:
    name: str
    step: str
    source: str
    formula: Callable[[Facts], float]
    needs: tuple[Callable[[Facts], str], ...] = ()
    caveat: Callable[[Facts], str] | None = None
    infinite: str = "larger than any floating-point number"


_OWN = "docs/theory.md, section 12"
_TOO_LONG = "the step is too long: R nu / sqrt(s) after it could not be shown to be below 1"
_WORST = (needs_modulus, needs_lipschitz, needs_hessian_lipschitz)
_DATA = (needs_modulus, needs_hessian_lipschitz)
_ENTRIES = (
    _Entry("measured after the step", "newton", "docs/theory.md, theorems 2 to 4", measured, infinite=_TOO_LONG),
    _Entry("self-concordance", "newton", _OWN, self_concordant, infinite=_TOO_LONG),
    _Entry("data-dependent, right constants", "newton", f"Guo et al. 2020; {_OWN}", componentwise, _DATA),
    _Entry("data-dependent, published constants", "newton", "Guo et al. 2020", guo_data, (needs_logistic, *_DATA)),
    _Entry("worst case, right constants", "newton", f"Guo et al. 2020; {_OWN}", guo_worst, _WORST),
    _Entry(
        "worst case, published",
        "newton",
        "Guo et al. 2020",
        guo_worst_published,
        (needs_logistic, *_WORST, needs_unit_weights),
        assumes_optimum,
    ),
    _Entry(
        "worst case of Sekhari, published",
        "newton",
        "Sekhari et al. 2021",
        sekhari_published,
        (*_WORST, needs_unit_weights),
        assumes_optimum,
    ),
    _Entry("measured after the step", "jackknife", "docs/theory.md, theorems 2 to 4", measured, infinite=_TOO_LONG),
    _Entry("self-concordance", "jackknife", _OWN, self_concordant, infinite=_TOO_LONG),
    _Entry("data-dependent", "jackknife", f"Suriyakumar, Wilson 2022; {_OWN}", componentwise, _DATA),
    _Entry("worst case, derived", "jackknife", f"Lev, Wilson 2024 (NGD); {_OWN}", jackknife_worst, _WORST),
    _Entry(
        "worst case of NGD, as re-implemented",
        "jackknife",
        "a public re-implementation of Lev, Wilson 2024",
        ngd_published,
        (*_WORST, needs_unit_weights),
        assumes_optimum,
    ),
)

_QUANTITY = {
    "newton": "distance to the retained minimiser after one Newton step from the original",
    "jackknife": "distance to the retained minimiser after one jackknife (natural-gradient) step from the original",
}


def _evaluate(entry: _Entry, facts: Facts) -> OneStepBound:
    missing = next((reason for need in entry.needs if (reason := need(facts))), "")
    value = math.inf
    if not missing:
        try:
            value = entry.formula(facts) * RAISE + TINY
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
