"""Attacks beside the certificate of a linear model: agreement, contradiction, controls, refusals."""

import json

import numpy as np
import pytest

from certify.cli.app import _run
from certify.core.errors import ConfigurationError
from certify.core.verdict import Verdict
from certify.gate import check as gate_check
from certify.gate.audits import linear_document, linear_run, run
from certify.gate.audits.run import audit
from certify.gate.inputs import load_inputs
from certify.gate.load import load_spec
from certify.gate.measure import measure
from certify.reports.formats import render
from certify.reports.schema import contradicts_itself, read_document


def entry(document, name):
    return next(one for one in document["checks"] if one["id"] == name)


def asked(project, attacks, models=16, **more):
    project.put("audit.attacks", attacks).put("audit.models", models)
    for key, value in more.items():
        project.put(key.replace("__", "."), value)
    return project


def test_an_audit_that_names_no_attack_gets_those_of_linear_models(project, check_json):
    project.put("audit.confidence", 0.95)
    code, document = check_json(project.path)
    assert (code, document["guarantee"]["kind"]) == (0, "certified")
    assert {one["attack"] for one in document["audit"]["findings"]} == {"likelihood-ratio", "reconstruction"}
    line = entry(document, "audit")
    assert line["verdict"] == "pass"
    assert "2 attacks found nothing that contradicts the certificate" in line["summary"]
    assert line["summary"].count("<=") == 2


_LATER = [
    pytest.param(loss, marks=pytest.mark.slow) for loss in ("softmax", "logistic one-vs-rest", "squared", "hinge")
]


@pytest.mark.parametrize("loss", ["logistic", "poisson", *_LATER])
def test_a_fleet_of_every_loss_agrees_with_its_certificate(build, check_json, loss):
    project = asked(build(loss if loss != "hinge" else "squared-hinge"), ["u-lira", "gap"], release__unlearner="newton")
    code, document = check_json(project.path)
    assert code == 0
    assert {one["game"] for one in document["audit"]["findings"]} == {"retrain", "privacy"}
    assert "gap: it is for networks alone" in document["audit"]["not_tested"]
    assert all(control["ok"] for control in document["audit"]["controls"])
    assert document["audit"]["design"]["models_trained"] == 32


def test_powerless_attacks_inform_and_refuse_nothing(project, check_json):
    """Noise so large that nobody tells even the original apart."""
    asked(project, ["u-lira"], policy__noise_std=50.0, release__unlearner="identity")
    code, document = check_json(project.path)
    assert code == 0
    assert all(one["verdict"] is None for one in document["audit"]["findings"])
    assert "for information alone: u-lira" in entry(document, "audit")["summary"]
    assert not any(control["p_value"] < 0.01 for control in document["audit"]["controls"])


def test_doing_nothing_on_records_that_matter_is_caught_by_the_fleet(project):
    """Few records, many features, hardly any penalty: a record that is still in the weights shows."""
    random = np.random.default_rng(0)
    X = 3 * random.normal(size=(80, 40))
    project.data(X=X, y=(random.random(80) < 0.5).astype(float), ids=np.array([f"p{i}" for i in range(80)]))
    project.write("forget.txt", "p1\np2\np3\n")
    project.put("objective.l2", 0.5).put("policy.noise_std", 1e-4)
    project.weights("unlearned.npz", coef=np.zeros(40)).drop("release.original")
    asked(project, ["u-lira-offline", "calibrated-loss"], 48, release__unlearner="identity", audit__games=["privacy"])
    project.put("audit.max_tpr_at_fpr.fpr", 0.05).put("audit.max_tpr_at_fpr.tpr", 0.06)
    code = _run(["audit", str(project.path), "--quiet", "--output", f"json={project.folder / 'a.json'}"])
    document = json.loads((project.folder / "a.json").read_text())
    assert code == 1
    assert any(one["verdict"] == "fail" for one in document["checks"])
    assert document["guarantee"]["kind"] == "none"


def test_a_certifier_that_claims_too_much_is_contradicted(project, check_json, monkeypatch):
    """The planted mistake: distances a thousandth of what they are."""
    asked(project, ["likelihood-ratio"], policy__noise_std=3e-8)
    honest = gate_check.measure

    def wrong(*given):
        from dataclasses import replace

        return replace(honest(*given), mu=1e-9, epsilon=1e-9)

    monkeypatch.setattr(gate_check, "measure", wrong)
    code, document = check_json(project.path)
    assert code == 1
    assert entry(document, "privacy")["verdict"] == "pass"
    line = entry(document, "likelihood-ratio-instance")
    assert line["verdict"] == "fail"
    assert "contradict each other" in line["summary"]
    assert "proven limit" in line["remedy"]


def test_a_limit_that_the_certificate_breaks_too_is_no_contradiction(project, check_json):
    asked(project, ["likelihood-ratio"], policy__noise_std=3e-8)
    code, document = check_json(project.path)
    assert code == 1
    assert entry(document, "privacy")["verdict"] == "fail"
    assert "contradict" not in entry(document, "likelihood-ratio-instance")["summary"]


