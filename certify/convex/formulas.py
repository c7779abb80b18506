"""The formulas of :mod:`certify.convex.apriori`, one function each, and what each of them needs.

A formula takes upper bounds and returns one, up to the rounding of its own few operations; infinity where it says nothing.
"""

import math
from dataclasses import dataclass
from functools import cached_property

from certify.convex.certificate import certify_parameters
from certify.convex.enclosure import max_row_norm, norm_upper
from certify.convex.losses.base import LossConstants
from certify.convex.onestep import Start, Step
from certify.convex.problem import Problem
from certify.convex.spectral import largest_singular_value, power_sum
from certify.core.errors import AssumptionViolatedError
from certify.core.rounding import format_upper

GUO_GAMMA = 0.25
"""Lipschitz constant of the logistic l'' in Guo et al. 2020 and after; the smallest one is 1/(6 sqrt 3) = 0.0962."""

RAISE = 1 + 2.0**-44
"""More than the rounding error of the few scalar operations of one formula."""


@dataclass(frozen=True, eq=False)
class Sizes:
    """How large the records are: upper bounds, computed once for both steps."""

    retained: Problem
    forgotten: Problem

    @cached_property
    def spectral(self) -> float:
        """``||A^(1/2) X||_2`` of the retained records."""
        return float(largest_singular_value(self.retained))

    @cached_property
    def cubes(self) -> float:
        """K3."""
        return float(power_sum(self.retained, 3))

    @cached_property
    def row_norm_retained(self) -> float:
        """Largest row norm of the retained records."""
        return max_row_norm(self.retained)

    @cached_property
    def row_norm(self) -> float:
        """Largest row norm of all records."""
        return max(self.row_norm_retained, max_row_norm(self.forgotten))

    def forgotten_powers(self, power: int) -> float:
        """K1, K2: the sum over the forgotten of ``a_i ||x_i||^power``."""
        return float(power_sum(self.forgotten, power))


@dataclass(frozen=True, eq=False)
class Facts:
    """Everything the formulas take, each an upper bound (but the modulus that holds everywhere, a given number)."""

    start: Start
    step: Step
    sizes: Sizes

    @property
    def modulus(self) -> float:
        """The modulus that holds everywhere; 0 with a free intercept."""
        return float(self.start.retained.penalty.min())

    @property
    def loss(self) -> LossConstants:
        """The loss's constants."""
        return self.start.retained.objective.loss_function.constants

    @property
    def lipschitz(self) -> float:
        """Of a record's loss in its K scores together: K heads of one-vs-rest pull ``sqrt K`` times as hard as one."""
        retained = self.start.retained
        heads = retained.outputs if retained.objective.one_vs_rest else 1
        return float(self.loss.lipschitz * math.sqrt(heads) * RAISE)

    @property
    def loss_name(self) -> str:
        """The loss's name."""
        return self.start.retained.objective.loss

    @property
    def records(self) -> tuple[int, int]:
        """n and m: all records, and the forgotten ones."""
        forgotten = self.start.forgotten.records
        return self.start.retained.records + forgotten, forgotten

    @property
    def unweighted(self) -> bool:
        """Whether every sample weight is 1."""
        return bool((self.start.retained.weights == 1).all() and (self.start.forgotten.weights == 1).all())

    @property
    def slack(self) -> float:
        """Between the exact step and the one that float64 took: the solver's defect and one addition."""
        return self.step.defect / self.start.modulus + self.step.rounding


def measured(facts: Facts) -> float:
    """The a-posteriori certificate at the weights where the step ended."""
    propose = facts.start.factor_retained if facts.modulus > 0 else None
    try:
        return float(certify_parameters(facts.start.retained, facts.step.landing, propose).distance)
    except AssumptionViolatedError:
        return math.inf


def _worst_remainder(facts: Facts, length: float) -> float:
    """``||r_1||`` for any step of at most this length: the Hessian of F_R changes by at most g K3 a unit."""
    return facts.loss.hessian_lipschitz / 2 * facts.sizes.cubes * length**2


def worst_case(facts: Facts, *, full: bool, corrected: bool) -> float:
    """Theorems P1 and P4 and the two between them: ``(r + B K2 s [full] + (g/2) K3 s^2) / L`` for a step of length s at most.

    Args:
        facts: of the step.
        full: the step was taken with the Hessian of all records, which differs by ``||H_U|| <= B K2``.
        corrected: from the measured gradient, so ``s = (C K1 + r_S)/L`` and r = 0; else ``s = C K1/L`` and r = r_S.
    """
    residual = facts.start.training_residual
    length = (facts.lipschitz * facts.sizes.forgotten_powers(1) + (residual if corrected else 0.0)) / facts.modulus
    missed = 0.0 if corrected else residual
    if full:
        missed += facts.loss.smoothness * facts.sizes.forgotten_powers(2) * length
    return (missed + _worst_remainder(facts, length)) / facts.modulus + facts.slack


def guo_worst(facts: Facts) -> float:
    """Theorem P1."""
    return worst_case(facts, full=False, corrected=True)


def jackknife_worst(facts: Facts) -> float:
    """Theorem P4."""
    return worst_case(facts, full=True, corrected=False)


def componentwise(facts: Facts) -> float:
    """Theorem P2."""
    remainder = facts.loss.hessian_lipschitz / 2 * facts.sizes.spectral * facts.step.fourths
    return (facts.step.linear_residual + remainder) / facts.modulus + facts.slack


