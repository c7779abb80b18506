"""What the methods that go on training have in common: fleets, knobs, seeds, records read, wrong labels that must go."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from mislabelled import accuracies, mislabelled
from plain_torch import exact_task, the_request
from small_networks import convolutional_task, perceptron_task

from certify import unlearners
from certify.unlearners import Request

STEPS = {
    "lr": 0.003,
    "epochs": 3,
    "batch_size": 7,
    "optimiser": "adam",
    "momentum": 0.5,
    "weight_decay": 0.05,
}
CHANGED = {
    "neggrad-plus": {**STEPS, "alpha": 0.7, "clip": 1e-3},
    "random-labels": {**STEPS, "true_label": True, "order": "forgotten-first"},
    "salun": {**STEPS, "true_label": True, "order": "forgotten-first", "share": 0.2},
    "scrub": {
        **STEPS,
        "epochs": 8,
        "max_epochs": 3,
        "forget_batch_size": 5,
        "alpha": 0.9,
        "gamma": 0.3,
        "temperature": 1.0,
        "rewind": True,
    },
    "bad-teacher": {**STEPS, "sample": 0.9, "temperature": 3.0},
    "delete": STEPS,
    "npo": {**STEPS, "beta": 3.0, "retain": 0.0},
    "boundary-shrink": {**STEPS, "bound": 0.5, "own_label": True},
    "lotus": {**STEPS, "alpha": 1.0, "sample": 0.9, "margin": 0.5},
}
"""For each method, another value of each of its knobs."""
PROBE = {
    "scrub": {"lr": 0.3, "epochs": 9, "max_epochs": 6},
    "boundary-shrink": {"bound": 0.02, "epochs": 4},
    "lotus": {"lr": 0.2, "epochs": 12},
}
"""What the others stay at: SCRUB strong enough that its last epoch is not the one to rewind to, neighbours near enough that
some are of the record's own class, LoTUS long enough that it stops by itself."""
SHORT = {"scrub": {"epochs": 3, "max_epochs": 2}}
"""Enough to show what a step does."""
FORGET_ALONE = {"delete", "boundary-shrink"}
HELD_OUT = {"lotus"}


def largest_difference(first, second):
    return max(float((first.state.parameters[n] - p).abs().max()) for n, p in second.state.parameters.items())


