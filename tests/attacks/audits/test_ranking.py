"""The ranking of records: SciPy's own Welch test record by record, Benjamini and Hochberg's share of false discoveries."""

import numpy as np
import pytest
from cheap_fleets import fleet
from scipy import stats

from certify.attacks.audits.ranking import LEAST_A_SIDE, rank_records
from certify.attacks.observations import Cell, Observations
from certify.attacks.scores.games import GAMES


@pytest.mark.parametrize("game", ["retrain", "privacy", "retain-side"])
def test_each_record_has_welchs_p_value_and_interval(game: str) -> None:
    seen = fleet(24, 30, left=1.0, seed=1)
    sides = (GAMES[game].positive, GAMES[game].negative)
    found = rank_records(seen, GAMES[game])
    assert found is not None
    pooled = []
    for record in found.records:
        first, second = (seen.get(s.world)[seen.assignment[:, record] == s.cell, record] for s in sides)
        n, m = len(first), len(second)
        assert min(n, m) >= LEAST_A_SIDE
        pooled.append(((n - 1) * first.var(ddof=1) + (m - 1) * second.var(ddof=1)) / (n + m - 2))
    for place, record in enumerate(found.records):
        first, second = (seen.get(s.world)[seen.assignment[:, record] == s.cell, record] for s in sides)
        wanted = stats.ttest_ind(first, second, equal_var=False)
        assert found.p_values[place] == pytest.approx(wanted.pvalue, rel=1e-9)
        n, m = len(first), len(second)
        unit = np.sqrt(((n + m - 2) * pooled[place] + 4 * np.median(pooled)) / (n + m + 2))
        assert found.difference[place] == pytest.approx((first.mean() - second.mean()) / unit, rel=1e-9)
        low, high = wanted.confidence_interval(0.95)
        assert found.lower[place] == pytest.approx(low / unit, rel=1e-9)
        assert found.upper[place] == pytest.approx(high / unit, rel=1e-9)
    assert (np.diff(found.p_values) >= 0).all()
    assert np.allclose(found.adjusted, stats.false_discovery_control(found.p_values))
    assert found.rejected == np.sum(found.adjusted <= 0.05)


def test_false_discoveries_stay_a_share_of_all_and_leaks_are_found() -> None:
    shares, caught = [], []
    for seed in range(60):
        seen = fleet(48, 40, seed=seed, level=0.0)
        worlds = {name: {"phi": np.array(world["phi"])} for name, world in seen.worlds.items()}
        worlds["unlearned"]["phi"][:, :8] += 4.0 * (seen.assignment[:, :8] == Cell.FORGET)
        found = rank_records(Observations(seen.assignment, worlds), GAMES["retrain"])
        assert found is not None
        rejected = found.records[: found.rejected]
        shares.append(np.mean(rejected >= 8) if rejected.size else 0.0)
        caught.append(np.mean(np.isin(np.arange(8), rejected)))
    assert np.mean(shares) < 0.05 + 3 * np.std(shares) / np.sqrt(60)
    assert np.mean(caught) > 0.9


def test_records_that_never_vary_are_ranked_without_a_warning() -> None:
    seen = fleet(16, 20, seed=2)
    worlds = {name: {"phi": np.zeros((16, 20))} for name in seen.worlds}
    worlds["unlearned"]["phi"][:, 3] = 1.0
    found = rank_records(Observations(seen.assignment, worlds), GAMES["retrain"])
    assert found is not None
    assert found.records[0] == 3
    assert found.p_values[0] == 0.0
    assert (found.p_values[1:] == 1.0).all()
    assert np.isfinite(found.difference).all()


def test_no_record_with_models_enough_on_each_side_is_no_ranking() -> None:
    seen = fleet(16, 20, seed=3)
    assert rank_records(seen.pick([0]), GAMES["retrain"]) is None


def test_two_models_that_agree_by_accident_do_not_lead_the_ranking() -> None:
    """A record that two models forgot, which say nearly the same of it: hundreds of their deviations, and left out."""
    rng = np.random.default_rng(4)
    assignment = np.where(rng.random((40, 30)) < 0.5, int(Cell.FORGET), int(Cell.OUT))
    assignment[:, 0] = int(Cell.OUT)
    assignment[:2, 0] = int(Cell.FORGET)
    worlds = {name: {"phi": rng.normal(size=(40, 30))} for name in ("unlearned", "retrained")}
    for name, value in (("unlearned", 3.0), ("retrained", 0.0)):
        worlds[name]["phi"][:2, 0] = value + 1e-3 * rng.normal(size=2)
    found = rank_records(Observations(assignment, worlds), GAMES["retrain"])
    assert found is not None
    assert (found.left_out, found.tested) == (1, 29)
    assert 0 not in found.records
    # three that agree are ranked, and measured by what records spread otherwise
    assignment[2, 0] = int(Cell.FORGET)
    for name, value in (("unlearned", 3.0), ("retrained", 0.0)):
        worlds[name]["phi"][:3, 0] = value + 1e-3 * rng.normal(size=3)
    found = rank_records(Observations(assignment, worlds), GAMES["retrain"])
    assert found is not None
    assert found.left_out == 0
    assert abs(found.difference[found.records == 0][0]) < 6
