"""The two-version attack: known powers, nothing from an update that does nothing, sides that can be exchanged."""

import numpy as np
import pytest
from scipy.stats import norm, rankdata

from certify.attacks.observations import Cell, Observations
from certify.attacks.scores.pair_features import FeatureAttack, degradation, features
from certify.attacks.scores.two_version import pair_scores, two_version
from certify.core.errors import ArgumentError, InputError

KINDS = ("concatenation", "sorted-concatenation", "difference", "sorted-difference", "distance")


def auc(scores, positive):
    ranks, positive = rankdata(scores), np.asarray(positive).astype(bool)
    hits = positive.sum()
    return (ranks[positive].sum() - hits * (hits + 1) / 2) / (hits * (~positive).sum())


def fleet(models=48, records=60, *, held=1.0, drop=0.8, seed=0, noise=0.5):
    """phi of Gaussian models: held records gain ``held``, and the update takes ``drop`` of those that were to be forgotten."""
    rng = np.random.default_rng(seed)
    cells = rng.choice([Cell.OUT, Cell.RETAIN, Cell.FORGET], p=[0.4, 0.2, 0.4], size=(models, records))
    original = rng.normal(size=records) * 3 + held * (cells != Cell.OUT) + rng.normal(size=cells.shape)
    retrained = original - drop * (cells == Cell.FORGET) + noise * rng.normal(size=cells.shape)
    return Observations(cells, {"original": {"phi": original}, "unlearned": {"phi": retrained}})


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("kind", KINDS)
def test_features_have_their_meaning(kind):
    rng = np.random.default_rng(1)
    before, after = softmax(rng.normal(size=(3, 7, 4))), softmax(rng.normal(size=(3, 7, 4)))
    found = features(before, after, kind)
    assert found.shape == (3, 7, {"distance": 1, "difference": 4, "sorted-difference": 4}.get(kind, 8))
    classes = rng.permutation(4)
    moved = features(before[..., classes], after[..., classes], kind)
    assert np.allclose(moved, found) == (kind not in ("concatenation", "difference"))  # sorted: classes have no names
    if kind == "sorted-concatenation":
        assert np.all(np.diff(found[..., :4]) <= 0)


def test_a_classifier_on_gaussian_differences_has_the_best_power_there_is():
    rng, shift = np.random.default_rng(2), np.array([0.8, -0.4, 0.6])

    def draw(n):
        member = rng.random(n) < 0.5
        before = rng.normal(size=(n, 3))
        return before, before + rng.normal(size=(n, 3)) + member[:, None] * shift, member

    attack = FeatureAttack("difference").fit(*draw(4000))
    before, after, member = draw(20000)
    best = norm.cdf(np.linalg.norm(shift) / np.sqrt(2))
    assert auc(attack.score(before, after), member) == pytest.approx(best, abs=0.01)
    # calibrated too: of the points it calls p, a share p are members
    called = attack.confidence(before, after)
    high = called > 0.7
    assert member[high].mean() == pytest.approx(called[high].mean(), abs=0.03)
    assert np.abs(attack.weights - shift).max() < 0.15  # the log likelihood ratio of unit normals


@pytest.mark.parametrize("kind", ["difference", "sorted-difference", "distance"])
def test_an_identity_update_is_at_chance_for_every_difference(kind):
    rng = np.random.default_rng(3)
    before, member = softmax(rng.normal(size=(400, 5))), rng.random(400) < 0.5
    before[member, 0] += 1.0  # even where the model alone gives everybody away
    scores = FeatureAttack(kind).fit(before, before, member).score(before, before)
    assert np.ptp(scores) == 0
    assert auc(scores, member) == 0.5


def test_an_identity_update_adds_nothing_to_the_likelihood_ratio():
    seen = fleet()
    still = two_version(seen, world="original")
    assert not np.any(still.update.scores)
    assert np.array_equal(still.joint.scores, still.original.scores)
    assert auc(still.update.scores, still.update.positive) == 0.5
    assert (
        auc(still.original.scores, still.original.positive) > 0.7
    )  # what the original model gives away is no update's fault


