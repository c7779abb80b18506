"""Train a small network on digits, forget forty records badly, and let an audit find out: 32 shadow models.

Writes a project into the folder audit-digits; the report is audit-digits/report.html. Change the method in the two commands below, or a
number in audit-digits/certify.toml, and audit again.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import nn

FOLDER = Path("audit-digits")

NETWORK = """\
from torch import nn


def build():
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
"""

SPEC = """\
[release]
model = "unlearned.safetensors"
kind = "torch"
original = "original.safetensors"
architecture = "net:build"

[training]
optimiser = "adam"
lr = 5e-3
epochs = 30
batch_size = 64

[data]
path = "train.npz"
forget = "forget.txt"

[policy]
epsilon = 1.0
delta = 1e-5

[audit]
attacks = ["u-lira", "release-lira", "parameter-distance"]
models = 32
"""


def main() -> int:
    """Make the project, unlearn with one epoch of fine-tuning, and audit: 0 when the audit finds the leak that is there."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "net.py").write_text(NETWORK, encoding="utf-8")
    (FOLDER / "certify.toml").write_text(SPEC, encoding="utf-8")
    X, y = records()
    save_file(trained(X, y).state_dict(), FOLDER / "original.safetensors")
    certify("unlearn", "--method", "fine-tune", "--set", "epochs=1", "--seed", "1", "--force")
    code = certify("audit", "--output", "html=report.html", "--no-progress")
    print("the audit found the leak" if code == 1 else f"the audit did not find the leak (exit {code})")
    return 0 if code == 1 else 1


def records() -> tuple[np.ndarray, np.ndarray]:
    """Digits, one label in ten wrong: such records are learned by heart, which is what leaks."""
    rng = np.random.default_rng(0)
    X, y = load_digits(return_X_y=True)
    X, y = (X[:600] / 16).astype(np.float32), y[:600]
    wrong = rng.choice(600, 60, replace=False)
    y[wrong] = rng.integers(0, 10, 60)
    ids = np.array([f"page-{i}" for i in range(600)])
    np.savez(FOLDER / "train.npz", X=X, y=y, ids=ids)
    (FOLDER / "forget.txt").write_text("\n".join(rng.choice(ids, 40, replace=False)) + "\n", encoding="utf-8")
    return X, y


def trained(X: np.ndarray, y: np.ndarray) -> nn.Module:
    """The original, as [training] in the spec says."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    inputs, targets = torch.tensor(X), torch.tensor(y)
    for _ in range(30):
        for batch in torch.randperm(len(X)).split(64):
            loss = torch.nn.functional.cross_entropy(model(inputs[batch]), targets[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model


def certify(*arguments: str) -> int:
    """A command of the gate, in the project's folder."""
    return subprocess.run([sys.executable, "-m", "certify", *arguments], cwd=FOLDER, check=False).returncode  # noqa: S603


if __name__ == "__main__":
    raise SystemExit(main())
