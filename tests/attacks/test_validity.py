"""Bounds on mechanisms of known epsilon exceed it no more often than stated; benchmarks/audit_validity.py does the same at length."""

from types import ModuleType

import numpy as np
import pytest
from by_path import load
from scipy.stats import binom

from certify.attacks.observations import Cell
from certify.privacy import gaussian

QUICK, ALPHA = 300, 0.05


@pytest.fixture(scope="module")
def mechanisms() -> ModuleType:
    return load("../benchmarks/mechanisms")


@pytest.fixture(scope="module")
def simulated() -> ModuleType:
    return load("../benchmarks/simulated_fleets")


def held(mechanisms: ModuleType, case: object, runs: int) -> None:
    found = mechanisms.audits_of(case, runs)
    assert found.above <= binom.isf(1e-6, runs, ALPHA), (case.mechanism, case.bound)
    assert found.share >= case.floor, (case.mechanism, case.bound)


@pytest.mark.parametrize("mu", [0.5, 1.0, 2.0])
def test_bounds_on_gaussian_mechanisms(mechanisms: ModuleType, mu: float) -> None:
    for case in mechanisms.gaussian_cases(mu, 500):
        held(mechanisms, case, QUICK)


def test_bounds_where_the_truth_needs_no_model(mechanisms: ModuleType) -> None:
    cases = [case for case in mechanisms.discrete_cases(1.0, 2000) if case.bound != "exact test"]
    assert len(cases) == 2
    for case in [*cases, mechanisms.fleet_case(), *mechanisms.set_cases()]:
        held(mechanisms, case, QUICK)


def test_a_claim_with_half_of_the_noise_is_found(mechanisms: ModuleType) -> None:
    """The same audits held against the epsilon of twice the noise: most bounds exceed it."""
    for case in mechanisms.gaussian_cases(2.0, 500):
        if case.bound == "scores, GDP":
            claimed = gaussian.epsilon(1.0, mechanisms.DELTA)
            bounds = [case.draw(np.random.default_rng(seed)) for seed in range(20)]
            assert min(bounds) > claimed


def test_private_training_by_opacus(mechanisms: ModuleType) -> None:
    pytest.importorskip("opacus")
    private = mechanisms.PrivateSGD(0.7, 2, width=120)
    truth, accountant = gaussian.epsilon(private.mu, mechanisms.DELTA), private.claimed()
    assert truth <= accountant
    for case in private.cases(60):
        assert case.truth == truth
        held(mechanisms, case, 20)
    bare = mechanisms.PrivateSGD(0.7, 2, real=0.3, width=120)
    scores = next(iter(bare.cases(60)))
    assert min(scores.draw(np.random.default_rng(seed)) for seed in range(5)) > accountant


def test_simulated_fleets_are_like_what_they_are_drawn_from(simulated: ModuleType) -> None:
    """Means by whether a record was seen, covariance of records within a model, twins alike in nothing but their records."""
    rng = np.random.default_rng(0)
    records, factors = 30, 12
    likeness = simulated.Likeness(
        rng.normal(size=records), rng.normal(3, 1, records), rng.normal(size=(factors, records)) / factors**0.5, 0.3
    )
    assignment = rng.integers(0, 3, size=(4000, records))
    for place, left in (("retrained", 0.0), ("half", 0.5), ("identity", 1.0)):
        drawn = likeness.draw(assignment, place, 1)
        phi = drawn.get("unlearned")
        expected = likeness.unseen + left * (likeness.seen - likeness.unseen)
        forgotten = np.where(assignment == Cell.FORGET, phi, np.nan)
        assert np.abs(np.nanmean(forgotten, axis=0) - expected).max() < 0.2
        assert np.array_equal(phi, drawn.get("original")) == (place == "identity")
    known = np.select([assignment == Cell.RETAIN], [likeness.seen], likeness.unseen)
    first, second = drawn.get("retrained") - known, drawn.get("again") - known
    covariance = likeness.factors.T @ likeness.factors
    assert np.abs(np.cov(first.T) - covariance).max() < 0.2 * np.abs(covariance).max()
    assert np.mean(first * second) / np.mean(first**2) == pytest.approx(0.3, abs=0.05)


def test_the_gate_on_simulated_retraining_raises_no_alarm_and_sees_models_that_forgot_nothing(
    simulated: ModuleType,
) -> None:
    digits = load("../benchmarks/digits_audit")
    rng = np.random.default_rng(3)
    records = 100
    likeness = simulated.Likeness(
        rng.normal(2, 2, records), rng.normal(6, 1, records), rng.normal(size=(24, records)) / 24**0.5, 0.8
    )
    found = [
        digits.gate(likeness.draw(digits.coins(16, records, seed), "retrained", seed), ("u-lira",), seed)
        for seed in range(15)
    ]
    assert sum(bool(one.failed_by) for one in found) <= binom.isf(1e-6, len(found), ALPHA)
    assert sum(bool(one.refused) for one in found) <= binom.isf(1e-6, len(found), 0.01)
    kept = digits.gate(likeness.draw(digits.coins(48, records, 0), "identity", 0), ("u-lira",), 0)
    assert "u-lira-retrain-under-tpr" in kept.failed_by
    assert not kept.refused
