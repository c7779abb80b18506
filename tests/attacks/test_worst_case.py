"""Worst-case forget sets: what is planted is found, ties are drawn, the same seed chooses the same records."""

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from scipy.stats import chisquare
from torch import nn

from certify.attacks.worst_case import (
    coherent_cluster,
    forget_sets,
    hardest,
    linear_gradient_norms,
    loss_spread,
    memorisation,
    network_gradient_norms,
    outlyingness,
)
from certify.convex.objective import Objective
from certify.convex.problem import bind
from certify.core.errors import ArgumentError
from certify.models.networks import Bench, Network, State
from certify.models.networks.losses import cross_entropy


def test_memorised_records_have_the_largest_gap():
    rng = np.random.default_rng(0)
    member = rng.random((200, 50)) < 0.5
    gap = np.linspace(0, 3, 50)
    found = memorisation(rng.normal(size=50) + gap * member + rng.normal(size=member.shape), member)
    np.testing.assert_array_less(np.abs(found.gap - gap), 4.5 * found.error)
    assert found.error.mean() == pytest.approx(2 / np.sqrt(200), rel=0.05)
    assert set(range(45, 50)) <= set(hardest(found.gap, 9).tolist())


def test_memorisation_of_right_and_wrong_is_feldmans():
    member = np.array([[1, 1], [1, 0], [0, 1], [0, 0]], dtype=bool)
    found = memorisation([[1, 1], [1, 1], [0, 1], [0, 1]], member)
    assert found.gap.tolist() == [1.0, 0.0]
    assert found.without.tolist() == [0.0, 1.0]
    lonely = memorisation([[1.0, 2.0], [3.0, 4.0]], [[True, True], [False, True]])
    assert np.isnan(lonely.gap[1])
    assert np.isnan(lonely.error[0])


