"""The gate on data that break solvers: a verdict with finite numbers, the retrained model passes, the untouched one does not."""

import json

import numpy as np
import pytest

from certify.cli.app import _run
from certify.gate.check import check
from certify.privacy import gaussian


def plain(records=60, features=3, seed=12):
    return np.random.default_rng(seed).normal(size=(records, features))


def stretched():
    left, right = np.linalg.qr(plain(60, 4))[0], np.linalg.qr(plain(4, 4, seed=13))[0]
    return left * np.logspace(2, -10, 4) @ right


def with_columns(X, *columns):
    return np.column_stack([X, *(np.full(len(X), value) for value in columns)])


def with_zero_rows(X):
    X[10:30] = 0.0
    return X


KINDS = {
    "condition 1e12": (stretched, 1e-6),
    "separable": (plain, 0.1),
    "rows repeated": (lambda: np.repeat(plain(15), 4, axis=0), 1.0),
    "fewer records than features": (lambda: plain(8, 20), 0.5),
    "rows of zeros": (lambda: with_zero_rows(plain()), 1.0),
    "constant columns": (lambda: with_columns(plain(), 1.0, 1.0, 0.0), 1.0),
}


@pytest.fixture(params=KINDS)
def hard(request, project, projects):
    """A project on hard data that forgets record 3; its policy lets pass a hundredth of what the deletion moved."""
    draw, l2 = KINDS[request.param]
    X = draw()
    y = (X[:, 0] > np.median(X[:, 0])) if request.param == "separable" else np.arange(len(X)) % 2
    if request.param == "rows repeated":
        y = np.repeat(np.arange(15) % 2, 4)
    arrays = {"X": X, "y": y.astype(float), "ids": np.array([f"r{i}" for i in range(len(X))])}
    objective = projects.Objective("logistic", l2=l2)
    original, retrained = (projects.train(objective, arrays, gone) for gone in ((), (3,)))
    project.data(**arrays)
    project.write("forget.txt", "r3")
    project.weights("original.npz", coef=original.coef).weights(coef=retrained.coef)
    moved = float(np.linalg.norm(original.coef - retrained.coef))
    return project.put("objective.l2", l2).put("policy.noise_std", moved / 100 / gaussian.mu(1.0, 1e-5))


def test_the_retrained_model_passes(hard, check_json):
    code, document = check_json(hard.path)
    assert code == 0
    assert document["guarantee"]["kind"] == "certified"
    assert 0 < document["bounds"]["distance"] <= document["policy"]["distance_limit"]


def test_the_untouched_model_fails(hard):
    result = check(hard.put("release.model", "original.npz").path)
    assert result.exit_code == 1
    # tight enough to be of use: within a tenth of what the deletion really moved
    moved = np.linalg.norm(
        np.load(hard.folder / "original.npz")["coef"] - np.load(hard.folder / "unlearned.npz")["coef"]
    )
    distance = result.document["bounds"]["distance"]
    assert 0.999 * moved <= distance


@pytest.mark.parametrize("method", ["newton", "retrain"])
def test_unlearning_on_the_command_line_passes(hard, method, capsys):
    limit = check(hard.path).document["policy"]["distance_limit"]
    knobs = ["--set", f"tolerance={limit / 2}"] if method == "newton" else []
    assert _run(["unlearn", str(hard.path), "--method", method, "--force", *knobs]) == 0
    capsys.readouterr()
    assert _run(["check", str(hard.path), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["guarantee"]["kind"] == "certified"


def test_copies_of_the_forgotten_record_are_reported(project, projects):
    X = np.repeat(plain(15), 4, axis=0)
    project.data(X=X, y=np.repeat(np.arange(15) % 2, 4).astype(float), ids=np.array([f"r{i}" for i in range(60)]))
    project.write("forget.txt", "r3")
    assert check(project.path).report.request.copies_retained == 3


def test_forgetting_a_row_of_zeros_changes_nothing_and_needs_nothing(project, projects):
    X = with_zero_rows(plain())
    arrays = {"X": X, "y": (np.arange(60) % 2).astype(float), "ids": np.array([f"r{i}" for i in range(60)])}
    weights = projects.train(projects.Objective("logistic", l2=4.0), arrays)
    project.data(**arrays)
    project.write("forget.txt", "r12")
    project.weights("original.npz", coef=weights.coef).weights(coef=weights.coef)
    result = check(project.put("policy.tolerance", 1e-9).path)
    assert result.exit_code == 0
