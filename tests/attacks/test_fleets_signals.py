"""Signals from logits, exact where probabilities saturate."""

import numpy as np
import pytest
import torch

from certify.attacks.fleets.signals import observe, signals_of
from certify.attacks.observations import SIGNALS
from certify.attacks.scores.phi import signals
from certify.core.metrics import modified_entropy


def test_phi_is_the_logit_gap_however_large():
    for gap in (-1000.0, -110.0, 0.0, 17.0, 110.0, 1000.0):
        outputs = torch.tensor([[gap, 0.0]])
        assert observe(outputs, torch.tensor([0]), "cross-entropy", ["phi"])["phi"].item() == gap
        assert observe(outputs[:, :1], torch.tensor([1]), "binary-cross-entropy", ["phi"])["phi"].item() == gap
    found = observe(torch.tensor([[500.0, 0.0, 0.0]]), torch.tensor([0]), "cross-entropy", ["phi"])["phi"]
    assert found.item() == pytest.approx(500 - np.log(2), abs=1e-12)


def test_all_signals_against_probabilities():
    generator = torch.Generator().manual_seed(0)
    outputs, labels = torch.randn(200, 7, generator=generator), torch.randint(7, (200,), generator=generator)
    found = observe(outputs, labels, "cross-entropy", ["phi", "entropy", "modified-entropy", "correct"])
    p = torch.softmax(outputs.double(), dim=1).numpy()
    own = p[np.arange(200), labels]
    np.testing.assert_allclose(found["phi"], np.log(own) - np.log1p(-own), rtol=1e-9)
    np.testing.assert_allclose(found["entropy"], -(p * np.log(p)).sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(found["modified-entropy"], modified_entropy(p, labels.numpy()), rtol=1e-9)
    assert np.array_equal(found["correct"], p.argmax(axis=1) == labels.numpy())
    other = observe(outputs, (labels + 1) % 7, "cross-entropy", ["modified-entropy"])["modified-entropy"]
    assert not torch.isclose(found["modified-entropy"], other).any()


def test_modified_entropy_is_finite_and_right_where_a_probability_is_one():
    outputs = torch.tensor([[0.0, 1000.0, 0.0], [1000.0, 0.0, 0.0]])
    found = observe(outputs, torch.tensor([0, 0]), "cross-entropy", ["modified-entropy", "entropy"])
    # sure and wrong: (1 - p_y) (-log p_y) = 1000, and the certain other class adds -log(1 - p) = 1000 - log 2
    assert found["modified-entropy"][0].item() == pytest.approx(2000 - np.log(2), rel=1e-12)
    assert found["modified-entropy"][1].item() == 0.0
    assert found["entropy"].tolist() == [0.0, 0.0]


def test_targets_have_phi_alone():
    targets = torch.tensor([[1.0, 2.0]])
    assert signals_of("squared", targets) == ("phi",)
    assert observe(torch.tensor([[0.0, 0.0]]), targets, "squared", ["phi"])["phi"].item() == -5.0


@pytest.mark.parametrize("size", [1.0, 30.0, 400.0])
def test_what_the_device_computes_is_what_arrays_give(size):
    generator = torch.Generator().manual_seed(1)
    outputs = size * torch.randn(300, 6, generator=generator)
    labels = torch.randint(6, (300,), generator=generator)
    expected = signals(outputs.numpy(), labels.numpy())
    for name, values in observe(outputs, labels, "cross-entropy", SIGNALS).items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-9, atol=1e-12, err_msg=name)