def guo_data(facts: Facts) -> float:
    """Theorem P2 with Guo's product and constants: ``gamma max||x|| ||X||_2 ||s|| ||X s||``."""
    # published for rows of norm at most 1: l'' changes by at most gamma |x . s| <= gamma ||x|| ||s||
    remainder = GUO_GAMMA * facts.sizes.row_norm_retained * facts.sizes.spectral * facts.step.norm * facts.step.squares
    return (facts.step.linear_residual + remainder) / facts.modulus + facts.slack


def _growth(turn: float) -> float:
    """Upper bound on ``(e^T - 1 - T)/T``: its series is below ``(T/2) sum (T/3)^k``; direct where nothing cancels."""
    if turn < 0.5:
        return turn / 2 / (1 - turn / 3) * RAISE
    return (math.expm1(turn) - turn) / turn * RAISE if turn < 700 else math.inf


def self_concordant(facts: Facts) -> float:
    """Theorem P3."""
    constant = facts.loss.self_concordance * facts.sizes.row_norm_retained * RAISE
    turn, modulus = facts.loss.self_concordance * facts.step.reach * RAISE, facts.start.modulus
    if not turn < 700:
        return math.inf
    decrement = facts.step.linear_residual / math.sqrt(modulus) + facts.step.energy * _growth(turn)
    decrement *= math.exp(turn / 2) * RAISE
    after = max(facts.modulus, modulus * math.exp(-turn) / RAISE)
    scaled = decrement / math.sqrt(after) * RAISE
    radius = constant * scaled * RAISE
    if not radius < 1 - 2.0**-40:
        return math.inf
    # -ln(1 - rho)/rho <= 1/(1 - rho), and is sharper only where rho is not small
    distance = scaled / (1 - radius) if radius < 2.0**-30 else -math.log1p(-radius) / constant
    return distance * RAISE + facts.slack


def _published_modulus(facts: Facts) -> float:
    """mu of the mean convention: the retained objective is ``mean loss + (mu/2) ||w||^2``, times n - m."""
    n, m = facts.records
    return facts.modulus / (n - m)


def guo_worst_published(facts: Facts) -> float:
    """``4 gamma m^2 C^2 / (mu^2 (n - m))``, a residual, over the total l2; C and gamma for the largest row norm."""
    n, m = facts.records
    mu, norm = _published_modulus(facts), facts.sizes.row_norm
    residual = 4 * GUO_GAMMA * norm**3 * (facts.lipschitz * norm) ** 2 * m**2 / (mu**2 * (n - m))
    return residual / facts.modulus


def sekhari_published(facts: Facts) -> float:
    """``2 M m^2 C^2 / (mu^3 n^2)``, mu cubed; C is of the loss with its share of the penalty, at the measured ``||w0||``."""
    n, m = facts.records
    mu = _published_modulus(facts)
    gradient = facts.lipschitz * facts.sizes.row_norm + mu * norm_upper(facts.start.w0)
    return 2 * facts.loss.hessian_lipschitz * facts.sizes.row_norm**3 * (m * gradient) ** 2 / (mu**3 * n**2)


def ngd_published(facts: Facts) -> float:
    """``M m^2 C^2 / (mu^3 n^2) + 2 m^2 C Q K / (mu^2 n^2)``, QK the smoothness of one record."""
    n, m = facts.records
    mu, norm = _published_modulus(facts), facts.sizes.row_norm
    lipschitz = facts.lipschitz * norm
    newton_error = facts.loss.hessian_lipschitz * norm**3 * (m * lipschitz) ** 2 / (mu**3 * n**2)
    return newton_error + 2 * m**2 * lipschitz * facts.loss.smoothness * norm**2 / (mu**2 * n**2)


def needs_modulus(facts: Facts) -> str:
    """Why strong convexity everywhere is missing; empty when it is not."""
    if facts.modulus > 0:
        return ""
    free = "an intercept without penalty" if facts.start.retained.objective.l2 > 0 else "no penalty"
    return f"{free} leaves no modulus that holds everywhere"


def needs_lipschitz(facts: Facts) -> str:
    """Why the Lipschitz constant is missing."""
    return "" if math.isfinite(facts.loss.lipschitz) else f"the {facts.loss_name} loss has no Lipschitz constant"


def needs_hessian_lipschitz(facts: Facts) -> str:
    """Why the Hessian-Lipschitz constant is missing."""
    known = math.isfinite(facts.loss.hessian_lipschitz)
    return "" if known else f"the {facts.loss_name} loss has no Hessian-Lipschitz constant"


def needs_logistic(facts: Facts) -> str:
    """Why gamma = 1/4 means nothing here."""
    return "" if facts.loss_name == "logistic" else "its constant, gamma = 1/4, is that of the logistic loss"


def needs_unit_weights(facts: Facts) -> str:
    """Why a formula that counts records means nothing here."""
    return "" if facts.unweighted else "the published statement has no sample weights"


def assumes_optimum(facts: Facts) -> str:
    """The assumption that makes a published worst case no proof, with what was measured of it."""
    residual = format_upper(facts.start.training_residual)
    return (
        f"takes the original for the exact minimiser on all records; its training residual, {residual}, is not charged"
    )
