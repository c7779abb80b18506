"""Games and trials: leaving one model out equals doing it by hand, null and control behave, thresholds hold before pooling."""

import gaussian_means
import numpy as np
import pytest
from scipy import stats

from certify.attacks.observations import Cell, Observations, Trials
from certify.attacks.scores.calibrated import Calibrated
from certify.attacks.scores.conformal import AttackR
from certify.attacks.scores.games import GAMES, Game, Side
from certify.attacks.scores.leave_one_out import trials
from certify.attacks.scores.lira import Lira
from certify.attacks.scores.population import Population
from certify.attacks.scores.references import Attack, Target
from certify.attacks.scores.rmia import Rmia
from certify.core.errors import InputError

ATTACKS = [
    Lira(),
    Lira(variance="record"),
    Lira(variance="pooled"),
    Lira("offline"),
    Lira("offline-density"),
    Rmia(),
    Rmia("offline", gamma=1.5),
    Calibrated(),
    AttackR(),
    Population(),
    Population("entropy", p_value=True),
]
VARIED = [*GAMES.values(), *(g.null() for g in GAMES.values()), *(g.control() for g in GAMES.values())]


def fleet(seed: int = 0, models: int = 24, records: int = 40) -> Observations:
    return gaussian_means.observations(
        models, records, 1.5, left=0.7, shift=np.linspace(-2, 2, records), seed=seed, shares=(0.4, 0.3, 0.3)
    )


def by_hand(seen: Observations, game: Game, attack: Attack, rows, references_of) -> Trials:  # type: ignore[no-untyped-def]
    """One target after the other, its references alone in the arrays."""
    found = []
    for row in rows:
        others = references_of(row)
        known = []
        for side in (game.positive, game.negative):
            values = seen.get(side.world, attack.signal)
            if game.before:
                values = np.stack([seen.get(game.before, attack.signal), values], axis=-1)
            there = seen.assignment == side.cell
            known.append(np.where(there if values.ndim == 2 else there[..., None], values, np.nan))
        fitted = attack.fit(*(side[others] for side in known))
        for side, truth in ((game.positive, True), (game.negative, False)):
            values = seen.get(side.world, attack.signal)
            if game.before:
                values = np.stack([seen.get(game.before, attack.signal), values], axis=-1)
            scores = fitted.score(Target(values[row], seen.assignment[row] == Cell.OUT))
            found += [(truth, int(row), int(n), scores[n]) for n in np.flatnonzero(seen.assignment[row] == side.cell)]
    found.sort(key=lambda trial: (not trial[0], trial[1], trial[2]))
    truth, models, records, scores = (np.array(part) for part in zip(*found, strict=True))
    return Trials(scores, truth, models, records)


def same(left: Trials, right: Trials) -> None:
    for name in ("positive", "models", "records"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
    np.testing.assert_allclose(left.scores, right.scores, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"{attack.name}-{getattr(attack, 'variance', '')}")
@pytest.mark.parametrize("game", [g for g in VARIED if not g.before], ids=lambda g: f"{g.name}-{g.variant}")
def test_leaving_one_out_equals_the_slow_loop(game: Game, attack: Attack) -> None:
    seen = fleet()
    everyone = np.arange(seen.models)
    same(trials(seen, game, attack), by_hand(seen, game, attack, everyone, lambda row: np.delete(everyone, row)))


@pytest.mark.parametrize("attack", [Lira(views="joint"), Lira(), Lira("offline-density", views="joint")])
@pytest.mark.parametrize("game", [g for g in VARIED if g.before], ids=lambda g: g.variant)
def test_two_releases_are_two_views(game: Game, attack: Attack) -> None:
    seen = fleet(1)
    if game.variant == "control":
        assert np.isfinite(trials(seen, game, attack).scores).all()  # both releases are the same model
        return
    everyone = np.arange(seen.models)
    same(trials(seen, game, attack), by_hand(seen, game, attack, everyone, lambda row: np.delete(everyone, row)))


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"{attack.name}-{getattr(attack, 'variance', '')}")
def test_a_fixed_split_uses_the_other_models_alone(attack: Attack) -> None:
    seen, targets = fleet(2), [3, 8, 20]
    rest = np.setdiff1d(np.arange(seen.models), targets)
    expected = by_hand(seen, GAMES["retrain"], attack, targets, lambda _row: rest)
    same(trials(seen, GAMES["retrain"], attack, targets=targets), expected)
    # what one target says moves no other target's scores
    moved = {world: {name: a.copy() for name, a in found.items()} for world, found in seen.worlds.items()}
    for found in moved.values():
        for values in found.values():
            values[8] += 5
    other = trials(Observations(seen.assignment, moved), GAMES["retrain"], attack, targets=targets)
    kept = expected.models != 8
    np.testing.assert_allclose(other.scores[kept], expected.scores[kept])


