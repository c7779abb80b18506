"""Features sparse, or left in their file: the same gate, the same numbers."""

import numpy as np
import pytest
from scipy import sparse

from certify.core.rows import FileRows
from certify.gate import inputs as gate_inputs
from certify.gate.check import check
from certify.gate.unlearn import unlearn
from certify.gate.verify import verify

LOSSES = ["logistic", "softmax", "squared", "poisson"]


def _sparsely(project):
    X = sparse.csr_array(project.X)
    project.data(X=None, X_data=X.data, X_indices=X.indices, X_indptr=X.indptr, X_shape=np.array(X.shape))


@pytest.mark.parametrize("loss", LOSSES)
def test_sparse_features_get_the_same_bounds(build, loss):
    project = build(loss)
    dense = check(project.path)
    _sparsely(project)
    thin = check(project.path)
    assert thin.verdict is dense.verdict
    for name, value in dense.document["bounds"].items():
        # bounds of what is mostly rounding may differ; the rest agrees
        close = {"rel": 1e-3, "abs": 1e-11}
        assert thin.document["bounds"][name] == (pytest.approx(value, **close) if isinstance(value, float) else value)


@pytest.mark.parametrize("method", ["newton", "retrain"])
def test_sparse_features_are_unlearned(project, method):
    _sparsely(project)
    project.remove("unlearned.npz")
    unlearn(project.path, method, {})
    assert check(project.path).exit_code == 0


def test_sparse_certificates_are_verified(project, tmp_path):
    _sparsely(project)
    result = check(project.path)
    certificate = project.folder / "certificate.json"
    certificate.write_text(result.report.to_json())
    assert verify(certificate).verdict.exit_code == 0


@pytest.mark.parametrize("loss", LOSSES)
def test_features_left_in_their_file_get_the_very_same_document(build, monkeypatch, loss):
    project = build(loss)
    before = check(project.path).document | {"created": ""}
    monkeypatch.setattr("certify.core.arrayfiles.LAZY_BYTES", 1)
    seen = []
    read = gate_inputs.read_dataset
    monkeypatch.setattr(gate_inputs, "read_dataset", lambda *args: seen.append(read(*args)) or seen[-1])
    after = check(project.path).document | {"created": ""}
    assert isinstance(seen[0][0].X, FileRows)
    assert after == before


def test_copies_of_a_forgotten_record_are_counted_in_sparse_features(project):
    X = project.X.copy()
    X[10] = X[3]
    y = project.y.copy()
    y[10] = y[3]
    project.data(X=X, y=y)
    dense = check(project.path).document["request"]["copies_retained"]
    matrix = sparse.csr_array(X)
    project.data(
        X=None, y=y, X_data=matrix.data, X_indices=matrix.indices, X_indptr=matrix.indptr, X_shape=np.array(X.shape)
    )
    assert check(project.path).document["request"]["copies_retained"] == dense == 1
