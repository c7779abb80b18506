"""Attacks without references, Attack-R and quantile regression: definitions, exact false positive rates, ties."""

import gaussian_means
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from certify.attacks.scores.conformal import attack_r
from certify.attacks.scores.games import GAMES
from certify.attacks.scores.leave_one_out import trials
from certify.attacks.scores.phi import signals
from certify.attacks.scores.population import (
    Population,
    class_thresholds,
    confidences,
    conformal_threshold,
    gap_advantage,
    losses,
    tail_tnr,
    yeom_bounded,
    yeom_threshold,
)
from certify.attacks.scores.quantile import quantile_attack
from certify.core.errors import InputError

RUNS = 4000


def alarms_within(alarms: int, runs: int, alpha: float) -> bool:
    """Whether so many false alarms are no sign of a rate above alpha (a chance below 1e-6 of a false one here)."""
    return alarms <= stats.binom.isf(1e-6, runs, alpha)


def test_losses_and_confidences_are_those_of_the_softmax() -> None:
    z, y = np.random.default_rng(0).normal(size=(20, 5)), np.arange(20) % 5
    p = np.take_along_axis(np.exp(z) / np.exp(z).sum(1, keepdims=True), y[:, None], 1)[:, 0]
    phi = signals(z, y)["phi"]
    np.testing.assert_allclose(losses(phi), -np.log(p), rtol=1e-12)
    np.testing.assert_allclose(confidences(phi), p, rtol=1e-12)


def test_the_bounded_rule_on_0_1_losses_is_the_gap_attack() -> None:
    generator = np.random.default_rng(1)
    members, others = generator.random(50) < 0.9, generator.random(50) < 0.6
    chance = [yeom_bounded(1.0 - side, 1.0).mean() for side in (members, others)]
    assert chance[0] - chance[1] == pytest.approx(gap_advantage(members, others))


def test_the_threshold_rule_calls_members_up_to_the_mean_training_loss() -> None:
    assert yeom_threshold([0.1, 0.5, 0.6], 0.5).tolist() == [1.0, 1.0, 0.0]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("size", "alpha"), [(19, 0.05), (99, 0.01), (50, 0.1), (18, 0.05), (200, 0.013)])
def test_the_conformal_threshold_keeps_its_rate(size: int, alpha: float, ties: bool) -> None:
    generator = np.random.default_rng([size, ties])
    draw = generator.standard_t(2, size=(RUNS, size + 1))
    draw = np.round(draw) if ties else draw
    alarms = sum(row[-1] > conformal_threshold(row[:-1], alpha) for row in draw)
    assert alarms_within(alarms, RUNS, alpha)
    if not ties and (size + 1) * alpha >= 1:  # nothing is wasted either: the rate is floor((n + 1) alpha) / (n + 1)
        assert alarms >= stats.binom.ppf(1e-6, RUNS, np.floor((size + 1) * alpha + 1e-9) / (size + 1))


def test_a_quantile_without_the_correction_is_caught() -> None:
    draw = np.random.default_rng(2).normal(size=(RUNS, 20))
    alarms = sum(row[-1] > np.quantile(row[:-1], 0.95) for row in draw)
    assert not alarms_within(alarms, RUNS, 0.05)


def test_attack_r_is_the_conformal_p_value() -> None:
    generator = np.random.default_rng(3)
    outside = np.round(generator.normal(size=(19, 30)), 1)
    outside[generator.random((19, 30)) < 0.3] = np.nan
    target = np.round(generator.normal(size=30), 1)
    expected = [
        (1 + np.sum(column[~np.isnan(column)] >= x)) / (1 + np.sum(~np.isnan(column)))
        for column, x in zip(outside.T, target, strict=True)
    ]
    np.testing.assert_allclose(attack_r(outside, target), expected)
    np.testing.assert_allclose(attack_r(outside, np.stack([target, target]))[1], expected)


