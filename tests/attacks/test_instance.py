"""The likelihood ratio of one release: its law, its bounds, and the order audit <= release <= certificate."""

import math

import numpy as np
import pytest
from scipy.stats import binom, kstest

from certify.attacks.audits import instance as module
from certify.attacks.audits.instance import DECIDING, Instance, audit_instance, draws_of, release_scores
from certify.attacks.audits.rebuilding import audit_reconstruction
from certify.convex.objective import Objective
from certify.convex.problem import bind
from certify.core.verdict import Verdict
from certify.privacy import gaussian

DELTA = 1e-5


@pytest.fixture(autouse=True)
def _fewer_draws(monkeypatch):
    monkeypatch.setattr(module, "DRAWS", 1000)


def instance(mu, parameters=6, noise_std=0.1, slack=0.0):
    direction = np.linspace(1, 2, parameters)
    released = mu * noise_std * direction / np.linalg.norm(direction)
    return Instance(released + 3.0, np.full(parameters, 3.0), noise_std, slack, DELTA)


def audit(one, certified=math.inf, limit=10.0, seed=0, strict=0.99):
    found = audit_instance(one, certified=certified, limit=limit, confidence=0.95, strict=strict, seed=seed)
    assert len(found.findings) == DECIDING
    return {finding.id.removeprefix("likelihood-ratio-"): finding for finding in found.findings}


@pytest.mark.parametrize("mu", [0.0, 0.3, 4.0])
def test_scores_are_normal_half_a_mu_from_the_middle(mu):
    first, second = release_scores(instance(mu), 4000, seed=1)
    assert kstest(first - mu / 2, "norm").pvalue > 1e-3
    assert kstest(second + mu / 2, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1  # draws of their own


def test_a_seed_gives_the_same_scores_and_another_does_not():
    same = [release_scores(instance(1.0), 500, seed=2)[0] for _ in range(2)]
    assert np.array_equal(*same)
    assert not np.array_equal(same[0], release_scores(instance(1.0), 500, seed=3)[0])


@pytest.mark.parametrize("mu", [0.05, 1.0, 30.0])
def test_the_three_numbers_are_in_order(mu):
    certified = gaussian.epsilon(mu * 1.01, DELTA)
    found = audit(instance(mu, slack=1e-6), certified, limit=1e4)
    assert found["instance"].value == pytest.approx(gaussian.epsilon(mu, DELTA))
    assert found["instance"].lower <= found["instance"].value <= found["instance"].upper
    assert found["counts"].value <= found["instance"].upper
    assert found["scores"].value <= found["instance"].upper
    assert all(one.verdict is Verdict.PASS for one in found.values())
    assert found["instance"].note.count("<=") == 2
    if mu >= 1:
        assert found["scores"].value > 0.5 * found["instance"].value  # it is the strongest attack there is


@pytest.mark.parametrize("mu", [0.0, 1.0])
def test_bounds_exceed_the_truth_no_more_often_than_stated(mu, monkeypatch):
    monkeypatch.setattr(module, "DRAWS", 40)
    monkeypatch.setattr(module, "LEAST", 40)
    runs = 80
    truth = gaussian.epsilon(mu, DELTA) if mu else 0.0
    wrong = np.zeros(2, dtype=int)
    for seed in range(runs):
        found = audit(instance(mu), seed=seed, strict=0.95)
        wrong += [found[how].value > truth for how in ("scores", "counts")]
    assert (wrong <= binom.isf(1e-6, runs, 0.05)).all()


def test_a_certificate_that_claims_too_much_is_contradicted_by_all_three():
    one = instance(1.0)
    found = audit(one, certified=gaussian.epsilon(0.1, DELTA))
    assert found["instance"].verdict is Verdict.FAIL
    assert found["scores"].verdict is Verdict.FAIL
    assert "> certificate" in found["instance"].note
    assert audit(instance(8.0), certified=0.5)["counts"].verdict is Verdict.FAIL


def test_what_the_refit_leaves_open_is_not_held_against_the_certificate():
    certified = gaussian.epsilon(0.9, DELTA)
    assert audit(instance(1.0, slack=0.2), certified)["instance"].verdict is Verdict.PASS
    assert audit(instance(1.0, slack=0.01), certified)["instance"].verdict is Verdict.FAIL


def test_the_policy_limits_what_a_loose_certificate_allows():
    found = audit(instance(2.0), certified=math.inf, limit=1.0)
    assert {one.verdict for one in found.values()} == {Verdict.FAIL}
    assert found["instance"].limit == 1.0


def test_what_is_said_to_be_seen_is_seen(monkeypatch):
    monkeypatch.setattr(
        "certify.attacks.audits.instance.exact_lower_bound", lambda *_: 0.0
    )  # seconds, and not asked for here
    certified = gaussian.epsilon(0.5, DELTA)
    seen = audit(instance(0.5), certified)["scores"].minimum_detectable
    mu = gaussian.mu(seen, DELTA)
    assert mu > 0.5
    caught = sum(audit(instance(mu), certified, seed=seed)["scores"].verdict is Verdict.FAIL for seed in range(60))
    assert binom.ppf(1e-4, 60, 0.8) <= caught <= binom.ppf(1 - 1e-4, 60, 0.8)


def test_large_models_get_fewer_draws_and_never_too_few():
    assert draws_of(10) == module.DRAWS
    assert module.LEAST < draws_of(200_000) < module.DRAWS
    assert draws_of(10**9) == module.LEAST


def test_equal_worlds_show_nothing():
    found = audit(instance(0.0), certified=0.0)
    assert all(one.verdict is Verdict.PASS and one.value == 0 for one in found.values())


@pytest.fixture(scope="module")
def versions():
    """A logistic model before and after one deletion."""
    from certify.convex.solve import newton_step

    random = np.random.default_rng(0)
    X = random.normal(size=(400, 12))
    y = (random.random(400) < 1 / (1 + np.exp(-X[:, 0]))).astype(float)
    objective = Objective("logistic", l2=2.0)

    def fit(problem):
        w = np.zeros(problem.shape)
        for _ in range(12):
            w = w - newton_step(problem, w, problem.gradient(w))
        return w

    retained = bind(objective, X[1:], y[1:])
    return X, retained, fit(bind(objective, X, y)), fit(retained)


def test_reconstruction_finds_the_record_and_noise_hides_it(versions):
    X, retained, before, after = versions
    random = np.random.default_rng(1)
    scale = 20 * float(np.linalg.norm(before - after))
    pairs = [(before, after + scale * random.normal(size=after.shape)) for _ in range(20)]
    bare, noised = audit_reconstruction(before, pairs, retained, after, X[:1], X[1:], confidence=0.95).findings
    assert bare.value > 0.9999
    assert bare.p_value == pytest.approx(1 / 400)
    assert noised.lower < noised.value < noised.upper < 0.999
    assert noised.p_value > 0.05
    assert bare.verdict is None
    assert noised.verdict is None


def test_reconstruction_of_nothing_is_nothing(versions):
    X, retained, before, _ = versions
    found = audit_reconstruction(before, [(before, before)], retained, before, X[:1], X[1:], confidence=0.95)
    assert [(one.value, one.p_value) for one in found.findings] == [(0.0, 1.0)] * 2
