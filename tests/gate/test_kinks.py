"""The gate end to end for objectives with kinks: a support vector machine and elastic nets."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from certify.cli.app import _run
from certify.convex.objective import Objective
from certify.models.weights import dump_weights

KINDS = {
    "support vector machine": ("logistic", "hinge", 0.0),
    "sparse support vector machine": ("logistic", "hinge", 2.0),
    "elastic net": ("squared", "squared", 6.0),
    "sparse logistic": ("logistic", "logistic", 3.0),
    "sparse softmax": ("softmax", "softmax", 2.0),
}


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def kinked(request: pytest.FixtureRequest, build: Any, projects: Any) -> Any:
    """A project whose original is a trained model of the kind; nothing is unlearned yet."""
    data, loss, l1 = request.param
    project = build(data)
    objective = Objective(loss, l2=4.0, fit_intercept=True, l1=l1)
    original = projects.train(objective, project.arrays)
    for name in ("original.npz", "unlearned.npz"):
        project.write(name, dump_weights(Path(name), original))
    project.put("objective.loss", loss).put("objective.fit_intercept", value=True)
    return project.put("objective.l1", l1) if l1 else project


def test_unchanged_weights_fail_and_retrained_ones_pass(kinked: Any, check_json: Any, capsys: Any) -> None:
    code, before = check_json(kinked.path)
    assert (code, before["verdict"]) == (1, "fail")
    assert before["bounds"]["distance"] > 1e-3
    (privacy,) = [entry for entry in before["checks"] if entry["id"] == "privacy"]
    assert "retraining would bring mu" in privacy["remedy"]
    assert "--method retrain" in privacy["remedy"]
    assert before["next_steps"] == []
    assert _run(["unlearn", str(kinked.path), "--method", "retrain", "--force"]) == 0
    code, after = check_json(kinked.path)
    assert (code, after["verdict"]) == (0, "pass")
    bounds = after["bounds"]
    assert bounds["refined"] == bounds["self_concordant"] == "Infinity"
    assert bounds["distance"] == min(float(bounds["strong_convexity"]), bounds["duality_gap"]) < 1e-6
    assert after["objective"]["l1"] == kinked.spec["objective"].get("l1", 0.0)
    capsys.readouterr()


def test_the_certificate_is_verified_and_the_l1_term_belongs_to_it(kinked: Any, capsys: Any) -> None:
    assert _run(["unlearn", str(kinked.path), "--method", "retrain", "--force"]) == 0
    certificate, page = kinked.folder / "certificate.json", kinked.folder / "report.html"
    assert _run(["check", str(kinked.path), "--output", f"json={certificate}", "--output", f"html={page}"]) == 0
    assert "Duality gap bound" in page.read_text()
    assert _run(["verify", str(certificate)]) == 0
    document = json.loads(certificate.read_text())
    document["objective"]["l1"] += 0.5
    certificate.write_text(json.dumps(document))
    assert _run(["verify", str(certificate)]) == 1
    capsys.readouterr()


def test_leaving_the_l1_term_out_of_the_spec_fails(build: Any, projects: Any, check_json: Any) -> None:
    project = build("squared")
    retained = projects.train(Objective("squared", l2=4.0, l1=6.0), project.arrays, projects.FORGOTTEN)
    project.write("unlearned.npz", dump_weights(Path("unlearned.npz"), retained))
    project.put("objective.l1", 6.0)
    assert check_json(project.path)[0] == 0
    project.drop("objective.l1")
    assert check_json(project.path)[0] == 1


def test_newton_says_that_it_cannot(kinked: Any, capsys: Any) -> None:
    assert _run(["unlearn", str(kinked.path), "--method", "newton", "--force"]) == 2
    error = capsys.readouterr().err
    assert "Newton steps need a second derivative" in error
    assert "use --method retrain" in error


def test_an_intercept_without_penalty_is_refused(kinked: Any, check_json: Any) -> None:
    code, document = check_json(kinked.put("objective.penalize_intercept", value=False).path)
    assert (code, document["verdict"]) == (4, "refused")


@pytest.mark.parametrize("l1", [-1.0, "3", True, float("nan"), float("inf")])
def test_an_l1_that_makes_no_sense_is_a_usage_error(project: Any, capsys: Any, l1: Any) -> None:
    assert _run(["check", str(project.put("objective.l1", l1).path)]) == 2
    assert "objective.l1" in capsys.readouterr().err


def test_predictions_and_accuracy_are_reported_for_the_hinge_loss(build: Any, projects: Any, check_json: Any) -> None:
    project = build("logistic")
    weights = projects.train(Objective("hinge", l2=4.0), project.arrays, projects.FORGOTTEN)
    project.write("unlearned.npz", dump_weights(Path("unlearned.npz"), weights))
    project.write("test.npz", projects.npz(**project.arrays))
    project.put("objective.loss", "hinge").put("data.test", "test.npz")
    code, document = check_json(project.path)
    assert code == 0
    assert document["utility"][0]["metric"] == "accuracy"
    assert 0.6 < document["utility"][0]["unlearned"] < 1
    margins = np.abs(project.X @ np.ravel(weights.coef))
    assert document["predictions"]["same_label"] >= int(np.sum(margins > 1e-4))


def test_noise_shaped_by_the_curvature_uses_no_hessian_bound(kinked: Any, check_json: Any, capsys: Any) -> None:
    kinked.put("policy.noise_shape", "curvature").put("policy.noise_std", 0.002)
    assert check_json(kinked.path)[0] == 1
    assert _run(["unlearn", str(kinked.path), "--method", "retrain", "--force"]) == 0
    code, document = check_json(kinked.path)
    assert code == 0
    shown = {item["id"] for item in document["assumptions"]}
    assert "noise-shape" in shown
    assert "noise-curvature" not in shown
    shaped = document["shaped_noise"]
    assert shaped["refined"] == shaped["self_concordant"] == "Infinity"
    assert float(document["bounds"]["distance"]) * np.sqrt(4.0) <= shaped["plain"] * (1 + 1e-9)  # ||R|| >= sqrt(l2)
    capsys.readouterr()
