"""A torch project whose auditor planted canaries by coins, and models of it that forgot them, too much, or not at all."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from small_networks import digits
from torch import nn

from certify import unlearners
from certify.attacks.statistics.coin_flip import draw_coins
from certify.models.networks import Bench, Network, Recipe, State
from certify.unlearners import NetworkTask, Request

CANARIES, RECORDS = 120, 300
RECIPE = Recipe("adam", lr=1e-2, epochs=40, batch_size=64)
SPEC = """
[release]
model = "{model}.safetensors"
kind = "torch"
original = "original.safetensors"
architecture = "certify_test_canaries:build"

[training]
optimiser = "adam"
lr = 1e-2
epochs = 40
batch_size = 64

[compute]
device = "cpu"

[data]
path = "train.npz"
forget = "forget.txt"

[policy]
epsilon = 1.0
delta = 1e-5

[audit]
attacks = ["coin-flip"]
canaries = "canaries.npz"
replicates = 8
"""
ARCHITECTURE = '''"""Wide enough to learn wrong labels by heart."""

from torch import nn


def build():
    return nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10))
'''


def build() -> nn.Module:
    """64-64-10, tanh: wide enough to learn wrong labels by heart."""
    return nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10))


@cache
def planted(*, wrong: bool = True) -> tuple[NetworkTask, Request, dict[str, np.ndarray]]:
    """The trained original, the request to forget what was planted, and what the auditor keeps; canaries have wrong labels, or their own."""
    X, y = digits()
    random = np.random.default_rng(0)
    own = random.choice(np.arange(RECORDS, len(X)), CANARIES, replace=False)
    canaries_X = np.clip(X[own] + random.normal(0, 0.1, (CANARIES, 64)), 0, 1).astype(np.float32)
    canaries_y = (y[own] + random.integers(1, 10, CANARIES) * wrong) % 10
    coins = draw_coins(CANARIES, seed=5)
    all_X = np.concatenate([X[:RECORDS], canaries_X[coins]])
    all_y = np.concatenate([y[:RECORDS], canaries_y[coins]])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build()
    bench = Bench(Network.of(model), torch.tensor(all_X), torch.tensor(all_y), seeds=(0,))
    bench.train(State.of(model), [np.arange(len(all_X))], RECIPE).write_into(model)
    task = NetworkTask(model.eval(), all_X, all_y, recipe=RECIPE, architecture=build)
    kept = {"planted": coins, "probability": np.array(0.5), "X": canaries_X, "y": canaries_y}
    return task, Request.at(task, np.arange(RECORDS, len(all_X))), kept


def write_canaries(folder: Path, *, wrong: bool = True) -> None:
    """The project without a model under review."""
    task, request, kept = planted(wrong=wrong)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "certify_test_canaries.py").write_text(ARCHITECTURE)
    ids = np.array([f"page-{number}" for number in range(len(task))])
    np.savez(folder / "train.npz", X=task.X, y=task.y, ids=ids)
    np.savez(folder / "canaries.npz", **kept)
    (folder / "forget.txt").write_text("\n".join(ids[request.forgotten]) + "\n")
    save_file(task.model.state_dict(), folder / "original.safetensors")


def review(folder: Path, method: str, seed: int = 0, *, wrong: bool = True, **knobs: object) -> Path:
    """A model under review, made by a method; returns its spec."""
    task, request, _ = planted(wrong=wrong)
    name = f"{method}-{seed}"
    if method == "overdone":
        made = overdone(task, request)
    else:
        made = unlearners.get(method)(**knobs).forget(task, request, seed=seed).model
    save_file(made.state_dict(), folder / f"{name}.safetensors")
    path = folder / f"{name}.toml"
    path.write_text(SPEC.format(model=name))
    return path


def overdone(task: NetworkTask, request: Request) -> nn.Module:
    """The original trained on with one other label for each forgotten record: they look worse than records that were never there."""
    y = np.asarray(task.y).copy()
    y[request.forgotten] = (y[request.forgotten] + 1) % 10
    bench = Bench(Network.of(task.model), torch.tensor(task.X), torch.tensor(y), seeds=(0,))
    made = build()
    return bench.train(State.of(task.model), [np.arange(len(y))], RECIPE).write_into(made).eval()