def test_retrained_models_that_are_told_apart_refuse_the_release(project, check_json, monkeypatch):
    """A planted mistake of the fleet: one of two retrained worlds is released without noise."""
    honest = linear_run.observe

    def spoiled(*given, **more):
        seen = honest(*given, **more)
        seen.worlds["again"]["phi"][:] += 5.0
        return seen

    monkeypatch.setattr(linear_run, "observe", spoiled)
    asked(project, ["u-lira"], 32, release__unlearner="newton")
    code, document = check_json(project.path)
    assert code == 4
    assert any(one["verdict"] == "refused" and one["id"].startswith("control-retrained") for one in document["checks"])


def test_noise_of_the_curvature_is_audited_in_its_own_coordinates(project, check_json):
    asked(project, ["likelihood-ratio", "u-lira"], policy__noise_shape="curvature", release__unlearner="newton")
    code, document = check_json(project.path)
    assert code == 0
    found = next(one for one in document["audit"]["findings"] if one["id"] == "likelihood-ratio-instance")
    assert 0 < found["lower"] <= found["value"] <= document["guarantee"]["epsilon"] * (1 + 1e-9)
    assert found["value"] > 0.8 * document["guarantee"]["epsilon"]


def test_without_a_certificate_there_is_nothing_to_hold_attacks_against(project, check_json):
    asked(project, ["likelihood-ratio"], objective__l2=0.0)
    code, document = check_json(project.path)
    assert code == 4
    assert entry(document, "audit")["verdict"] == "refused"
    assert document["audit"] is None


@pytest.mark.parametrize("command", ["check", "audit"])
def test_a_document_is_verified_by_running_its_audit_again(project, command, capsys):
    asked(project, ["likelihood-ratio", "reconstruction"], release__unlearner="newton")
    path = project.folder / "r.json"
    assert _run([command, str(project.path), "--quiet", "--output", f"json={path}"]) == 0
    document = read_document(path)
    assert (document.bounds is None) == (command == "audit")
    assert document.guarantee.kind == ("empirical" if command == "audit" else "certified")
    assert _run(["verify", str(path)]) == 0
    content = json.loads(path.read_text())
    content["audit"]["findings"][0]["value"] += 0.25
    path.write_text(json.dumps(content))
    assert _run(["verify", str(path)]) == 1
    capsys.readouterr()


def test_reconstruction_needs_the_original_and_says_so(project, check_json):
    asked(project, ["likelihood-ratio", "reconstruction"]).drop("release.original")
    _, document = check_json(project.path)
    assert any(line.startswith("reconstruction: it needs the model before") for line in document["audit"]["not_tested"])


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"audit__attacks": ["u-lira"]}, "release.unlearner"),
        ({"audit__attacks": ["u-lira"], "release__unlearner": "fine-tune"}, "release.unlearner"),
        ({"audit__attacks": ["relearning"]}, "audit.attacks"),
        ({"audit__attacks": ["u-lyra"]}, "audit.attacks"),
        ({"audit__scores": "scores.npz"}, "audit.scores"),
        ({"audit__attacks": []}, "audit.attacks"),
    ],
)
def test_what_makes_no_sense_is_one_line(project, capsys, changes, where):
    project.put("audit.confidence", 0.95)
    for key, value in changes.items():
        project.put(key.replace("__", "."), value)
    assert _run(["check", str(project.path)]) == 2
    err = capsys.readouterr().err
    assert where in err
    assert err.count("\n") == 1


def test_findings_and_checks_never_disagree(project):
    """A document that failed beside a passing verdict would contradict itself."""
    asked(project, ["u-lira", "likelihood-ratio"], release__unlearner="newton")
    inputs = load_inputs(load_spec(project.path))
    measured = measure(inputs.problem, inputs.model.parameters, inputs.loaded.spec.policy)
    document = linear_document.linear_document(linear_run.audit_linear(inputs, measured))
    assert document.verdict is Verdict.PASS
    assert not contradicts_itself(document)


def test_a_pass_of_attacks_alone_is_not_headed_no_guarantee(project):
    report = audit(asked(project, ["likelihood-ratio"]).path).report
    page = render(report, "html").decode()
    assert report.verdict is Verdict.PASS
    assert "<h2>Evidence, not a guarantee</h2>" in page
    assert "Attacks alone are no ground for a release: the certificate is." in page
    assert "No guarantee" not in page


def test_the_request_itself_is_no_forget_set_of_a_linear_model(project):
    with pytest.raises(ConfigurationError, match=r"audit\.forget_sets"):
        audit(asked(project, ["u-lira"], audit__forget_sets=["request"], release__unlearner="newton").path)


def test_a_long_audit_of_a_linear_model_is_announced(project, monkeypatch):
    monkeypatch.setattr(run, "LONG", 0.0)
    told = []
    audit(asked(project, ["u-lira"], release__unlearner="newton").path, tell=told.append)
    assert any(line.endswith("to refit and unlearn 16 shadow models") for line in told)
