"""Shadow models trained as a fleet against a loop of ordinary torch training, in one run, taken in turn.

    .venv/bin/python benchmarks/audit_fleets.py [--models 64] [--device cpu|cuda|auto] [--repeats 3] [--epochs 5]

Perceptrons (64-32-10, batches of 64) on the digits of scikit-learn; the same with dropout, which runs in a loop; small convolutional networks on
Fashion-MNIST. The loop is what people write: one nn.Module and one torch.optim.Adam a model, torch.randperm a pass. The fleet is run_fleet's
training, with the way that its trial chooses; the trial's own time stands beside. A ratio below 1 would be a fleet slower than the loop.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from pictures import convolutional, pictures
from sklearn.datasets import load_digits
from torch import nn

from certify.attacks.fleets.assignment import random_assignment
from certify.attacks.fleets.blocks import prepare
from certify.attacks.fleets.fleet import FleetPlan, FleetTask
from certify.attacks.fleets.fresh import fresh, seed_of
from certify.attacks.fleets.ordinary import undisturbed
from certify.attacks.fleets.trial import survey
from certify.attacks.observations import Cell
from certify.models.networks import Recipe


def perceptron() -> nn.Module:
    """64-32-10."""
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def dropped() -> nn.Module:
    """The same with dropout."""
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 10))


def plain_loop(task: FleetTask, recipe: Recipe, rows: list[np.ndarray], device: torch.device) -> None:
    """What people write."""
    X, y = task.tensors(torch.float32, device)
    loss = nn.CrossEntropyLoss()
    for seed, own in enumerate(rows):
        torch.manual_seed(seed)
        model = task.architecture().to(device).train()
        optimiser = torch.optim.Adam(model.parameters(), lr=recipe.lr)
        members = torch.from_numpy(own).to(device)
        for _ in range(recipe.epochs):
            order = members[torch.randperm(len(members), device=device)]
            for start in range(0, len(order), recipe.batch_size):
                batch = order[start : start + recipe.batch_size]
                optimiser.zero_grad()
                loss(model(X[batch]), y[batch]).backward()
                optimiser.step()
    if device.type == "cuda":
        torch.cuda.synchronize()


def fleet(
    task: FleetTask, plan: FleetPlan, rows: list[np.ndarray], device: torch.device, backend: str, size: int
) -> None:
    """The same models by the fleet's trainer, block by block, initialisation and preparation included."""
    with undisturbed(device, plan.precision, deterministic=False):
        trainer, like = prepare(task, plan, device)
        for first in range(0, len(rows), size):
            own = rows[first : first + size]
            numbers = range(first, first + len(own))
            seeds = [seed_of(plan.seed, "original", number) for number in numbers]
            start = fresh(task, seeds, like, device, numbers)
            trainer.train(start, own, seeds, backend, [str(number) for number in numbers])
        if device.type == "cuda":
            torch.cuda.synchronize()


def seconds(work: Callable[[], None]) -> float:
    """Time of one run."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(title: str, task: FleetTask, plan: FleetPlan, models: int, repeats: int) -> None:
    """One line of the table."""
    device = task.place()
    assignment = random_assignment(models, len(task), seed=0)
    rows = [np.flatnonzero(row != Cell.OUT) for row in assignment]
    start = time.perf_counter()
    found = survey(task, plan, [len(own) for own in rows])
    trial = time.perf_counter() - start
    loops, fleets = [], []
    for _ in range(repeats):
        loops.append(seconds(lambda: plain_loop(task, plan.recipe, rows, device)))
        fleets.append(seconds(lambda: fleet(task, plan, rows, device, found.backend, found.block)))
    ratio = min(loops) / min(fleets)
    print(
        f"{title:<26} loop {min(loops):7.2f} s  fleet {min(fleets):7.2f} s ({found.backend}, {found.block} at once)"
        f"  loop / fleet {ratio:5.1f}  (trial {trial:.1f} s)",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=64)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--precision", default="float32", choices=["float32", "tf32", "bf16"])
    arguments = parser.parse_args()
    X, y = load_digits(return_X_y=True)
    digits = ((X / 16).astype(np.float32), y)
    cuda = torch.cuda.is_available() and arguments.device != "cpu"
    where = torch.cuda.get_device_name(0) if cuda else f"CPU, {torch.get_num_threads()} threads"
    print(f"{arguments.models} models, {where}, torch {torch.__version__}, least of {arguments.repeats}")
    images = pictures(10_000 if cuda else 600, 10)
    cases: dict[str, tuple[Callable[[], nn.Module], np.ndarray, np.ndarray]] = {
        "perceptron": (perceptron, *digits),
        "perceptron with dropout": (dropped, *digits),
        "convolutional": (lambda: convolutional(images.side, 8, 0), images.X, images.y),
    }
    plan = FleetPlan(Recipe("adam", lr=3e-3, epochs=arguments.epochs, batch_size=64), precision=arguments.precision)
    for title, (build, inputs, labels) in cases.items():
        task = FleetTask(build, inputs.astype(np.float32), labels.astype(np.int64), device=arguments.device)
        few = arguments.models if cuda or title == "perceptron" else min(arguments.models, 16)
        compare(f"{title} x {few}", task, plan, few, arguments.repeats)


if __name__ == "__main__":
    main()
