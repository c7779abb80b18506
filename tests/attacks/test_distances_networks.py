"""Distances on networks that were really trained: retrained ones raise no alarm, untouched and over-forgotten ones do."""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp
from sklearn.datasets import load_digits
from torch import nn

from certify.attacks.distances import Shift, directional, function_distances, klom_per_record, weight_distances
from certify.attacks.distances.functions import softmax
from certify.models.networks import Bench, Network, Recipe, State

MODELS, RECORDS, FORGOTTEN, HONEST = 9, 240, 40, 10


def module(seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10))


@pytest.fixture(scope="module")
def bench() -> Bench:
    """Half of the forgotten records carry a wrong label, so that having seen them shows."""
    images, digits = load_digits(return_X_y=True)
    labels = digits[:RECORDS].copy()
    labels[: FORGOTTEN // 2] = (labels[: FORGOTTEN // 2] + 1) % 10
    X, y = torch.as_tensor((images[:RECORDS] / 16).astype(np.float32)), torch.as_tensor(labels)
    return Bench(Network.of(module(0)), X, y)


def train(bench: Bench, rows: np.ndarray, sets: int, first_seed: int) -> State:
    """Sets of models one after the other; model k of each set starts alike, and sees its records in an order of its own."""
    bench.seeds = tuple(range(first_seed, first_seed + sets * MODELS))
    start = State.of(*[module(seed) for _ in range(sets) for seed in range(MODELS)])
    return bench.train(start, [rows] * (sets * MODELS), Recipe("adam", lr=1e-2, epochs=20, batch_size=100))


def outputs(bench: Bench, state: State) -> np.ndarray:
    """On the forgotten records."""
    found = bench.outputs_of(state, [np.arange(FORGOTTEN)] * state.models)
    return torch.stack(found).double().numpy()


@pytest.fixture(scope="module")
def states(bench: Bench) -> dict[str, State]:
    """Original models, and ``HONEST`` pairs of sets of retrained ones; the first pair stands for retrained and again."""
    everything = np.arange(RECORDS)
    honest = train(bench, everything[FORGOTTEN:], 2 * HONEST, 1000)
    found = {str(s): honest.pick(range(s * MODELS, (s + 1) * MODELS)) for s in range(2 * HONEST)}
    return {**found, "original": train(bench, everything, 1, 0), "retrained": found["0"], "again": found["1"]}


@pytest.fixture(scope="module")
def logits(bench: Bench, states: dict[str, State]) -> dict[str, np.ndarray]:
    return {name: outputs(bench, state) for name, state in states.items()}


def halfway(one: State, two: State) -> State:
    """Running statistics, too: those of one side alone would tell the direction which side is which."""

    def middle(kind: str) -> dict[str, torch.Tensor]:
        pairs = {name: (value, getattr(two, kind)[name]) for name, value in getattr(one, kind).items()}
        return {name: 0.5 * (u + r) if u.is_floating_point() else u for name, (u, r) in pairs.items()}

    return State(middle("parameters"), middle("buffers"))


def shift(bench: Bench, one: State, two: State) -> Shift:
    way = bench.mean_gradient(halfway(one, two), [np.arange(FORGOTTEN)] * MODELS).tensors
    return directional(one.parameters, two.parameters, way)


def phi(values: np.ndarray, y: np.ndarray) -> np.ndarray:
    own = y[None, :, None] == np.arange(10)
    return np.where(own, values, 0.0).sum(axis=-1) - logsumexp(np.where(own, -np.inf, values), axis=-1)


def test_retrained_models_are_no_alarm_more_often_than_alpha(
    bench: Bench, states: dict[str, State], logits: dict[str, np.ndarray]
) -> None:
    y, alarms = bench.y[:FORGOTTEN].numpy(), {"l2": 0, "js": 0, "klom": 0, "direction": 0}
    for pair in range(HONEST):
        one, two = str(2 * pair), str(2 * pair + 1)
        alarms["l2"] += weight_distances(states[one], states[two], metrics=["l2"])[0].p_value <= 0.05
        p, q = softmax(logits[one]), softmax(logits[two])
        alarms["js"] += function_distances(p, q, names=["js"])[0].p_value <= 0.05
        alarms["klom"] += klom_per_record(phi(logits[one], y), phi(logits[two], y)).p_value <= 0.05
        alarms["direction"] += shift(bench, states[one], states[two]).p_value <= 0.05
    assert max(alarms.values()) <= stats.binom.isf(1e-4, HONEST, 0.05), alarms


def test_weights_of_original_models_are_an_alarm(states: dict[str, State]) -> None:
    pool = {d.part: d for d in weight_distances(states["original"], states["retrained"], metrics=["l2"])}
    parts = {"whole", "parameters", "buffers", "counters", "parameters/0", "parameters/1", "parameters/3", "buffers/1"}
    assert parts == pool.keys()
    assert pool["whole"].p_value <= 0.05
    assert pool["whole"].ratio.lower > 1
    rows = weight_distances(states["original"], states["retrained"], states["again"], metrics=["l2"])[0]
    assert rows.p_value <= 0.01
    assert rows.ratio.lower > 1.5  # model k of each set starts alike: a far sharper yardstick than all with all
    assert rows.mean_null < 0.5 * pool["whole"].mean_null


def test_predictions_of_original_and_of_over_forgotten_models_are_an_alarm(logits: dict[str, np.ndarray]) -> None:
    p = {name: softmax(values) for name, values in logits.items()}
    for again in (None, p["again"]):
        for found in function_distances(p["original"], p["retrained"], again):
            assert found.p_value <= 0.01
            assert found.ratio.value > 1.2
    over = softmax(np.roll(logits["retrained"], 1, axis=-1) + 0.1 * logits["original"])  # sure of another class
    assert all(found.p_value <= 0.01 for found in function_distances(over, p["retrained"]))


def test_klom_flags_the_records_that_were_memorised(bench: Bench, logits: dict[str, np.ndarray]) -> None:
    y = bench.y[:FORGOTTEN].numpy()
    found = klom_per_record(phi(logits["original"], y), phi(logits["retrained"], y))
    assert found.p_value <= 0.01
    assert found.excess[: FORGOTTEN // 2].mean() > found.excess[FORGOTTEN // 2 :].mean() + 0.1


def test_a_direction_sees_what_was_not_unlearned(bench: Bench, states: dict[str, State]) -> None:
    found = shift(bench, states["original"], states["retrained"])
    assert found.p_value <= 0.01
    assert found.value.upper < 0  # the loss on the forgotten records is lower that way
