"""Epsilon of the audit <= of the instance <= of the certificate on convex models; planted mistakes break it and are found."""

import importlib.util
import sys

import numpy as np
import pytest
from scipy.stats import binom

from certify.privacy import gaussian

LOSSES = ("logistic", "softmax", "poisson", "pseudo-huber", "log-cosh", "softplus-hinge")


def load(place):
    plan = importlib.util.spec_from_file_location("mutated_certifiers_benchmark", place)
    module = importlib.util.module_from_spec(plan)
    sys.modules[plan.name] = module
    plan.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bench(repo_root):
    yield load(repo_root / "benchmarks" / "mutated_certifiers.py")
    del sys.modules["mutated_certifiers_benchmark"]


@pytest.mark.parametrize("loss", LOSSES)
def test_the_honest_certifier_keeps_the_triple_inequality(bench, loss):
    assert set(LOSSES) == set(bench.LOSSES)
    for seed in range(3):
        found = bench.try_certifier(bench.HONEST, bench.make_case(seed, loss), 3000, seed)
        assert 0 < found.plain < found.audit <= found.instance <= found.certificate
        assert found.instance > 0.95 * found.certificate  # and wastes little


def test_doing_nothing_keeps_it_too_with_noise_enough(bench):
    """A large distance: the certificate of the original weights on the retained records."""
    case = bench.make_case(5)
    distance = float(bench.HONEST.distance(case, case.retained, case.original))
    true = float(np.linalg.norm(case.original - case.retrained))
    assert true <= distance <= 1.2 * true
    generator = np.random.default_rng(0)
    worlds = [w.ravel() + bench.draw((8000, w.size), distance, generator) for w in (case.original, case.retrained)]
    mu, _ = bench.attack(*worlds)
    assert mu <= true / distance <= 1.0
    assert gaussian.epsilon(mu, 1e-5) > 0.8 * gaussian.epsilon(true / distance, 1e-5)


def test_every_planted_mistake_is_found(bench):
    cases = [bench.make_case(seed) for seed in range(2)]
    missed = [
        name
        for name, mutant in bench.MUTANTS.items()
        for seed, case in enumerate(cases)
        if not bench.try_certifier(mutant, case, 20_000, seed).caught
    ]
    assert not missed
    assert len(bench.MUTANTS) >= 12


@pytest.mark.parametrize(
    "name",
    [
        "draws noise of half the standard deviation",
        "takes the variance for the standard deviation",
        "leaves one weight without noise",
        "draws the same noise for every release",
    ],
)
def test_a_mistake_of_the_sampler_is_found_by_the_audit_alone(bench, name):
    found = bench.try_certifier(bench.MUTANTS[name], bench.make_case(3), 4000, 0)
    assert found.by_audit
    assert not found.by_instance


def test_mutants_of_the_claim_leave_the_release_as_it_was(bench):
    """A control of the mutants: where only the claim is wrong, instance and audit are those of the honest certifier."""
    case = bench.make_case(4)
    honest = bench.try_certifier(bench.HONEST, case, 1000, 0)
    for name in (
        "forgets a square root",
        "divides the noise by the distance",
        "counts every record twice in the Hessian",
    ):
        found = bench.try_certifier(bench.MUTANTS[name], case, 1000, 0)
        assert (found.instance, found.audit, found.plain) == (honest.instance, honest.audit, honest.plain)
        assert found.certificate < honest.certificate


@pytest.mark.parametrize("mu", [0.0, 0.5, 2.0, 5.0])
def test_the_attack_exceeds_the_truth_no_more_often_than_stated(bench, mu):
    runs, size, wrong, plainly = 1000, 120, 0, 0
    generator = np.random.default_rng(int(10 * mu) + 1)
    truth = gaussian.epsilon(mu, bench.DELTA) if mu else 0.0
    for _ in range(runs):
        first, second = generator.normal(size=(2, 2 * size, 3))
        found, plain = bench.attack(first + mu * np.eye(3)[1], second)
        wrong += found > mu
        plainly += plain > truth
    allowed = binom.isf(1e-6, runs, 1 - bench.CONFIDENCE)
    assert wrong <= allowed
    assert plainly <= allowed


@pytest.mark.slow
def test_the_honest_certifier_raises_no_alarm_over_many_deletions(bench):
    alarms = sum(bench.try_certifier(bench.HONEST, bench.make_case(seed), 2000, seed).caught for seed in range(300))
    assert alarms <= binom.isf(1e-6, 300, 2 * (1 - bench.CONFIDENCE))
