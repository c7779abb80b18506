"""The divergence is SciPy's, the modified entropy is its definition, and every sample falls into a bin."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from certify.core.errors import InputError
from certify.core.metrics import binned_divergence, js_divergence, modified_entropy


@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.sampled_from([0.01, 0.3, 5.0]))
def test_the_divergence_is_scipys_and_lies_between_0_and_log_2(seed, classes, spread):
    p, q = np.random.default_rng(seed).dirichlet(np.full(classes, spread), size=(2, 5))
    found = js_divergence(p, q)
    assert np.all((found >= 0) & (found <= np.log(2)))
    with np.errstate(invalid="ignore"):  # SciPy takes the root of a sum that rounding can make negative
        theirs = np.nan_to_num(jensenshannon(p, q, axis=1)) ** 2
    np.testing.assert_allclose(found, theirs, atol=1e-9)
    np.testing.assert_allclose(found, js_divergence(q, p), atol=1e-15)


def test_the_divergence_of_certain_predictions_is_finite():
    eye = np.eye(3)
    np.testing.assert_allclose(js_divergence(eye, np.roll(eye, 1, axis=0)), np.log(2), rtol=1e-15)
    assert np.array_equal(js_divergence(eye, eye), np.zeros(3))


def test_the_modified_entropy_by_hand():
    p = np.array([[0.7, 0.2, 0.1], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    by_hand = -(0.3 * np.log(0.7) + 0.2 * np.log(0.8) + 0.1 * np.log(0.9))
    found = modified_entropy(p, np.array([0, 0, 0]))
    assert found[0] == pytest.approx(by_hand, rel=1e-14)
    assert found[1] == 0
    assert np.isinf(found[2])


def test_all_classes_present_does_not_mix_records():
    """The public mistake: the labels of all records chose columns for each of them."""
    p = np.random.default_rng(0).dirichlet(np.ones(10), size=200)
    labels = np.arange(200) % 10
    together = modified_entropy(p, labels)
    alone = [modified_entropy(p[[k]], labels[[k]])[0] for k in range(200)]
    np.testing.assert_array_equal(together, alone)


def test_bins_hold_every_sample():
    low, high = np.zeros(90), np.ones(10)
    assert binned_divergence(np.concatenate([low, high]), np.zeros(100)) > 0.1
    sample = np.random.default_rng(0).normal(size=300)
    assert binned_divergence(sample, sample) == 0
    assert binned_divergence(np.ones(5), np.ones(5)) == 0


def test_the_null_is_above_zero_and_falls_with_the_sample():
    rng = np.random.default_rng(0)
    null = [np.mean([binned_divergence(*rng.normal(size=(2, n))) for _ in range(30)]) for n in (20, 100, 1000)]
    assert null[0] > null[1] > null[2] > 0


@pytest.mark.parametrize(
    "call",
    [
        lambda: js_divergence([[1.0, 2.0]], [[0.5, 0.5]]),
        lambda: js_divergence([[0.5, 0.5]], [[0.2, 0.3, 0.5]]),
        lambda: js_divergence([[-0.5, 1.5]], [[0.5, 0.5]]),
        lambda: js_divergence([[np.nan, 1.0]], [[0.5, 0.5]]),
        lambda: modified_entropy([[0.5, 0.5]], [2]),
        lambda: modified_entropy([[0.5, 0.5]], [0, 1]),
        lambda: binned_divergence([], [1.0]),
        lambda: binned_divergence([np.inf], [1.0]),
    ],
)
def test_what_is_no_distribution_is_refused(call):
    with pytest.raises(InputError):
        call()
