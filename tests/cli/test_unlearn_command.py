"""`certify unlearn`: weights and evidence together or not at all, and never over an input."""

import json

import numpy as np
import pytest

from certify.unlearners import names


def _fresh(project):
    project.remove("unlearned.npz")
    return project


@pytest.mark.parametrize("loss", ["logistic", "softmax", "squared", "poisson"])
@pytest.mark.parametrize(("method", "code"), [("newton", 0), ("retrain", 0), ("identity", 1)])
def test_what_a_method_wrote_is_measured_by_the_check(build, certify, loss, method, code):
    project = _fresh(build(loss))
    done = certify("unlearn", project.path, "--method", method)
    assert (done.code, done.stdout) == (0, "")
    assert "now measure it: `certify check`" in done.stderr
    assert certify("check", project.path, "--quiet").code == code


def test_the_control_exists_for_every_registered_method():
    assert set(names()) >= {"newton", "retrain", "identity"}


def test_weights_and_evidence_lie_side_by_side(project, certify):
    before = _fresh(project).snapshot()
    certify("unlearn", project.path, "--method", "newton", "--set", "steps=2")
    assert project.snapshot().keys() - before.keys() == {"unlearned.npz", "unlearned.npz.evidence.json"}
    evidence = json.loads((project.folder / "unlearned.npz.evidence.json").read_text())
    assert evidence["knobs"]["steps"] == 2
    assert evidence["counts"] == {"gradients": 2, "hessians": 2, "iterations": 2}


@pytest.mark.parametrize(
    ("options", "trouble"),
    [
        ((), "Missing option '--method'"),
        (("--method", "newtn"), "unknown unlearner 'newtn'; did you mean 'newton'?"),
        (("--method", "newton", "--set", "step=2"), "newton has no knob 'step'; did you mean 'steps'?"),
        (("--method", "identity", "--set", "steps=2"), "identity has no knob 'steps'; it has no knobs"),
        (("--method", "newton", "--set", "steps"), "'steps' is not KNOB=VALUE"),
        (("--method", "newton", "--set", "=2"), "'=2' is not KNOB=VALUE"),
        (("--method", "newton", "--set", "steps=two"), "steps=two makes no sense"),
        (("--method", "newton", "--set", "steps=2.5"), "steps=2.5 makes no sense"),
        (("--method", "newton", "--set", "steps="), "steps= makes no sense"),
        (("--method", "newton", "--set", "steps=" + "9" * 5_000), "makes no sense"),
        (("--method", "newton", "--set", "steps=0"), "steps must be at least 1, not 0"),
        (("--method", "newton", "--set", "steps=-1"), "steps must be at least 1, not -1"),
        (("--method", "newton", "--set", "steps=none"), "neither a number of steps nor a tolerance"),
        (("--method", "newton", "--set", "tolerance=0"), "tolerance must be above 0"),
        (("--method", "newton", "--set", "tolerance=nan"), "tolerance must be above 0"),
        (("--method", "newton", "--set", "tolerance=inf"), "input should be a finite number"),
        (("--method", "newton", "--set", "max_steps=0"), "max_steps must be at least 1"),
        (("--method", "retrain", "--set", "max_iterations=0"), "max_iterations must be at least 1"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_wrong_methods_and_knobs_are_refused(project, refuses, options, trouble):
    assert len(refuses(_fresh(project), trouble, command="unlearn", options=options)) < 400


def test_newton_without_an_original_is_refused(project, refuses):
    _fresh(project).drop("release.original")
    refuses(project, "release.original: ", "use --method retrain", command="unlearn", options=("--method", "newton"))


def test_retrain_needs_no_original(project, certify):
    _fresh(project).drop("release.original")
    assert certify("unlearn", project.path, "--method", "retrain").code == 0
    assert certify("check", project.path, "--quiet").code == 0


def test_weights_that_are_there_are_kept(project, refuses):
    refuses(project, "unlearned.npz: is already there; use --force", command="unlearn", options=("--method", "newton"))


def test_force_overwrites_weights_that_are_there(project, certify):
    before = project.snapshot()["unlearned.npz"]
    assert certify("unlearn", project.path, "--method", "identity", "--force").code == 0
    assert project.snapshot()["unlearned.npz"] != before


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("original.npz", "both the original"),
        ("./original.npz", "both the original"),
        ("link.npz", "both the original"),
        ("train.npz", "both the training data"),
        ("forget.txt", "both the forget set"),
        ("test.npz", "both the test data"),
        ("certify.toml", "both the spec"),
    ],
)
def test_no_input_is_ever_overwritten_not_even_by_force(project, projects, refuses, name, what):
    project.write("test.npz", projects.npz(X=project.X, y=project.y))
    (project.folder / "link.npz").symlink_to("original.npz")
    project.put("data.test", "test.npz").put("release.model", name)
    refuses(project, what, command="unlearn", options=("--method", "newton", "--force"))


@pytest.mark.parametrize(
    ("name", "trouble"),
    [
        ("no/model.npz", "its folder does not exist"),
        ("folder.npz", "is a folder, not a file"),
        ("loop.npz", "is a link that leads in a circle"),
        ("a\\u0000b.npz", "is not a valid path"),
        ("model.pkl", "cannot write weights to a .pkl file"),
        ("model", "cannot write weights to a suffixless file"),
    ],
)
def test_a_target_that_cannot_be_written_is_refused(project, refuses, name, trouble):
    (project.folder / "folder.npz").mkdir()
    (project.folder / "loop.npz").symlink_to("loop.npz")
    project.put("release.model", name)
    refuses(project, trouble, command="unlearn", options=("--method", "newton"))


def test_an_intercept_does_not_fit_into_one_array(project, refuses):
    project.put("objective.fit_intercept", True).put("release.model", "model.npy").drop("release.original")
    refuses(project, "weights with an intercept to a .npy file", command="unlearn", options=("--method", "retrain"))


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".safetensors"])
def test_every_kind_of_weights_file_passes_the_check(project, certify, suffix):
    project.put("release.model", f"new{suffix}")
    assert certify("unlearn", project.path, "--method", "newton").code == 0
    assert certify("check", project.path, "--quiet").code == 0


