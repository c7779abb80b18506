"""The gate over all attacks, games and directions: false alarms, power on both sides, controls, baselines; and mutants that must show."""

from dataclasses import replace

import numpy as np
import pytest
from cheap_fleets import fleet
from scipy import stats

from certify.attacks.audits.doing_nothing import without_empty_passes
from certify.attacks.audits.findings import Finding
from certify.attacks.audits.fleet import FleetAudit, audit_fleet
from certify.attacks.audits.judge import models_for_epsilon, rate_limit, settled
from certify.attacks.audits.membership import (
    ENOUGH_MODELS,
    Levels,
    epsilon_ceiling,
    membership,
    references_and_targets,
)
from certify.attacks.audits.playing import score_of
from certify.attacks.audits.rates import LOOSER, tallies, tpr_at
from certify.attacks.observations import Observations
from certify.attacks.registry import ATTACKS
from certify.attacks.scores.games import GAMES
from certify.attacks.statistics.means import thresholds_at
from certify.core.errors import TooLittlePowerError
from certify.core.verdict import Verdict

FPR, EPSILON, DELTA, ALPHA = 0.05, 0.5, 1e-5, 0.05
RATES = {game: rate_limit(game, FPR, EPSILON, DELTA) for game in ("retrain", "privacy", "retain-side")}
ALL = ("u-lira", "u-lira-offline", "lira", "rmia", "calibrated-loss", "attack-r", "two-version")


def looked_at(
    seen: Observations, attacks: tuple[str, ...] = ("u-lira", "loss"), games: tuple[str, ...] = ("retrain", "privacy")
) -> FleetAudit:
    levels = Levels(FPR, 1 - ALPHA, 1 - ALPHA / (6 * len(attacks)), DELTA)
    return audit_fleet(seen, attacks, games, levels, rates=RATES, epsilon=EPSILON)


def verdicts(found: FleetAudit) -> list[Finding]:
    return settled(found.findings, ALPHA)


def failed(findings: list[Finding]) -> set[tuple[str, str | None]]:
    return {(one.attack, one.direction) for one in findings if one.verdict is Verdict.FAIL}


def alarms(runs: int, seed: int) -> tuple[int, int, int]:
    """How many fleets of honest retraining fail, have any corrected p-value of at most alpha, or a retrained control that misbehaves."""
    counts = np.zeros(3, dtype=int)
    for run in range(runs):
        found = looked_at(fleet(16, 40, seed=seed + run, level=0.5))
        findings = verdicts(found)
        counts[0] += bool(failed(findings))
        counts[1] += any(one.adjusted_p is not None and one.adjusted_p <= ALPHA for one in findings)
        counts[2] += any(not one.ok for one in found.controls if not one.must_be_caught)
    return tuple(counts)


def no_more_often(counts: tuple[int, int, int], runs: int) -> None:
    for count, level in zip(counts, (ALPHA, ALPHA, 0.01), strict=True):
        assert stats.binomtest(count, runs, level, alternative="greater").pvalue > 1e-3, counts


def test_honest_retraining_fails_no_more_often_than_alpha() -> None:
    no_more_often(alarms(60, 0), 60)


@pytest.mark.slow
def test_honest_retraining_fails_no_more_often_than_alpha_in_many_fleets() -> None:
    no_more_often(alarms(400, 1000), 400)


@pytest.mark.parametrize(("left", "direction"), [(2.5, "under-forgetting"), (-2.5, "over-forgetting")])
def test_leaks_are_caught_on_their_side_and_on_no_other(left: float, direction: str) -> None:
    found = looked_at(fleet(32, 120, left=left, seed=3), ALL)
    findings = verdicts(found)
    assert failed(findings) >= {(name, direction) for name in ("u-lira", "rmia", "calibrated-loss")}
    # classical LiRA and the others know of members alone, and have less to see in what was forgotten too much
    assert {side for _, side in failed(findings)} == {direction}
    assert all(control.ok for control in found.controls if not control.must_be_caught)
    assert all(one.p_value <= 0.001 for one in findings if one.attack == "u-lira")


def test_one_side_alone_would_miss_what_the_other_shows() -> None:
    """The mutant: a gate that looks for under-forgetting only."""
    findings = verdicts(looked_at(fleet(32, 120, left=-2.5, seed=4)))
    assert failed(findings)
    assert not failed([one for one in findings if one.direction == "under-forgetting"])


def test_ignoring_the_p_value_would_let_a_rate_fail_that_chance_explains() -> None:
    """The mutant: a gate by intervals alone."""
    found = looked_at(fleet(32, 120, left=2.5, seed=5))
    pretended = [replace(one, p_value=0.2) for one in found.findings]
    assert failed(list(found.findings))
    assert not failed(settled(pretended, ALPHA))
    doubtful = [one for one in settled(pretended, ALPHA) if one.verdict is Verdict.INCONCLUSIVE]
    assert all(one.needed_models for one in doubtful if one.attack == "u-lira")