def test_with_many_references_the_power_is_the_one_in_closed_form():
    held, drop, noise = 0.7, 0.6, 0.5
    found = two_version(fleet(400, 40, held=held, drop=drop, noise=noise, seed=4))
    # a and d are independent given the world: means differ by (held, -drop), with standard deviations 1 and ``noise``
    for trials, distance in (
        (found.original, held),
        (found.update, drop / noise),
        (found.joint, np.hypot(held, drop / noise)),
    ):
        assert auc(trials.scores, trials.positive) == pytest.approx(norm.cdf(distance / np.sqrt(2)), abs=0.015)


def test_correlated_pairs_use_the_correlation():
    rng, n = np.random.default_rng(5), 400
    mix = np.array([[1.0, 0.0], [-0.8, 0.3]])

    def draw(shift):
        pair = rng.normal(size=(n, 30, 2)) @ mix.T + shift
        return pair[..., 0], pair[..., 0] + pair[..., 1]

    shift = np.array([0.5, 0.0])
    inside, outside, target_in, target_out = draw(shift), draw(0.0), draw(shift), draw(0.0)
    scores = [pair_scores(*target, inside, outside).joint.ravel() for target in (target_in, target_out)]
    distance = np.linalg.norm(np.linalg.solve(mix, shift))  # 1.42; the margins alone show 0.5 and 0
    found = auc(np.concatenate(scores), np.repeat([True, False], n * 30))
    assert found == pytest.approx(norm.cdf(distance / np.sqrt(2)), abs=0.01)


def test_without_a_difference_the_attack_is_at_chance():
    values = []
    for seed in range(20):
        found = two_version(fleet(24, 50, held=0.0, drop=0.0, seed=100 + seed)).joint
        values.append(auc(found.scores, found.positive))
    assert abs(np.mean(values) - 0.5) < 4 * np.std(values) / np.sqrt(20) + 1e-3


@pytest.mark.parametrize("family", ["student", "normal"])
def test_exchanging_the_sides_changes_the_sign(family):
    rng = np.random.default_rng(6)
    target, inside, outside = (tuple(rng.normal(size=(2, k, 9))) for k in (3, 8, 5))
    one = pair_scores(*target, inside, outside, family=family)
    other = pair_scores(*target, outside, inside, family=family)
    assert np.array_equal(one.joint, -other.joint)
    assert np.array_equal(one.update, -other.update)


def test_swapping_forgotten_and_held_out_records_averages_to_zero_for_retraining_alone():
    """SWAP: an unlearner that depends on the retained records alone gives the same model for F and for T."""
    rng, first, second = np.random.default_rng(7), np.arange(20), np.arange(20, 40)
    base = rng.normal(size=40)
    leak = rng.normal(size=40) + 1.5

    def advantage(phi, forgotten, held_out):
        return auc(phi[np.r_[forgotten, held_out]], np.repeat([True, False], 20)) - 0.5

    retrained = advantage(base, first, second) + advantage(base, second, first)
    assert retrained == pytest.approx(0.0, abs=1e-12)
    kept = [base + leak * np.isin(np.arange(40), rows) for rows in (first, second)]  # nothing unlearned
    assert advantage(kept[0], first, second) + advantage(kept[1], second, first) > 0.3