def test_evidence_that_cannot_be_written_takes_the_weights_with_it(project, refuses):
    _fresh(project)
    (project.folder / "unlearned.npz.evidence.json").mkdir()
    refuses(project, "evidence.json: is a folder", command="unlearn", options=("--method", "newton"))


@pytest.mark.parametrize(
    ("key", "value", "options"),
    [("objective.l2", 0, ("--set", "tolerance=1e-6"))],
)
def test_what_cannot_be_certified_is_refused_with_exit_4(project, refuses, key, value, options):
    _fresh(project).put(key, value)
    refuses(project, key, command="unlearn", options=("--method", "newton", *options), code=4)


def test_a_tolerance_out_of_reach_ends_with_a_warning(project, certify):
    _fresh(project)
    done = certify("unlearn", project.path, "--method", "newton", "--set", "tolerance=1e-300", "--set", "max_steps=3")
    assert done.code == 0
    assert "certify: warning: certified distance" in done.stderr


@pytest.mark.parametrize("method", ["newton", "retrain"])
@pytest.mark.parametrize("change", [{"original": 1e308}, {"X": 1e200}], ids=["huge weights", "huge features"])
def test_overflow_ends_without_a_warning_and_never_passes(project, certify, method, change):
    _fresh(project)
    if "X" in change:
        project.data(X=project.X * change["X"])
    else:
        project.weights("original.npz", coef=np.array([change["original"], 1.0, 1.0]))
    done = certify("unlearn", project.path, "--method", method)
    assert done.code == 0
    assert "Warning" not in done.stderr
    expected = 0 if method == "retrain" and "original" in change else 1
    assert certify("check", project.path, "--quiet").code == expected
