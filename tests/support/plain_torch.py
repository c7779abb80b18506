"""Unlearning written plainly, for the tests: one module, autograd, ``torch.optim``, loops over lists of positions."""

import copy

import numpy as np
import torch
from small_networks import digits, perceptron_task

from certify.core.streams import stream
from certify.unlearners import NetworkTask, Request

GONE = np.arange(3, 26)
"""What the plain runs forget: 23 records, not a multiple of a batch."""


def exact_task(**more) -> NetworkTask:
    """The first 80 digits and the trained perceptron in double precision, so that two ways to compute agree closely."""
    given, (X, y) = perceptron_task(), digits()
    more = {
        "held_out": (X[300:400].astype(np.float64), y[300:400]),
        "architecture": lambda: given.architecture().double(),
        **more,
    }
    return NetworkTask(copy.deepcopy(given.model).double(), X[:80].astype(np.float64), y[:80], **more)


class Plain:
    """One module on its way, and the records it reads."""

    def __init__(self, task: NetworkTask, optimiser=torch.optim.SGD, **knobs) -> None:
        self.module = copy.deepcopy(task.model)
        self.teacher = copy.deepcopy(task.model).requires_grad_(requires_grad=False)
        self.X, self.y = torch.tensor(task.X), torch.tensor(task.y)
        self.forget = GONE
        self.retain = np.setdiff1d(np.arange(len(task)), GONE)
        self.optimiser = optimiser(self.module.parameters(), **knobs)

    def batches(self, rows, size, name, epoch, seed=0):
        """Positions, batch after batch, in the order of one pass."""
        order = stream(seed, f"{name}/{epoch}").permutation(rows)
        return [order[start : start + size] for start in range(0, len(order), size)]

    def step(self, loss):
        """One step that lowers the loss."""
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()

    def distance(self, result) -> float:
        """Largest difference to a result's parameters."""
        theirs = dict(result.model.named_parameters())
        return max(float((value - theirs[name]).detach().abs().max()) for name, value in self.module.named_parameters())


def the_request(task: NetworkTask) -> Request:
    """The request to forget :data:`GONE`."""
    return Request.at(task, GONE)
