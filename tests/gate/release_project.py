"""A small project to release from: data, an unlearned model, a spec."""

from pathlib import Path

import numpy as np

from certify.convex.objective import Objective
from certify.convex.problem import bind
from certify.unlearners import Budget
from certify.unlearners.evidence import Meter
from certify.unlearners.methods.retrain import Retrain

SPEC = """
[release]
model = "unlearned.npz"
original = "original.npz"
kind = "glm"
[objective]
loss = "logistic"
l2 = 5.0
[data]
path = "train.npz"
forget = "forget.txt"
[policy]
epsilon = 1.0
delta = 1e-5
noise_std = 0.05
{more}
"""


def fitted(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    problem = bind(Objective("logistic", l2=5.0), X, y)
    return Retrain().run(Meter(problem, Budget()), np.zeros(problem.shape))[0]


def make(folder: Path, forget: tuple[int, ...] = (3, 7), more: str = "") -> Path:
    """Write the project; returns the spec's path."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(5)
    X = rng.normal(size=(300, 3))
    y = (X @ [1.0, -1.0, 0.5] + rng.logistic(size=300) > 0).astype(int)
    kept = ~np.isin(np.arange(300), forget)
    np.savez(folder / "train.npz", X=X, y=y, ids=np.array([f"person-{i}" for i in range(300)]))
    np.savez(folder / "original.npz", coef=fitted(X, y))
    np.savez(folder / "unlearned.npz", coef=fitted(X[kept], y[kept]))
    (folder / "forget.txt").write_text("\n".join(f"person-{i}" for i in forget))
    (folder / "certify.toml").write_text(SPEC.format(more=more))
    return folder / "certify.toml"
