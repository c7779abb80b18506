"""Weights files of networks: tensors that layers share, numbers that a format cannot hold."""

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn

from certify.core.errors import InputError
from certify.models.networks.files import dump_network, load_network


def tied(seed):
    """Two layers with one weight."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    made[2].weight = made[0].weight
    return made


def test_a_shared_tensor_stands_under_one_name_or_under_all(tmp_path):
    model, one, whole = tied(1), tmp_path / "one.safetensors", tmp_path / "all.safetensors"
    save_model(model, str(one))  # writes the shared weight once
    whole.write_bytes(dump_network(whole, model))
    for path in (one, whole):
        loaded, _ = load_network(path, tied(2))
        assert loaded[0].weight is loaded[2].weight
        assert torch.equal(loaded[0].weight, model[0].weight)
        assert torch.equal(loaded[2].bias, model[2].bias)


def test_different_numbers_for_a_shared_tensor_are_refused(tmp_path):
    tensors = {name: value.detach().clone() for name, value in tied(1).state_dict().items()}
    tensors["2.weight"][0, 0] += 1
    path = tmp_path / "torn.safetensors"
    save_file(tensors, path)
    before = tied(2)
    with pytest.raises(InputError, match=r"0\.weight and 2\.weight are one tensor"):
        load_network(path, before)
    assert torch.equal(before[0].weight, tied(2)[0].weight)


def test_numbers_that_numpy_does_not_have_are_refused(tmp_path):
    model = tied(1).to(torch.bfloat16)
    with pytest.raises(InputError, match=r"bfloat16 numbers of 0\.weight"):
        dump_network(tmp_path / "weights.npz", model)
    path = tmp_path / "weights.safetensors"
    path.write_bytes(dump_network(path, model))
    loaded, _ = load_network(path, tied(2).to(torch.bfloat16))
    assert torch.equal(loaded[0].weight, model[0].weight)
