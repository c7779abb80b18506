"""Weights on disk: exactly what was stored, whatever the file's kind."""

import hashlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from certify import Objective, bound_distance
from certify.core.errors import InputError
from certify.models.weights import LinearWeights, dump_weights, load_weights

KINDS = [".npz", ".npy", ".safetensors"]
SHAPES = [(3,), (1, 3), (4, 3)]


def _round(folder, suffix, weights):
    path = folder / f"model{suffix}"
    path.write_bytes(dump_weights(path, weights))
    return load_weights(path)


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("with_intercept", [False, True])
def test_weights_come_back_as_they_were_stored(tmp_path, suffix, shape, dtype, with_intercept):
    rng = np.random.default_rng(1)
    intercept = rng.normal(size=1 if len(shape) == 1 else shape[0]).astype(dtype) if with_intercept else None
    weights = LinearWeights(rng.normal(size=shape).astype(dtype), intercept)
    if suffix == ".npy" and with_intercept:
        with pytest.raises(InputError, match=r"cannot write weights with an intercept to a \.npy file"):
            dump_weights(tmp_path / "model.npy", weights)
        return
    found, record = _round(tmp_path, suffix, weights)
    assert found.same_as(weights)
    assert (found.coef.dtype, found.coef.shape, found.stored_as) == (dtype, shape, np.dtype(dtype).name)
    assert found.coef.tobytes() == weights.coef.tobytes()
    assert record.sha256 == hashlib.sha256((tmp_path / f"model{suffix}").read_bytes()).hexdigest()


@given(hnp.arrays(np.float32, 3, elements=st.floats(-100, 100, width=32)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
def test_single_precision_is_certified_as_stored(tmp_path, coef):
    found, _ = _round(tmp_path, ".npz", LinearWeights(coef))
    X, y = np.eye(3), np.ones(3)
    stored = bound_distance(Objective("squared", l2=1.0), X, y, found.coef).distance
    exact = bound_distance(Objective("squared", l2=1.0), X, y, coef.astype(np.float64)).distance
    assert float(stored) == float(exact)
    assert float(stored) >= np.linalg.norm(coef.astype(np.float64) - 0.5)


@pytest.mark.parametrize("suffix", KINDS)
def test_the_same_weights_give_the_same_bytes(tmp_path, suffix):
    weights = LinearWeights(np.arange(4.0))
    assert dump_weights(tmp_path / f"a{suffix}", weights) == dump_weights(tmp_path / f"b{suffix}", weights)


@pytest.mark.parametrize("suffix", [".pkl", ".pt", ".txt", ""])
def test_weights_are_not_written_to_other_kinds(tmp_path, suffix):
    with pytest.raises(InputError, match=r"cannot write weights to a .*use \.npz or \.safetensors"):
        dump_weights(tmp_path / f"model{suffix}", LinearWeights(np.ones(2)))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("suffix", KINDS)
def test_the_way_weights_lie_in_memory_does_not_matter(tmp_path, suffix, order):
    coef = np.array(np.arange(6.0).reshape(2, 3), order=order)
    assert _round(tmp_path, suffix, LinearWeights(coef))[0].coef.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("coef", "intercept", "same"),
    [
        ([1.0, 2.0], None, True),
        ([1.0, 2.0000000000000004], None, False),
        ([[1.0, 2.0]], None, False),
        ([1.0, 2.0], [0.0], False),
    ],
)
def test_weights_are_the_same_when_every_number_is(coef, intercept, same):
    other = LinearWeights(np.array(coef), None if intercept is None else np.array(intercept))
    assert LinearWeights(np.array([1.0, 2.0])).same_as(other) is same


@pytest.mark.parametrize(("intercept", "same"), [([0.5], True), ([0.25], False), (None, False)])
def test_intercepts_count_when_weights_are_compared(intercept, same):
    weights = LinearWeights(np.ones(2), np.array([0.5]))
    assert weights.same_as(LinearWeights(np.ones(2), None if intercept is None else np.array(intercept))) is same


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("intercept", [False, True])
def test_parameters_become_weights_with_the_intercept_apart(outputs, intercept):
    parameters = np.arange(4.0 * outputs).reshape(outputs, 4)
    weights = LinearWeights.from_parameters(parameters, intercept=intercept)
    assert weights.coef.shape[-1] == (3 if intercept else 4)
    assert weights.coef.ndim == (1 if outputs == 1 else 2)
    together = np.atleast_2d(weights.coef)
    if intercept:
        together = np.hstack([together, weights.intercept[:, None]])
    assert together.tolist() == parameters.tolist()
    assert not np.shares_memory(weights.coef, parameters)


def test_a_bare_array_is_coef(tmp_path):
    np.save(tmp_path / "model.npy", np.array([1.0, 2.0]))
    assert load_weights(tmp_path / "model.npy")[0].coef.tolist() == [1.0, 2.0]


def test_other_arrays_beside_the_weights_are_ignored(tmp_path):
    np.savez(tmp_path / "model.npz", coef=np.ones(2), classes=np.array(["no", "yes"]))
    assert load_weights(tmp_path / "model.npz")[0].intercept is None