def test_leaving_one_out_of_a_dominating_reference_loses_nothing() -> None:
    """RMIA's running sums: one model far above all others, so that a difference of sums would be rounding."""
    seen = fleet(3)
    phi = np.where(np.arange(seen.models)[:, None] == 5, 30.0, seen.get("unlearned") - 60)
    some = Observations(seen.assignment, {"unlearned": {"phi": phi}})
    everyone = np.arange(seen.models)
    for attack in (Rmia(), Rmia("offline", a=1.0)):
        same(
            trials(some, GAMES["privacy"], attack),
            by_hand(some, GAMES["privacy"], attack, everyone, lambda row: np.delete(everyone, row)),
        )


def test_the_games_worlds_are_those_of_their_definition() -> None:
    assert GAMES["retrain"].worlds == ("unlearned", "retrained")
    assert GAMES["retrain"].null().worlds == ("retrained", "again")
    assert GAMES["retrain"].control().worlds == ("original", "retrained")
    assert GAMES["privacy"].null().worlds == ("retrained",)
    assert GAMES["privacy"].control().positive == Side("original", Cell.FORGET)
    assert GAMES["two-version"].null().worlds == ("original", "retrained")
    assert GAMES["retain-side"].control().negative == Side("original", Cell.OUT)
    assert {game.null().variant for game in GAMES.values()} == {"null"}


@pytest.mark.parametrize("name", ["retrain", "privacy", "coin-flip"])
@pytest.mark.parametrize("attack", [Lira(), Rmia(), Calibrated(), AttackR()], ids=lambda attack: attack.name)
def test_the_null_is_at_chance_and_the_control_is_caught(name: str, attack: Attack) -> None:
    seen = gaussian_means.observations(60, 400, 2.0, left=0.5, seed=4, shares=(0.4, 0.2, 0.4))
    areas = {}
    for game in (GAMES[name].null(), GAMES[name], GAMES[name].control()):
        found = trials(seen, game, attack)
        areas[game.variant] = gaussian_means.area(found.scores, found.positive)
    assert abs(areas["null"] - 0.5) < 0.02
    assert areas["null"] + 0.1 < areas["unlearned"] < areas["control"] - 0.05


@pytest.mark.parametrize(
    "attack", [Lira(), Lira(variance="record"), Rmia(), Calibrated(), Population()], ids=lambda attack: attack.name
)
def test_conformal_calibration_keeps_a_threshold_that_was_fixed_in_advance(attack: Attack) -> None:
    """Records that differ in mu and in shift: pooled thresholds would not hold for each, ranks among the record's own do."""
    alarms = trialled = 0
    small = 0.0
    for seed in range(40):
        seen = gaussian_means.observations(
            41, 50, np.linspace(0, 4, 50), shift=np.linspace(-5, 5, 50), seed=seed, shares=(0.5, 0.0, 0.5)
        )
        found = trials(seen, GAMES["privacy"], attack, calibrate="conformal")
        negative = found.scores[~found.positive]
        alarms, trialled = alarms + int((negative >= -np.log(0.1) - 1e-12).sum()), trialled + negative.size
        small = max(small, float(negative.max()))
    # trials of one record are dependent (ranks): a model of 20 ranks 1 in 10 at most, so the count varies less than a binomial
    assert alarms <= 0.1 * trialled
    assert alarms > 0.06 * trialled
    assert small < np.log(41)


