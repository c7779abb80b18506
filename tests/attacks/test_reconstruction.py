"""Reconstruction from two versions: exact with the retained gradients, near with public records, hidden by noise."""

import numpy as np
import pytest
from scipy.stats import binom, kstest

from certify.attacks.scores.reconstruction import (
    cosines,
    deleted_sum,
    explained,
    public_problem,
    rank_p_values,
    reconstruct,
    under_noise,
)
from certify.convex.objective import Objective
from certify.convex.problem import bind
from certify.convex.solve import newton_step
from certify.core.errors import ArgumentError

LOSSES = ("squared", "logistic", "softmax", "poisson", "pseudo-huber")


def minimiser(problem, start=None):
    w = np.zeros(problem.shape) if start is None else start
    for _ in range(40):
        w = w - newton_step(problem, w, problem.gradient(w))
    return w


def records(n, d, seed=0):
    """Features of very different scales, turned: without the Hessian an update points elsewhere."""
    rng = np.random.default_rng(1000 + d)
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    return np.random.default_rng(seed).normal(size=(n, d)) * np.logspace(0, -1, d) @ turn


def case(loss="squared", n=400, d=12, deleted=1, intercept=False, seed=0, l2=1.0):
    """Retained problem, both minimisers, and the deleted records."""
    X, rng = records(n, d, seed), np.random.default_rng(seed + 1)
    z = X @ np.linspace(1, -1, d)
    y, outputs, more = z + rng.normal(size=n), 1, {}
    if loss == "logistic":
        y = (z + rng.logistic(size=n) > 0).astype(float)
    elif loss == "softmax":
        y, outputs = np.argmax(np.c_[z, -z, 0 * z] + rng.gumbel(size=(n, 3)), axis=1), 3
    elif loss == "poisson":
        y = rng.poisson(np.exp(0.5 * z)).astype(float)
    elif loss == "pseudo-huber":
        more = {}
    objective = Objective(loss, l2, fit_intercept=intercept, **more)
    full, kept = bind(objective, X, y, outputs), bind(objective, X[deleted:], y[deleted:], outputs)
    w = minimiser(full)
    return kept, w, minimiser(kept, w), X[:deleted], y[:deleted]


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_exact_hessian_shows_the_record(loss, intercept):
    kept, w, v, x, _ = case(loss, intercept=intercept)
    found = reconstruct(w, v, kept)
    assert cosines(found.record, x)[0] > 1 - 1e-6
    assert (found.scaled is not None) == intercept
    if intercept:  # the column of ones gives the length, and the sign
        np.testing.assert_allclose(found.scaled, x[0], rtol=1e-4, atol=1e-5)
        assert found.record @ x[0] > 0


@pytest.mark.parametrize("intercept", [False, True])
def test_softmax_gives_the_label_away(intercept):
    right = 0
    for seed in range(12):
        kept, w, v, _, y = case("softmax", n=150, d=5, intercept=intercept, seed=seed)
        right += reconstruct(w, v, kept).label == y[0]
    assert right == 12


def test_for_squared_error_the_hessian_at_either_end_is_the_exact_one():
    kept, w, v, x, _ = case()
    exact, local = (reconstruct(w, v, kept, knowledge=knowledge) for knowledge in ("exact", "local"))
    np.testing.assert_allclose(exact.matrix, local.matrix, rtol=1e-6, atol=1e-9)
    assert cosines(local.record, x)[0] > 1 - 1e-9


@pytest.mark.parametrize("d", [20, 100])
def test_a_public_covariance_does_nearly_as_well_and_none_does_not(d):
    """Ridge, mean over deletions; the table of the literature: 1.000, about 0.95, about 0.4 to 0.2."""
    n, total = 20 * d, []
    for seed in range(8):
        kept, w, v, x, _ = case(n=n, d=d, seed=seed)
        public = public_problem(kept.objective, records(n, d, seed=500 + seed), n)
        means = [
            reconstruct(w, v, kept),
            reconstruct(w, v, public, knowledge="local"),
            reconstruct(w, v, knowledge="none"),
        ]
        total.append([cosines(found.record, x)[0] for found in means])
    exact, public_only, none = np.mean(total, axis=0)
    assert exact > 1 - 1e-9
    assert 0.93 < public_only < 0.98
    assert none < 0.75 * public_only


