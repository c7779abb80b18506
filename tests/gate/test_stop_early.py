"""Stopping before the last block of models: no more false alarms however often one looks, and failures that stay failures."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cheap_fleets import fleet
from scipy import stats

from certify.attacks.audits.judge import rate_limit, settled
from certify.attacks.audits.membership import Levels
from certify.attacks.audits.randomisation import paired_p_value
from certify.attacks.observations import Observations
from certify.attacks.statistics.sequential import pair_wealth
from certify.core.verdict import Verdict
from certify.gate.audits.early import Early, watched
from certify.gate.audits.plan import Plan

FPR, EPSILON, DELTA, BLOCK = 0.05, 0.5, 1e-5, 8


def early(alpha: float = 0.05, attack: str = "u-lira", **knobs: Any) -> Early:
    games = ("retrain", "privacy")
    plan = Plan(
        membership=(attack,),
        games=games,
        request=(),
        coins=False,
        fpr=FPR,
        rates={game: rate_limit(game, FPR, EPSILON, DELTA) for game in games},
        epsilon=EPSILON,
        delta=DELTA,
        alpha=alpha,
    )
    plan = replace(plan, **knobs)
    return Early(plan, Levels(FPR, 1 - alpha, 1 - alpha / plan.findings, DELTA), seed=0)


def blocks(seen: Observations, size: int = BLOCK) -> Iterator[Observations]:
    for start in range(0, seen.models, size):
        yield seen.pick(slice(start, start + size))


def looks(look: Early, seen: Observations) -> list[float]:
    """The p-value after each block, without stopping."""
    parts, found = [], []
    for part in blocks(seen):
        before = sum(one.models for one in parts)
        parts.append(part)
        if before:
            look._add(Observations.join(parts), before)
            found.append(look.p_value)
    return found


@pytest.mark.parametrize("attack", ["u-lira", "calibrated-loss"])
def test_looking_after_each_block_raises_no_more_alarms_than_stated(attack: str) -> None:
    """Retrained models in the unlearned ones' place, whose records hang together; the mutant takes a fixed-size p-value at each look."""
    runs, alpha, alarms, mutant = 250, 0.1, 0, 0
    for run in range(runs):
        look = early(attack=attack)
        found = looks(look, fleet(56, 20, seed=run, level=1.0))
        assert found == sorted(found, reverse=True)
        alarms += min(found) <= alpha
        first, second = np.array(look.pairs).T
        ends = range(BLOCK, len(first) + 1, BLOCK)
        mutant += min(paired_p_value(first[:end], second[:end], draws=999) for end in ends) <= alpha
    assert stats.binomtest(alarms, runs, alpha, alternative="greater").pvalue > 1e-3
    assert stats.binomtest(mutant, runs, alpha, alternative="greater").pvalue < 1e-3


def test_the_wealth_is_a_martingale_of_mean_one_where_twins_may_be_exchanged() -> None:
    """All exchanges of the targets' twins, with references as they are: scores of a model know nothing of the later ones."""
    seen, mean = fleet(16, 20, seed=1), 0.0
    for code in range(2**6):
        swapped = 8 + np.flatnonzero(code >> np.arange(6) & 1)
        worlds = {name: {"phi": np.array(world["phi"])} for name, world in seen.worlds.items()}
        one, two = (worlds[name]["phi"] for name in ("unlearned", "retrained"))
        one[swapped], two[swapped] = two[swapped].copy(), one[swapped].copy()
        look = early()
        look._add(Observations(seen.assignment, worlds).pick(slice(0, 14)), 8)
        both = np.array(look.pairs)
        mean += float(np.exp(pair_wealth(both[:, 0], both[:, 1])[-1])) / 2**6
    assert mean == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize(("left", "direction"), [(2.5, "under-forgetting"), (-2.5, "over-forgetting")])
def test_a_leak_stops_the_audit_long_before_its_end_and_stays_a_failure(left: float, direction: str) -> None:
    whole, look = fleet(160, 120, left=left, seed=3), early()
    seen, found = look.watch(blocks(whole))
    assert found is not None
    assert 16 <= seen.models <= 64
    assert all(one.p_value >= look.p_value for one in found.findings)
    failed = [one for one in settled(found.findings, 0.05) if one.verdict is Verdict.FAIL]
    assert {one.direction for one in failed} == {direction}


def test_honest_retraining_goes_to_the_last_model_with_p_values_that_know_of_the_looks() -> None:
    whole, look = fleet(48, 60, seed=4), early()
    seen, found = look.watch(blocks(whole))
    assert found is None
    assert seen.models == 48
    assert np.array_equal(seen.get("unlearned"), whole.get("unlearned"))
    for one in look.corrected(look.audit(seen)).findings:
        assert one.p_value >= look.p_value


@pytest.mark.parametrize("more", [{"slices": 4}, {"request": ("release-lira", "relearning"), "coins": True}])
def test_what_is_still_to_come_cannot_take_the_failure_back(more: dict[str, Any]) -> None:
    """Holm's correction over the whole audit comes at its end: an early failure has to stand it, whatever else is found."""
    look = early(**more)
    seen, found = look.watch(blocks(fleet(160, 120, left=2.5, seed=5)))
    assert found is not None
    others = 6 if "slices" in more else 3
    assert Verdict.FAIL in {one.verdict for one in settled(found.findings, 0.05, others=others)}
    alone, _ = early().watch(blocks(fleet(160, 120, left=2.5, seed=5)))
    assert alone.models < seen.models < 160


def test_a_failure_that_a_control_would_have_refused_is_no_reason_to_stop() -> None:
    """Originals that do not show: at the end the finding is refused, and it would be no other after a stop."""
    seen, found = early().watch(blocks(fleet(64, 120, left=2.5, gain=0.0, seed=6)))
    assert found is None
    assert seen.models == 64


def test_twins_that_are_the_same_model_bet_nothing() -> None:
    seen = fleet(32, 40, seed=7)
    same = Observations(seen.assignment, {**seen.worlds, "unlearned": seen.worlds["retrained"]})
    look = early()
    assert look.p_value == 1.0
    assert set(looks(look, same)) == {1.0}


def test_the_attack_that_is_watched_sees_something_and_plays_against_retrained_models() -> None:
    assert watched(("u-lira", "rmia")) == "u-lira"
    assert watched(("lira", "loss", "rmia")) == "rmia"
    assert watched(("two-version", "loss")) == "loss"
    assert watched(("lira", "two-version")) is None
    assert watched(()) is None