def test_outliers_are_far_from_their_neighbours():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(300, 5)) + 1e4
    X[7] += 30
    found = outlyingness(X, 4)
    assert found.argmax() == 7
    expected = cKDTree(X).query(X, 5)[0][:, 1:].mean(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert outlyingness(np.zeros((5, 2)), 2).tolist() == [0.0] * 5
    assert outlyingness(X.reshape(300, 5, 1), 4) == pytest.approx(found)


def test_distances_do_not_depend_on_the_blocks(monkeypatch):
    X = np.random.default_rng(2).normal(size=(50, 3))
    whole = outlyingness(X, 3)
    monkeypatch.setattr("certify.attacks.worst_case._CHUNK", 8 * 50 * 7)
    np.testing.assert_allclose(outlyingness(X, 3), whole, rtol=1e-9)


def test_unsteady_losses_have_the_largest_spread():
    losses = np.array([[4.0, 0.1, 2.0], [3.0, 0.1, 2.0], [2.0, 0.1, 2.0], [1.0, 0.1, 5.0], [0.0, 0.1, 2.0]])
    assert loss_spread(losses).tolist() == [2.0, 0.0, 0.0]  # one jump is no spread
    np.testing.assert_allclose(loss_spread(np.stack([losses, 0 * losses])), [1.0, 0.0, 0.0])


@pytest.mark.parametrize("intercept", [False, True])
def test_gradient_norms_of_linear_models_are_the_derivatives(intercept):
    rng = np.random.default_rng(3)
    objective, X, y = Objective("softmax", 1.0, fit_intercept=intercept), rng.normal(size=(8, 4)), rng.integers(0, 3, 8)
    w = rng.normal(size=(3, 4 + intercept))
    for n, found in enumerate(linear_gradient_norms(objective, w, X, y)):
        own = bind(objective, X[[n]], y[[n]], 3)
        assert found == pytest.approx(np.linalg.norm(own.gradient(w) - own.penalty * w), rel=1e-9)


def test_gradient_norms_of_networks_are_those_of_the_linear_model_they_are():
    rng = np.random.default_rng(4)
    X, y, models = rng.normal(size=(9, 4)), rng.integers(0, 3, 9), []
    for _ in range(2):
        model = nn.Linear(4, 3).double()
        with torch.no_grad():
            model.weight.copy_(torch.tensor(rng.normal(size=(3, 4))))
            model.bias.copy_(torch.tensor(rng.normal(size=3)))
        models.append(model)
    bench = Bench(Network.of(models[0]), torch.tensor(X), torch.tensor(y), loss=cross_entropy, seeds=(0, 1))
    found = network_gradient_norms(bench, State.of(*models), batch_size=4)
    objective = Objective("softmax", 1.0, fit_intercept=True)
    for k, model in enumerate(models):
        w = torch.cat([model.weight, model.bias[:, None]], dim=1).detach().numpy()
        np.testing.assert_allclose(found[k], linear_gradient_norms(objective, w, X, y), rtol=1e-9)
    some = network_gradient_norms(bench, State.of(*models), [5, 2])
    np.testing.assert_allclose(some, found[:, [5, 2]], rtol=1e-9)


def test_ties_are_broken_by_a_fair_draw_that_the_seed_fixes():
    scores = np.array([1.0, 2.0, 1.0, 1.0, 0.0, 1.0])
    counts = np.zeros(6)
    for seed in range(2000):
        found = hardest(scores, 3, seed=seed)
        assert np.all(np.diff(found) > 0)
        counts[found] += 1
    assert counts[1] == 2000
    assert counts[4] == 0
    assert chisquare(counts[[0, 2, 3, 5]]).pvalue > 1e-4
    assert np.array_equal(hardest(scores, 3, seed=7), hardest(scores, 3, seed=7))


def test_larger_choices_contain_smaller_ones_and_nan_is_never_chosen():
    rng = np.random.default_rng(5)
    scores = np.round(rng.normal(size=100), 1)
    scores[:20] = np.nan
    small, large = (set(hardest(scores, size, seed=3).tolist()) for size in (10, 40))
    assert small < large
    assert min(large) >= 20
    with pytest.raises(ArgumentError, match="81 of 80 candidates"):
        hardest(scores, 81)
    allowed = np.arange(100) % 2 == 0
    assert np.all(hardest(scores, 40, eligible=allowed) % 2 == 0)
    assert hardest([-np.inf, np.inf, 0.0], 3).tolist() == [0, 1, 2]


def test_a_cluster_is_a_record_and_those_around_it():
    rng = np.random.default_rng(6)
    X = rng.normal(size=(90, 3))
    X[40:60] = 20 + 0.01 * rng.normal(size=(20, 3))
    assert coherent_cluster(X, 20, centre=45).tolist() == list(range(40, 60))
    assert 45 in coherent_cluster(np.zeros((90, 3)), 2, centre=45)  # among copies of it
    chosen = coherent_cluster(X, 5, seed=1, eligible=np.arange(90) < 30)
    assert chosen.max() < 30
    assert np.array_equal(chosen, coherent_cluster(X, 5, seed=1, eligible=np.arange(90) < 30))


def test_forget_sets_of_every_kind_and_size():
    rng = np.random.default_rng(7)
    scores = {"memorised": rng.normal(size=60), "outlier": rng.normal(size=60)}
    found = forget_sets(scores, (1, 5, 20), seed=2, features=rng.normal(size=(60, 3)))
    assert set(found) == {(kind, size) for kind in ("memorised", "outlier", "random", "cluster") for size in (1, 5, 20)}
    for (kind, size), rows in found.items():
        assert len(np.unique(rows)) == size == len(rows)
        assert set(found[kind, 1]) <= set(rows.tolist())
    assert np.array_equal(found["memorised", 5], np.sort(np.argsort(-scores["memorised"])[:5]))
    again = forget_sets(scores, (1, 5, 20), seed=2, features=rng.normal(size=(60, 3)))
    assert all(np.array_equal(again[key], rows) for key, rows in found.items() if key[0] != "cluster")
    other = forget_sets(scores, (20,), seed=3)
    assert not np.array_equal(other["random", 20], found["random", 20])


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ArgumentError, match="shapes"):
        memorisation(np.zeros((2, 3)), np.zeros((3, 2)))
    with pytest.raises(ArgumentError, match="fewer neighbours"):
        outlyingness(np.zeros((4, 2)), 4)
    with pytest.raises(ArgumentError, match="at least two passes"):
        loss_spread(np.zeros((1, 5)))
    with pytest.raises(ArgumentError, match="not finite"):
        outlyingness(np.full((4, 2), np.nan), 1)
    with pytest.raises(ArgumentError, match="centre"):
        coherent_cluster(np.zeros((4, 2)), 2, centre=1, eligible=[True, False, True, True])
    with pytest.raises(ArgumentError, match="other names"):
        forget_sets({"random": np.zeros(4)}, (1,))
    with pytest.raises(ArgumentError, match="one number a record"):
        forget_sets({"a": np.zeros(4), "b": np.zeros(5)}, (1,))
