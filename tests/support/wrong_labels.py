"""Digits of which thirty carry a wrong label that the network has learned: what a method for networks should undo."""

from functools import cache

import numpy as np
import torch
from small_networks import Convolutional, digits
from torch import nn

from certify import unlearners
from certify.models.networks import Bench, Network, Recipe, State
from certify.unlearners import Request
from certify.unlearners.networks.task import NetworkTask


def wide() -> nn.Module:
    """64-48-10, tanh: wide enough to learn wrong labels by heart."""
    return nn.Sequential(nn.Linear(64, 48), nn.Tanh(), nn.Linear(48, 10))


BUILDS = {"perceptron": wide, "convolutional": Convolutional}


@cache
def mislabelled(kind: str) -> tuple[NetworkTask, np.ndarray]:
    """The task and the positions of the thirty records; the original gets nearly all of the wrong labels right."""
    X, y = digits()
    generator = np.random.default_rng(0)
    y = y.copy()
    rows = np.sort(generator.choice(300, 30, replace=False))
    y[rows] = (y[rows] + 1 + generator.integers(0, 9, 30)) % 10
    recipe = Recipe("adam", lr=0.02, epochs=60, batch_size=32)
    build = BUILDS[kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build()
    bench = Bench(Network.of(model), torch.tensor(X), torch.tensor(y), seeds=(0,))
    bench.train(State.of(model), [np.arange(300)], recipe).write_into(model)
    held_out = (X[300:500], y[300:500])
    return NetworkTask(model.eval(), X[:300], y[:300], recipe=recipe, architecture=build, held_out=held_out), rows


def accuracies(kind: str, model: nn.Module) -> tuple[float, float]:
    """Share of the wrong labels that a model gives, and its accuracy on a thousand records that nobody trained on."""
    task, rows = mislabelled(kind)
    X, y = digits()
    return _accuracy(model, task.X[rows], task.y[rows]), _accuracy(model, X[500:1500], y[500:1500])


def after(kind: str, name: str, **knobs) -> tuple[float, float]:
    """:func:`accuracies` after a method has forgotten the thirty."""
    task, rows = mislabelled(kind)
    return accuracies(kind, unlearners.get(name)(**knobs).forget(task, Request.at(task, rows)).model)


def _accuracy(model: nn.Module, X: np.ndarray, y: np.ndarray) -> float:
    with torch.no_grad():
        return float((model.eval()(torch.as_tensor(X)).argmax(dim=1) == torch.as_tensor(y)).double().mean())
