"""SalUn: which weights may move, and that the others do not, whatever the optimiser carries along."""

import numpy as np
import pytest
import torch
from plain_torch import exact_task, the_request
from small_networks import convolutional_task, perceptron_task
from torch.nn.functional import cross_entropy

from certify import unlearners
from certify.unlearners import Request
from certify.unlearners.methods.salun import salient

METHOD = unlearners.get("salun")
PULLS = [
    {"optimiser": "sgd", "momentum": 0.9, "weight_decay": 0.1},
    {"optimiser": "adam", "weight_decay": 0.1},
    {"optimiser": "adamw", "weight_decay": 0.1},
]


def expected_mask(task, request, share):
    """Largest absolute gradients of the forgotten records' summed loss, by autograd and a full sort."""
    X, y = torch.tensor(task.X)[request.forgotten], torch.tensor(task.y)[request.forgotten]
    names, values = zip(*task.model.named_parameters(), strict=True)
    gradient = torch.autograd.grad(cross_entropy(task.model(X), y, reduction="sum"), values)
    flat = torch.cat([g.abs().flatten() for g in gradient]).numpy()
    mask = np.zeros(len(flat), dtype=bool)
    mask[np.argsort(-flat, kind="stable")[: round(share * len(flat))]] = True
    sizes = np.cumsum([value.numel() for value in values])[:-1]
    return dict(zip(names, np.split(mask, sizes), strict=True))


@pytest.mark.parametrize("knobs", PULLS, ids=lambda knobs: knobs["optimiser"])
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_weights_outside_the_mask_are_bit_identical_and_those_inside_move(share, knobs):
    task = exact_task()
    request = the_request(task)
    result = METHOD(lr=0.01, epochs=3, batch_size=16, share=share, **knobs).forget(task, request)
    mask = expected_mask(task, request, share)
    for name, before in task.model.named_parameters():
        after = dict(result.model.named_parameters())[name]
        same = (before == after).detach().flatten().numpy()
        np.testing.assert_array_equal(same, ~mask[name], err_msg=name)


def test_without_the_mask_the_same_run_moves_nearly_everything():
    task = exact_task()
    evidence = METHOD(share=1.0, weight_decay=0.1).forget(task, the_request(task)).evidence
    assert all(change.changed == change.elements for change in evidence.tensors)
    free = unlearners.get("random-labels")(weight_decay=0.1).forget(task, the_request(task))
    assert [c.after for c in free.evidence.tensors] == [c.after for c in evidence.tensors]


def test_ties_leave_exactly_the_share_in_each_model():
    gradient = {"a": torch.tensor([[1.0, -1.0, 1.0], [0.0, 0.0, 0.0]]), "b": torch.tensor([[-1.0, 2.0], [0.0, 5.0]])}
    mask = salient(gradient, 0.4)
    assert mask["a"].tolist() == [[True, False, False], [True, False, False]]
    assert mask["b"].tolist() == [[False, True], [False, True]]
    assert sum(int(part.sum()) for part in salient(gradient, 1e-9).values()) == 2


def test_each_model_of_a_fleet_has_its_own_mask():
    task = perceptron_task()
    requests = [Request.at(task, np.arange(5)), Request.at(task, np.arange(100, 160))]
    results = METHOD(share=0.3).forget_fleet(task, requests)
    total = sum(value.numel() for value in task.model.parameters())
    moved = [sum(change.changed for change in result.evidence.tensors) for result in results]
    assert all(0.95 * round(0.3 * total) <= count <= round(0.3 * total) for count in moved)
    frozen = [result.state.parameters["0.weight"][0] == task.model[0].weight for result in results]
    assert not torch.equal(*frozen)


def test_the_mask_is_counted_and_running_averages_are_listed():
    task = convolutional_task()
    request = Request.at(task, np.arange(40))
    masked = METHOD(epochs=1).forget(task, request).evidence
    free = unlearners.get("random-labels")(epochs=1).forget(task, request).evidence
    assert masked.counts["gradients"] == free.counts["gradients"] + 40
    moved = {change.name for change in masked.tensors if change.buffer and change.changed}
    assert moved == {
        "normalisation.running_mean",
        "normalisation.running_var",
        "normalisation.num_batches_tracked",
    }
