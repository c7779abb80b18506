"""300 digits of which 30 carry wrong labels, learnt by heart: what forgetting those must undo."""

from functools import cache

import numpy as np
import torch
from small_networks import digits
from torch import nn

from certify.models.networks import Bench, Network, Recipe, State
from certify.unlearners import NetworkTask, Request

RECIPE = Recipe("adam", lr=1e-2, epochs=100, batch_size=100)


def wide_perceptron() -> nn.Module:
    """64-64-10, tanh: room enough to learn wrong labels by heart."""
    return nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10))


@cache
def mislabelled(seed: int = 0) -> tuple[NetworkTask, Request]:
    """The task, trained with the wrong labels, and the request to forget the 30 records that carry them."""
    X, y = digits()
    wrong = np.random.default_rng(seed).choice(300, size=30, replace=False)
    labels = y[:300].copy()
    labels[wrong] = (labels[wrong] + 1 + np.arange(30) % 9) % 10
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = wide_perceptron()
    bench = Bench(Network.of(model), torch.tensor(X[:300]), torch.tensor(labels), seeds=(seed,))
    bench.train(State.of(model), [np.arange(300)], RECIPE).write_into(model)
    held_out = (X[300:600], y[300:600])
    task = NetworkTask(model.eval(), X[:300], labels, recipe=RECIPE, architecture=wide_perceptron, held_out=held_out)
    return task, Request.at(task, wrong)


def accuracies(task: NetworkTask, request: Request, model: nn.Module) -> tuple[float, float]:
    """Accuracy on the wrong labels of the records to forget, and on 300 digits that were neither trained on nor held out."""
    X, y = digits()
    with torch.no_grad():
        forget = model(torch.tensor(task.X[request.forgotten])).argmax(1).numpy() == task.y[request.forgotten]
        test = model(torch.tensor(X[600:900])).argmax(1).numpy() == y[600:900]
    return float(forget.mean()), float(test.mean())
