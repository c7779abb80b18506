"""Isotropic noise beside noise shaped by the curvature, at the same certified mu: what each costs the objective and the accuracy.

    .venv/bin/python benchmarks/noise.py [--mu 0.05] [--draws 200]

For each problem some records are deleted, the weights are brought up to date by one Newton step from the old ones (or left as they
are), and both certificates are taken. Each noise gets the smallest noise_std for which its own certified distance gives the mu asked
for. Printed: the expected rise of the objective by the noise (``noise_std^2 tr(C H)/2`` for a covariance ``noise_std^2 C``), and the mean
score over draws on test records (accuracy; for squared error the share of the variance that is explained).

The last three problems speak against the shaped noise: features of one scale, where there is nothing to gain; digits that the model
tells apart with confidence, so that the curvature at w = 0 says little about the curvature at the minimum; and an error that lies
in the steepest direction, where isotropic noise is the better one.
"""

import argparse
from collections.abc import Iterator

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits

from certify.convex.certificate import certify_parameters
from certify.convex.curvature import NoiseShape, curvature_shape
from certify.convex.objective import Objective
from certify.convex.problem import Problem, bind
from certify.convex.shaped import bound_shaped
from certify.convex.solve import newton_step

Case = tuple[str, Problem, np.ndarray, np.ndarray, np.ndarray]
"""Title, retained problem, weights to release, test features and labels."""


def optimum(problem: Problem, w: np.ndarray) -> np.ndarray:
    """Newton steps to rounding level."""
    for _ in range(30):
        w = w - newton_step(problem, w, problem.gradient(w))
    return w


def split(title: str, X: np.ndarray, y: np.ndarray, l2: float, *, steps: int, loss: str = "logistic") -> Case:
    """A third of the records for the test, ten deleted ones, and so many Newton steps from the weights before the deletion."""
    order = np.random.default_rng(0).permutation(len(X))
    test, train = order[: len(X) // 3], order[len(X) // 3 :]
    objective, outputs = Objective(loss, l2, fit_intercept=True), 10 if loss == "softmax" else 1
    full = bind(objective, X[train], y[train], outputs)
    kept = bind(objective, X[train[10:]], y[train[10:]], outputs)
    w = optimum(full, np.zeros(full.shape))
    for _ in range(steps):
        w = w - newton_step(kept, w, kept.gradient(w))
    return title, kept, w, X[test], y[test]


def cases() -> Iterator[Case]:
    """The problems, one after another."""
    generator = np.random.default_rng(1)
    graded = generator.normal(size=(3000, 20)) * np.logspace(-2, 1, 20)
    labels = (graded @ np.logspace(2, -1, 20) / 3 + generator.logistic(size=3000) > 0).astype(int)
    yield split("graded columns, one Newton step", graded, labels, 1e-2, steps=1)
    X, y = load_breast_cancer(return_X_y=True)
    raw = X / 10.0 ** np.ceil(np.log10(X.max(axis=0)))
    yield split("breast cancer, one Newton step", raw, y, 1.0, steps=1)
    X, y = load_diabetes(return_X_y=True, scaled=False)
    raw = X / 10.0 ** np.ceil(np.log10(X.max(axis=0)))
    yield split("diabetes, ridge regression, nothing unlearned", raw, y / 100, 1e-2, steps=0, loss="squared")
    plain = generator.normal(size=(3000, 20))
    labels = (plain @ np.ones(20) / 4 + generator.logistic(size=3000) > 0).astype(int)
    yield split("columns of one scale, one Newton step", plain, labels, 1e-2, steps=1)
    images, digits = load_digits(return_X_y=True)
    yield split("digits, softmax, one Newton step", images / 16, digits, 1e-1, steps=1, loss="softmax")
    yield _steep(split("", graded, labels, 1.0, steps=1))


def _steep(case: Case) -> Case:
    """The minimiser moved along the steepest direction."""
    _, problem, w, X, y = case
    w = optimum(problem, w)
    steepest = np.linalg.eigh(problem.hessian(w))[1][:, -1].reshape(w.shape)
    return "graded columns, error in the steepest direction", problem, w + 1e-6 * steepest, X, y


def score(problem: Problem, w: np.ndarray, X: np.ndarray, y: np.ndarray) -> float:
    """Share of test labels that are right; share of the variance explained for squared error."""
    z = X @ w[:, :-1].T + w[:, -1]
    if problem.objective.loss == "squared":
        return float(1 - np.mean((z[:, 0] - y) ** 2) / np.var(y))
    found = np.argmax(z, axis=1) if problem.outputs > 1 else (z[:, 0] > 0).astype(int)
    return float(np.mean(found == y))


def noise(shape: NoiseShape | None, noise_std: float, like: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """One draw; a seeded stand-in for the release's own sampler."""
    draw = noise_std * generator.normal(size=like.size)
    return draw.reshape(like.shape) if shape is None else shape.parameters(draw, like.shape)


def compare(case: Case, mu: float, draws: int) -> None:
    """Print the rows of one problem."""
    title, problem, w, X, y = case
    shape, bound = curvature_shape(problem), certify_parameters(problem, w)
    shaped, hessian = bound_shaped(problem, w, bound, shape), problem.hessian(w)
    inverse = np.linalg.inv(shape.factor @ shape.factor.T)
    print(f"{title}: {problem.size} parameters, condition of the Hessian {np.linalg.cond(hessian):.1e}")
    print(f"    no noise   score {score(problem, w, X, y):.4f}")
    rises = []
    kinds = (("isotropic", None, float(bound.distance)), ("curvature", shape, float(shaped.shift)))
    for name, used, distance in kinds:
        noise_std = distance / mu
        trace = np.trace(hessian) if used is None else np.sum(inverse * hessian)
        rises.append(0.5 * noise_std**2 * float(trace))
        generator = np.random.default_rng(2)
        scores = [score(problem, w + noise(used, noise_std, w, generator), X, y) for _ in range(draws)]
        print(
            f"    {name}  score {np.mean(scores):.4f}   rise of the objective {rises[-1]:9.2e}   noise_std {noise_std:.2e}"
        )
    print(f"    isotropic / curvature: {rises[0] / rises[1]:.3g}")


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mu", type=float, default=0.05)
    parser.add_argument("--draws", type=int, default=200)
    given = parser.parse_args()
    for case in cases():
        compare(case, given.mu, given.draws)


if __name__ == "__main__":
    main()
