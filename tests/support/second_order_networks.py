"""Networks for the tests of second-order methods: a tiny one in double precision, a small trained one, derivatives by another route."""

from functools import cache

import numpy as np
import torch
from small_networks import trained
from torch import nn

from certify.models.networks import Recipe
from certify.models.networks.state import flatten, unflatten
from certify.unlearners import Budget, NetworkTask, Request
from certify.unlearners.networks.meter import NetworkMeter


@cache
def tiny(seed=0):
    """4-5-3, tanh, 43 parameters in double precision, 60 records; as initialised, so that its Hessian is indefinite."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(60, 4))
    return NetworkTask(model.eval(), X, (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5))


@cache
def small():
    """64-8-10, tanh, 610 parameters: 400 digits, weight decay 1e-3, trained until all are right."""
    recipe = Recipe("adam", lr=2e-2, epochs=40, batch_size=64, weight_decay=1e-3)
    return trained(
        lambda: nn.Sequential(nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 10)), records=400, held_out=400, recipe=recipe
    )


def some(task, count=8):
    return Request.at(task, np.arange(count))


def meter_of(task, *requests):
    return NetworkMeter.open(task, requests, Budget(), list(range(len(requests))), "test")


def derivatives(task, request, weight_decay=0.0):
    """Gradient and Hessian of the mean retained loss by torch's own double backward on the plain module."""
    model, keep = task.model, np.setdiff1d(np.arange(len(task)), request.forgotten)
    X, y = torch.as_tensor(task.X[keep]), torch.as_tensor(task.y[keep])
    like = {name: value[None].detach() for name, value in model.named_parameters()}

    def loss(w):
        parameters = {name: value[0] for name, value in unflatten(w[None], like).items()}
        outputs = torch.func.functional_call(model, parameters, (X,))
        return nn.functional.cross_entropy(outputs, y) + weight_decay / 2 * w.square().sum()

    w = flatten(like)[0]
    return (
        torch.autograd.functional.jacobian(loss, w).numpy(),
        torch.autograd.functional.hessian(loss, w).numpy(),
        w.numpy(),
    )


def accuracy(task, model, rows):
    with torch.no_grad():
        return float((model(torch.as_tensor(task.X[rows])).argmax(1).numpy() == np.asarray(task.y)[rows]).mean())
