"""As tests/api/test_wrong_types.py, for what is given to networks: one line of ours, whatever it is."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from odd_values import ODD, sayable

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from certify import unlearners  # noqa: E402
from certify.core.errors import CertifyError  # noqa: E402
from certify.unlearners import Budget, NetworkTask, Recipe, Request  # noqa: E402

MODEL = nn.Linear(3, 2)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 3)).astype(np.float32)
Y = np.arange(12) % 2
TASK = NetworkTask(MODEL, X, Y)
REQUEST = Request.at(TASK, np.arange(2))
FLEET = unlearners.get("gradient-ascent")(epochs=1)

CALLS: dict[str, Callable[[Any], object]] = {
    "NetworkTask model": lambda odd: NetworkTask(odd, X, Y),
    "NetworkTask X": lambda odd: NetworkTask(MODEL, odd, Y),
    "NetworkTask y": lambda odd: NetworkTask(MODEL, X, odd),
    "NetworkTask ids": lambda odd: NetworkTask(MODEL, X, Y, odd),
    "NetworkTask held_out": lambda odd: NetworkTask(MODEL, X, Y, held_out=odd),
    "NetworkTask held_out X": lambda odd: NetworkTask(MODEL, X, Y, held_out=(odd, Y)),
    "NetworkTask held_out y": lambda odd: NetworkTask(MODEL, X, Y, held_out=(X, odd)),
    "NetworkTask recipe": lambda odd: NetworkTask(MODEL, X, Y, recipe=odd),
    "NetworkTask initial": lambda odd: NetworkTask(MODEL, X, Y, initial=odd),
    "NetworkTask architecture": lambda odd: unlearners.get("retrain")().forget(
        NetworkTask(MODEL, X, Y, recipe=Recipe(epochs=1), architecture=odd), REQUEST
    ),
    "NetworkTask train": lambda odd: unlearners.get("retrain")().forget(NetworkTask(MODEL, X, Y, train=odd), REQUEST),
    **{
        f"NetworkTask {name}": lambda odd, name=name: NetworkTask(MODEL, X, Y, **{name: odd})
        for name in ("loss", "head", "trainable", "device", "backend", "name")
    },
    **{
        f"Recipe {name}": lambda odd, name=name: Recipe(**{name: odd})
        for name in ("optimiser", "lr", "epochs", "batch_size", "momentum", "weight_decay", "schedule", "warmup")
    },
    "Budget sample_gradients": lambda odd: Budget(sample_gradients=odd),
    "Budget sample_forwards": lambda odd: Budget(sample_forwards=odd),
    "Budget sample_products": lambda odd: Budget(sample_products=odd),
    "Request.at dataset": lambda odd: Request.at(odd, np.arange(2)),
    "Request.at positions": lambda odd: Request.at(TASK, odd),
    "Request.at members": lambda odd: Request.at(TASK, np.arange(2), odd),
    "Request.then dataset": lambda odd: REQUEST.then(odd, np.array([3])),
    "Request.then positions": lambda odd: REQUEST.then(TASK, odd),
    "Request members": lambda odd: Request(np.arange(2), odd),
    "request": TASK.request,
    "request_class": TASK.request_class,
    "forget task": lambda odd: FLEET.forget(odd, REQUEST),
    "forget request": lambda odd: FLEET.forget(TASK, odd),
    "forget budget": lambda odd: FLEET.forget(TASK, REQUEST, odd),
    "forget seed": lambda odd: FLEET.forget(TASK, REQUEST, seed=odd),
    "forget checkpoint": lambda odd: FLEET.forget(TASK, REQUEST, checkpoint=odd),
    "forget_fleet task": lambda odd: FLEET.forget_fleet(odd, [REQUEST]),
    "forget_fleet requests": lambda odd: FLEET.forget_fleet(TASK, odd),
    "forget_fleet a request": lambda odd: FLEET.forget_fleet(TASK, [REQUEST, odd]),
    "forget_fleet budget": lambda odd: FLEET.forget_fleet(TASK, [REQUEST], odd),
    "forget_fleet seeds": lambda odd: FLEET.forget_fleet(TASK, [REQUEST], seeds=odd),
    "forget_fleet starts": lambda odd: FLEET.forget_fleet(TASK, [REQUEST], starts=odd),
}


@pytest.mark.parametrize("name", CALLS)
def test_odd_values_of_every_argument(name: str) -> None:
    for odd in ODD.values():
        sayable(CALLS[name], odd)


@pytest.mark.parametrize("name", CALLS)
def test_an_object_without_meaning_is_refused_by_every_argument(name: str) -> None:
    with pytest.raises(CertifyError):
        CALLS[name](object())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: NetworkTask(MODEL, X, Y[:-1]), "data: the training records are 12 inputs and 11 targets"),
        (lambda: NetworkTask(MODEL, X, Y, ids=np.arange(11)), "ids: an id repeats, or their number is not"),
        (lambda: FLEET.forget_fleet(TASK, [REQUEST], seeds=[1, 2]), "1 requests, 2 seeds"),
        (lambda: FLEET.forget_fleet(TASK, [REQUEST], seeds=[-1]), "seeds: must not be negative"),
        (lambda: FLEET.forget_fleet(TASK, []), "at least one"),
        (lambda: FLEET.forget(TASK, Request(np.array([50]))), "request"),
        (lambda: NetworkTask(MODEL, [[1.0], [2.0, 3.0]], Y), "X: is a list of lists of different lengths"),
    ],
)
def test_what_is_said(call: Callable[[], object], words: str) -> None:
    with pytest.raises(CertifyError) as caught:
        call()
    assert words in str(caught.value)