def test_models_are_judged_by_the_others():
    seen = fleet(10, 12, seed=8)
    found = two_version(seen)
    a, u = seen.get("original"), seen.get("unlearned")
    for k in range(10):
        own = []
        for cell in (Cell.FORGET, Cell.OUT):
            have = (seen.assignment == cell) & (np.arange(10) != k)[:, None]
            own.append((np.where(have, a, np.nan), np.where(have, u, np.nan)))
        slow = pair_scores(a[k], u[k], *own)
        mine = found.joint.models == k
        columns = found.joint.records[mine]
        np.testing.assert_allclose(found.joint.scores[mine], slow.joint[0, columns], rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(found.update.scores[mine], slow.update[0, columns], rtol=1e-8, atol=1e-8)
        asked = np.flatnonzero(seen.assignment[k] != Cell.RETAIN)
        assert np.array_equal(columns, asked[~np.isnan(slow.joint[0, asked])])


def test_one_reference_is_enough_beside_pooled_variances_and_none_is_not():
    rng = np.random.default_rng(9)
    inside, outside = (rng.normal(size=(2, 6, 4)) for _ in range(2))
    inside[:, 1:, 0] = np.nan
    outside[:, :, 1] = np.nan
    scores = pair_scores(np.zeros(4), np.zeros(4), tuple(inside), tuple(outside)).joint[0]
    assert np.isfinite(scores[[0, 2, 3]]).all()
    assert np.isnan(scores[1])
    alone = pair_scores(np.zeros(4), np.zeros(4), tuple(inside), tuple(outside), prior=0.0).joint[0]
    assert np.isnan(alone[:2]).all()
    assert np.isfinite(alone[2:]).all()


def test_references_that_all_say_the_same_give_finite_scores():
    same, target = np.full((5, 3), 2.0), np.full(3, 2.0)
    assert np.array_equal(pair_scores(target, target, (same, same), (same, same)).joint, np.zeros((1, 3)))
    told = pair_scores(target, target - 1, (same, same - 1), (same, same)).joint
    assert np.isfinite(told).all()
    assert (told > 100).all()  # the update alone tells


def test_retraining_leaks_to_who_sees_both_versions():
    held = 1.5
    seen = fleet(60, 50, held=held, drop=held, seed=10)  # the update undoes all of it: the new model knows nothing
    found = two_version(seen)
    later = seen.get("unlearned")[found.joint.models, found.joint.records]
    centred = later - seen.get("unlearned").mean(axis=0)[found.joint.records]
    assert abs(auc(centred, found.joint.positive) - 0.5) < 0.06
    assert auc(found.joint.scores, found.joint.positive) > 0.95


def test_the_second_version_is_counted_where_it_helps():
    member = np.array([[1, 1, 0, 0], [1, 0, 0, 1]])
    single = np.full((2, 4), 0.5)
    double = np.array([[0.9, 0.5, 0.6, 0.1], [0.5, 0.5, 0.5, 0.5]])
    found = degradation(single, double, member)
    assert found.share.tolist() == [0.5, 0.0]
    assert found.falls.tolist() == [0.25, 0.0]
    np.testing.assert_allclose(found.gain, [(0.4 - 0.1 + 0.4) / 4, 0.0])


def test_what_makes_no_sense_is_refused():
    z = np.zeros((3, 4))
    with pytest.raises(ArgumentError, match="infinite"):
        pair_scores(z[0], z[0], (z + np.inf, z), (z, z))
    with pytest.raises(ArgumentError, match="no record has references"):
        pair_scores(z[0], z[0], (z * np.nan, z * np.nan), (z, z))
    with pytest.raises(ArgumentError, match="records of references"):
        pair_scores(z[0, :2], z[0, :2], (z, z), (z, z))
    with pytest.raises(ArgumentError, match="unknown family"):
        pair_scores(z[0], z[0], (z, z), (z, z), family="cauchy")
    with pytest.raises(ArgumentError, match="prior"):
        pair_scores(z[0], z[0], (z, z), (z, z), prior=-1.0)
    with pytest.raises(InputError, match="was not observed"):
        two_version(fleet(4, 5), world="retrained")
    with pytest.raises(ArgumentError, match="unknown features"):
        features(z, z, "product")
    with pytest.raises(ArgumentError, match="of both kinds"):
        FeatureAttack().fit(z, z, np.ones(3))
    with pytest.raises(ArgumentError, match="differ in shape"):
        degradation(z, z[:2], z)
