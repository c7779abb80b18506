"""The gate's answers: pass, fail, refused; text, JSON, object and exit code never disagree."""

import json
import math
import os
from dataclasses import replace

import numpy as np
import pytest

from certify.cli.app import _run
from certify.core.verdict import Verdict, worst
from certify.gate import check as gate
from certify.gate.check import check

LOSSES = ["logistic", "softmax", "squared", "poisson", "gamma", "pseudo-huber", "log-cosh", "squared-hinge"]
LOSSES += ["huber-hinge", "softplus-hinge", "logistic one-vs-rest", "squared-hinge one-vs-rest"]


def _by_id(document):
    return {entry["id"]: entry for entry in document["checks"]}


# What spoils a passing project, and the verdict that must follow.
_CASES = {
    "good": (lambda _: None, Verdict.PASS),
    "unchanged": (lambda p: p.put("release.model", "original.npz"), Verdict.FAIL),
    "zero weights": (lambda p: p.weights(coef=np.zeros(3)), Verdict.FAIL),
    "tolerance": (lambda p: p.put("policy.tolerance", 1e-15), Verdict.FAIL),
    "loose tolerance": (lambda p: p.put("policy.tolerance", 1e-3), Verdict.PASS),
    "strict epsilon": (lambda p: p.put("policy.epsilon", 0).put("policy.delta", 1e-12), Verdict.FAIL),
    "no noise to speak of": (lambda p: p.put("policy.noise_std", 1e-12), Verdict.FAIL),
    "l2 of zero": (lambda p: p.put("objective.l2", 0), Verdict.REFUSED),
    "negative l2": (lambda p: p.put("objective.l2", -1), Verdict.REFUSED),
    "large delta": (lambda p: p.put("policy.delta", 1 / 196), Verdict.REFUSED),
    "larger delta": (lambda p: p.put("policy.delta", 0.5), Verdict.REFUSED),
    "audit asked for": (lambda p: p.put("audit.attacks", ["likelihood-ratio"]), Verdict.PASS),
    "audit of nothing certified": (
        lambda p: p.put("objective.l2", 0).put("audit.attacks", ["likelihood-ratio"]),
        Verdict.REFUSED,
    ),
    "fail and refused": (lambda p: p.put("release.model", "original.npz").put("policy.delta", 0.1), Verdict.FAIL),
    "fail and audit": (
        lambda p: p.put("policy.tolerance", 1e-15).put("audit.attacks", ["likelihood-ratio"]),
        Verdict.FAIL,
    ),
    "l2 of zero and tolerance": (lambda p: p.put("objective.l2", 0).put("policy.tolerance", 1e-3), Verdict.REFUSED),
}


@pytest.mark.parametrize(("spoil", "verdict"), _CASES.values(), ids=_CASES)
def test_the_verdict_is_one_everywhere(project, check_json, capsys, spoil, verdict):
    spoil(project)
    result = check(project.path)
    code, document = check_json(project.path)
    assert (result.verdict, result.exit_code) == (verdict, verdict.exit_code)
    assert (document["verdict"], document["exit_code"], code) == (verdict.value, verdict.exit_code, verdict.exit_code)
    assert worst([Verdict(entry["verdict"]) for entry in document["checks"]]) is verdict
    assert _run(["check", str(project.path)]) == code
    assert f" {verdict.value.upper()}: " in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize(("spoil", "verdict"), _CASES.values(), ids=_CASES)
def test_only_a_pass_claims_a_guarantee(project, spoil, verdict):
    spoil(project)
    document = check(project.path).document
    assert (document["guarantee"]["kind"] == "certified") == (verdict is Verdict.PASS)
    assert (document["attacker"] is not None) == (verdict is Verdict.PASS)


@pytest.mark.parametrize(("spoil", "verdict"), _CASES.values(), ids=_CASES)
def test_a_violated_assumption_is_never_a_pass(project, spoil, verdict):
    spoil(project)
    result = check(project.path)
    violated = [item["id"] for item in result.document["assumptions"] if item["status"] == "violated"]
    assert not (violated and result.verdict is Verdict.PASS)
    assert bool(violated) == any(
        entry["verdict"] == "refused" and entry["id"] in {"delta", "strong-convexity"}
        for entry in result.document["checks"]
    )


@pytest.mark.parametrize(("spoil", "verdict"), _CASES.values(), ids=_CASES)
def test_whatever_did_not_pass_comes_with_a_remedy(project, spoil, verdict):
    spoil(project)
    entries = check(project.path).report.checks
    assert [entry.id for entry in entries if entry.verdict is Verdict.PASS and entry.remedy] == []
    assert any(entry.remedy for entry in entries) == (verdict is not Verdict.PASS)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("model", "code"), [("unlearned.npz", 0), ("original.npz", 1)])
