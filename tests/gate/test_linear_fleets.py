"""Fleets of linear models: a wrong certificate is contradicted, and where features lie changes nothing."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from certify.cli.app import _run
from certify.core.rows import FileRows
from certify.gate import check as gate_check
from certify.gate import inputs as gate_inputs
from certify.gate.audits import linear
from certify.gate.check import check

ATTACKS = ["likelihood-ratio", "reconstruction", "u-lira"]


@pytest.fixture
def telling(project):
    """Few records, many features, hardly any penalty and noise: a record that is still in the weights shows."""
    random = np.random.default_rng(0)
    X = 3 * random.normal(size=(80, 40))
    project.data(X=X, y=(random.random(80) < 0.5).astype(float), ids=np.array([f"p{i}" for i in range(80)]))
    project.write("forget.txt", "p1\np2\np3\n").parent.joinpath("original.npz").unlink()
    project.drop("release.original").put("objective.l2", 0.5).put("policy.noise_std", 1e-4)
    return project


def audited(project, attacks, **more):
    project.put("audit.attacks", attacks).put("audit.models", 48)
    for key, value in more.items():
        project.put(key.replace("__", "."), value)
    path = project.folder / "audit.json"
    code = _run(["check", str(project.path), "--quiet", "--output", f"json={path}"])
    return code, json.loads(path.read_text())


@pytest.mark.parametrize("method", ["identity", "newton"])
def test_a_certified_method_that_skips_its_update_is_contradicted(telling, monkeypatch, capsys, method):
    """The planted mistake: a certifier that finds every model next to the retrained one, whatever was done to it.

    Its certificate alone would release the model. The fleet sees what the shadow models are; a method that does its work passes
    beside the same blind certifier.
    """
    assert _run(["unlearn", str(telling.path), "--method", "retrain", "--force"]) == 0
    for path in telling.folder.glob("*evidence*"):
        path.unlink()  # it would say that another method made the release
    capsys.readouterr()

    def blind(of):
        return lambda *given: replace(of(*given), mu=1e-3, epsilon=1e-3)

    monkeypatch.setattr(gate_check, "measure", blind(gate_check.measure))
    monkeypatch.setattr(linear, "measure", blind(linear.measure))
    knobs = {"audit__knobs__steps": 4} if method == "newton" else {}
    code, document = audited(telling, ["u-lira"], release__unlearner=method, **knobs)
    failed = {one["id"] for one in document["audit"]["findings"] if one["verdict"] == "fail"}
    assert next(one for one in document["checks"] if one["id"] == "privacy")["verdict"] == "pass"
    if method == "newton":
        assert (code, failed) == (0, set())
        return
    assert code == 1
    assert "u-lira-retrain-under-epsilon" in failed
    lines = [one for one in document["checks"] if one["verdict"] == "fail"]
    assert lines
    assert all("contradict each other" in one["summary"] for one in lines)


def _sparsely(project):
    X = sparse.csr_array(project.X)
    project.data(X=None, X_data=X.data, X_indices=X.indices, X_indptr=X.indptr, X_shape=np.array(X.shape))


@pytest.fixture(params=["logistic", "softmax"])
def asked(build, request):
    project = build(request.param).put("audit.attacks", ATTACKS).put("audit.models", 16)
    return project.put("release.unlearner", "newton").put("audit.forget_sets", ["random", "memorised"])


def said(result):
    """What an audit says, without when and in how long."""
    document = result.document
    design = {name: value for name, value in document["audit"]["design"].items() if name != "seconds"}
    return {"verdict": document["verdict"], "checks": document["checks"], **document["audit"], "design": design}


def test_sparse_features_are_audited_alike(asked):
    dense = said(check(asked.path))
    _sparsely(asked)
    thin = said(check(asked.path))
    assert thin["verdict"] == dense["verdict"]
    assert [one["id"] for one in thin["findings"]] == [one["id"] for one in dense["findings"]]
    for one, other in zip(thin["findings"], dense["findings"], strict=True):
        assert one["verdict"] == other["verdict"]
        assert one["value"] == pytest.approx(other["value"], rel=1e-6, abs=1e-9), one["id"]
    assert len(dense["findings"]) > 8


def test_features_left_in_their_file_are_audited_to_the_last_bit(asked, monkeypatch):
    before = said(check(asked.path))
    monkeypatch.setattr("certify.core.arrayfiles.LAZY_BYTES", 1)
    seen, read = [], gate_inputs.read_dataset
    monkeypatch.setattr(gate_inputs, "read_dataset", lambda *given: seen.append(read(*given)) or seen[-1])
    after = said(check(asked.path))
    assert isinstance(seen[0][0].X, FileRows)
    assert after == before


@pytest.mark.parametrize("kind", ["outliers", "cluster"])
def test_records_that_are_found_by_distances_need_features_in_memory(asked, capsys, kind):
    asked.put("audit.forget_sets", [kind])
    _sparsely(asked)
    assert _run(["check", str(asked.path)]) == 2
    err = capsys.readouterr().err
    assert "audit.forget_sets" in err
    assert err.count("\n") == 1