def test_attack_r_keeps_its_rate_and_constant_scores_are_never_small() -> None:
    draw = np.random.default_rng(4).normal(size=(20, RUNS))
    assert alarms_within(int((attack_r(draw[1:], draw[0]) <= 0.05).sum()), RUNS, 0.05)
    assert set(attack_r(np.ones((30, 4)), np.ones(4))) == {1.0}


def test_attack_p_ranks_a_record_among_the_others_of_the_population() -> None:
    seen = gaussian_means.observations(60, 100, 0.0, shift=np.linspace(0, 3, 100), seed=5)
    found = trials(seen, GAMES["privacy"], Population(p_value=True))
    negatives = found.scores[~found.positive]
    phi, out = seen.get("unlearned"), seen.assignment == 0
    model, record = found.models[~found.positive][7], found.records[~found.positive][7]
    rest = out[model].copy()
    rest[record] = False
    expected = (1 + np.sum(phi[model, rest] >= phi[model, record])) / (1 + rest.sum())
    assert negatives[7] == pytest.approx(-np.log(expected))
    assert np.mean(negatives >= -np.log(0.05)) == pytest.approx(0.05, abs=0.01)


def test_the_population_attack_does_not_see_what_lira_does() -> None:
    from certify.attacks.scores.lira import Lira

    shift = np.random.default_rng(6).normal(scale=10, size=300)
    seen = gaussian_means.observations(100, 300, 2.0, shift=shift, seed=6)
    rates = []
    for attack in (Population(), Lira()):
        found = trials(seen, GAMES["privacy"], attack)
        rates.append(gaussian_means.rate_at(found.scores, found.positive, 0.01))
    assert rates[0] < 0.05
    assert rates[1] > 0.3


def test_signals_are_turned_so_that_more_is_more_like_a_member() -> None:
    seen = gaussian_means.observations(50, 100, 2.0, seed=7)
    for signal, name in (
        ("phi", "loss"),
        ("correct", "gap"),
        ("entropy", "entropy"),
        ("modified-entropy", "modified-entropy"),
    ):
        attack = Population(signal)
        found = trials(seen, GAMES["privacy"], attack)
        assert attack.name == name
        assert gaussian_means.area(found.scores, found.positive) > 0.7


def test_permuted_labels_ruin_modified_entropy() -> None:
    """A modified entropy that reads whole columns of labels instead of one cell a row would not notice."""
    generator = np.random.default_rng(8)
    y = generator.integers(0, 10, 2000)
    z = generator.normal(size=(2000, 10))
    members = np.arange(2000) < 1000
    z[np.arange(2000), y] += np.where(members, 3.0, 1.0)
    right, wrong = (-signals(z, labels)["modified-entropy"] for labels in (y, generator.permutation(y)))
    assert gaussian_means.area(right, members) > 0.85
    assert gaussian_means.area(wrong, members) < 0.4  # confident members are confidently wrong now


def test_thresholds_of_classes_come_from_the_reference_and_help_where_classes_differ() -> None:
    generator = np.random.default_rng(9)
    labels, members = generator.integers(0, 4, (2, 4000)), generator.random((2, 4000)) < 0.5
    scores = 3.0 * labels + members + 0.3 * generator.normal(size=(2, 4000))
    moved = class_thresholds(scores[0], labels[0], scores[1], members[1], labels[1])
    assert np.mean((moved > 0) == members[0]) > 0.93
    single = max(np.mean((scores[0] > t) == members[0]) for t in np.quantile(scores[0], np.linspace(0, 1, 101)))
    assert single < 0.7
    offsets = [np.unique(np.round(scores[0][labels[0] == c] - moved[labels[0] == c], 9)) for c in range(4)]
    assert all(len(one) == 1 for one in offsets)


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=12))
def test_the_threshold_of_a_class_is_the_best_there_is(records: list[tuple[int, bool]]) -> None:
    scores, members = np.array([s for s, _ in records], dtype=float), np.array([m for _, m in records])
    if members.all() or not members.any():
        return

    def balanced(cut: float) -> float:
        return float((scores[members] >= cut).mean() + (scores[~members] < cut).mean())

    moved = class_thresholds(scores, np.zeros(len(scores)), scores, members, np.zeros(len(scores)))
    best = max(balanced(cut) for cut in (*scores, np.inf))
    assert balanced(float((scores - moved)[0])) == pytest.approx(best)