def test_noise_hides_the_record_and_more_noise_hides_it_more():
    kept, w, v, x, _ = case(n=1000, d=20)
    update = np.linalg.norm(w - v)
    found = under_noise(w, v, x[0], update * np.array([0.0, 0.03, 0.3, 30.0]), kept, draws=60).mean(axis=1)
    assert found[0] > 1 - 1e-9
    assert np.all(np.diff(found) < 0)
    # all noise: the direction of H times a random vector, whatever the record
    alone = under_noise(0 * w, 0 * w, x[0], [1.0], kept, draws=400)
    assert found[-1] == pytest.approx(alone.mean(), abs=0.08)


def test_several_deletions_show_their_weighted_sum():
    kept, w, v, x, y = case("logistic", deleted=3)
    found = reconstruct(w, v, kept)
    np.testing.assert_allclose(found.matrix, deleted_sum(kept.objective, w, x, y), rtol=1e-5, atol=1e-8)
    single = cosines(found.record, x)
    assert cosines(found.record, deleted_sum(kept.objective, w, x, y))[0] > 1 - 1e-9
    assert np.all(single < 1 - 1e-3)
    assert single.max() > 0.5


def test_several_outputs_span_several_records():
    kept, w, v, x, _ = case("softmax", deleted=2, d=10)
    matrix = reconstruct(w, v, kept).matrix
    assert all(explained(matrix, row) > 1 - 1e-4 for row in x)
    other = records(200, 10, seed=77)
    assert np.mean([explained(matrix, row) for row in other]) < 0.9
    assert explained(matrix, np.zeros(10)) == 0.0


def test_a_forgotten_record_stands_out_and_a_stranger_does_not():
    kept, w, v, x, _ = case(n=500, d=30)
    direction = reconstruct(w, v, kept).record
    others = records(399, 30, seed=99)
    assert rank_p_values(cosines(direction, x), cosines(direction, others))[0] == 1 / 400
    strangers = cosines(direction, records(2000, 30, seed=98))
    p = rank_p_values(strangers[:1000], strangers[1000:])
    assert np.sum(p <= 0.05) <= binom.isf(1e-7, 1000, 0.05 + 0.02)
    assert kstest(p, "uniform").statistic < 0.08
    assert rank_p_values([0.5], [0.5, 0.5, 0.1])[0] == 0.75  # ties count against the finding


def test_the_wrong_hessian_is_noticed():
    """A control: records of another covariance in place of the retained ones lose the record."""
    kept, w, v, x, _ = case(n=800, d=30)
    wrong = public_problem(
        kept.objective, np.random.default_rng(3).normal(size=(800, 30)) * np.logspace(-1, 1, 30), 800
    )
    assert cosines(reconstruct(w, v, wrong, knowledge="local").record, x)[0] < 0.9


def test_what_makes_no_sense_is_refused():
    kept, w, v, x, _ = case()
    with pytest.raises(ArgumentError, match="a Hessian needs records"):
        reconstruct(w, v)
    with pytest.raises(ArgumentError, match="both versions are the same"):
        reconstruct(w, w, kept)
    with pytest.raises(ArgumentError, match="the problem"):
        reconstruct(w[:, 1:], v[:, 1:], kept)
    with pytest.raises(ArgumentError, match="shapes"):
        reconstruct(w[:, 1:], v, kept)
    with pytest.raises(ArgumentError, match="choose exact"):
        reconstruct(w, v, kept, knowledge="some")
    with pytest.raises(ArgumentError, match="intercept's column"):
        cosines(w[0, 1:], x)
    with pytest.raises(ArgumentError, match="at least 0"):
        under_noise(w, v, x[0], [-1.0], kept)
    with pytest.raises(ArgumentError, match="0 records"):
        public_problem(kept.objective, x, 0)
