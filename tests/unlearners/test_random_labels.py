"""Random labels against the same steps in plain torch; how the labels are drawn."""

import numpy as np
import pytest
import torch
from plain_torch import GONE, Plain, exact_task, the_request
from small_networks import Convolutional, convolutional_task
from torch import nn
from torch.nn.functional import cross_entropy

from certify import unlearners
from certify.core.errors import ConfigurationError
from certify.core.streams import stream
from certify.unlearners import Budget, NetworkTask, Request
from certify.unlearners.methods.random_labels import drawn_labels
from certify.unlearners.networks.meter import NetworkMeter

METHOD = unlearners.get("random-labels")
KNOBS = {"lr": 0.05, "epochs": 3, "batch_size": 16, "weight_decay": 0.01}


def labels_of_epoch(plain, epoch, *, true_label):
    """The others' labels by listing them; the task's own for retained records."""
    labels = plain.y.clone()
    draw = stream(0, f"labels/{epoch}").integers(10 if true_label else 9, size=len(GONE))
    for row, number in zip(GONE, draw, strict=True):
        choice = [c for c in range(10) if true_label or c != int(plain.y[row])]
        labels[row] = choice[number]
    return labels


@pytest.mark.parametrize("true_label", [False, True])
@pytest.mark.parametrize("order", ["mixed", "forgotten-first"])
def test_the_steps_are_those_of_plain_torch(order, true_label):
    task = exact_task()
    result = METHOD(order=order, true_label=true_label, **KNOBS).forget(task, the_request(task))
    plain = Plain(task, lr=0.05, momentum=0.9, weight_decay=0.01)
    for epoch in range(3):
        labels = labels_of_epoch(plain, epoch, true_label=true_label)
        if order == "mixed":
            batches = plain.batches(np.concatenate([plain.retain, plain.forget]), 16, "mixed", epoch)
        else:
            batches = plain.batches(plain.forget, 16, "forget", epoch) + plain.batches(
                plain.retain, 16, "retain", epoch
            )
        for rows in batches:
            plain.step(cross_entropy(plain.module(plain.X[rows]), labels[rows]))
    assert plain.distance(result) < 1e-9
    assert result.evidence.counts["gradients"] == 3 * 80


def meters(seeds=(0,), size=250):
    task = convolutional_task()
    request = Request.at(task, np.arange(size))
    return NetworkMeter.open(task, [request] * len(seeds), Budget(), seeds, "test")


def test_labels_change_with_epoch_and_seed_and_those_of_retained_records_stay():
    meter = meters((0, 1))
    first, second = (drawn_labels(meter, 10, epoch, true_label=False) for epoch in (0, 1))
    gone = meter.splits[0].forget
    assert not torch.equal(first[0], second[0])
    assert not torch.equal(first[0], first[1])
    for labels in (first, second):
        assert torch.equal(labels[:, 250:], meter.y[250:].repeat(2, 1))
        assert not bool((labels[:, gone] == meter.y[gone]).any())
    assert torch.equal(first, drawn_labels(meter, 10, 0, true_label=False))


@pytest.mark.parametrize(("true_label", "share"), [(False, 0.0), (True, 0.1)])
def test_labels_are_uniform_over_the_classes_that_may_be_drawn(true_label, share):
    meter = meters(tuple(range(40)))
    labels = drawn_labels(meter, 10, 0, true_label=true_label)[:, :250]
    shift = (labels - meter.y[:250]) % 10
    found = torch.bincount(shift.flatten(), minlength=10).double() / shift.numel()
    other = (1 - share) / 9
    spread = 5 * np.sqrt(0.1 / shift.numel())
    assert abs(float(found[0]) - share) <= (spread if share else 0)
    assert float((found[1:] - other).abs().max()) < spread


def test_forgotten_records_do_not_reach_the_batch_statistics():
    """Running averages follow the retained records of each batch alone, by the rule of batch normalisation."""
    task = convolutional_task()
    request = Request.at(task, np.arange(40))
    result = METHOD(lr=1e-12, epochs=1, batch_size=60, momentum=0.0).forget(task, request)
    layer = Convolutional().eval()
    layer.load_state_dict(task.model.state_dict())
    layer.normalisation.train()
    order = stream(0, "mixed/0").permutation(np.concatenate([np.arange(40, 300), np.arange(40)]))
    with torch.no_grad():
        for start in range(0, 300, 60):
            rows = order[start : start + 60]
            layer(torch.tensor(task.X[rows[rows >= 40]]))
    found = dict(result.model.named_buffers())
    for name, value in layer.named_buffers():
        assert torch.allclose(found[name], value, rtol=1e-4, atol=1e-5), name
    assert not torch.allclose(found["normalisation.running_mean"], task.model.normalisation.running_mean, atol=1e-4)


def test_a_single_retained_record_in_a_batch_is_no_error():
    class Flat(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, 10))

    given = convolutional_task()
    with torch.random.fork_rng(devices=[]):
        task = NetworkTask(Flat().eval(), given.X[:9], given.y[:9])
    METHOD(epochs=4, batch_size=2).forget(task, Request.at(task, np.arange(5)))


def test_a_task_without_classes_is_refused():
    given = exact_task()
    task = NetworkTask(given.model, given.X, np.eye(10)[given.y])
    with pytest.raises(ConfigurationError, match="random-labels: y: this method needs one class a record"):
        METHOD().forget(task, the_request(task))
    task = NetworkTask(given.model, given.X, given.y, loss="squared")
    with pytest.raises(ConfigurationError, match="random-labels: loss: this method compares probabilities"):
        METHOD().forget(task, the_request(task))


def test_binary_labels_flip():
    given = exact_task()
    with torch.random.fork_rng(devices=[]):
        model = nn.Linear(64, 1).double()
    task = NetworkTask(model, given.X, given.y % 2, loss="binary-cross-entropy")
    meter = NetworkMeter.open(task, [the_request(task)], Budget(), [0], "test")
    labels = drawn_labels(meter, 2, 0, true_label=False)[0]
    assert torch.equal(labels[GONE], 1 - meter.y[GONE])
    assert METHOD(epochs=1).forget(task, the_request(task)).evidence.moved > 0
