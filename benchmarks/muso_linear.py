"""Where relabelling leads on a linear model that interpolates: ``python benchmarks/muso_linear.py``.

Digits 3 against 7 (scikit-learn's), labels +-1, 240 of them to train on, 2,000 random Fourier features (1,000 frequencies), squared loss, and a random start
w_0 that retraining shares with the original. Every model is the closed-form limit of gradient descent: what a method ends at when
nobody stops it early. Two requests: a random tenth of the records, and all sevens. Per method, means over the seeds:

TA     accuracy on the digits that were not trained on, per cent
FA     accuracy on the forgotten records, per cent
delta  ``||w - w_r||^2 / columns``, w_r the retrained weights

Retraining itself is right about forgotten records it never saw: a low FA is no sign of success.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from sklearn.datasets import load_digits

from certify.core.streams import stream
from certify.unlearners.relabelling import FourierFeatures, labels_from_weights, limit

REQUESTS = ("random 10%", "full class")
RECORDS, SIGMA, FREQUENCIES = 240, 2.0, 1000


@dataclass(frozen=True, eq=False)
class Setting:
    """One seed's data and models: features, labels +-1, the start, the original, retrained weights."""

    Z_r: np.ndarray
    Z_u: np.ndarray
    Z_test: np.ndarray
    y_r: np.ndarray
    y_u: np.ndarray
    y_test: np.ndarray
    w_0: np.ndarray
    seed: int

    @property
    def features(self) -> np.ndarray:
        """All training records, those to keep first."""
        return np.vstack([self.Z_r, self.Z_u])

    @cached_property
    def original(self) -> np.ndarray:
        """w_p."""
        return limit(self.features, np.concatenate([self.y_r, self.y_u]), self.w_0)

    @cached_property
    def retrained(self) -> np.ndarray:
        """w_r, from the same start."""
        return limit(self.Z_r, self.y_r, self.w_0)

    def relabelled(self, labels: np.ndarray) -> np.ndarray:
        """Where training goes on to from the original when the forgotten records have these labels."""
        return limit(self.features, np.concatenate([self.y_r, labels]), self.original)


def setting(request: str, seed: int) -> Setting:
    """The data and the start of one seed."""
    images, digits = load_digits(return_X_y=True)
    chosen = np.flatnonzero((digits == 3) | (digits == 7))
    order = stream(seed, "muso-linear/split").permutation(chosen)
    train, test = order[:RECORDS], order[RECORDS:]
    gone = np.arange(RECORDS) < RECORDS // 10 if request == "random 10%" else digits[train] == 7
    features = FourierFeatures.draw(images.shape[1], FREQUENCIES, sigma=SIGMA, seed=seed)
    w_0 = stream(seed, "muso-linear/start").normal(size=2 * FREQUENCIES)

    def parts(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return features(images[rows] / 16), np.where(digits[rows] == 7, 1.0, -1.0)

    (Z_r, y_r), (Z_u, y_u), (Z_test, y_test) = parts(train[~gone]), parts(train[gone]), parts(test)
    return Setting(Z_r, Z_u, Z_test, y_r, y_u, y_test, w_0, seed)


def random_labels(of: Setting) -> np.ndarray:
    """Random classes for the forgotten records (Amnesiac)."""
    return of.relabelled(stream(of.seed, "muso-linear/labels").choice([-1.0, 1.0], size=len(of.y_u)))


def bad_teacher(of: Setting) -> np.ndarray:
    """What a model with random weights says of the forgotten records."""
    return of.relabelled(of.Z_u @ stream(of.seed, "muso-linear/teacher").normal(size=len(of.w_0)))


METHODS: dict[str, Callable[[Setting], np.ndarray]] = {
    "retrain": lambda of: of.retrained,
    "pre-trained": lambda of: of.original,
    "fine-tune": lambda of: limit(of.Z_r, of.y_r, of.original),
    "random labels": random_labels,
    "bad teacher": bad_teacher,
    "muso": lambda of: of.relabelled(labels_from_weights(of.Z_u, of.Z_r, of.original, of.w_0)),
}


@dataclass(frozen=True)
class Row:
    """One method on one request: means over the seeds.

    Attributes:
        request, method: which.
        test_accuracy, forget_accuracy: per cent.
        delta: mean squared distance to the retrained weights, per column.
    """

    request: str
    method: str
    test_accuracy: float
    forget_accuracy: float
    delta: float


def muso_linear_table(seeds: int = 5) -> list[Row]:
    """Every method on both requests."""
    return list(_rows(seeds))


def _rows(seeds: int) -> Iterator[Row]:
    for request in REQUESTS:
        settings = [setting(request, seed) for seed in range(seeds)]
        for name, run in METHODS.items():
            found = [_measures(of, run(of)) for of in settings]
            yield Row(request, name, *np.mean(found, axis=0).tolist())


def _measures(of: Setting, w: np.ndarray) -> tuple[float, float, float]:
    return (
        100 * float(np.mean(np.sign(of.Z_test @ w) == of.y_test)),
        100 * float(np.mean(np.sign(of.Z_u @ w) == of.y_u)),
        float(np.mean((w - of.retrained) ** 2)),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    for row in muso_linear_table(parser.parse_args().seeds):
        print(
            f"{row.request:12} {row.method:14} TA {row.test_accuracy:5.1f}   FA {row.forget_accuracy:5.1f}   delta {row.delta:8.1e}"
        )


if __name__ == "__main__":
    main()
