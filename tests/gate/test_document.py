"""What the document says of its inputs: digests, comparison, copies, utility, evidence."""

import hashlib
import json

import numpy as np
import pytest

from certify.cli.app import _run
from certify.core.verdict import Verdict
from certify.gate.check import check
from certify.gate.unlearn import unlearn
from certify.gate.verify import verify


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (("subject", "model"), "unlearned.npz"),
        (("subject", "original"), "original.npz"),
        (("request", "data"), "train.npz"),
        (("request", "forget"), "forget.txt"),
        (("reproduction", "spec"), "certify.toml"),
    ],
)
def test_every_input_is_named_by_its_digest(project, part, name):
    found = check(project.path).document[part[0]][part[1]]
    content = (project.folder / name).read_bytes()
    assert found["path"].endswith(name)
    assert (found["sha256"], found["bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))


def test_the_request_is_counted_and_never_named(project):
    document = check(project.path).document
    request = document["request"]
    assert (request["forgotten"], request["retained"], request["total"]) == (4, 196, 200)
    assert "person-" not in json.dumps(document)


def test_an_unchanged_model_is_flagged_as_identical(project):
    assert check(project.path).document["comparison"]["identical"] is False
    comparison = check(project.put("release.model", "original.npz").path).document["comparison"]
    assert (comparison["identical"], comparison["moved"]) == (True, 0.0)


def test_a_copy_of_the_original_under_another_name_is_identical(project):
    project.write("copy.npz", (project.folder / "original.npz").read_bytes())
    assert check(project.put("release.model", "copy.npz").path).document["comparison"]["identical"] is True


def test_the_comparison_measures_what_moved(project):
    with np.load(project.folder / "unlearned.npz") as new, np.load(project.folder / "original.npz") as old:
        moved = float(np.linalg.norm(new["coef"] - old["coef"]))
    comparison = check(project.path).document["comparison"]
    assert comparison["moved"] == pytest.approx(moved, rel=1e-12)
    assert comparison["original_mu"] > 1


def test_without_an_original_there_is_no_comparison(project):
    assert check(project.drop("release.original").path).document["comparison"] is None


def test_retained_copies_of_a_forgotten_record_are_counted_and_declared(project, projects):
    X, y = project.X.copy(), project.y.copy()
    X[[10, 11]], y[[10, 11]] = X[projects.FORGOTTEN[0]], y[projects.FORGOTTEN[0]]
    y[11] = 1 - y[11]  # the same person's features with another outcome are not the same record
    project.data(X=X, y=y)
    document = check(project.path).document
    assumption = next(item for item in document["assumptions"] if item["id"] == "copies")
    assert document["request"]["copies_retained"] == 1
    assert (assumption["status"], assumption["evidence"][:2]) == ("declared", "1 ")


def test_no_copies_is_a_verified_statement(project):
    assumptions = check(project.path).document["assumptions"]
    assert next(item["status"] for item in assumptions if item["id"] == "copies") == "verified"


@pytest.mark.parametrize(
    ("loss", "metric"),
    [
        ("logistic", "accuracy"),
        ("softmax", "accuracy"),
        ("squared", "root mean squared error"),
        ("poisson", "mean Poisson deviance"),
        ("gamma", "mean gamma deviance"),
        ("pseudo-huber", "mean absolute error"),
        ("log-cosh", "mean absolute error"),
        ("squared-hinge", "accuracy"),
        ("huber-hinge", "accuracy"),
        ("softplus-hinge", "accuracy"),
        ("squared-hinge one-vs-rest", "accuracy"),
    ],
)
def test_utility_is_measured_on_the_test_records(build, projects, loss, metric):
    project = build(loss)
    other = projects.draw(loss, seed=1)
    project.write("test.npz", projects.npz(X=other["X"], y=other["y"]))
    (found,) = check(project.put("data.test", "test.npz").path).document["utility"]
    assert (found["metric"], found["records"]) == (metric, 200)
    with np.load(project.folder / "unlearned.npz") as stored:
        scores = other["X"] @ np.atleast_2d(stored["coef"]).T
    outcome = other["y"]
    truth = {
        "accuracy": lambda z: np.mean(((z[:, 0] > 0) if z.shape[1] == 1 else z.argmax(axis=1)) == outcome),
        "root mean squared error": lambda z: np.sqrt(np.mean((z[:, 0] - outcome) ** 2)),
        "mean absolute error": lambda z: np.mean(np.abs(z[:, 0] - outcome)),
        "mean Poisson deviance": lambda z: _deviance(z[:, 0], outcome),
        "mean gamma deviance": lambda z: np.mean(
            [2 * (y / m - 1 - np.log(y / m)) for y, m in zip(outcome, np.exp(z[:, 0]), strict=True)]
        ),
    }[metric](scores)
    assert found["unlearned"] == pytest.approx(float(truth), rel=1e-9)


def test_smoothing_and_heads_stand_in_the_document(build):
    objective = check(build("huber-hinge").path).document["objective"]
    assert (objective["smoothing"], objective["one_vs_rest"]) == (0.5, False)
    assert "h = 0.5" in objective["formula"]
    objective = check(build("logistic one-vs-rest", "other").path).document["objective"]
    assert (objective["smoothing"], objective["one_vs_rest"], objective["outputs"]) == (None, True, 3)
    assert "sum_k log(1 + exp(-s z))" in objective["formula"]


@pytest.mark.parametrize(
    ("loss", "field", "other"),
    [
        ("huber-hinge", "smoothing", 0.25),
        ("softplus-hinge", "smoothing", None),
        ("logistic one-vs-rest", "one_vs_rest", False),
    ],
)
def test_verify_computes_with_the_declared_smoothing_and_heads(build, tmp_path, loss, field, other):
    project = build(loss)
    result = check(project.path)
    path = project.folder / "certificate.json"
    path.write_text(result.report.to_json())
    assert verify(path).verdict is Verdict.PASS
    changed = result.document
    changed["objective"][field] = other
    path.write_text(json.dumps(changed))
    found = verify(path)
    assert found.verdict is Verdict.FAIL
    assert f"objective.{field}" in {item.what for item in found.findings if item.verdict is Verdict.FAIL}


def test_a_kinked_loss_with_a_free_intercept_is_refused_and_says_why(build):
    project = build("squared-hinge").put("objective.fit_intercept", True).put("objective.penalize_intercept", False)
    project.weights(coef=np.zeros(3), intercept=np.zeros(1))
    project.drop("release.original")
    result = check(project.path)
    assert result.exit_code == 4
    summary = next(entry.summary for entry in result.report.checks if entry.id == "strong-convexity")
    assert "the second derivative of the squared-hinge loss jumps" in summary


def test_strong_convexity_alone_needs_no_self_concordance(build):
    assumptions = {item["id"] for item in check(build("squared-hinge").path).document["assumptions"]}
    assert "self-concordance" not in assumptions


def _deviance(z, y):
    terms = [
        2 * ((count * np.log(count) if count else 0.0) - count * score - count + np.exp(score))
        for count, score in zip(y, z, strict=True)
    ]
    return np.mean(terms)


@pytest.fixture
def unlearned(project):
    """A project whose weights and evidence come from `certify unlearn`."""
    project.remove("unlearned.npz")
    unlearn(project.path, "newton", {"steps": "2"})
    return project


def test_evidence_beside_the_model_is_shown(unlearned):
    evidence = check(unlearned.path).document["evidence"]
    assert (evidence["method"], evidence["model_matches"]) == ("newton", True)
    assert evidence["counts"] == {"gradients": 2, "hessians": 2, "iterations": 2}


def test_evidence_of_another_model_is_shown_as_such_and_decides_nothing(unlearned):
    unlearned.write("unlearned.npz", (unlearned.folder / "original.npz").read_bytes())
    result = check(unlearned.path)
    assert result.document["evidence"]["model_matches"] is False
    assert result.exit_code == 1


def test_evidence_may_be_named(unlearned):
    (unlearned.folder / "unlearned.npz.evidence.json").rename(unlearned.folder / "run.json")
    assert check(unlearned.path).document["evidence"] is None
    assert check(unlearned.put("release.evidence", "run.json").path).document["evidence"]["model_matches"] is True


def test_boasting_evidence_does_not_save_an_unchanged_model(unlearned):
    path = unlearned.folder / "unlearned.npz.evidence.json"
    boast = json.loads(path.read_text()) | {"claim": "exact", "residual_norms": [0.0], "moved": 99.0}
    unlearned.write("unlearned.npz", (unlearned.folder / "original.npz").read_bytes())
    boast["model_sha256"] = hashlib.sha256((unlearned.folder / "original.npz").read_bytes()).hexdigest()
    path.write_text(json.dumps(boast))
    result = check(unlearned.path)
    assert result.document["evidence"]["model_matches"] is True
    assert result.exit_code == 1


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "1" * 9_000, '{"method": "newton"}', "[" * 100_000])
def test_damaged_evidence_is_refused(unlearned, capsys, content):
    unlearned.write("unlearned.npz.evidence.json", content)
    assert _run(["check", str(unlearned.path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "unlearned.npz.evidence.json: is not an evidence file, or a damaged one; run `certify unlearn` again" in err


def test_named_evidence_that_is_missing_is_refused(project, capsys):
    assert _run(["check", str(project.put("release.evidence", "run.json").path)]) == 2
    assert "run.json: no such file" in capsys.readouterr().err


def test_sample_weights_act_like_repeated_records(build, projects):
    weighted, repeated = build(name="weighted"), build(name="repeated")
    counts = np.random.default_rng(5).integers(1, 4, size=200)
    weighted.data(sample_weight=counts.astype(float))
    rows = np.repeat(np.arange(200), counts)
    ids = np.array([f"{weighted.arrays['ids'][row]}-{copy}" for copy, row in enumerate(rows)])
    repeated.data(X=weighted.X[rows], y=weighted.y[rows], ids=ids)
    forgotten = np.isin(rows, projects.FORGOTTEN)
    repeated.write("forget.txt", "\n".join(ids[forgotten]))
    first, second = check(weighted.path).document, check(repeated.path).document
    assert first["objective"]["sample_weights"] is True
    assert first["bounds"]["residual_norm"] == pytest.approx(second["bounds"]["residual_norm"], rel=1e-9)
    assert first["bounds"]["distance"] == pytest.approx(second["bounds"]["distance"], rel=1e-6)
