"""One-step bounds in the document: there when there is an original, about it, and without any say."""

import json
from pathlib import Path

import numpy as np
import pytest

from certify.core.rounding import format_upper
from certify.core.verdict import Verdict
from certify.gate.check import check
from certify.gate.verify import verify
from certify.reports.schema import parse_document
from certify.reports.text import render_text


@pytest.mark.parametrize("loss", ["logistic", "softmax", "squared", "poisson"])
def test_they_stand_beside_the_measured_certificate(build, loss):
    document = check(build(loss).path).document
    bounds = {(item["name"], item["step"]): item for item in document["one_step"]["bounds"]}
    assert len(bounds) == len(document["one_step"]["bounds"]) == 12
    measured = bounds["measured after the step", "newton"]
    assert measured["proven"]
    assert measured["value"] <= document["comparison"]["original_distance"]
    for item in bounds.values():
        assert item["proven"] == (not item["reason"])
        assert (item["value"] is None) <= bool(item["reason"])


def test_the_text_prints_the_worst_case_beside_the_measured_distance(project):
    """Row 4.6 of docs/acceptance.md: orders of magnitude apart, and whoever reads the verdict sees both."""
    document = check(project.path).document
    bounds = {item["name"]: item["value"] for item in document["one_step"]["bounds"] if item["step"] == "newton"}
    worst, measured = bounds["worst case, right constants"], bounds["measured after the step"]
    assert worst > 100 * measured
    shown = " ".join(render_text(parse_document(json.dumps(document), where="x")).split())
    for name, value in (("worst case, right constants", worst), ("measured after the step", measured)):
        assert f"{name} {format_upper(value)}" in shown


def test_no_original_no_bounds(project):
    assert check(project.drop("release.original").path).document["one_step"] is None


def test_they_are_about_the_original_and_have_no_say(project):
    """Whatever the original is, verdict, checks, guarantee and certified distance stay what they were."""
    before = check(project.path).document
    with np.load(project.folder / "original.npz") as stored:
        project.weights("original.npz", coef=stored["coef"] + 100.0)
    after = check(project.path).document
    assert after["one_step"] != before["one_step"]
    for part in ("verdict", "exit_code", "checks", "guarantee", "bounds"):
        assert after[part] == before[part]


def test_forgotten_records_of_weight_zero_are_skipped_with_the_reason(project, projects):
    weight = np.ones(projects.RECORDS)
    weight[list(projects.FORGOTTEN)] = 0.0
    project.data(sample_weight=weight)
    found = check(project.path).document["one_step"]
    assert (found["bounds"], found["training_residual"]) == ([], None)
    assert "weight 0" in found["skipped"]


@pytest.fixture
def certificate(project, monkeypatch):
    monkeypatch.chdir(project.folder)
    return check("certify.toml").document


def _verified(document):
    Path("c.json").write_text(json.dumps(document), encoding="utf-8")
    found = verify("c.json")
    return found.verdict, {item.what for item in found.findings if item.verdict is not Verdict.PASS}


def test_verify_computes_them_again_and_names_a_changed_one(certificate):
    assert _verified(certificate) == (Verdict.PASS, set())
    certificate["one_step"]["bounds"][1]["value"] /= 2
    certificate["one_step"]["bounds"][5]["proven"] = True
    expected = {"one_step.bounds[1].value", "one_step.bounds[5].proven"}
    assert _verified(certificate) == (Verdict.FAIL, expected)


def test_verify_takes_a_document_of_schema_1_0_for_what_it_is(certificate):
    old = {name: part for name, part in certificate.items() if name not in ("one_step", "audit")} | {
        "schema_version": "1.0"
    }
    assert parse_document(json.dumps(old), where="x").one_step is None
    assert _verified(old) == (Verdict.PASS, set())
    old["bounds"]["distance"] /= 2
    assert _verified(old) == (Verdict.FAIL, {"bounds.distance"})


def test_verify_names_a_lowered_schema_version_and_a_missing_part(certificate):
    assert _verified(certificate | {"schema_version": "1.0"})[1] >= {"schema_version"}
    assert _verified(certificate | {"one_step": None}) == (Verdict.FAIL, {"one_step"})