def test_student_calibration_goes_below_one_in_k() -> None:
    seen = gaussian_means.observations(101, 400, 3.0, shift=np.linspace(-5, 5, 400), seed=5)
    found = trials(seen, GAMES["privacy"], Calibrated(), calibrate="student")
    negative = found.scores[~found.positive]
    for level in (0.05, 0.01, 0.001):
        alarms = int((negative >= -np.log(level)).sum())
        assert 0.6 * level * negative.size < alarms <= stats.binom.isf(1e-6, negative.size, level)
    rate = np.mean(found.scores[found.positive] >= -np.log(0.001))
    # 50 references: the tail of a t with 49 + 4 degrees of freedom, and a mean that is known to 1/50 of a variance
    threshold = stats.t.isf(0.001, 53) * np.sqrt(1 + 1 / 50)
    assert rate == pytest.approx(stats.norm.sf(threshold - 3), rel=0.1)


@pytest.mark.parametrize("calibrate", ["conformal", "student"])
def test_calibration_in_a_fixed_split_ranks_among_the_references(calibrate) -> None:  # type: ignore[no-untyped-def]
    seen = gaussian_means.observations(81, 200, 2.0, seed=6)
    found = trials(seen, GAMES["privacy"], Lira(), targets=range(40), calibrate=calibrate)
    negative = found.scores[~found.positive]
    assert np.mean(negative >= -np.log(0.1)) == pytest.approx(0.1, abs=0.03)
    assert np.mean(found.scores[found.positive] >= -np.log(0.1)) > 0.5


def test_too_few_references_are_refused_with_the_number_or_dropped() -> None:
    seen = fleet(7, models=6)
    with pytest.raises(
        InputError, match=r"of 40 records have too few reference models in unlearned, forget: \d where 3"
    ):
        trials(seen, GAMES["privacy"], Lira(variance="record"))
    found = trials(seen, GAMES["privacy"], Lira(variance="record"), short="drop")
    forgotten, out = seen.assignment == Cell.FORGET, seen.assignment == Cell.OUT
    for truth, own, other in ((True, forgotten, out), (False, out, forgotten)):
        enough = (own.sum(axis=0) >= 3) & (other.sum(axis=0) >= 2)
        assert set(found.records[found.positive == truth]) <= set(np.flatnonzero(enough))
        assert (found.positive == truth).sum() == own[:, enough].sum()


def test_a_world_that_was_not_observed_is_named() -> None:
    seen = Observations(np.array([[0, 2], [2, 0], [0, 2]]), {"unlearned": {"phi": np.zeros((3, 2))}})
    with pytest.raises(InputError, match=r"retrained\.phi was not observed"):
        trials(seen, GAMES["retrain"], Lira())


@pytest.mark.parametrize("targets", [[], [0, 0], [-1], [24], list(range(24))])
def test_targets_that_make_no_sense_are_refused(targets: list[int]) -> None:
    with pytest.raises(InputError, match="targets"):
        trials(fleet(), GAMES["privacy"], Lira(), targets=targets)


def test_a_game_without_its_cells_is_refused() -> None:
    seen = gaussian_means.observations(10, 5, 1.0, shares=(0.0, 1.0, 0.0))
    with pytest.raises(InputError, match="no model has a record as forget"):
        trials(seen, GAMES["privacy"], Lira(), short="drop")
    with pytest.raises(InputError, match="no record is known to be unseen"):
        trials(gaussian_means.observations(10, 5, 1.0, shares=(0.0, 0.5, 0.5)), GAMES["retrain"], Rmia(), short="drop")