def test_holm_counts_each_attack_game_and_slice_once() -> None:
    found = looked_at(fleet(16, 40, seed=6))
    known = {(one.attack, one.game): one.p_value for one in found.findings}
    least = min(known.values())
    assert min(one.adjusted_p for one in verdicts(found)) == pytest.approx(min(1.0, len(known) * least))


def test_thresholds_come_from_the_references_and_never_from_the_targets() -> None:
    """The mutant: thresholds set on the targets themselves give another interval."""
    seen = fleet(24, 60, seed=8, left=1.0)
    levels = Levels(FPR, 0.95, 0.99, DELTA)
    found = membership(seen, "u-lira", score_of("u-lira"), GAMES["retrain"], levels)
    rates = FPR * np.array(LOOSER)
    assert found.sides[0].tpr == tpr_at(FPR, *tallies(found.trials, thresholds_at(found.reference, rates)), 0.95)
    assert found.sides[0].tpr != tpr_at(FPR, *tallies(found.trials, thresholds_at(found.trials, rates)), 0.95)
    references, targets = references_and_targets(24)
    assert not set(found.reference.models) & set(targets) or set(found.reference.models) == set(range(len(references)))
    # the references' own scores do not move with what target models say
    other = {name: {signal: np.array(a) for signal, a in world.items()} for name, world in seen.worlds.items()}
    for world in other.values():
        world["phi"][targets] += 100.0
    moved = membership(
        Observations(seen.assignment, other), "u-lira", score_of("u-lira"), GAMES["retrain"], levels
    ).reference
    assert np.array_equal(moved.scores, found.reference.scores)


def test_retraining_that_is_not_one_law_is_refused() -> None:
    found = looked_at(fleet(32, 120, broken=2.0, seed=9))
    broken = [one for one in found.controls if not one.ok]
    assert {(one.attack, one.game, one.must_be_caught) for one in broken} >= {("u-lira", "retrain", False)}


@pytest.mark.parametrize(("models", "few"), [(16, True), (32, False)])
def test_a_control_that_could_not_have_misbehaved_says_so(models: int, few: bool) -> None:
    """With eight twins the smallest p-value is 1/128: after Holm over four controls no retraining is told apart, however different."""
    found = looked_at(fleet(models, 120, broken=9.0, seed=9))
    control = next(one for one in found.controls if one.id == "control-retrained-u-lira-retrain")
    assert control.ok == few
    assert ("too few for this control" in control.summary) == few


def test_an_attack_that_cannot_tell_the_original_is_refused_and_a_baseline_need_not() -> None:
    found = looked_at(fleet(32, 120, gain=0.0, seed=10))
    blind = [one for one in found.controls if one.must_be_caught]
    assert {one.attack for one in blind} == {"u-lira"}
    assert any(not one.ok for one in blind)


def test_baselines_fail_what_they_see_and_pass_nothing() -> None:
    seen = fleet(32, 120, seed=11)
    quiet = verdicts(looked_at(seen, ("loss", "entropy", "modified-entropy", "gap")))
    assert {one.verdict for one in quiet} == {None}
    loud = verdicts(looked_at(fleet(32, 120, left=9.0, seed=11), ("loss",)))
    assert failed(loud) == {("loss", "under-forgetting")}


def test_enough_models_without_a_leak_pass() -> None:
    seen, levels = fleet(160, 200, seed=12, level=0.1), Levels(FPR, 0.95, 0.99, DELTA)
    limits = {game: rate_limit(game, FPR, 1.0, DELTA) for game in ("retrain", "privacy")}
    findings = verdicts(audit_fleet(seen, ["u-lira"], list(limits), levels, rates=limits, epsilon=1.0))
    assert {one.verdict for one in findings if one.statistic.startswith("TPR")} == {Verdict.PASS}


def of_no_effect(seen: Observations) -> Observations:
    """The method that does nothing."""
    return Observations(seen.assignment, {**seen.worlds, "unlearned": seen.worlds["original"]})


@pytest.mark.parametrize("gain", [0.6, 3.0])
def test_a_method_that_does_nothing_passes_no_limit(gain: float) -> None:
    """Under a wide limit it is told apart and keeps the limit all the same; then honest retraining passes no more than it."""
    levels, limits = Levels(FPR, 0.95, 0.99, DELTA), {"retrain": 0.4, "privacy": 0.4}
    honest = fleet(160, 200, seed=20, level=0.1, gain=gain)
    found = {}
    for name, seen in (("nothing", of_no_effect(honest)), ("retraining", honest)):
        audit = audit_fleet(seen, ["u-lira"], list(limits), levels, rates=limits, epsilon=3.0)
        assert all(one.ok for one in audit.controls)
        checked = without_empty_passes(audit, seen, levels, limits)
        found[name] = [one for one in checked.findings if one.statistic.startswith("TPR")]
        assert (checked is audit) == (gain > 1)
    if gain < 1:
        assert {one.verdict for one in (*found["nothing"], *found["retraining"])} == {Verdict.INCONCLUSIVE}
        assert all("forgot nothing are within the limit" in one.note for one in found["nothing"])
    else:
        assert Verdict.FAIL in {one.verdict for one in found["nothing"]}
        assert {one.verdict for one in found["retraining"]} == {Verdict.PASS}


