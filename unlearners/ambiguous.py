"""Objectives without one minimum: of the distance to it nothing can be claimed, whatever a method did."""

import math

from certify.convex.certificate import certify_parameters
from certify.convex.modulus import MODULUS_LIMIT
from certify.convex.problem import Problem
from certify.core.arrays import FloatArray
from certify.core.errors import AssumptionViolatedError


def no_one_minimum(problem: Problem, parameters: FloatArray, *, exact: bool) -> str:
    """Why there need not be one minimum; empty where nothing speaks against it, and where it is proven for an exact claim."""
    objective = problem.objective
    if not objective.l2 > 0:
        return "l2 is 0, without strong convexity"
    if not objective.fit_intercept or objective.penalize_intercept:
        return ""
    if objective.loss == "softmax":
        return "softmax does not change when all intercepts move together, and they are not penalised"
    if not math.isfinite(objective.loss_function.constants.self_concordance):
        return f"the {objective.loss} loss has flat parts, and the intercept is not penalised"
    if exact and problem.shape[1] <= MODULUS_LIMIT:  # of one class alone, say, the minimum lies at infinity
        try:
            certify_parameters(problem, parameters)
        except AssumptionViolatedError as error:
            return error.what
    return ""
