"""Networks and requests out of the ordinary: frozen parts, one output, one record, and what a fleet must not mix."""

import numpy as np
import pytest
import torch
from small_networks import perceptron_task
from torch import nn

from certify import unlearners
from certify.core.errors import ConfigurationError
from certify.models.networks import Recipe, State
from certify.unlearners import NetworkTask, Request

RECIPE = Recipe("sgd", lr=0.1, epochs=2, batch_size=4)


def records(count=20, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 4)), rng.integers(0, 2, size=count)


def built(*parts):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(*(part() for part in parts)).double()


def half_frozen():
    """A backbone with normalisation, frozen by hand inside a network in training mode."""
    model = built(lambda: nn.Linear(4, 3), lambda: nn.BatchNorm1d(3), lambda: nn.Linear(3, 2)).train()
    model[:2].requires_grad_(requires_grad=False).eval()
    model[1].running_mean.fill_(0.5)
    model[1].running_var.fill_(2.0)
    return model


def test_making_a_task_leaves_parts_frozen_by_hand_as_they_are():
    model = half_frozen()
    flags = [part.training for part in model.modules()]
    NetworkTask(model, *records())
    assert [part.training for part in model.modules()] == flags
    assert not model[1].training


@pytest.mark.parametrize("name", ["fine-tune", "retrain", "not"])
def test_the_statistics_of_a_part_frozen_by_hand_stay(name):
    model = half_frozen()
    task = NetworkTask(model, *records(), recipe=RECIPE)
    knobs = {"layers": "2"} if name == "not" else {}
    result = unlearners.get(name)(**knobs).forget(task, Request.at(task, np.arange(3)))
    for key, value in model[:2].state_dict().items():
        assert torch.equal(result.model[:2].state_dict()[key], value), key
    assert not torch.equal(result.model[2].weight, model[2].weight)


def test_retraining_beside_a_frozen_backbone_says_what_its_claim_supposes():
    free, frozen = built(lambda: nn.Linear(4, 3), lambda: nn.Linear(3, 2)), half_frozen()
    for model, supposes in ((free, False), (frozen, True)):
        task = NetworkTask(model, *records(), recipe=RECIPE)
        result = unlearners.get("retrain")().forget(task, Request.at(task, np.arange(3)))
        assert ("supposes that no forgotten record shaped" in result.reason) == supposes
        assert any("supposes" in text for text in result.evidence.warnings) == supposes


def test_records_that_are_one_number_each_are_read():
    model = built(lambda: nn.Embedding(5, 3), lambda: nn.Linear(3, 2))
    task = NetworkTask(model, np.arange(20) % 5, np.arange(20) % 2)
    result = unlearners.get("fine-tune")(batch_size=4).forget(task, Request.at(task, np.arange(5)))
    assert result.evidence.moved > 0
    assert "15 retained records are exact copies of forgotten ones" in " ".join(result.evidence.warnings)


@pytest.mark.parametrize("name", ["fine-tune", "muso", "npo", "retrain", "sisa"])
def test_a_last_batch_of_one_record_passes_where_it_has_no_statistics(name):
    model = built(lambda: nn.Linear(4, 3), lambda: nn.BatchNorm1d(3), lambda: nn.Linear(3, 2))
    task = NetworkTask(model, *records(), recipe=RECIPE, initial=model)
    method = unlearners.get(name)
    knobs = {"shards": 1, "slices": 1} if name == "sisa" else {} if name == "retrain" else {"batch_size": 4}
    result = method(**knobs).forget(task, Request.at(task, np.arange(3)))  # 17 left
    assert result.evidence.moved > 0


