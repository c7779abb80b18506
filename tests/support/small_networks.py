"""Small trained networks for the tests: digits of scikit-learn, a multilayer perceptron and a convolutional one."""

from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from certify.models.networks import Bench, Network, Recipe, State
from certify.models.networks.losses import loss_named
from certify.unlearners.networks.task import NetworkTask

RECIPE = Recipe("adam", lr=5e-3, epochs=15, batch_size=32)


def perceptron() -> nn.Module:
    """64-16-10, tanh."""
    return nn.Sequential(nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10))


class Convolutional(nn.Module):
    """One convolution with batch normalisation, then a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 6, 3)
        self.normalisation = nn.BatchNorm2d(6)
        self.head = nn.Linear(54, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.normalisation(self.convolution(x.reshape(-1, 1, 8, 8))))
        return self.head(nn.functional.max_pool2d(x, 2).flatten(1))


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """All 1,797 digits, pixels in [0, 1]."""
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(np.float32), y.astype(np.int64)


def trained(
    build=perceptron, *, records: int = 300, held_out: int = 200, seed: int = 0, recipe: Recipe = RECIPE, **more
):
    """A task whose original was trained on the first records by the recipe, from a start that is kept as ``initial``."""
    X, y = digits()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        initial, model = build(), build()
    model.load_state_dict(initial.state_dict())
    bench = Bench(
        Network.of(model),
        torch.tensor(X),
        torch.tensor(y),
        loss=loss_named(more.get("loss", "cross-entropy")),
        seeds=(seed,),
    )
    bench.train(State.of(model), [np.arange(records)], recipe).write_into(model)
    out = slice(records, records + held_out)
    more = {"recipe": recipe, "architecture": build, "initial": initial, "held_out": (X[out], y[out]), **more}
    return NetworkTask(model.eval(), X[:records], y[:records], **more)


@cache
def perceptron_task() -> NetworkTask:
    """The multilayer perceptron, trained once for all tests; methods leave it as it is."""
    return trained()


@cache
def convolutional_task() -> NetworkTask:
    """The convolutional network, trained once for all tests."""
    return trained(Convolutional)
