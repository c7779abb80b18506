"""What a failure advises is what then happens."""

import re

import numpy as np
import pytest

from certify.core.rounding import format_upper
from certify.gate.check import check
from certify.gate.unlearn import unlearn

LOSSES = ["logistic", "softmax", "squared", "poisson", "gamma", "pseudo-huber", "log-cosh", "squared-hinge"]
LOSSES += ["huber-hinge", "softplus-hinge", "logistic one-vs-rest", "squared-hinge one-vs-rest"]


def _remedy(document):
    return next(entry["remedy"] for entry in document["checks"] if entry["id"] == "privacy")


@pytest.mark.parametrize("loss", LOSSES)
def test_an_unchanged_model_is_told_that_nothing_was_unlearned(build, loss):
    remedy = _remedy(check(build(loss).put("release.model", "original.npz").path).document)
    assert remedy.startswith("nothing was unlearned: the weights equal those of the original model (residual ")
    assert re.search(r"one Newton step would bring mu from \S+ to \S+ \(measured\)", remedy)
    assert "name another file in release.model and run `certify unlearn --method newton`" in remedy


@pytest.mark.parametrize("loss", LOSSES)
def test_the_advised_step_reaches_the_advised_mu(build, loss):
    project = build(loss).put("release.model", "original.npz")
    failed = check(project.path).document
    promised = failed["next_steps"][-1]
    assert f"to {format_upper(promised['mu'])} (measured)" in _remedy(failed)
    project.put("release.model", "advised.npz")
    unlearn(project.path, "newton", {"steps": str(promised["steps"])})
    passed = check(project.path).document
    assert passed["verdict"] == "pass"
    assert passed["guarantee"]["mu"] == pytest.approx(promised["mu"], rel=1e-6, abs=1e-9)


def test_a_strict_policy_asks_for_more_steps_and_they_suffice(project):
    project.put("release.model", "original.npz").put("policy.tolerance", 1e-9)
    failed = check(project.path).document
    steps = failed["next_steps"][-1]["steps"]
    assert steps > 1
    assert f"{steps} Newton steps would bring mu" in _remedy_of_any(failed)
    assert f"--set steps={steps}" in _remedy_of_any(failed)
    project.put("release.model", "advised.npz")
    unlearn(project.path, "newton", {"steps": str(steps)})
    assert check(project.path).exit_code == 0


def _remedy_of_any(document):
    return next(entry["remedy"] for entry in document["checks"] if entry["remedy"])


def test_each_step_ahead_is_closer(project):
    project.put("release.model", "original.npz").put("policy.tolerance", 1e-9)
    distances = [step["distance"] for step in check(project.path).document["next_steps"]]
    assert len(distances) > 1
    assert distances == sorted(distances, reverse=True)


def test_weights_from_elsewhere_are_told_the_likely_causes(project):
    remedy = _remedy(check(project.weights(coef=np.zeros(3)).path).document)
    assert remedy.startswith("the weights do not minimise the declared objective")
    assert "the solver stopped early, the records were not unlearned, or the objective is not the one" in remedy


def test_without_an_original_the_advice_says_to_name_one(project):
    project.drop("release.original").weights(coef=np.zeros(3))
    assert "name the original model in release.original and run" in _remedy(check(project.path).document)


def test_a_policy_out_of_reach_is_not_promised(project):
    project.put("policy.tolerance", 1e-300)
    document = check(project.path).document
    assert document["next_steps"] == []
    assert "ten Newton steps do not reach the policy" in _remedy_of_any(document)


def test_a_pass_needs_no_advice(project):
    document = check(project.path).document
    assert document["next_steps"] == []
    assert [entry["remedy"] for entry in document["checks"]] == [None] * len(document["checks"])
