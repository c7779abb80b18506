"""Distances between weights: known answers, no part left out, and hidden units put into one order."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist, cosine
from torch import nn

from certify.attacks.distances import Stack, weight_distances
from certify.attacks.distances.alignment import align, aligned_distances
from certify.attacks.distances.parameters import distances, moments
from certify.core.errors import AssumptionViolatedError, InputError
from certify.models.networks import State


def stack(seed: int, models: int = 4) -> Stack:
    generator = np.random.default_rng(seed)
    return Stack(
        {"0.weight": generator.normal(size=(models, 3, 5)), "0.bias": generator.normal(size=(models, 3))},
        {
            "1.running_mean": generator.normal(size=(models, 3)),
            "1.num_batches_tracked": np.full(models, 1000 + seed),
        },
    )


def flat(models: Stack, *, buffers: bool = True) -> np.ndarray:
    named = [models.parameters["0.weight"].reshape(len(models.parameters["0.weight"]), -1), models.parameters["0.bias"]]
    return np.concatenate([*named, models.buffers["1.running_mean"]] if buffers else named, axis=1)


def test_all_pairs_equal_scipy() -> None:
    left, right = stack(0), stack(1, 3)
    for metric, name in (("l2", "euclidean"), ("cosine", "cosine")):
        found = distances(left, right, metric, pairs="all")
        np.testing.assert_allclose(found["whole"], cdist(flat(left), flat(right), name), rtol=1e-12)
        np.testing.assert_allclose(
            found["parameters"], cdist(flat(left, buffers=False), flat(right, buffers=False), name), rtol=1e-12
        )


def test_rows_are_the_diagonal_of_all_pairs_and_relative_is_to_the_right_model() -> None:
    left, right = stack(0), stack(1)
    for metric in ("l2", "relative", "cosine"):
        rows, pairs = distances(left, right, metric), distances(left, right, metric, pairs="all")
        for part, values in rows.items():
            np.testing.assert_allclose(values, np.diag(pairs[part]), rtol=1e-12)
    lengths = np.linalg.norm(flat(right), axis=1)
    apart = np.linalg.norm(flat(left) - flat(right), axis=1)
    np.testing.assert_allclose(distances(left, right, "relative")["whole"], apart / lengths)


def test_parts_are_named_and_add_up() -> None:
    found = moments(stack(0), stack(1))
    assert list(found) == ["whole", "parameters", "buffers", "counters", "parameters/0", "buffers/1"]
    np.testing.assert_allclose(found["whole"].squared, found["parameters"].squared + found["buffers"].squared)
    by_tensor = moments(stack(0), stack(1), by="tensor")
    assert {"parameters/0.weight", "parameters/0.bias", "buffers/1.running_mean"} <= by_tensor.keys()
    np.testing.assert_allclose(
        by_tensor["parameters/0.weight"].squared + by_tensor["parameters/0.bias"].squared, found["parameters/0"].squared
    )


def test_a_change_of_buffers_alone_is_seen_and_named() -> None:
    # what a pass over the forgotten records in training mode leaves behind: no parameter differs
    before = stack(0)
    moved = {**before.buffers, "1.running_mean": before.buffers["1.running_mean"] + 0.5}
    found = distances(before, Stack(before.parameters, moved))
    assert (found["parameters"] == 0).all()
    np.testing.assert_allclose(found["buffers/1"], 0.5 * np.sqrt(3))
    np.testing.assert_allclose(found["whole"], 0.5 * np.sqrt(3))


def test_counters_stand_alone() -> None:
    before = stack(0)
    after = Stack(before.parameters, {**before.buffers, "1.num_batches_tracked": np.full(4, 5000)})
    found = distances(before, after)
    assert (found["counters"] == 4000).all()
    assert (found["whole"] == 0).all()


@pytest.mark.parametrize("metric", ["l2", "relative", "cosine"])
def test_equal_weights_are_at_distance_zero_exactly(metric: str) -> None:
    left = stack(3)
    for values in distances(left, stack(3), metric).values():  # type: ignore[arg-type]
        assert (values == 0).all()
    nothing = Stack({"w": np.zeros((2, 3))})
    assert (distances(nothing, nothing, metric)["whole"] == 0).all()  # type: ignore[arg-type]
    assert distances(nothing, Stack({"w": np.ones((2, 3))}), "cosine")["whole"].tolist() == [1.0, 1.0]


def test_cosine_of_nearly_equal_weights_is_not_rounding() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(1, 50))
    y = x + 1e-10 * generator.normal(size=(1, 50))
    unit = x[0] / np.linalg.norm(x)
    across = (y - x)[0] - unit * ((y - x)[0] @ unit)
    expected = 0.5 * (np.linalg.norm(across) / np.linalg.norm(x)) ** 2  # 1 - cos of a small angle
    found = distances(Stack({"w": x}), Stack({"w": y}), "cosine")["whole"][0]
    assert found == pytest.approx(expected, rel=1e-4, abs=0)
    assert cosine(x[0], y[0]) != pytest.approx(expected, rel=0.5, abs=0)  # the textbook form sees rounding alone


def test_tensors_of_torch_in_any_type_are_taken() -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    state = State.of(module, module)
    found = distances(state, state, by="layer")
    assert list(found) == [
        "whole",
        "parameters",
        "buffers",
        "counters",
        "parameters/0",
        "parameters/1",
        "parameters/2",
        "buffers/1",
    ]
    half = Stack({"w": torch.ones(2, 3, dtype=torch.bfloat16, requires_grad=True)})
    assert distances(half, Stack({"w": np.zeros((2, 3))}))["whole"] == pytest.approx(np.sqrt(3))


@pytest.mark.parametrize(
    ("right", "message"),
    [
        (Stack({"0.weight": np.zeros((4, 3, 5))}), "in one of two sets"),
        (Stack({"0.weight": np.zeros((4, 3, 6)), "0.bias": np.zeros((4, 3))}), "shapes"),
        (Stack({"0.weight": np.zeros((3, 3, 5)), "0.bias": np.zeros((3, 3))}), "shapes"),
        (Stack({"0.weight": np.full((4, 3, 5), np.nan), "0.bias": np.zeros((4, 3))}), "not finite"),
    ],
)
def test_models_that_do_not_fit_are_refused(right: Stack, message: str) -> None:
    left = Stack({"0.weight": np.zeros((4, 3, 5)), "0.bias": np.zeros((4, 3))})
    with pytest.raises(InputError, match=message):
        distances(left, right)


def perceptrons(seed: int, models: int = 2, hidden: tuple[int, ...] = (8, 6)) -> Stack:
    generator, tensors, width = np.random.default_rng(seed), {}, 5
    for place, units in enumerate((*hidden, 3)):
        tensors[f"{2 * place}.weight"] = generator.normal(size=(models, units, width))
        tensors[f"{2 * place}.bias"] = generator.normal(size=(models, units))
        width = units
    return Stack(tensors)


def shuffled(models: Stack, seed: int) -> Stack:
    """The same functions, every model's hidden units in an order of its own."""
    generator, tensors = np.random.default_rng(seed), {n: v.copy() for n, v in models.parameters.items()}
    for model in range(len(tensors["0.weight"])):
        for place in (0, 2):
            order = generator.permutation(tensors[f"{place}.weight"].shape[1])
            tensors[f"{place}.weight"][model] = tensors[f"{place}.weight"][model][order]
            tensors[f"{place}.bias"][model] = tensors[f"{place}.bias"][model][order]
            tensors[f"{place + 2}.weight"][model] = tensors[f"{place + 2}.weight"][model][:, order]
    return Stack(tensors)