def test_tail_tnr_is_a_share_of_non_members_below_the_members() -> None:
    members = np.arange(1000.0)
    others = np.array([-1.0, 0.5, 1.5, 500.0])
    assert tail_tnr(members, others, fnr=0.0) == 0.25
    assert tail_tnr(members, others, fnr=0.001) == 0.5
    assert tail_tnr(np.ones(5), np.ones(5)) == 0.0


@pytest.mark.parametrize("head", ["pinball", "gaussian"])
def test_quantile_regression_keeps_its_rate_and_finds_members(head) -> None:  # type: ignore[no-untyped-def]
    generator = np.random.default_rng(10)
    alarms, hits, plain = [], [], []
    for seed in range(20):
        X = generator.normal(size=(1200, 3))
        phi = 4 * X[:, 0] + np.exp(0.5 * X[:, 1]) * generator.standard_t(4, size=1200)
        attack = quantile_attack(X[:600], phi[:600], alpha=0.05, head=head, seed=seed)
        fresh, gained = phi[600:], phi[600:] + 4
        alarms.append(np.mean(attack.score(X[600:], fresh) > attack.threshold))
        hits.append(np.mean(attack.score(X[600:], gained) > attack.threshold))
        plain.append(np.mean(gained > conformal_threshold(phi[:600], 0.05)))
        np.testing.assert_array_equal(
            attack.p_values(X[600:], fresh) <= 0.05, attack.score(X[600:], fresh) > attack.threshold
        )
    assert np.mean(alarms) < 0.05 + 4 * np.std(alarms) / np.sqrt(20)
    assert np.mean(hits) > 2 * np.mean(plain)


@pytest.mark.parametrize("head", ["pinball", "gaussian"])
def test_quantile_regression_bears_constant_features_and_constant_phi(head) -> None:  # type: ignore[no-untyped-def]
    X = np.column_stack([np.ones(100), np.arange(100.0)])
    attack = quantile_attack(X, np.full(100, 3.0), alpha=0.1, head=head)
    # equal up to rounding, so neither one is told from the others by more than that
    assert np.isfinite(attack.score(X, np.full(100, 3.0))).all()


def test_too_few_to_calibrate_on_flags_nobody() -> None:
    generator = np.random.default_rng(11)
    attack = quantile_attack(generator.normal(size=(30, 2)), generator.normal(size=30), alpha=0.01)
    assert attack.threshold == np.inf


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: conformal_threshold([], 0.1), "empty"),
        (lambda: conformal_threshold([1.0], 0.0), "alpha"),
        (lambda: gap_advantage([], [1]), "empty"),
        (lambda: yeom_bounded([2.0], 1.0), "outside"),
        (lambda: tail_tnr([1.0], [np.nan]), "no number"),
        (lambda: Population("margin"), "signal"),
        (lambda: attack_r([[1.0, np.nan]], [1.0, 1.0]), "0 where 1 is needed"),
        (lambda: class_thresholds([1.0], [0], [1.0, 2.0], [1, 1], [0, 0]), "no others"),
        (lambda: quantile_attack(np.ones((4, 3)), np.ones(4)), "2 records to learn 4 coefficients"),
        (lambda: quantile_attack(np.ones((4, 3)), np.full(4, np.nan)), "not finite"),
        (lambda: quantile_attack(np.ones(4), np.ones(4)), "shape"),
    ],
)
def test_what_makes_no_sense_is_one_line(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message) as found:
        call()
    assert "\n" not in str(found.value)
