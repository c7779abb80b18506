"""Estimators in skops files at the gate: read without running anything, compared with the declared objective."""

import zipfile

import numpy as np
import pytest

skops = pytest.importorskip("skops.io", reason="skops is not installed")

from sklearn.linear_model import LogisticRegression, PoissonRegressor  # noqa: E402 - only where skops is
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import FunctionTransformer, StandardScaler  # noqa: E402


def retained(project, projects):
    kept = np.delete(np.arange(projects.RECORDS), projects.FORGOTTEN)
    return project.X[kept], project.y[kept]


def logistic(**options):
    return LogisticRegression(**({"C": 0.25, "solver": "newton-cholesky", "tol": 1e-12, "fit_intercept": False} | options))  # fmt: skip


def put(project, estimator, name="model.skops"):
    project.write(name, skops.dumps(estimator))
    return project.put("release.model", name)


def test_an_estimator_retrained_with_the_declared_objective_passes(project, projects, certify):
    put(project, logistic().fit(*retained(project, projects)))
    done = certify("check", project.path)
    assert (done.code, done.stderr) == (0, "")
    assert "model.skops: logistic, l2 = 4" in done.stdout


def test_an_estimator_that_was_not_retrained_fails(project, certify):
    put(project, logistic().fit(project.X, project.y))
    assert certify("check", project.path).code == 1


@pytest.mark.parametrize(
    ("options", "trouble"),
    [
        ({"C": 0.1}, "l2 is 10 in total, the objective says 4"),
        ({"fit_intercept": True}, "the model has an intercept, the objective says fit_intercept = false"),
        (
            {"solver": "liblinear", "fit_intercept": True, "intercept_scaling": 2.0},
            "intercept_scaling is 2: an objective",
        ),
    ],
)
def test_an_estimator_with_another_objective_is_refused(project, projects, certify, options, trouble):
    put(project, logistic(**options).fit(*retained(project, projects)))
    done = certify("check", project.path)
    assert done.code in (2, 4)
    assert trouble in done.stderr
    assert "model.skops: " in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_penalised_intercept_is_no_free_one(project, projects, certify):
    put(project, logistic(fit_intercept=True).fit(*retained(project, projects)))
    project.put("objective.fit_intercept", True).drop("release.original")
    done = certify("check", project.path)
    assert (done.code, done.stdout) == (4, "")
    assert "penalize_intercept is false, the objective says true" in done.stderr


def test_class_weights_are_refused(project, projects, refuses):
    put(project, logistic(class_weight="balanced").fit(*retained(project, projects)))
    refuses(project, "model.skops: it has class weights, which multiply the sample weights")


def test_a_mean_convention_is_judged_on_the_retained_records(build, projects, certify):
    project = build("poisson")
    X, y = retained(project, projects)
    put(project, PoissonRegressor(alpha=4 / len(X), fit_intercept=False, tol=1e-12, solver="newton-cholesky").fit(X, y))
    assert certify("check", project.path).code == 0
    put(project, PoissonRegressor(alpha=4 / projects.RECORDS, fit_intercept=False).fit(X, y))
    done = certify("check", project.path)
    assert done.code == 4
    assert "model.skops: what it minimised is not the declared objective: l2 is 3.92 in total" in done.stderr


def test_a_pipeline_is_refused(project, projects, refuses):
    put(project, make_pipeline(StandardScaler(), logistic()).fit(*retained(project, projects)))
    refuses(project, "model.skops: holds a pipeline: its transformers cannot be checked", "save its last step alone")


def _anything(X):
    return X


def test_types_that_are_not_trusted_are_named_and_never_loaded(project, projects, refuses):
    put(project, make_pipeline(FunctionTransformer(_anything), logistic()).fit(*retained(project, projects)))
    line = refuses(
        project, "model.skops: holds types that are not trusted, loading which could run code: ", "numpy.savez"
    )
    assert "_anything" in line


def test_what_is_no_skops_file_is_refused(project, refuses):
    for content in (b"", b"PK\x03\x04", b"\x80\x04.", b"{}"):
        project.write("model.skops", content)
        refuses(project.put("release.model", "model.skops"), "model.skops: is damaged or no skops file")
    with zipfile.ZipFile(project.folder / "model.skops", "w") as archive:
        archive.writestr("schema.json", '{"__class__": "dict"}')
    refuses(project, "model.skops: is damaged or no skops file", "write it again with skops.io.dump")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_files_are_refused(project, projects, refuses, share):
    content = skops.dumps(logistic().fit(*retained(project, projects)))
    project.write("model.skops", content[: int(share * len(content))])
    refuses(project.put("release.model", "model.skops"), "model.skops: ")


@pytest.mark.parametrize("stored", [np.ones(3), {"coef": np.ones(3)}, 5])
def test_what_is_no_estimator_is_refused(project, refuses, stored):
    put(project, stored)
    refuses(project, "model.skops: no adapter for objects of type")


def test_without_skops_the_message_says_what_to_install(project, projects, refuses, monkeypatch):
    put(project, logistic().fit(*retained(project, projects)))
    monkeypatch.setitem(__import__("sys").modules, "skops.io", None)
    refuses(project, "model.skops: needs skops to be read, which is not installed; pip install")


def test_a_release_of_an_estimator_is_plain_arrays(project, projects, certify):
    put(project, logistic().fit(*retained(project, projects)))
    done = certify("release", project.path)
    assert done.code == 0, done.stderr
    with np.load(project.folder / "released-0001.npz") as released:
        assert released["coef"].shape == (3,)
    assert certify("verify", project.folder / "certificate-0001.json").code == 0


def test_an_unlearner_writes_no_skops_file(project, refuses):
    project.put("release.model", "new.skops")
    refuses(
        project, "new.skops: cannot write weights to a .skops file", command="unlearn", options=("--method", "newton")
    )


def test_an_original_may_be_an_estimator(project, projects, certify):
    project.write("original.skops", skops.dumps(logistic().fit(project.X, project.y)))
    project.put("release.original", "original.skops")
    project.remove("unlearned.npz")
    assert certify("unlearn", project.path, "--method", "newton").code == 0
    assert certify("check", project.path).code == 0
