"""K models unlearned in one batch against the same models one after the other, and whether both end at the same weights.

    .venv/bin/python benchmarks/fleets.py [--models 32] [--device cpu|cuda|auto] [--repeats 3]

Perceptrons (64-32-10) on the digits of scikit-learn, and small convolutional networks on Fashion-MNIST; on a CPU the latter run in
a loop in both columns unless --backend vmap asks for the batch, since grouped convolutions are slower there.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from pictures import convolutional, pictures, seeded
from sklearn.datasets import load_digits
from torch import nn

from certify import unlearners
from certify.models.networks import Bench, Network, Recipe, State
from certify.unlearners import NetworkTask, Request, Result

METHODS = {
    "fine-tune": {"epochs": 3, "batch_size": 64},
    "gradient-ascent": {"epochs": 3, "batch_size": 64},
    "scrub": {"epochs": 3, "batch_size": 64},
    "ssd": {},
    "retrain": {},
}


def perceptron() -> nn.Module:
    """64-32-10."""
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def fleet(
    build: Callable[[], nn.Module], X: np.ndarray, y: np.ndarray, models: int, device: str, backend: str
) -> tuple:
    """A task, one request and one briefly trained start for each model."""
    recipe = Recipe("adam", lr=3e-3, epochs=5, batch_size=64)
    module = seeded(build, 0)
    place = torch.device(
        "cuda" if device == "auto" and torch.cuda.is_available() else device if device != "auto" else "cpu"
    )
    network = Network.of(module, backend=backend)
    state = State.of(*[seeded(build, seed) for seed in range(models)]).to(place)
    bench = Bench(network, torch.as_tensor(X).to(place), torch.as_tensor(y).to(place), seeds=tuple(range(models)))
    starts = bench.train(state, [np.arange(len(X))] * models, recipe)
    task = NetworkTask(module, X, y, recipe=recipe, architecture=build, device=str(place), backend=backend)
    generator = np.random.default_rng(0)
    requests = [Request.at(task, generator.choice(len(X), len(X) // 20, replace=False)) for _ in range(models)]
    return task, requests, starts


def seconds(run: Callable[[], list[Result]], repeats: int) -> tuple[float, list[Result]]:
    """Least time of some runs, and the last result."""
    times, result = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        result = run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times), result


def compare(
    name: str, title: str, arguments: argparse.Namespace, task: NetworkTask, requests: list, starts: State
) -> None:
    """One line of the table."""
    known = unlearners.get(name)
    method = known(**METHODS[name])

    def together() -> list[Result]:
        return method.forget_fleet(
            task, requests, seeds=[1000 + model for model in range(len(requests))], starts=starts
        )

    def one_by_one() -> list[Result]:
        return [
            method.forget_fleet(task, [request], seeds=[1000 + model], starts=starts.pick([model]))[0]
            for model, request in enumerate(requests)
        ]

    batch, found = seconds(together, arguments.repeats)
    loop, alone = seconds(one_by_one, arguments.repeats)
    apart = max(
        float((a.state.parameters[n] - b.state.parameters[n]).abs().max())
        for a, b in zip(found, alone, strict=True)
        for n in a.state.parameters
    )
    print(
        f"{title:<14} {name:<16} loop {loop:7.2f} s  batch {batch:7.2f} s  loop / batch {loop / batch:6.1f}  apart {apart:.0e}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=32)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--backend", default="auto", choices=["auto", "vmap", "loop"])
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    X, y = load_digits(return_X_y=True)
    digits = ((X[:1000] / 16).astype(np.float32), y[:1000])
    cuda = torch.cuda.is_available() and arguments.device != "cpu"
    where = torch.cuda.get_device_name(0) if cuda else f"CPU, {torch.get_num_threads()} threads"
    print(f"{arguments.models} models, {where}, torch {torch.__version__}")
    images = pictures(2000 if cuda else 500, 10)
    cases = {
        "perceptron": (perceptron, *digits),
        "convolutional": (lambda: convolutional(images.side, 8, 0), images.X, images.y),
    }
    for title, (build, inputs, labels) in cases.items():
        prepared = fleet(build, inputs, labels, arguments.models, arguments.device, arguments.backend)
        for name in METHODS:
            if name in unlearners.names():
                compare(name, title, arguments, *prepared)


if __name__ == "__main__":
    main()
