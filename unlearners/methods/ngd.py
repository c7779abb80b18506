"""NGD: one natural-gradient step of a linear model away from what the forgotten records taught it."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from certify.convex.composite import coordinate_descent
from certify.convex.information import CANONICAL, Downdated, information, roots
from certify.convex.problem import Problem
from certify.convex.solve import DENSE_LIMIT, Factor, conjugate_gradient
from certify.core.arrays import FloatArray
from certify.core.errors import ConfigurationError, InputError
from certify.unlearners.evidence import Claim, Meter
from certify.unlearners.interface import Unlearner
from certify.unlearners.methods.ngd_guarantee import promise
from certify.unlearners.probe import Probe


@dataclass(frozen=True)
class Ngd(Unlearner):
    """One step ``w - I(w)^-1 g`` from the original, I the Fisher information with the penalty (certify.convex.information).

    The paper's step takes the information of *all* records, whose factor can be kept between requests, and the gradient of the
    forgotten ones alone: ``information="full", gradient="forgotten"``, O(m d + d^2) a request. Both can be had better:

    * ``information="retained"``: the forgotten records' share is taken out (Woodbury while they are few), which for a canonical
      link makes the step Newton's, exact for squared error;
    * ``gradient="retained"``: the measured gradient ``grad F_R(w0) = grad F_S(w0) - sum_U a_i grad loss_i(w0)``, one pass over the
      retained records. The two agree where training ended at the minimum. Where it did not, the step removes the training residual
      ``grad F_S(w0)`` too, and the paper's step leaves it: an error of ``||grad F_S(w0)|| / l2`` however few are forgotten. (In the
      mean convention the same term reads ``n/(n - m) ||grad mean F_S|| / mu``.)

    The guarantee is theorem P4 of docs/theory.md, or P1, or what lies between: sum convention, total ``l2`` the same before and
    after. From a mean convention with ``lambda`` kept, declare ``l2 = lambda (n - m)``: the original, trained with ``lambda n``, then has
    the training residual ``m lambda ||w0||``, which is what turns the loss's C into the ``C_f = C + lambda ||w0||`` of the mean-convention
    form ``M m^2 C_f^2 / (2 mu^3 (n-m)^2) + m^2 C_f QK / (mu^2 (n-m)^2)``. It is computed where the link is canonical and the constants
    exist, and refused otherwise: with another link the information is not the Hessian, the error is of first order in the share
    forgotten, and the method claims nothing (the certificate may still measure the result). Worst cases are loose by orders of
    magnitude; :func:`certify.bound_distance` of the result is the number to lean on.

    With an L1 term the step goes to the minimum of ``g.d + d' I d / 2 + l1 ||w0 + d||_1``, g and I of the smooth part: exact for squared
    error and the retained information. Its g is the measured one, because there the forgotten gradient alone does not say it.

    Args:
        information: records whose information is used: "full" (the paper's) or "retained".
        gradient: "retained" (measured) or "forgotten" (the paper's).
        guarantee: compute the guarantee: another gradient and two Hessians.
    """

    name: ClassVar[str] = "ngd"
    summary: ClassVar[str] = "one natural-gradient step: Fisher information of all or of the retained records"
    needs: ClassVar[str] = "the original model, the retained and the forgotten records"
    reference: ClassVar[str] = "Lev, Wilson 2024 (the step); docs/theory.md, theorems P1 and P4 (the guarantee)"
    claim: ClassVar[Claim] = Claim.APPROXIMATE
    family: ClassVar[str] = "second-order"
    reads_forgotten: ClassVar[bool] = True
    # The information of all records leaves an error of first order in the share forgotten, on squared error too.
    conformance: ClassVar[Probe] = Probe(oracle={"information": "retained"}, reports=("guarantee",))

    information: Literal["full", "retained"] = "full"
    gradient: Literal["retained", "forgotten"] = "retained"
    guarantee: bool = True

    def run(self, meter: Meter, start: FloatArray) -> FloatArray:
        """One step.

        Raises:
            ConfigurationError: the loss has no Fisher information, or an L1 term and ``gradient="forgotten"``.
            InputError: the information is singular.
        """
        assert meter.forgotten is not None
        gone = replace(meter.forgotten, objective=replace(meter.forgotten.objective, l2=0.0))
        kept, lost = information(meter.problem), information(gone)
        if meter.problem.objective.l1 > 0:
            step = self._proximal(meter, kept, lost, start)
        else:
            step = self._solved(meter, kept, lost, start, self._right(meter, gone, start))
        meter.iterate()
        self._vouch(meter, gone, start, step)
        return start + step

    def _right(self, meter: Meter, gone: Problem, w: FloatArray) -> FloatArray:
        """What the step is solved for."""
        meter.charge("gradients")
        removed = gone.gradient(w)
        if self.gradient == "forgotten":
            return removed
        gradient = meter.gradient(w)
        meter.solver["training_residual"] = _norm(gradient + removed)
        return -gradient

    def _solved(self, meter: Meter, kept: Problem, lost: Problem, w: FloatArray, right: FloatArray) -> FloatArray:
        """``I^-1 right``: directly, by down-dating, or by conjugate gradients for many parameters."""
        meter.charge("hessians")
        if kept.size > DENSE_LIMIT:
            return conjugate_gradient(lambda v: self._product(kept, lost, w, v), right)
        mine = kept.hessian(w)
        try:
            if self.information == "retained" and lost.records * lost.outputs >= lost.size:
                return Factor(mine)(right)
            meter.charge("hessians")
            everything = Factor(mine + lost.hessian(w))
            if self.information == "full":
                return everything(right)
            return Downdated(everything, roots(lost, w))(right)
        except (np.linalg.LinAlgError, ValueError):
            raise InputError(
                "the Fisher information at the original weights is singular to working precision",
                where=self.name,
                mend="penalise every weight (l2 above 0, the intercept too), or use --method retrain",
            ) from None

    def _product(self, kept: Problem, lost: Problem, w: FloatArray, direction: FloatArray) -> FloatArray:
        product = kept.hessian_product(w, direction)
        return product + lost.hessian_product(w, direction) if self.information == "full" else product

    def _proximal(self, meter: Meter, kept: Problem, lost: Problem, w: FloatArray) -> FloatArray:
        """The step of the quadratic model with the L1 term."""
        if self.gradient == "forgotten":
            raise ConfigurationError(
                "with an L1 term the forgotten records' gradient does not say that of the others",
                where="ngd.gradient",
                mend="use gradient=retained",
            )
        if kept.size > DENSE_LIMIT:
            raise ConfigurationError(
                f"the step with an L1 term forms the information, for at most {DENSE_LIMIT:,} parameters",
                where="--method",
                mend="use --method retrain",
            )
        meter.charge("gradients")
        gradient = kept.smooth_gradient(w)
        meter.residual_norms.append(_norm(kept.shrink(w, gradient)))
        meter.charge("hessians")
        matrix = kept.hessian(w)
        if self.information == "full":
            meter.charge("hessians")
            matrix = matrix + lost.hessian(w)
        lasso = np.broadcast_to(kept.lasso, kept.shape).ravel()
        target: FloatArray = w.ravel()
        for _ in range(50):
            slope = gradient.ravel() + matrix @ (target - w.ravel())
            before, target = target, coordinate_descent(matrix, slope, target, lasso)
            if _norm(target - before) <= 1e-15 * _norm(target):
                break
        target = _polished(matrix, gradient.ravel(), w.ravel(), lasso, target).reshape(w.shape)
        slope = gradient + (matrix @ (target - w).ravel()).reshape(w.shape)
        meter.solver["linear_residual"] = _norm(kept.shrink(target, slope)) / max(_norm(gradient), 1e-300)
        return target - w

    def _vouch(self, meter: Meter, gone: Problem, start: FloatArray, step: FloatArray) -> None:
        """The guarantee, or why there is none."""
        objective = meter.problem.objective
        if objective.loss not in CANONICAL:
            why = f"the link of the {objective.loss} loss is not canonical: its Fisher information is not its Hessian"
            meter.warnings.append(f"{why}, so the guarantee of NGD does not hold and none is given")
            meter.claim = (Claim.NONE, why)
        elif self.guarantee:
            meter.claim = (
                Claim.APPROXIMATE,
                promise(
                    meter, gone, start, step, full=self.information == "full", corrected=self.gradient == "retained"
                ),
            )


def _norm(array: FloatArray) -> float:
    return float(np.linalg.norm(array))


def _polished(
    matrix: FloatArray, gradient: FloatArray, w: FloatArray, lasso: FloatArray, target: FloatArray
) -> FloatArray:
    """The minimum with the signs that coordinate descent found, solved for; the target itself where signs would change."""
    free = (target != 0) | (lasso == 0)
    moved = np.where(free, 0.0, -w)
    right = -(gradient + lasso * np.sign(target) + matrix @ moved)[free]
    try:
        moved[free] = np.linalg.solve(matrix[np.ix_(free, free)], right)
    except np.linalg.LinAlgError:
        return target
    solved = np.where(free, w + moved, 0.0)
    same = np.sign(solved) == np.sign(target)
    return solved if bool(np.all(same | (lasso == 0))) else target