def test_every_loss_passes_unlearned_and_fails_unchanged(build, loss, model, code):
    assert check(build(loss).put("release.model", model).path).exit_code == code


def test_the_retrained_model_passes(project, projects):
    objective = projects.Objective("logistic", l2=4.0)
    retrained = projects.train(objective, project.arrays, projects.FORGOTTEN)
    project.weights(coef=retrained.coef)
    bounds = check(project.path).document["bounds"]
    assert bounds["distance"] < 1e-12


def test_the_numbers_of_a_check_are_those_of_its_limits(project, check_json):
    project.put("policy.tolerance", 1e-3)
    _, document = check_json(project.path)
    entries = _by_id(document)
    assert entries["tolerance"]["measured"] == document["bounds"]["distance"] <= entries["tolerance"]["limit"] == 1e-3
    assert entries["privacy"]["measured"] == document["guarantee"]["epsilon"] <= entries["privacy"]["limit"] == 1.0
    assert entries["delta"]["limit"] == 1 / 196
    assert entries["request"]["measured"] == 4
    assert document["guarantee"]["mu"] >= document["bounds"]["distance"] / document["policy"]["noise_std"]


def test_the_limit_of_distance_is_where_the_verdict_turns(project, check_json):
    distance = check_json(project.path)[1]["bounds"]["distance"]
    assert check(project.put("policy.tolerance", distance).path).exit_code == 0
    assert check(project.put("policy.tolerance", math.nextafter(distance, 0)).path).exit_code == 1


def test_nan_can_never_pass(project, monkeypatch):
    project.put("policy.tolerance", 1e-3)
    measured = gate.measure
    broken = {"mu": math.nan, "epsilon": math.nan}
    monkeypatch.setattr(gate, "measure", lambda *args: replace(measured(*args), **broken))
    monkeypatch.setattr(gate, "look_ahead", lambda *_: [])
    assert _by_id(check(project.path).document)["privacy"]["verdict"] == "fail"


def test_a_distance_that_is_nan_can_never_pass(project, monkeypatch):
    project.put("policy.tolerance", 1e-3)
    measured = gate.measure

    def broken(*args):
        found = measured(*args)
        return replace(found, bound=replace(found.bound, distance=type(found.bound.distance)(math.nan)))

    monkeypatch.setattr(gate, "measure", broken)
    monkeypatch.setattr(gate, "look_ahead", lambda *_: [])
    assert _by_id(check(project.path).document)["tolerance"]["verdict"] == "fail"


def test_a_model_nobody_can_check_is_refused_before_reading(project, capsys):
    project.put("release.kind", "torch")
    project.remove("train.npz")
    assert _run(["check", str(project.path)]) == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "nothing was checked" in err


def test_softmax_without_a_penalty_on_intercepts_is_refused(build, projects, check_json):
    project = build("softmax").put("objective.fit_intercept", True).put("objective.penalize_intercept", False)
    project.drop("release.original").weights(coef=np.zeros((3, 3)), intercept=np.zeros(3))
    code, document = check_json(project.path)
    assert code == 4
    assert (
        "softmax does not change when all intercepts move together" in _by_id(document)["strong-convexity"]["summary"]
    )
    assert _by_id(document)["privacy"]["summary"] == "not measured: an assumption above is not met"


def test_one_intercept_without_penalty_is_certified_by_its_measured_modulus(build, projects):
    project = build().put("objective.fit_intercept", True).put("objective.penalize_intercept", False)
    objective = projects.Objective("logistic", l2=4.0, fit_intercept=True, penalize_intercept=False)
    retrained = projects.train(objective, project.arrays, projects.FORGOTTEN)
    project.drop("release.original").weights(coef=retrained.coef, intercept=retrained.intercept)
    assert check(project.path).exit_code == 0


def test_the_audit_that_cannot_run_is_refused_in_one_line(project, capsys):
    assert _run(["check", str(project.put("audit.attacks", ["u-lira"]).path)]) == 2
    assert "no method is named" in capsys.readouterr().err


def test_a_check_leaves_global_state_as_found(project):
    np.random.seed(7)  # noqa: NPY002 - the global state is what is looked at
    state, folder, errors = np.random.get_state()[1].copy(), os.getcwd(), np.geterr()  # noqa: NPY002, PTH109
    check(project.path)
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert (os.getcwd(), np.geterr()) == (folder, errors)  # noqa: PTH109


def test_the_object_and_the_document_are_json(project):
    document = check(project.path).document
    assert json.loads(json.dumps(document, allow_nan=False)) == document


@pytest.mark.parametrize(("delta", "verdict"), [(1 / 197, "pass"), (1 / 196, "refused"), (0.5, "refused")])
def test_the_check_of_delta_itself_refuses(project, delta, verdict):
    project.put("policy.delta", delta)
    assert _by_id(check(project.path).document)["delta"]["verdict"] == verdict
