"""How well a linear model does on test records. No guarantee, no limit."""

import numpy as np

from certify.convex.problem import Problem
from certify.core.arrays import FloatArray

METRICS = {
    "logistic": "accuracy",
    "softmax": "accuracy",
    "squared": "root mean squared error",
    "poisson": "mean Poisson deviance",
}


def utility(problem: Problem, parameters: FloatArray) -> float:
    """The loss's usual metric (see ``METRICS``) on the problem's records."""
    z, y = problem.scores(parameters), problem.targets
    match problem.objective.loss:
        case "logistic":
            return float(np.mean(np.where(z[:, 0] > 0, 1.0, -1.0) == y))
        case "softmax":
            return float(np.mean(np.argmax(z, axis=1) == y))
        case "squared":
            return float(np.sqrt(np.mean((z[:, 0] - y) ** 2)))
        case _:
            return _poisson_deviance(z[:, 0], y)


def _poisson_deviance(z: FloatArray, y: FloatArray) -> float:
    from scipy.special import xlogy

    with np.errstate(over="ignore"):
        return float(2 * np.mean(xlogy(y, np.where(y > 0, y, 1)) - y * z - y + np.exp(z)))
