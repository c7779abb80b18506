"""How well a linear model does on test records. No guarantee, no limit."""

import numpy as np

from certify.convex.problem import Problem
from certify.core.arrays import FloatArray

METRICS = {
    "logistic": "accuracy",
    "softmax": "accuracy",
    "hinge": "accuracy",
    "squared": "root mean squared error",
    "poisson": "mean Poisson deviance",
    "gamma": "mean gamma deviance",
    "pseudo-huber": "mean absolute error",
    "log-cosh": "mean absolute error",
    "squared-hinge": "accuracy",
    "huber-hinge": "accuracy",
    "softplus-hinge": "accuracy",
}


def utility(problem: Problem, parameters: FloatArray) -> float:
    """The loss's usual metric (see ``METRICS``) on the problem's records."""
    z, y = problem.scores(parameters), problem.targets
    match METRICS[problem.objective.loss]:
        case "accuracy":
            labels = np.argmax(z, axis=1) if problem.outputs > 1 else np.where(z[:, 0] > 0, 1.0, -1.0)
            return float(np.mean(labels == y))
        case "root mean squared error":
            return float(np.sqrt(np.mean((z[:, 0] - y) ** 2)))
        case "mean absolute error":
            return float(np.mean(np.abs(z[:, 0] - y)))
        case "mean gamma deviance":
            return _gamma_deviance(z[:, 0], y)
        case _:
            return _poisson_deviance(z[:, 0], y)


def _gamma_deviance(z: FloatArray, y: FloatArray) -> float:
    with np.errstate(over="ignore"):
        return float(2 * np.mean(z - np.log(y) + y * np.exp(-z) - 1))


def _poisson_deviance(z: FloatArray, y: FloatArray) -> float:
    from scipy.special import xlogy

    with np.errstate(over="ignore"):
        return float(2 * np.mean(xlogy(y, np.where(y > 0, y, 1)) - y * z - y + np.exp(z)))