@pytest.mark.parametrize("kind", [perceptron_task, convolutional_task], ids=["perceptron", "convolutional"])
@pytest.mark.parametrize("name", CHANGED)
def test_a_model_in_a_fleet_ends_where_it_ends_alone(name, kind):
    task, method = kind(), unlearners.get(name)(**SHORT.get(name, {"epochs": 2}))
    requests = [Request.at(task, np.arange(7 * k, 7 * k + 5 + 30 * k)) for k in range(3)]
    together = method.forget_fleet(task, requests, seeds=[4, 5, 6])
    for model, result in enumerate(together):
        alone = method.forget(task, requests[model], seed=4 + model)
        assert largest_difference(result, alone) < 1e-4 * max(1.0, alone.evidence.moved)
        assert result.evidence.reads == alone.evidence.reads
        for buffer, value in alone.state.buffers.items():
            torch.testing.assert_close(result.state.buffers[buffer], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", CHANGED)
def test_each_knob_is_alive(name):
    task = exact_task()
    request = the_request(task)
    method, probe = unlearners.get(name), PROBE.get(name, {"epochs": 4})
    usual = method(**probe).forget(task, request)
    assert set(CHANGED[name]) == {knob.name for knob in fields(method)}
    for knob, value in CHANGED[name].items():
        assert getattr(method(**probe), knob) != value
        other = method(**{**probe, knob: value}).forget(task, request)
        assert largest_difference(usual, other) > 1e-6, knob
    assert largest_difference(usual, method(**probe).forget(task, request)) == 0


@pytest.mark.parametrize("name", CHANGED)
def test_another_seed_gives_another_result(name):
    task = exact_task()
    method = unlearners.get(name)(batch_size=8, **SHORT.get(name, {"epochs": 2}))
    first, second = (method.forget(task, the_request(task), seed=s) for s in (0, 1))
    assert largest_difference(first, second) > 1e-6
    assert unlearners.get(name).stochastic


@pytest.mark.parametrize("name", CHANGED)
def test_something_changes_and_what_was_read_is_listed(name):
    task = exact_task()
    evidence = unlearners.get(name)(**SHORT.get(name, {"epochs": 2})).forget(task, the_request(task)).evidence
    assert all(change.changed for change in evidence.tensors)
    assert evidence.reads["forget"].records == 23
    assert (evidence.reads["retain"].records == 0) == (name in FORGET_ALONE)
    assert (evidence.reads["held-out"].records == 0) == (name not in HELD_OUT)


@pytest.mark.parametrize("name", CHANGED)
def test_forgotten_records_leave_batch_statistics_alone(name):
    """Where only forgotten records pass, no buffer moves; elsewhere it is not theirs that move it."""
    task = convolutional_task()
    request = Request.at(task, np.arange(40))
    evidence = unlearners.get(name)(**SHORT.get(name, {"epochs": 2})).forget(task, request).evidence
    assert any(change.buffer and change.changed for change in evidence.tensors) == (name not in FORGET_ALONE)


@pytest.mark.parametrize("name", ["neggrad-plus", "npo", "delete", "boundary-shrink"])
def test_a_method_that_ascends_raises_the_loss_of_forgotten_records_at_once(name):
    task = exact_task()
    request = the_request(task)
    alone = {"alpha": 0.0} if name == "neggrad-plus" else {"retain": 0.0} if name == "npo" else {}
    result = unlearners.get(name)(lr=1e-3, epochs=1, batch_size=100, momentum=0.0, **alone).forget(task, request)
    X, y = torch.tensor(task.X[request.forgotten]), torch.tensor(task.y[request.forgotten])
    with torch.no_grad():
        before, after = (torch.nn.functional.cross_entropy(model(X), y) for model in (task.model, result.model))
    assert after > before


FORGETFUL = {
    "neggrad-plus": {"lr": 0.03, "alpha": 0.9, "batch_size": 32},
    "random-labels": {"lr": 0.1, "epochs": 20},
    "salun": {"lr": 0.1, "epochs": 20},
    "scrub": {},
    "bad-teacher": {"lr": 0.1, "epochs": 10, "batch_size": 32},
    "delete": {},
    "npo": {"lr": 0.05},
    "boundary-shrink": {},
}


@pytest.mark.parametrize("name", FORGETFUL)
def test_wrong_labels_learnt_by_heart_go_and_accuracy_stays(name):
    task, request = mislabelled()
    wrong, test = accuracies(task, request, task.model)
    assert wrong == 1.0
    result = unlearners.get(name)(**FORGETFUL[name]).forget(task, request)
    still_wrong, still_right = accuracies(task, request, result.model)
    assert still_wrong <= 0.3
    assert still_right >= test - 0.05


def test_rules_that_stop_at_held_out_accuracy_leave_wrong_labels_half_learnt():
    """A retrained model gets nearly all wrong labels wrong; these stop where it would be right about unseen records."""
    task, request = mislabelled()
    for name, knobs in (("lotus", {}), ("scrub", {"rewind": True})):
        result = unlearners.get(name)(**knobs).forget(task, request)
        assert 0.3 < accuracies(task, request, result.model)[0] < 0.9


def test_retraining_is_what_they_are_to_come_near_and_doing_nothing_is_not():
    task, request = mislabelled()
    wrong, test = accuracies(task, request, unlearners.get("retrain")().forget(task, request).model)
    assert wrong <= 0.1
    assert test >= accuracies(task, request, task.model)[1] + 0.05
    tuned = unlearners.get("fine-tune")().forget(task, request)
    assert accuracies(task, request, tuned.model)[0] > 0.3
