"""Boundary shrinking: the neighbours' labels by hand, and the steps in plain torch."""

import numpy as np
import pytest
import torch
from plain_torch import GONE, Plain, exact_task, the_request
from small_networks import convolutional_task
from torch import nn
from torch.nn.functional import cross_entropy

from certify import unlearners
from certify.core.errors import ConfigurationError
from certify.models.networks import State
from certify.unlearners import Budget, NetworkTask, Request
from certify.unlearners.methods.boundary_shrink import neighbours_labels
from certify.unlearners.networks.meter import NetworkMeter

METHOD = unlearners.get("boundary-shrink")


def labels_of(task, request, bound, *, own_label=False):
    """The labels by autograd, one record after another."""
    found = []
    for row in request.forgotten:
        x = torch.tensor(task.X[row : row + 1]).requires_grad_()
        y = torch.tensor(task.y[row : row + 1])
        slope = torch.autograd.grad(cross_entropy(task.model(x), y), x)[0]
        order = task.model(x.detach() + bound * slope.sign())[0].argsort(descending=True).tolist()
        found.append(next(label for label in order if own_label or label != int(y)))
    return np.array(found)


@pytest.mark.parametrize("own_label", [False, True])
def test_the_steps_are_those_of_plain_torch(own_label):
    task = exact_task()
    request = the_request(task)
    result = METHOD(lr=0.05, epochs=3, batch_size=10, bound=0.05, own_label=own_label).forget(task, request)
    plain = Plain(task, lr=0.05, momentum=0.9)
    labels = plain.y.clone()
    labels[GONE] = torch.from_numpy(labels_of(task, request, 0.05, own_label=own_label))
    for epoch in range(3):
        for rows in plain.batches(plain.forget, 10, "forget", epoch):
            plain.step(cross_entropy(plain.module(plain.X[rows]), labels[rows]))
    assert plain.distance(result) < 1e-9
    evidence = result.evidence
    assert (evidence.counts["forwards"], evidence.counts["gradients"]) == (23, 4 * 23)
    assert evidence.reads["retain"].records == 0


def test_the_labels_in_a_stack_of_convolutional_models_are_each_ones_own():
    task = convolutional_task()
    requests = [Request.at(task, np.arange(5)), Request.at(task, np.arange(50, 90))]
    meter = NetworkMeter.open(task, requests, Budget(), [0, 1], "test")
    labels = neighbours_labels(meter, State.of(task.model).repeat(2), 0.2, own_label=False)
    for model, request in enumerate(requests):
        found = labels.values[model, labels.places[model, request.forgotten]]
        np.testing.assert_array_equal(found, labels_of(task, request, 0.2))


def test_a_neighbour_of_the_own_class_confirms_the_record_instead_of_forgetting_it():
    task = exact_task()
    right = [row for row in range(80) if int(task.model(torch.tensor(task.X[row])).argmax()) == task.y[row]]
    request = Request.at(task, np.array(right[:20]))
    X, y = torch.tensor(task.X[request.forgotten]), torch.tensor(task.y[request.forgotten])
    change = {}
    for own_label in (False, True):
        result = METHOD(bound=1e-9, own_label=own_label, lr=0.001).forget(task, request)
        with torch.no_grad():
            change[own_label] = float(cross_entropy(result.model(X), y) - cross_entropy(task.model(X), y))
    assert change[True] < 0 < change[False]


def test_whole_numbers_have_no_neighbours():
    with torch.random.fork_rng(devices=[]):
        model = nn.Sequential(nn.Embedding(17, 2), nn.Flatten(), nn.Linear(128, 10))
    given = exact_task()
    task = NetworkTask(model, np.round(given.X * 16).astype(np.int64), given.y)
    with pytest.raises(
        ConfigurationError, match="boundary-shrink: X: inputs that are whole numbers have no neighbours"
    ):
        METHOD().forget(task, the_request(task))
