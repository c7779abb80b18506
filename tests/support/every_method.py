"""Every method for networks, set to take no time, on tasks of a few dozen records."""

import copy
from collections import OrderedDict
from dataclasses import fields, replace
from functools import cache

import numpy as np
import torch
from torch import nn

from certify import unlearners
from certify.models.networks import Recipe
from certify.unlearners import NetworkTask, Request

NAMES = [name for name in unlearners.names() if "network" in unlearners.get(name).kinds]
RECORDS, HELD_OUT, CLASSES, BATCH = 33, 20, 3, 8
RECIPE = Recipe("adam", lr=0.02, epochs=2, batch_size=BATCH)
SHORT = {
    "batch_size": BATCH,
    "forget_batch_size": BATCH,
    "curvature_batch_size": BATCH,
    "iterations": 4,
    "max_iterations": 4,
    "inner_steps": 2,
    "ascent_epochs": 1,
    "noise_steps": 4,
    "steps": 2,
}
"""Knobs wherever a method has them; ``epochs`` is 2 in all."""


def perceptron() -> nn.Module:
    """16-5-3, tanh."""
    return nn.Sequential(OrderedDict(hidden=nn.Linear(16, 5), bend=nn.Tanh(), head=nn.Linear(5, CLASSES)))


def normalised() -> nn.Module:
    """The same with batch normalisation, which cannot take a batch of one record."""
    parts = OrderedDict(hidden=nn.Linear(16, 5), norm=nn.BatchNorm1d(5), bend=nn.Tanh(), head=nn.Linear(5, CLASSES))
    return nn.Sequential(parts)


def convolutional() -> nn.Module:
    """A convolution of 3 x 3 on images of 4 x 4, then a linear layer."""
    return nn.Sequential(
        OrderedDict(
            shape=nn.Unflatten(1, (1, 4, 4)),
            convolution=nn.Conv2d(1, 2, 3),
            bend=nn.Tanh(),
            flat=nn.Flatten(),
            head=nn.Linear(8, CLASSES),
        )
    )


def pooled() -> nn.Module:
    """A convolution whose single pixel is normalised: a batch of one record has one value a channel."""
    return nn.Sequential(
        OrderedDict(
            shape=nn.Unflatten(1, (1, 4, 4)),
            convolution=nn.Conv2d(1, 2, 3),
            pool=nn.AvgPool2d(2),
            norm=nn.BatchNorm2d(2),
            flat=nn.Flatten(),
            head=nn.Linear(2, CLASSES),
        )
    )


@cache
def _trained(build, kind) -> tuple[nn.Module, nn.Module]:
    """A start, and what it becomes when it learns all records by heart."""
    X, y = _records()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        initial = build().to(kind)
    model = copy.deepcopy(initial).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(60):
        optimiser.zero_grad()
        outputs = model(torch.from_numpy(X[:RECORDS]).to(kind))
        nn.functional.cross_entropy(outputs, torch.from_numpy(y[:RECORDS])).backward()
        optimiser.step()
    optimiser.zero_grad()
    return initial, model.eval()


def _records() -> tuple[np.ndarray, np.ndarray]:
    X = np.random.default_rng(0).normal(size=(RECORDS + HELD_OUT, 16))
    return X, np.arange(len(X)) % CLASSES


def tiny(build=perceptron, kind=torch.float32, **more) -> NetworkTask:
    """A task on random records that its model knows by heart; its start is kept as ``initial``."""
    X, y = _records()
    initial, model = copy.deepcopy(_trained(build, kind))
    settings = {
        "held_out": (X[RECORDS:], y[RECORDS:]),
        "recipe": RECIPE,
        "architecture": lambda: build().to(kind),
        "initial": initial,
        **more,
    }
    return NetworkTask(model, X[:RECORDS], y[:RECORDS], **settings)


def fitting(name: str, kind=torch.float32, *, statistics: bool = False, **more) -> NetworkTask:
    """A task that the method takes."""
    if name == "ct":
        return tiny(pooled if statistics else convolutional, kind, **more)
    return tiny(normalised if statistics else perceptron, kind, **more)


def quick(name: str, **knobs):
    """The method with few steps; knobs it does not have are left out."""
    method = unlearners.get(name)
    known = {knob.name: knob.default for knob in fields(method)}
    settings = {"epochs": 2, **SHORT, **method.quick, **knobs}
    if name == "ngd-minmax":
        settings["epochs"] = 2  # its default is many more
    return method(**{key: value for key, value in settings.items() if key in known})


def forgotten(method, task: NetworkTask, request: Request, **more):
    """The result; an ensemble of its own is prepared first."""
    return method.forget(method.prepare(task) if hasattr(method, "prepare") else task, request, **more)


def changed(task: NetworkTask, **more) -> NetworkTask:
    """The task with other fields."""
    return replace(task, **more)
