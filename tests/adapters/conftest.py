"""Records for every kind of model, and the one question all convention tests ask: does our gradient vanish there?"""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from certify.convex.adapters.bound import ModelProblem, bind_model
from certify.convex.losses import LOSSES
from certify.convex.objective import Objective


def draw(kind: str, records: int = 60, features: int = 3, seed: int = 0) -> SimpleNamespace:
    """Records whose model has a real intercept and weights of order one."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(records, features)) + 0.3
    score = X @ np.linspace(1.0, -0.6, features) + 0.7
    targets = {
        "binary": lambda: np.where(rng.random(records) < 1 / (1 + np.exp(-score)), "yes", "no"),
        "signs": lambda: np.where(rng.random(records) < 1 / (1 + np.exp(-score)), 1, -1),
        "classes": lambda: np.array(["a", "b", "c"])[np.argmax(rng.gumbel(size=(records, 3)) + np.outer(score, [1, 0.3, -1]), axis=1)],
        "real": lambda: score + rng.normal(size=records),
        "counts": lambda: rng.poisson(np.exp(0.5 * score)).astype(float),
        "positive": lambda: rng.gamma(2.0, np.exp(0.5 * score) / 2),
    }  # fmt: skip
    return SimpleNamespace(X=X, y=targets[kind](), weight=rng.uniform(0.5, 2.0, records))


def has(field: str) -> bool:
    """Whether this version's objective has a term."""
    return field in {item.name for item in dataclasses.fields(Objective)}


def residual(made: ModelProblem, **changes: Any) -> float:
    """Norm of our gradient (of its least subgradient, where there is l1) at the model's weights, relative to the penalty's part."""
    changed, w = dataclasses.replace(made.objective, **changes), made.parameters
    l1 = getattr(changed, "l1", 0.0)
    smooth = dataclasses.replace(changed, l1=0.0) if l1 else changed
    gradient = dataclasses.replace(made.problem, objective=smooth).gradient(w)
    if l1:
        bound = np.full(w.shape[1], l1)
        if changed.fit_intercept and not changed.penalize_intercept:
            bound[-1] = 0.0
        inside = np.sign(gradient) * np.maximum(np.abs(gradient) - bound, 0)
        gradient = np.where(w != 0, gradient + bound * np.sign(w), inside)
    own = made.objective
    scale = own.l2 * float(np.linalg.norm(w)) + getattr(own, "l1", 0.0) * np.sqrt(w.size)
    return float(np.linalg.norm(gradient)) / scale


def assert_convention(made: ModelProblem, precision: float = 1e-5) -> None:
    """The gradient vanishes to the solver's precision, and would not with any factor of 2 or n in the wrong place."""
    assert residual(made) < precision
    records = made.problem.records
    for penalty in ("l2", *(("l1",) if has("l1") else ())):
        own = getattr(made.objective, penalty)
        for factor in (2.0, 0.5, records, 1 / records) if own else ():
            assert residual(made, **{penalty: own * factor}) > 0.1, f"{penalty} times {factor} went unnoticed"
    if made.objective.fit_intercept:
        assert residual(made, penalize_intercept=not made.objective.penalize_intercept) > 1e-3


def needs(*losses: str, terms: tuple[str, ...] = ()) -> None:
    """Skip, visibly, where this version has no such loss or term: the refusal has a test of its own."""
    missing = [loss for loss in losses if loss not in LOSSES] + [term for term in terms if not has(term)]
    if missing:
        pytest.skip(f"this version has no {', '.join(missing)}")


class Tools:
    """What the tests take from this file."""

    draw = staticmethod(draw)
    residual = staticmethod(residual)
    assert_convention = staticmethod(assert_convention)
    bind = staticmethod(bind_model)
    needs = staticmethod(needs)
    has = staticmethod(has)


@pytest.fixture(scope="session")
def tools() -> Tools:
    return Tools()
