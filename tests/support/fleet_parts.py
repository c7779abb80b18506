"""Small fleets for the tests; what other processes need is importable by name."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from small_networks import digits
from torch import nn

from certify.attacks.fleets.assignment import random_assignment
from certify.attacks.fleets.fleet import FleetPlan, FleetTask
from certify.models.networks import Recipe, State

RECIPE = Recipe("adam", lr=5e-3, epochs=2, batch_size=16)


def tiny() -> nn.Module:
    """64-8-10."""
    return nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))


def small_fleet(models: int = 8, records: int = 80, *, build=tiny, **more):
    """A task, a plan with blocks of two, and an assignment."""
    X, y = (part[:records] for part in digits())
    task = {key: more.pop(key) for key in ("train", "device", "ids", "identity", "loss") if key in more}
    plan = FleetPlan(**{"recipe": RECIPE, "block": 2, "backend": "vmap", **more})
    return FleetTask(build, X, y, **task), plan, random_assignment(models, records, seed=0)


@dataclass(frozen=True)
class Shrink:
    """An unlearner that scales weights; a dataclass, so that its knob is part of what a kept block is known by."""

    factor: float = 0.9

    def __call__(self, block):
        return State({n: self.factor * v for n, v in block.originals.parameters.items()}, block.originals.buffers)


@dataclass(frozen=True)
class Deadly:
    """Kills its process the first time anybody comes to the block with this model; leaves a mark so that it does so once."""

    model: int
    mark: str

    def __call__(self, block):
        if self.model in block.models and not Path(self.mark).exists():
            Path(self.mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return Shrink()(block)


def slow_train(X, y, seed):
    """A train function of the user's own; slow enough for a worker to be killed in it."""
    time.sleep(0.02)
    module = tiny()
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
    X, y = torch.as_tensor(X), torch.as_tensor(y)
    for _ in range(3):
        optimiser.zero_grad()
        nn.functional.cross_entropy(module(X), y).backward()
        optimiser.step()
    return module


def failing_train(X, y, seed):
    """Raises for some models, told by their first record."""
    if float(X[0].sum()) > FAILS_ABOVE:
        raise ValueError("secret content of a record")
    return slow_train(X, y, seed)


FAILS_ABOVE = 1e9


def same(left, right) -> bool:
    """Whether two observations are the same bit for bit."""
    return all(
        left.get(world, name).tobytes() == right.get(world, name).tobytes()
        for world, found in left.worlds.items()
        for name in found
    )