def outputs(models: Stack, x: np.ndarray) -> np.ndarray:
    found = np.repeat(x[None], len(models.parameters["0.weight"]), axis=0)
    for place in (0, 2, 4):
        weight, bias = models.parameters[f"{place}.weight"], models.parameters[f"{place}.bias"]
        found = np.einsum("koi,kni->kno", weight, found) + bias[:, None]
        found = np.maximum(found, 0.0) if place < 4 else found
    return found


def test_alignment_undoes_a_reordering_of_hidden_units() -> None:
    models = perceptrons(0)
    other = shuffled(models, 1)
    assert (distances(models, other)["whole"] > 5).all()
    found = align(models, other)
    np.testing.assert_allclose(distances(models, found)["whole"], 0.0, atol=1e-12)


def test_alignment_changes_no_prediction_and_is_never_worse_than_the_given_order() -> None:
    models, other = perceptrons(0), perceptrons(7)
    found = align(models, other)
    x = np.random.default_rng(2).normal(size=(11, 5))
    np.testing.assert_allclose(outputs(found, x), outputs(other, x), atol=1e-12)
    before, after = distances(models, other)["whole"], distances(models, found)["whole"]
    assert (after < before).all()
    pairs = aligned_distances(models, other)
    np.testing.assert_allclose(np.diag(pairs), after, rtol=1e-12)


def test_aligned_distance_is_the_same_in_both_directions() -> None:
    one, two = perceptrons(0, models=4), perceptrons(1, models=4)
    np.testing.assert_allclose(aligned_distances(one, two), aligned_distances(two, one).T, rtol=1e-10)


@pytest.mark.parametrize(
    "models",
    [
        Stack({"0.weight": np.zeros((2, 4, 3, 5, 5)), "1.weight": np.zeros((2, 4, 4))}),
        Stack({"0.weight": np.zeros((2, 4, 3)), "2.weight": np.zeros((2, 2, 5))}),
        Stack({"0.weight": np.zeros((2, 4, 3))}),
        Stack({"0.weight": np.zeros((2, 4, 3)), "2.weight": np.zeros((2, 2, 4))}, {"1.running_mean": np.zeros((2, 4))}),
    ],
)
def test_alignment_of_anything_else_is_refused(models: Stack) -> None:
    with pytest.raises(AssumptionViolatedError, match="alignment"):
        align(models, models)


def test_weights_of_reordered_honest_retrains_are_no_alarm_with_or_without_alignment() -> None:
    models = perceptrons(5, models=12)
    one, two = (
        Stack({n: v[s] for n, v in shuffled(models, 9).parameters.items()}) for s in (slice(0, 6), slice(6, 12))
    )
    found = {(d.name, d.part): d for d in weight_distances(one, two, metrics=["l2"], align=True)}
    assert found["l2", "whole"].p_value > 0.05
    assert found["aligned-l2", "parameters"].p_value > 0.05
    assert found["aligned-l2", "parameters"].value < found["l2", "parameters"].value
