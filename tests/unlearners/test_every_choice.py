"""Every word of every knob that is chosen from words: each runs, and each does something else than the others."""

from dataclasses import fields, replace
from itertools import combinations
from typing import Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch
from every_method import NAMES, convolutional, fitting, forgotten, quick, tiny
from torch import nn

from certify import Objective, unlearners
from certify.models.networks import Recipe
from certify.unlearners import NetworkTask, Request
from certify.unlearners.conformance.beds import same

BESIDE = {
    ("damped-newton", "solver"): {
        "iterations": 3,
        "steps": 1,
    },  # so few products that the solution is visibly not reached
    ("fisher-forgetting", "input_mean"): {"largest_variance": 1e6},
    ("gradient-ascent", "bounded"): {"bound": 0.01},
    ("muso", "algorithm"): {"labels": "soft", "sample": 1.0},
    ("muso", "drift"): {"labels": "soft", "lr": 0.05},
    ("scrub", "rewind"): {"lr": 0.5, "epochs": 6, "max_epochs": 5, "forget_batch_size": 2},
    ("ngd-minmax", "first"): {"curvature": "none"},
    ("ngd-minmax", "curvature"): {"rank": 3, "iterations": 2, "damping": 1e-3},
    ("boundary-shrink", "own_label"): {"bound": 0.01},
}
"""Other knobs beside which a word can be told from the others."""
ALIKE = {
    ("damped-newton", "solver"): {("auto", "dense")},  # a small network
    ("msg", "where"): {("auto", "convolutions")},  # a network that has some
    ("muso", "algorithm"): {("auto", "linear")},  # a task the theorem knows
}
"""Words that are documented to mean the same on the task here."""


def words_of(name):
    method = unlearners.get(name)
    hints = get_type_hints(method)
    for knob in fields(method):
        if hints[knob.name] is bool:
            yield knob.name, (False, True)
        elif get_origin(hints[knob.name]) is Literal and len(get_args(hints[knob.name])) > 1:
            yield knob.name, get_args(hints[knob.name])


def head_task() -> NetworkTask:
    """A linear head on fixed features, which it interpolates: where the theorem of relabelling can hold."""
    rng = np.random.default_rng(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        start, model = (nn.Sequential(nn.Linear(40, 2)).double() for _ in range(2))
    X, y = rng.normal(size=(12, 40)), rng.normal(size=(12, 2))
    Z = np.column_stack([X, np.ones(12)])
    first = np.column_stack([start[0].weight.detach().numpy(), start[0].bias.detach().numpy()]).T
    W = first + np.linalg.pinv(Z) @ (y - Z @ first)
    with torch.no_grad():
        model[0].weight.copy_(torch.from_numpy(W[:-1].T.copy()))
        model[0].bias.copy_(torch.from_numpy(W[-1].copy()))
    return NetworkTask(model, X, y, loss="squared", initial=start, recipe=Recipe("sgd", lr=0.1, epochs=2))


def task_for(name, knob):
    if (name, knob) in {("muso", "algorithm"), ("muso", "fit")}:
        return head_task()
    if (name, knob) == ("msg", "where"):
        return tiny(convolutional, torch.float64)
    return fitting(name, torch.float64)


FOR_LINEAR_MODELS = {"predictor"}
CHOICES = [(name, knob, words) for name in NAMES for knob, words in words_of(name) if knob not in FOR_LINEAR_MODELS]


@pytest.mark.parametrize(("name", "knob", "words"), CHOICES, ids=[f"{name}-{knob}" for name, knob, _ in CHOICES])
def test_each_word_is_run_and_is_no_other_word(name, knob, words):
    task, found = task_for(name, knob), {}
    beside = BESIDE.get((name, knob), {"weight_decay": 0.1} if knob == "optimiser" else {})
    request = Request.at(task, np.arange(5))
    for word in words:
        state = forgotten(quick(name, **{**beside, knob: word}), task, request).state
        found[word] = {key: value.numpy() for key, value in state.parameters.items()}
    alike = {(one, two) for one, two in combinations(words, 2) if same(found[one], found[two], 1e-9)}
    assert alike == ALIKE.get((name, knob), set())


CONVEX = [
    (name, knob, words)
    for name in unlearners.names()
    if "convex" in unlearners.get(name).kinds
    for knob, words in words_of(name)
    if name not in NAMES or knob in FOR_LINEAR_MODELS
]


@pytest.mark.parametrize(("name", "knob", "words"), CONVEX, ids=[f"{name}-{knob}" for name, knob, _ in CONVEX])
def test_each_word_of_a_method_for_linear_models(name, knob, words, make_case, records):
    case = make_case(Objective("logistic", l2=3.0), records("logistic"))
    task = replace(case.task, original=replace(case.original, coef=case.original.coef * 1.1))
    beside = {"rounds": 1} if name == "muso" else {}
    results = [unlearners.get(name)(**beside, **{knob: word}).forget(task, case.request) for word in words]
    for one, two in combinations(results, 2):
        told = (one.reason, one.evidence.counts) != (two.reason, two.evidence.counts)
        moved = not np.array_equal(one.state, two.state)
        assert (moved, told) == (False, True) if knob == "guarantee" else moved
