"""UNSIR: noise, impairing and repairing steps in plain torch; whole classes only."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from plain_torch import GONE, Plain, exact_task, the_request
from small_networks import convolutional_task, digits, perceptron_task
from torch.nn.functional import cross_entropy

from certify import unlearners
from certify.core.streams import stream
from certify.unlearners import Request

METHOD = unlearners.get("unsir")
CHANGED = {
    "lr": 0.003,
    "repair_lr": 0.003,
    "epochs": 2,
    "batch_size": 7,
    "sample": 0.9,
    "noise": 8,
    "noise_steps": 3,
    "noise_lr": 0.01,
    "penalty": 1.0,
    "optimiser": "sgd",
}


def largest_difference(first, second):
    return max(float((first.state.parameters[n] - p).abs().max()) for n, p in second.state.parameters.items())


def made_noise(plain, labels):
    noise = torch.tensor(stream(0, "unsir/noise").normal(size=(12, 64))).requires_grad_()
    adam = torch.optim.Adam([noise], lr=0.05)
    for _ in range(15):
        loss = -cross_entropy(plain.teacher(noise), labels) + 0.2 * noise.square().sum(dim=1).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    return noise.detach()


def test_the_steps_are_those_of_plain_torch():
    task = exact_task()
    request = Request.at(task, np.flatnonzero((task.y == 3) | (task.y == 7)))
    knobs = {"noise": 12, "noise_steps": 15, "noise_lr": 0.05, "penalty": 0.2, "batch_size": 8, "sample": 0.5}
    result = METHOD(lr=0.05, repair_lr=0.02, epochs=2, optimiser="sgd", **knobs).forget(task, request)
    plain = Plain(task, lr=0.05)
    retain = np.setdiff1d(np.arange(80), request.forgotten)
    sample = np.sort(stream(0, "unsir/sample").choice(retain, size=round(0.5 * len(retain)), replace=False))
    labels = torch.tensor([3, 7] * 6)
    noise = made_noise(plain, labels)
    for epoch in range(2):
        for rows in plain.batches(sample, 8, "impair", epoch):
            X, y = torch.cat([noise, plain.X[rows]]), torch.cat([labels, plain.y[rows]])
            plain.step(cross_entropy(plain.module(X), y))
    plain.optimiser = torch.optim.SGD(plain.module.parameters(), lr=0.02)
    for epoch in range(2):
        for rows in plain.batches(sample, 8, "repair", epoch):
            plain.step(cross_entropy(plain.module(plain.X[rows]), plain.y[rows]))
    assert plain.distance(result) < 1e-9
    evidence = result.evidence
    assert {which: part.records for which, part in evidence.reads.items()} == {
        "forget": 0,
        "retain": len(sample),
        "held-out": 0,
    }
    steps = 2 * -(-len(sample) // 8)
    assert evidence.counts["gradients"] == 15 * 12 + steps * 12 + 2 * 2 * len(sample)


def test_the_class_goes_and_the_others_stay():
    task = perceptron_task()
    X, y = (part[600:1200] for part in digits())
    result = METHOD(batch_size=16, sample=0.5).forget(task, task.request_class(3))
    with torch.no_grad():
        before, after = (model(torch.tensor(X)).argmax(1).numpy() == y for model in (task.model, result.model))
    assert before[y == 3].mean() > 0.6
    assert after[y == 3].mean() < 0.1
    assert after[y != 3].mean() > before[y != 3].mean() - 0.08


@pytest.mark.parametrize("kind", [perceptron_task, convolutional_task], ids=["perceptron", "convolutional"])
def test_a_model_in_a_fleet_ends_where_it_ends_alone(kind):
    task = kind()
    requests = [task.request_class(1), Request.at(task, np.flatnonzero(np.asarray(task.y) >= 7))]
    together = METHOD(noise=8).forget_fleet(task, requests, seeds=[4, 5])
    for model, result in enumerate(together):
        alone = METHOD(noise=8).forget(task, requests[model], seed=4 + model)
        assert largest_difference(result, alone) < 1e-4 * max(1.0, alone.evidence.moved)
        assert result.evidence.reads == alone.evidence.reads


def test_each_knob_is_alive():
    task = exact_task()
    usual = METHOD().forget(task, task.request_class(3))
    assert set(CHANGED) == {knob.name for knob in fields(METHOD)}
    for knob, value in CHANGED.items():
        assert getattr(METHOD(), knob) != value
        assert largest_difference(usual, METHOD(**{knob: value}).forget(task, task.request_class(3))) > 1e-6, knob
    assert largest_difference(usual, METHOD().forget(task, task.request_class(3), seed=1)) > 1e-6


def test_a_part_of_a_class_is_warned_of():
    task = exact_task()
    left = sum(int(label) in set(task.y[GONE].tolist()) for label in task.y) - len(GONE)
    part = METHOD().forget(task, the_request(task)).evidence.warnings
    assert (
        f"{left} retained records are of a class to be forgotten: this method impairs whole classes, theirs too" in part
    )
    assert not any("impairs" in text for text in METHOD().forget(task, task.request_class(3)).evidence.warnings)
