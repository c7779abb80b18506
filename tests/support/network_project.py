"""A torch project as a user has it: code, data, request, weights and spec in a folder."""

from pathlib import Path

import numpy as np
from safetensors.torch import save_file
from small_networks import perceptron_task

ARCHITECTURE = '''"""The architecture, as its trainers wrote it."""

from torch import nn


def build():
    return nn.Sequential(nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10))


def build_wide():
    return nn.Sequential(nn.Linear(64, 17), nn.Tanh(), nn.Linear(17, 10))


def fails():
    raise OSError("no such thing")
'''

SPEC = """
[release]
model = "unlearned.safetensors"
kind = "torch"
original = "original.safetensors"
architecture = "certify_test_net:build"

[training]
loss = "cross-entropy"
optimiser = "adam"
lr = 5e-3
epochs = 15
batch_size = 32
initial = "initial.safetensors"

[compute]
device = "cpu"

[data]
path = "train.npz"
forget = "forget.txt"
test = "test.npz"

[policy]
epsilon = 1.0
delta = 1e-5
noise_std = 0.01
"""


def write_project(folder: Path) -> Path:
    """Write the project; returns the spec's path."""
    task = perceptron_task()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "certify_test_net.py").write_text(ARCHITECTURE)
    save_file(task.model.state_dict(), folder / "original.safetensors")
    save_file(task.initial.state_dict(), folder / "initial.safetensors")
    ids = np.array([f"person-{number:04d}" for number in range(len(task))])
    np.savez(folder / "train.npz", X=task.X, y=task.y, ids=ids)
    np.savez(folder / "test.npz", X=task.held_out[0], y=task.held_out[1])
    (folder / "forget.txt").write_text("\n".join(ids[:20]) + "\n")
    (folder / "certify.toml").write_text(SPEC)
    return folder / "certify.toml"
