"""Perceptrons (64-32-10) on the digits of scikit-learn with some wrong labels: originals, retrained ones, and some that forget too much."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import log_softmax, logsumexp
from sklearn.datasets import load_digits
from torch import nn

from certify.core.streams import stream
from certify.models.networks import Bench, Network, Recipe, State

RECORDS, FORGOTTEN, MISLABELLED = 800, 120, 0.1
RECIPE = Recipe("adam", lr=2e-2, epochs=100, batch_size=200)
WORLDS = ("original", "retrained", "again")
WRONG = Recipe("adam", lr=1e-2, epochs=50, batch_size=200)


@dataclass(frozen=True, eq=False)
class Fleet:
    """K models of each world: original, retrained, retrained again, and over: originals trained on with wrong labels for the forgotten records.

    Attributes:
        logits: by world, (K, N, 10), of all records.
        y: labels, (N,).
        forget, retain, test: positions of records.
        weights: by world.
    """

    logits: dict[str, np.ndarray]
    y: np.ndarray
    forget: np.ndarray
    retain: np.ndarray
    test: np.ndarray
    weights: dict[str, State]

    def probabilities(self, world: str, part: str) -> np.ndarray:
        """(K, n, 10)."""
        return np.exp(log_softmax(self.logits[world][:, getattr(self, part)], axis=-1))

    def phi(self, world: str, part: str) -> np.ndarray:
        """``z_y - logsumexp of the others``, (K, n)."""
        rows = getattr(self, part)
        logits = self.logits[world][:, rows]
        own = np.broadcast_to(self.y[rows][None, :, None] == np.arange(logits.shape[-1]), logits.shape)
        others = logsumexp(np.where(own, -np.inf, logits), axis=-1)
        return np.where(own, logits, 0.0).sum(axis=-1) - others


def perceptron(seed: int) -> nn.Module:
    """A fresh one; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def fleet(models: int, seed: int = 0) -> Fleet:
    """One request (a random part of the records) and ``models`` models of each world, every one with a seed of its own."""
    images, digits = load_digits(return_X_y=True)
    generator = stream(seed, "digits-fleet")
    order = generator.permutation(len(images))
    train, test = order[:RECORDS], order[RECORDS:]
    labels = digits.copy()
    wrong = (
        generator.random(len(labels)) < MISLABELLED
    )  # test records, too: a forgotten record is like any other unseen one
    labels[wrong] = (labels[wrong] + generator.integers(1, 10, wrong.sum())) % 10
    forget, retain = train[:FORGOTTEN], train[FORGOTTEN:]
    X, y = torch.as_tensor((images / 16).astype(np.float32)), torch.as_tensor(labels.copy())
    network = Network.of(perceptron(0))
    logits, weights = {}, {}
    for place, world in enumerate(WORLDS):
        seeds = tuple(range(10_000 * (place + 1), 10_000 * (place + 1) + models))
        bench = Bench(network, X, y, seeds=seeds, name=world)
        start = State.of(*[perceptron(own) for own in seeds])
        found = bench.train(start, [train if world == "original" else retain] * models, RECIPE)
        outputs = bench.outputs_of(found, [np.arange(len(X))] * models)
        logits[world] = torch.stack(outputs).double().numpy()
        weights[world] = found
    y[forget] = (y[forget] + torch.as_tensor(generator.integers(1, 10, FORGOTTEN))) % 10
    bench = Bench(network, X, y, seeds=tuple(range(models)), name="wrong labels")
    weights["over"] = bench.train(weights["original"], [train] * models, WRONG)
    logits["over"] = torch.stack(bench.outputs_of(weights["over"], [np.arange(len(X))] * models)).double().numpy()
    return Fleet(logits, labels, forget, retain, test, weights)
