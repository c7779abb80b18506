"""Min/max unlearning with natural and with plain gradients: a class of the digits is forgotten by a small network.

    .venv/bin/python benchmarks/minmax.py [--seeds 3]

8 hidden units (610 parameters), 400 digits of scikit-learn, class 3 forgotten, full batches, 12 rounds of at most one ascent and two
descents each: 30 steps for either kind of gradient, each with the best step size of a few. ToW and JS as in benchmarks/measures.py;
distance is that of the parameters to the retrained network's, from the same initial weights.
"""

import argparse
from functools import partial

import numpy as np
import torch
from measures import Parts, jensen_shannon, score, tow
from pictures import seeded
from sklearn.datasets import load_digits
from torch import nn

from certify import unlearners
from certify.models.networks import Bench, Network, Recipe, State
from certify.unlearners import NetworkTask

RECIPE = Recipe("adam", lr=1e-2, epochs=150, batch_size=50)
KIND = {
    "plain, lr 0.5": {"curvature": "none", "lr": 0.5},
    "plain, lr 2": {"curvature": "none", "lr": 2.0},
    "natural (CG), lr 0.05": {"curvature": "cg", "lr": 0.05},
    "natural (CG), lr 0.1": {"curvature": "cg", "lr": 0.1},
    "natural (CG), lr 0.3": {"curvature": "cg", "lr": 0.3},
    "natural (exact), lr 0.05": {"curvature": "exact", "lr": 0.05},
    "natural (low rank), lr 0.05": {"curvature": "low-rank", "lr": 0.05},
    "natural (Kronecker), lr 0.05": {"curvature": "kronecker", "lr": 0.05},
}


def eight_units() -> nn.Module:
    """64-8-10, tanh."""
    return nn.Sequential(nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 10))


def flat(model: nn.Module) -> torch.Tensor:
    """All parameters side by side."""
    return torch.cat([value.detach().flatten() for value in model.parameters()])


def lines(seed: int) -> dict[str, np.ndarray]:
    """Forget, retain and test accuracy, JS, ToW and distance by method."""
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    initial, model = seeded(eight_units, seed), seeded(eight_units, seed)
    bench = Bench(Network.of(model), torch.as_tensor(X), torch.as_tensor(y), seeds=(seed,))
    bench.train(State.of(initial), [np.arange(400)], RECIPE).write_into(model)
    task = NetworkTask(
        model, X[:400], y[:400], recipe=RECIPE, architecture=partial(seeded, eight_units, seed), initial=initial
    )
    request = task.request_class(3)
    kept = np.setdiff1d(np.arange(400), request.forgotten)
    parts = Parts((X[request.forgotten], y[request.forgotten]), (X[kept], y[kept]), (X[400:], y[400:]))
    oracle = unlearners.get("retrain")().forget(task, request, seed=seed).model
    reference = score(oracle, parts)
    models = {"retrain (same start)": oracle, "original": model}
    for name, knobs in KIND.items():
        models[name] = unlearners.get("ngd-minmax")(weight_decay=1e-3, **knobs).forget(task, request, seed=seed).model
    found = {name: score(module, parts) for name, module in models.items()}
    return {
        name: np.array([
            one.forget, one.retain, one.test, jensen_shannon(one, reference), tow(one, reference),
            float((flat(models[name]) - flat(oracle)).norm()),
        ])
        for name, one in found.items()
    }  # fmt: skip


def table(seeds: int) -> str:
    """Means over the training seeds."""
    runs = [lines(seed) for seed in range(seeds)]
    rows = ["| method | forget | retain | test | JS | ToW | distance |", "|---|---|---|---|---|---|---|"]
    for name in runs[0]:
        forget, retain, test, js, closeness, distance = np.mean([run[name] for run in runs], axis=0)
        rows.append(
            f"| {name} | {forget:.1f} | {retain:.1f} | {test:.1f} | {js:.3f} | {closeness:.3f} | {distance:.1f} |"
        )
    return "\n".join(rows)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    print(table(parser.parse_args().seeds))


if __name__ == "__main__":
    main()
