"""The two-version attack: known powers, nothing from an update that does nothing, sides that can be exchanged."""

import numpy as np
import pytest
from scipy.stats import norm, rankdata

from certify.attacks.observations import Cell, Observations
from certify.attacks.scores.games import GAMES
from certify.attacks.scores.leave_one_out import trials
from certify.attacks.scores.lira import Lira, lira
from certify.attacks.scores.pair_features import FeatureAttack, degradation, features
from certify.attacks.scores.references import Target
from certify.attacks.scores.two_version import TwoVersion, two_version
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


GAME = GAMES["two-version"]
PARTS = ("both", "original", "update")


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
    both, original, update = (trials(fleet(), GAME.control(), TwoVersion(part)) for part in PARTS)
    assert not np.any(update.scores)
    assert np.array_equal(both.scores, original.scores)
    assert auc(update.scores, update.positive) == 0.5
    assert auc(original.scores, original.positive) > 0.7  # what the original model gives away is no update's fault


def test_with_many_references_the_power_is_the_one_in_closed_form():
    held, drop, noise = 0.7, 0.6, 0.5
    seen = fleet(400, 40, held=held, drop=drop, noise=noise, seed=4)
    # a and d are independent given the world: means differ by (held, -drop), with standard deviations 1 and ``noise``
    for part, distance in zip(PARTS, (np.hypot(held, drop / noise), held, drop / noise), strict=True):
        found = trials(seen, GAME, TwoVersion(part))
        assert auc(found.scores, found.positive) == pytest.approx(norm.cdf(distance / np.sqrt(2)), abs=0.015)


def test_correlated_pairs_use_the_correlation():
    rng, n = np.random.default_rng(5), 400
    mix = np.array([[1.0, 0.0], [-0.8, 0.3]])

    def draw(shift):
        return (rng.normal(size=(n, 30, 2)) @ mix.T + shift) @ np.array([[1.0, 1.0], [0.0, 1.0]])

    shift = np.array([0.5, 0.0])
    inside, outside = draw(shift), draw(0.0)
    scores = [two_version(inside, outside, draw(move)).ravel() for move in (shift, 0.0)]
    distance = np.linalg.norm(np.linalg.solve(mix, shift))  # 1.42; the margins alone show 0.5 and 0
    found = auc(np.concatenate(scores), np.repeat([True, False], n * 30))
    assert found == pytest.approx(norm.cdf(distance / np.sqrt(2)), abs=0.01)


@pytest.mark.parametrize("variance", ["student", "record", "pooled"])
def test_both_parts_together_are_lira_on_both_versions(variance):
    rng = np.random.default_rng(11)
    inside, outside, targets = (rng.normal(size=(k, 9, 2)) for k in (8, 7, 3))
    inside[0, :4] = np.nan
    both, original, update = (two_version(inside, outside, targets, part=part, variance=variance) for part in PARTS)
    np.testing.assert_allclose(both, lira(inside, outside, targets, variance=variance, views="joint"), rtol=1e-6)
    np.testing.assert_allclose(both, original + update, rtol=1e-12)
    alone = lira(inside[..., 0], outside[..., 0], targets[..., 0], variance=variance)
    np.testing.assert_allclose(original, alone, rtol=1e-9)


def test_without_a_difference_the_attack_is_at_chance():
    values = []
    for seed in range(20):
        found = trials(fleet(24, 50, held=0.0, drop=0.0, seed=100 + seed), GAME, TwoVersion())
        values.append(auc(found.scores, found.positive))
    assert abs(np.mean(values) - 0.5) < 4 * np.std(values) / np.sqrt(20) + 1e-3


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("variance", ["student", "pooled"])
def test_exchanging_the_sides_changes_the_sign(part, variance):
    rng = np.random.default_rng(6)
    inside, outside, targets = (rng.normal(size=(k, 9, 2)) for k in (8, 5, 3))
    one, other = (
        two_version(*sides, targets, part=part, variance=variance) for sides in ((inside, outside), (outside, inside))
    )
    assert np.array_equal(one, -other)


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
    pairs = np.stack([seen.get("original"), seen.get("unlearned")], axis=-1)
    for part in PARTS:
        found = trials(seen, GAME, TwoVersion(part), short="drop")
        for k in range(10):
            own = []
            for cell in (Cell.FORGET, Cell.OUT):
                have = (seen.assignment == cell) & (np.arange(10) != k)[:, None]
                own.append(np.where(have[..., None], pairs, np.nan))
            columns = found.records[found.models == k]
            slow = two_version(own[0][:, columns], own[1][:, columns], pairs[k, columns], part=part)
            pooled_over_all = TwoVersion(part).fit(*own).score(Target(pairs[k]))[columns]
            np.testing.assert_allclose(found.scores[found.models == k], pooled_over_all, rtol=1e-7, atol=1e-7)
            assert slow.shape == columns.shape


def test_one_reference_is_enough_beside_pooled_variances_and_none_is_not():
    rng = np.random.default_rng(9)
    inside, outside = rng.normal(size=(2, 6, 4, 2))
    inside[1:, 0] = np.nan
    assert np.isfinite(two_version(inside, outside, np.zeros((4, 2)))).all()
    with pytest.raises(InputError, match="1 where 3 are needed"):
        two_version(inside, outside, np.zeros((4, 2)), variance="record")
    outside[:, 1] = np.nan
    with pytest.raises(InputError, match="0 where 1 is needed"):
        two_version(inside, outside, np.zeros((4, 2)))


def test_references_that_all_say_the_same_give_finite_scores():
    same = np.full((5, 3, 2), 2.0)
    for part in PARTS:
        assert np.array_equal(two_version(same, same, same[0], part=part), np.zeros(3))
    moved = same - [0.0, 1.0]
    for target, sign in ((moved[0], 1), (same[0], -1)):
        told = two_version(moved, same, target, part="update")
        assert np.isfinite(told).all()
        assert (sign * told > 20).all()  # the update alone tells


def test_retraining_leaks_to_who_sees_both_versions():
    held = 1.5
    seen = fleet(60, 50, held=held, drop=held, seed=10)  # the update undoes all of it: the new model knows nothing
    later = trials(seen, GAMES["privacy"], Lira())
    assert abs(auc(later.scores, later.positive) - 0.5) < 0.06
    both = trials(seen, GAME, TwoVersion())
    assert auc(both.scores, both.positive) > 0.95


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
    pairs = np.zeros((3, 4, 2))
    with pytest.raises(InputError, match="infinite"):
        two_version(pairs + np.inf, pairs, pairs)
    with pytest.raises(InputError, match="nothing tells the spread"):
        two_version(pairs * np.nan, pairs, pairs)
    with pytest.raises(InputError, match="out_confidences"):
        two_version(pairs[:, :2], pairs, pairs)
    with pytest.raises(InputError, match="before and after"):
        two_version(z, z, z)
    with pytest.raises(InputError, match="not finite"):
        two_version(pairs, pairs, pairs * np.nan)
    for wrong in ({"part": "after"}, {"variance": "cauchy"}, {"prior_df": -1.0}):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            TwoVersion(**wrong)
    with pytest.raises(InputError, match="was not observed"):
        trials(fleet(4, 5), GAME.null(), TwoVersion())
    with pytest.raises(ArgumentError, match="unknown features"):
        features(z, z, "product")
    with pytest.raises(ArgumentError, match="of both kinds"):
        FeatureAttack().fit(z, z, np.ones(3))
    with pytest.raises(ArgumentError, match="differ in shape"):
        degradation(z, z[:2], z)