def test_one_output_has_two_classes_whose_guess_bounds_the_ascent():
    model = built(lambda: nn.Linear(4, 3), nn.Tanh, lambda: nn.Linear(3, 1))
    task = NetworkTask(model, *records(), loss="binary-cross-entropy")
    request = Request.at(task, np.arange(6))
    result = unlearners.get("gradient-ascent")(lr=0.5, epochs=200, batch_size=6).forget(task, request)
    outputs = result.model(torch.from_numpy(task.X[:6])).detach().ravel()
    losses = nn.functional.softplus(-(2 * torch.from_numpy(task.y[:6]) - 1) * outputs)
    assert float(losses.min()) > np.log(2) - 0.05
    assert float(losses.max()) < 2


def test_squared_error_has_no_guess_to_bound_the_ascent_by():
    model = built(lambda: nn.Linear(4, 1))
    X, _ = records()
    task = NetworkTask(model, X, X[:, :1], loss="squared")
    request = Request.at(task, np.arange(6))
    with pytest.raises(
        ConfigurationError, match=r"gradient-ascent\.bound: squared error has no loss of a uniform guess"
    ):
        unlearners.get("gradient-ascent")().forget(task, request)
    for knobs in ({"bound": 3.0}, {"bounded": False}):
        assert unlearners.get("gradient-ascent")(**knobs).forget(task, request).evidence.moved > 0


def test_what_is_reported_of_a_model_is_its_own_in_a_fleet():
    model = built(lambda: nn.Linear(4, 6), nn.Tanh, lambda: nn.Linear(6, 2))
    small = NetworkTask(model, *records(40), held_out=records(30, seed=1))
    cases = {
        "scrub": (
            small,
            {"rewind": True, "lr": 0.5, "epochs": 6, "batch_size": 8, "forget_batch_size": 4},
            "rewound to",
        ),
        "muso": (perceptron_task(), {"epochs": 2, "sample": 0.02}, "map_moved"),
    }
    for name, (task, knobs, number) in cases.items():
        method = unlearners.get(name)(**knobs)
        requests = [Request.at(task, rows) for rows in (np.arange(5), np.arange(6, 18), np.arange(20, 39))]
        alone = [method.forget(task, request, seed=k).evidence.solver[number] for k, request in enumerate(requests)]
        fleet = [result.evidence.solver[number] for result in method.forget_fleet(task, requests)]
        assert fleet == pytest.approx(alone, rel=1e-4)
        assert len(set(alone)) > 1, name


def test_no_penalty_is_fine_tuning_to_the_last_bit_in_double_precision():
    model = built(lambda: nn.Linear(4, 3), nn.Tanh, lambda: nn.Linear(3, 2))
    task = NetworkTask(model, *records())
    request, knobs = Request.at(task, np.arange(3)), {"lr": 0.07, "epochs": 3, "batch_size": 5, "momentum": 0.9}
    plain = unlearners.get("fine-tune")(**knobs).forget(task, request)
    sparse = unlearners.get("l1-sparse")(**knobs, gamma=0.0).forget(task, request)
    assert sparse.state.digest() == plain.state.digest()
    assert plain.state.digest() != State.of(model).digest()


class Recurrent(nn.Module):
    """Whole numbers in, through an embedding and an LSTM."""

    def __init__(self):
        super().__init__()
        self.embedding, self.lstm, self.head = nn.Embedding(5, 3), nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.lstm(self.embedding(x))[0][:, -1])


@pytest.mark.parametrize("name", ["delete", "ssd"])
def test_recurrent_networks_run_alone_and_in_fleets(name):
    X = np.random.default_rng(0).integers(5, size=(20, 6))
    task = NetworkTask(built(Recurrent)[0], X, X[:, 0] % 2)
    method = unlearners.get(name)(**({"selection": 1.1} if name == "ssd" else {"epochs": 2, "batch_size": 3}))
    requests = [Request.at(task, np.arange(count)) for count in (2, 7)]
    for k, found in enumerate(method.forget_fleet(task, requests)):
        alone = method.forget(task, requests[k], seed=k)
        assert alone.evidence.moved > 0
        for key, value in alone.state.parameters.items():
            assert torch.allclose(found.state.parameters[key], value, rtol=1e-9, atol=1e-12)
