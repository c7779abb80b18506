"""Images for the benchmarks: Fashion-MNIST where Debian's dataset-fashion-mnist is installed, else the digits of scikit-learn."""

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

FASHION = Path("/usr/share/datasets/fashion-mnist")


@dataclass(frozen=True)
class Pictures:
    """Images (n, 1, side, side) in [0, 1] and classes, for training and for testing.

    Attributes:
        name: where they are from.
    """

    name: str
    X: np.ndarray
    y: np.ndarray
    held_X: np.ndarray  # noqa: N815 - as X
    held_y: np.ndarray

    @property
    def side(self) -> int:
        """Pixels a side."""
        return int(self.X.shape[-1])


def pictures(train: int, test: int, *, halved: bool = False, seed: int = 0) -> Pictures:
    """A random choice of so many training and test images, or fewer where there are no more.

    Args:
        train: training images.
        test: test images.
        halved: average 2 x 2 pixels into one (Fashion-MNIST alone).
        seed: of the choice.
    """
    if FASHION.exists():
        name, (X, y), (more, labels) = "Fashion-MNIST", _read("train"), _read("t10k")
        if halved:
            X, more = (part.reshape(-1, 1, 14, 2, 14, 2).mean(axis=(3, 5)) for part in (X, more))
    else:
        from sklearn.datasets import load_digits

        name = "scikit-learn's digits (Fashion-MNIST is not here: install Debian's dataset-fashion-mnist)"
        images, classes = load_digits(return_X_y=True)
        images = (images / 16).astype(np.float32).reshape(-1, 1, 8, 8)
        (X, y), (more, labels) = (images[:1200], classes[:1200]), (images[1200:], classes[1200:])
    generator = np.random.default_rng(seed)
    chosen, other = generator.permutation(len(X))[:train], generator.permutation(len(more))[:test]
    return Pictures(name, X[chosen], y[chosen], more[other], labels[other])


def _read(part: str) -> tuple[np.ndarray, np.ndarray]:
    images = np.frombuffer(
        gzip.decompress((FASHION / f"{part}-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16
    )
    labels = np.frombuffer(gzip.decompress((FASHION / f"{part}-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
    return (images.reshape(-1, 1, 28, 28) / np.float32(255)).astype(np.float32), labels.astype(np.int64)


def convolutional(side: int, channels: int, hidden: int) -> nn.Module:
    """Two convolutions with pooling, and a head: directly on the features (hidden = 0), or with a hidden layer between."""
    left = ((side - 2) // 2 - 2) // 2
    features = 2 * channels * left * left
    head = [nn.Linear(features, 10)] if hidden == 0 else [nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, 10)]
    return nn.Sequential(
        nn.Conv2d(1, channels, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(channels, 2 * channels, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), *head,
    )  # fmt: skip


def seeded(build: object, seed: int) -> nn.Module:
    """What a function builds with torch's generator seeded, which is restored."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()  # type: ignore[operator]
