"""phi and the other signals: right to the last figure, whatever the gap, the number of classes or the head."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.attacks.observations import SIGNALS
from certify.attacks.scores.phi import phi, phi_from_probability, phi_of_regression, signals
from certify.core.errors import InputError
from certify.core.metrics import modified_entropy

gaps = st.floats(-1000, 1000)


@given(st.lists(gaps, min_size=2, max_size=12), st.data())
def test_phi_agrees_with_exact_arithmetic(logits: list[float], data: st.DataObject) -> None:
    label = data.draw(st.integers(0, len(logits) - 1))
    with mpmath.workdps(60):
        rest = mpmath.fsum(mpmath.exp(mpmath.mpf(z)) for j, z in enumerate(logits) if j != label)
        expected = float(mpmath.mpf(logits[label]) - mpmath.log(rest))
    assert phi([logits], [label])[0] == pytest.approx(expected, rel=1e-14, abs=1e-12)


@pytest.mark.parametrize("gap", [17.0, 110.0, 1000.0])
def test_gaps_that_a_softmax_loses_are_exact(gap: float) -> None:
    assert phi([[gap, 0.0]], [0])[0] == gap
    assert phi([[0.0, gap]], [0])[0] == -gap
    assert phi(np.float32([[gap, 0.0]]), [0])[0] == gap
    assert phi([[gap] + [0.0] * 9], [0])[0] == pytest.approx(gap - math.log(9), rel=1e-15)
    # the mutant: what a softmax in float32 leaves of it
    with np.errstate(divide="ignore"):
        p = np.float32(1) / (np.float32(1) + np.exp(np.float32(-gap)))
        assert np.isinf(np.log(p / (np.float32(1) - p)))


@given(st.lists(gaps, min_size=1, max_size=8))
def test_one_logit_is_two_classes(logits: list[float]) -> None:
    labels = np.arange(len(logits)) % 2
    expected = np.where(labels == 1, logits, -np.asarray(logits))
    two = np.stack([np.zeros(len(logits)), logits], axis=-1)
    for found in (
        phi(logits, labels),
        phi(np.asarray(logits)[:, None], labels),
        phi(logits, 2 * labels - 1),
        phi(two, labels),
    ):
        np.testing.assert_array_equal(found, expected)


def test_models_stand_on_the_first_axis() -> None:
    z, y = np.random.default_rng(0).normal(size=(3, 5, 4)), np.array([0, 1, 2, 3, 0])
    np.testing.assert_array_equal(phi(z, y), [phi(one, y) for one in z])
    np.testing.assert_array_equal(phi(z[..., :1], y > 1), [phi(one[:, 0], y > 1) for one in z])


def test_torch_tensors_of_any_type_are_read() -> None:
    import torch

    z = torch.tensor([[1.5, -2.0], [0.25, 3.0]], dtype=torch.bfloat16, requires_grad=True)
    np.testing.assert_array_equal(phi(z, torch.tensor([0, 1])), [3.5, 2.75])


@given(st.lists(st.lists(st.floats(-1000, 1000), min_size=3, max_size=3), min_size=1, max_size=5))
def test_all_signals_are_finite_for_finite_logits(logits: list[list[float]]) -> None:
    found = signals(logits, np.zeros(len(logits), dtype=int))
    assert tuple(found) == SIGNALS
    assert all(np.isfinite(values).all() for values in found.values())


def test_signals_agree_with_the_definitions_on_probabilities() -> None:
    generator = np.random.default_rng(1)
    z, y = 3 * generator.normal(size=(200, 7)), generator.integers(0, 7, 200)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    found = signals(z, y)
    np.testing.assert_allclose(found["modified-entropy"], modified_entropy(p, y), rtol=1e-9)
    np.testing.assert_allclose(found["entropy"], -(p * np.log(p)).sum(axis=1), rtol=1e-12)
    np.testing.assert_array_equal(found["correct"], p.argmax(axis=1) == y)


def test_modified_entropy_looks_at_the_label_and_entropy_does_not() -> None:
    generator = np.random.default_rng(2)
    z, y = 3 * generator.normal(size=(50, 5)), generator.integers(0, 5, 50)
    other = (y + 1) % 5
    assert (signals(z, y)["modified-entropy"] != signals(z, other)["modified-entropy"]).all()
    np.testing.assert_array_equal(signals(z, y)["entropy"], signals(z, other)["entropy"])


def test_modified_entropy_of_a_nearly_one_hot_record_is_twice_its_phi() -> None:
    # p_y -> 0: -(1 - p_y) log p_y -> -phi, and so does the one large class's own term
    right, wrong = signals([[800.0, 0.0, 0.0]] * 2, [0, 1])["modified-entropy"]
    assert right == 0
    assert wrong == pytest.approx(800 + 800 - math.log(2), rel=1e-12)


def test_a_tie_is_no_right_answer() -> None:
    assert signals([[1.0, 1.0, 0.0]], [0])["correct"].tolist() == [0.0]


def test_confidences_that_are_not_saturated_give_the_same_phi() -> None:
    z = np.linspace(-30, 30, 61)
    np.testing.assert_allclose(phi_from_probability(1 / (1 + np.exp(-z))), z, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_a_saturated_confidence_is_refused_or_clipped_with_a_count(p: float) -> None:
    with pytest.raises(InputError, match="1 of 2 probabilities are exactly 0 or 1"):
        phi_from_probability([0.5, p])
    with pytest.warns(UserWarning, match="1 of 2 probabilities were clipped at 1e-09"):
        found = phi_from_probability([0.5, p], floor=1e-9)
    assert abs(found[1]) == pytest.approx(math.log(1e9), rel=1e-6)


def test_a_float_below_one_that_rounds_to_one_is_refused_in_float32() -> None:
    with pytest.raises(InputError, match="exactly 0 or 1"):
        phi_from_probability(np.float32([1 - 1e-9]))


def test_regression_is_minus_the_squared_residual() -> None:
    np.testing.assert_array_equal(phi_of_regression([[1.0, 2.0]] * 3, [1.0, 5.0]), [[0.0, -9.0]] * 3)
    np.testing.assert_array_equal(phi_of_regression(np.ones((4, 2, 3)), np.zeros((2, 3))), np.full((4, 2), -3.0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: phi([[1.0, np.inf]], [0]), "1 of 2 logits are not finite"),
        (lambda: phi([[1.0, np.nan]], [0]), "not finite"),
        (lambda: phi([[1.0, 2.0]], [2]), "no class from 0 to 1"),
        (lambda: phi([[1.0, 2.0]], [-1]), "no class"),
        (lambda: phi([[1.0, 2.0]], [0.5]), "no class"),
        (lambda: phi([[1.0, 2.0]], [0, 1]), "do not fit"),
        (lambda: phi([1.0, 2.0], 0), "do not fit"),
        (lambda: phi([["a", "b"]], [0]), "numbers"),
        (lambda: phi_from_probability([1.5]), "no probability"),
        (lambda: phi_from_probability([np.nan]), "no probability"),
        (lambda: phi_from_probability([0.5], floor=1e-20), "floor"),
        (lambda: phi_of_regression([1.0, 2.0], [1.0]), "do not fit"),
        (lambda: phi_of_regression([np.nan], [1.0]), "not finite"),
    ],
)
def test_what_makes_no_sense_is_one_line(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message) as found:
        call()
    assert "\n" not in str(found.value)
