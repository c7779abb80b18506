"""Relearning: what an unlearner only hid comes back, what was retrained away does not, and honest curves raise no alarm."""

from functools import cache

import numpy as np
import pytest
import torch
from scipy.stats import binom, kstest
from small_networks import digits
from torch import nn

from certify.attacks.relearning import (
    Curve,
    anamnesis_index,
    band,
    curve_p_values,
    paired_p_value,
    passes_to_reach,
    relearn,
)
from certify.core.errors import ArgumentError
from certify.models.networks import Bench, Network, Recipe, State

MODELS, RECORDS, FORGOTTEN = 6, 240, 24
TRAINING = Recipe("adam", lr=1e-2, epochs=40, batch_size=40)
FINE_TUNE = Recipe("adam", lr=1e-3, epochs=8, batch_size=20)
REMINDER = Recipe("adam", lr=1e-2, epochs=25, batch_size=24)


def network():
    """Wide enough to learn wrong labels by heart."""
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def starts(first):
    models = []
    for seed in range(first, first + MODELS):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            models.append(network())
    return State.of(*models)


@cache
def fleet():
    """Bench, forgotten and retained records, and the worlds; a tenth of the labels is wrong, and those are forgotten.

    The unlearner only hides: it shifts the outputs' offsets, and leaves what the layer below knows.
    """
    X, y = digits()
    X, y = X[:RECORDS], y[:RECORDS].copy()
    forget = np.arange(FORGOTTEN)
    y[forget] = (y[forget] + 1 + np.arange(FORGOTTEN) % 8) % 10
    everybody, kept = [np.arange(RECORDS)] * MODELS, [np.arange(FORGOTTEN, RECORDS)] * MODELS
    bench = Bench(Network.of(network()), torch.tensor(X), torch.tensor(y), seeds=tuple(range(MODELS)))
    original = bench.train(starts(0), everybody, TRAINING)
    retrained = bench.train(starts(100), kept, TRAINING, name="retrain")
    again = bench.train(starts(200), kept, TRAINING, name="again")
    offsets = original.parameters["2.bias"]
    shift = 20 * torch.randn(offsets.shape, generator=torch.Generator().manual_seed(0))
    hidden = original.with_parameters({"2.bias": offsets + shift})
    weakened = bench.train(
        original,
        [forget] * MODELS,
        Recipe("sgd", lr=0.05, epochs=6, batch_size=24),
        name="ascent",
        adapt=lambda gradient, _: gradient.scaled(-1.0),
    )
    worlds = {"original": original, "unlearned": hidden, "weakened": weakened, "retrained": retrained, "again": again}
    return bench, [forget] * MODELS, kept, worlds


@cache
def curves(on):
    bench, forget, kept, worlds = fleet()
    records, recipe = {"retain": (kept, FINE_TUNE), "forget": (forget, REMINDER)}[on]
    return {name: relearn(bench, state, records, forget, recipe, name=on) for name, state in worlds.items()}


def test_a_curve_begins_before_the_fine_tune_and_has_a_point_a_pass():
    bench, forget, kept, worlds = fleet()
    found = curves("retain")["unlearned"]
    assert found.accuracy.shape == found.loss.shape == (MODELS, FINE_TUNE.epochs + 1)
    outputs = bench.outputs_of(worlds["unlearned"], forget)
    right = [float((z.argmax(1) == bench.y[rows]).double().mean()) for z, rows in zip(outputs, forget, strict=True)]
    np.testing.assert_allclose(found.accuracy[:, 0], right)
    trained = bench.train(worlds["unlearned"], kept, FINE_TUNE, name="retain")
    outputs = bench.outputs_of(trained, forget)
    right = [float((z.argmax(1) == bench.y[rows]).double().mean()) for z, rows in zip(outputs, forget, strict=True)]
    np.testing.assert_allclose(found.accuracy[:, -1], right)  # the same as training in one go


def test_what_was_only_hidden_comes_back_without_being_shown():
    seen = curves("retain")
    hidden, retrained, again = seen["unlearned"], seen["retrained"], seen["again"]
    assert hidden.accuracy[:, 0].mean() < 0.4  # at first sight it forgot most of them
    assert hidden.regained.mean() > 0.1
    assert np.abs(retrained.regained).mean() < 0.1
    assert paired_p_value(hidden, retrained) <= 2 / 2**MODELS
    assert np.all(curve_p_values(hidden, retrained, two_sided=False) == 1 / (MODELS + 1))
    assert paired_p_value(again, retrained) > 0.02  # and an honest retrain raises no alarm
    low, high = band(hidden.accuracy)
    assert low[-1] > band(retrained.accuracy)[1][-1]
    assert np.all(low < high)


def test_the_anamnesis_index_is_about_one_for_retraining_and_below_for_what_was_left():
    seen = curves("forget")
    goal = seen["original"].loss[:, 0]
    kept = anamnesis_index(seen["original"], seen["retrained"], goal)
    left = anamnesis_index(seen["weakened"], seen["retrained"], goal)
    honest = anamnesis_index(seen["again"], seen["retrained"], goal)
    assert np.all(kept == 0.0)  # nothing was unlearned: it is there already
    assert 0.8 < np.mean(honest) < 1.25
    assert np.all(left < 0.8)