def test_a_limit_that_allows_everything_is_no_pass() -> None:
    levels = Levels(FPR, 0.95, 0.99, DELTA)
    found = audit_fleet(
        fleet(32, 120, left=2.5, seed=13),
        ["u-lira"],
        ["retrain"],
        levels,
        rates={"retrain": rate_limit("retrain", FPR, 10.0, DELTA)},
        epsilon=10.0,
    )
    assert {one.verdict for one in verdicts(found)} == {Verdict.INCONCLUSIVE}


def test_an_epsilon_refuted_alone_but_not_as_one_of_many_is_neither_pass_nor_fail() -> None:
    seen = fleet(32, 120, left=2.5, seed=14)
    levels = Levels(FPR, 0.95, 1 - 1e-12, DELTA)
    free = audit_fleet(seen, ["u-lira"], ["retrain"], levels, rates=RATES, epsilon=1e-9).findings
    bound = next(one for one in free if one.statistic.startswith("epsilon"))
    assert bound.value > bound.limit
    assert bound.verdict is Verdict.INCONCLUSIVE
    assert bound.needed_models == 64


@pytest.mark.parametrize("attack", [name for name, one in ATTACKS.items() if one.kind == "membership"])
@pytest.mark.parametrize("game", ["retrain", "privacy", "retain-side"])
def test_every_attack_plays_every_game_or_says_why_not(attack: str, game: str) -> None:
    seen = fleet(16, 60, left=1.0, seed=15)
    found = looked_at(seen, (attack,), (game,))
    assert bool(found.findings) != bool(found.left_out)
    for one in found.findings:
        assert 0 <= one.p_value <= 1
        assert one.lower <= one.value <= one.upper
        if game == "retain-side" or one.game == "two-version":
            assert one.verdict is None
            assert one.limit is None


def test_models_that_forget_nothing_are_no_trials_and_no_trouble() -> None:
    seen = fleet(24, 60, left=1.0, seed=16)
    assignment = seen.assignment.copy()
    assignment[[3, 8]] = np.where(assignment[[3, 8]] == 2, 1, assignment[[3, 8]])
    found = looked_at(Observations(assignment, seen.worlds), ALL, ("retrain", "privacy", "retain-side"))
    assert all(np.isfinite(one.p_value) for one in found.findings)
    assert all(np.isfinite(one.adjusted_p) for one in verdicts(found))


def test_lira_sets_its_thresholds_by_lira() -> None:
    """References are scored by original models too, so that a threshold has its rate on targets."""
    seen = fleet(64, 120, seed=17, gain=3.0)
    found = membership(seen, "lira", score_of("lira"), GAMES["privacy"], Levels(FPR, 0.95, 0.99, DELTA))
    _, negative = tallies(found.trials, thresholds_at(found.reference, [FPR]))
    assert negative.means()[0] == pytest.approx(FPR, abs=0.02)


def test_too_few_models_are_refused_with_the_number_that_would_do() -> None:
    with pytest.raises(TooLittlePowerError, match="16 are the least"):
        looked_at(fleet(15, 40))


def test_the_number_of_models_for_an_epsilon_is_one_that_can_be_trained_or_none() -> None:
    levels = Levels(FPR, 0.95, 0.99, DELTA)
    assert models_for_epsilon(0.1, levels) == ENOUGH_MODELS
    wanted = models_for_epsilon(2.0, levels)
    assert wanted is not None
    assert epsilon_ceiling(wanted // 2, DELTA, 0.95) >= 2.0 > epsilon_ceiling(wanted // 4, DELTA, 0.95)
    assert models_for_epsilon(50.0, levels) is None


def test_the_limit_is_what_the_guarantee_allows_and_never_more() -> None:
    for epsilon in (0.0, 0.3, 1.0, 3.0):
        once = np.exp(epsilon) * 0.01 + 1e-5
        assert rate_limit("retrain", 0.01, epsilon, 1e-5) <= min(1, once)
        assert rate_limit("privacy", 0.01, epsilon, 1e-5) <= min(1, np.exp(epsilon) * once + 1e-5)
        assert rate_limit("retrain", 0.01, epsilon, 1e-5) >= 0.99 * min(1, once)
    assert rate_limit("retrain", 0.01, 800.0, 1e-5) == 1.0


def test_the_same_seed_gives_the_same_findings() -> None:
    seen = fleet(16, 40, left=1.0, seed=18)
    assert looked_at(seen).findings == looked_at(seen).findings