def test_relearning_leaves_the_models_alone_and_is_the_same_again():
    bench, forget, kept, worlds = fleet()
    before = worlds["retrained"].digest(2)
    again = relearn(bench, worlds["retrained"], kept, forget, FINE_TUNE, name="retain")
    assert np.array_equal(again.loss, curves("retain")["retrained"].loss)
    assert worlds["retrained"].digest(2) == before


def straight(values):
    """A curve with these losses, and accuracies that mirror them."""
    values = np.atleast_2d(np.asarray(values, dtype=float))
    return Curve(1 - values / 10, values)


def test_passes_are_counted_along_straight_lines():
    curve = straight([[4.0, 2.0, 1.0], [1.0, 0.5, 0.2], [4.0, 3.0, 2.5], [0.0, 0.0, 0.0]])
    found = passes_to_reach(curve, [1.5, 1.0, 1.0, 0.0], margin=0.0)
    assert found.tolist() == [1.5, 0.0, np.inf, 0.0]
    assert passes_to_reach(curve, [1.5, 1.0, 1.0, 0.0], margin=0.5)[0] == pytest.approx(0.625)  # 2.75, half the way
    with pytest.raises(ArgumentError, match="margin"):
        passes_to_reach(curve, [1.0] * 4, margin=1.0)


def test_the_anamnesis_index_is_a_ratio_of_passes():
    unlearned = straight([[4, 0], [8, 4], [0, 0], [4, 4], [4, 0]])
    retrained = straight([[4, 2], [4, 0], [0, 0], [4, 4], [4, 4]])
    unlearned = Curve(
        np.hstack([unlearned.accuracy] * 2),
        np.array([[4, 0, 0, 0], [8, 4, 0, 0], [0, 0, 0, 0], [4] * 4, [4, 0, 0, 0]], float),
    )
    retrained = Curve(unlearned.accuracy, np.array([[4, 2, 0, 0], [4, 0, 0, 0], [0, 0, 0, 0], [4] * 4, [4] * 4], float))
    found = anamnesis_index(unlearned, retrained, np.zeros(5), margin=0.0)
    assert found[:3].tolist() == [0.5, 2.0, 1.0]
    assert np.isnan(found[3])
    assert found[4] == 0.0


def random_curves(rng, models, *, draw=0.0, shift=0.0):
    base = rng.normal(size=(models, 1)) * draw
    return tuple(Curve(base + rng.normal(size=(models, 5)) + move, np.ones((models, 5))) for move in (shift, 0.0))


@pytest.mark.parametrize("two_sided", [False, True])
def test_honest_curves_alarm_no_more_often_than_stated(two_sided):
    rng, runs = np.random.default_rng(0), 2000
    pairs = [random_curves(rng, 9, draw=3.0) for _ in range(runs)]
    p = np.array([paired_p_value(*pair, two_sided=two_sided) for pair in pairs])
    alone = [
        curve_p_values(Curve(u.accuracy[:1], u.loss[:1]), r, two_sided=two_sided)[0]
        for u, r in (random_curves(rng, 39) for _ in range(runs))
    ]
    for values in (p, np.array(alone)):
        for level in (0.01, 0.05, 0.1, 0.3):
            assert np.sum(values <= level) <= binom.isf(1e-5, runs, level)
    assert kstest(p, "uniform").statistic < 0.05


def test_pairing_sees_what_differs_by_less_than_the_draws_do():
    rng = np.random.default_rng(1)
    found = [paired_p_value(*random_curves(rng, 12, draw=5.0, shift=1.0)) for _ in range(50)]
    assert np.mean(np.array(found) < 0.05) > 0.7


def test_many_models_use_random_signs():
    rng = np.random.default_rng(2)
    same, other = random_curves(rng, 30, shift=3.0)
    assert paired_p_value(same, other, draws=999) == 1 / 1000
    assert paired_p_value(other, same, draws=999, two_sided=False) == 1.0
    assert paired_p_value(same, same, draws=999) == 1.0  # ties count against the finding


def test_a_band_covers_all_passes_of_the_mean_at_once():
    rng, runs, hit = np.random.default_rng(3), 1000, 0
    for _ in range(runs):
        walk = np.cumsum(rng.normal(size=(6, 8)), axis=1)
        low, high = band(walk, confidence=0.9)
        hit += bool(np.all((low <= 0) & (high >= 0)))
    assert runs - hit <= binom.isf(1e-6, runs, 0.1)
    with pytest.raises(ArgumentError, match="at least two models"):
        band(np.zeros((1, 4)))


def test_what_makes_no_sense_is_refused():
    bench, forget, kept, worlds = fleet()
    with pytest.raises(ArgumentError, match="one of each a model"):
        relearn(bench, worlds["original"], kept[:2], forget, FINE_TUNE)
    with pytest.raises(ArgumentError, match="no records"):
        relearn(bench, worlds["original"], kept, [*forget[:-1], np.arange(0)], FINE_TUNE)
    some, other = random_curves(np.random.default_rng(4), 3)
    with pytest.raises(ArgumentError, match="pair"):
        paired_p_value(some, Curve(other.accuracy[:2], other.loss[:2]))
