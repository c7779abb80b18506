"""LiRA: against densities written out, against the best possible attack, and against three mistakes of public code."""

import gaussian_means
import numpy as np
import pytest
from scipy import stats

from certify.attacks.scores.calibrated import difficulty_calibration
from certify.attacks.scores.games import GAMES
from certify.attacks.scores.joint import JointMoments, JointPredictive
from certify.attacks.scores.leave_one_out import trials
from certify.attacks.scores.lira import Lira, lira
from certify.attacks.scores.references import Target
from certify.attacks.scores.student import Moments, Predictive, log_t_upper
from certify.core.arrays import FloatArray
from certify.core.errors import InputError

VARIANCES = ("student", "record", "pooled")


def references(seed: int = 0, models: int = 12, records: int = 30) -> tuple[FloatArray, FloatArray, FloatArray]:
    """In and out, with holes, and two targets."""
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(models, records)) * generator.uniform(0.5, 2, records) + generator.normal(
        size=records
    )
    given = generator.random((models, records)) < 0.5
    given[:3], given[3:6] = True, False
    inside, outside = np.where(given, values + 1.5, np.nan), np.where(given, np.nan, values)
    return inside, outside, generator.normal(size=(2, records))


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("mode", ["online", "offline", "offline-density"])
def test_scores_agree_with_densities_written_out_record_by_record(mode, variance) -> None:  # type: ignore[no-untyped-def]
    inside, outside, targets = references()

    def law(values: FloatArray, record: int):  # type: ignore[no-untyped-def]
        within = [column[~np.isnan(column)] for column in values.T]
        pooled = sum(((c - c.mean()) ** 2).sum() for c in within) / sum(len(c) - 1 for c in within)
        own, n = within[record], len(within[record])
        if variance == "record":
            return stats.norm(own.mean(), own.std(ddof=1))
        if variance == "pooled":
            return stats.norm(own.mean(), np.sqrt(pooled))
        df = n - 1 + 4
        square = ((n - 1) * own.var(ddof=1) + 4 * pooled) / df
        return stats.t(df, own.mean(), np.sqrt(square * (1 + 1 / n)))

    found = lira(inside if mode == "online" else None, outside, targets, mode=mode, variance=variance)
    for record in range(targets.shape[1]):
        x, inner, outer = targets[:, record], law(inside, record), law(outside, record)
        expected = {
            "online": inner.logpdf(x) - outer.logpdf(x),
            "offline": -outer.logsf(x),
            "offline-density": -outer.logpdf(x),
        }[mode]
        np.testing.assert_allclose(found[:, record], expected, rtol=1e-9, atol=1e-12)
    one = lira(inside if mode == "online" else None, outside, targets[0], mode=mode, variance=variance)
    np.testing.assert_array_equal(one, found[0])


@pytest.mark.parametrize("df", [1.0, 4.0, 30.0, 500.0, 5000.0])
@pytest.mark.parametrize("t", [-50.0, 0.0, 3.0, 60.0, 1e3, 1e6, 1e30])
def test_the_tail_of_a_t_distribution_is_right_beyond_the_smallest_float(df: float, t: float) -> None:
    import mpmath

    half = mpmath.betainc(df / 2, 0.5, 0, df / (df + mpmath.mpf(t) ** 2), regularized=True) / 2
    expected = float(mpmath.log(half if t >= 0 else 1 - half))
    assert log_t_upper(np.array([t]), np.array([df]))[0] == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("mu", [1.0, 2.0])
def test_power_is_that_of_the_best_attack(mu: float) -> None:
    """K to infinity: with 2,000 models the attack is within a few percent of ``Phi(Phi^-1(alpha) + mu)``."""
    seen = gaussian_means.observations(2000, 150, mu, shift=np.linspace(-5, 5, 150), seed=3)
    for variance in VARIANCES:
        found = trials(seen, GAMES["privacy"], Lira(variance=variance))
        for fpr in (0.1, 0.01, 0.001):
            expected = gaussian_means.power(mu, fpr)
            rate = gaussian_means.rate_at(found.scores, found.positive, fpr)
            # 150 negatives stand above the threshold at 0.1 %: their number alone moves the rate by a tenth
            assert rate == pytest.approx(expected, rel={0.1: 0.03, 0.01: 0.08, 0.001: 0.3}[fpr]), (variance, fpr)


def test_what_unlearning_leaves_is_recovered() -> None:
    mu, left = 2.0, 0.5
    seen = gaussian_means.observations(300, 400, mu, left=left, seed=4)
    found = trials(seen, GAMES["privacy"], Lira())
    rate = gaussian_means.rate_at(found.scores, found.positive, 0.1)
    assert stats.norm.ppf(rate) - stats.norm.ppf(0.1) == pytest.approx(left * mu, rel=0.05)


def test_offline_is_weaker_than_online_where_records_differ_in_mu() -> None:
    seen = gaussian_means.observations(200, 400, np.repeat([0.0, 0.5, 3.0, -3.0], 100), seed=5)
    areas = {}
    for mode in ("online", "offline-density", "offline"):
        found = trials(seen, GAMES["privacy"], Lira(mode))  # type: ignore[arg-type]
        areas[mode] = gaussian_means.area(found.scores, found.positive)
    assert areas["online"] > areas["offline-density"] + 0.02 > areas["offline"] + 0.04


def test_few_references_need_a_shrunk_variance() -> None:
    spreads = np.exp(np.random.default_rng(6).normal(scale=0.4, size=2000))
    seen = gaussian_means.observations(9, 2000, 3.0, seed=6)
    phi = {"phi": seen.get("unlearned") * spreads}
    some = type(seen)(seen.assignment, {"unlearned": phi})
    rates = {}
    for variance in VARIANCES:
        found = trials(some, GAMES["privacy"], Lira(variance=variance), short="drop")
        rates[variance] = gaussian_means.rate_at(found.scores, found.positive, 0.001)
    assert rates["student"] > 5 * rates["record"]
    assert rates["student"] >= 0.9 * rates["pooled"]


def test_constant_scores_are_ties() -> None:
    inside = outside = np.full((4, 6), 2.0)
    for variance in VARIANCES:
        assert set(lira(inside, outside, np.full(6, 2.0), variance=variance)) == {0.0}
    far = lira(inside + 1, outside, np.full(6, 3.0))
    assert np.isfinite(far).all()
    assert (far > 0).all()


def test_views_are_averaged_or_joined() -> None:
    generator = np.random.default_rng(7)
    inside, outside = generator.normal(size=(20, 8, 3)) + 1, generator.normal(size=(15, 8, 3))
    target = generator.normal(size=(8, 3))
    apart = np.mean([lira(inside[..., a], outside[..., a], target[:, a]) for a in range(3)], axis=0)
    np.testing.assert_allclose(lira(inside, outside, target), apart, rtol=1e-12)
    joint = lira(inside, outside, target, views="joint")
    law = [JointPredictive.of(JointMoments.of(side), "student", 4.0) for side in (inside, outside)]
    for record in range(8):
        inner, outer = (
            stats.multivariate_t(p.location[record], p.shape[record], p.df[record])  # type: ignore[index]
            for p in law
        )
        expected = inner.logpdf(target[record]) - outer.logpdf(target[record])
        assert joint[record] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("variance", VARIANCES)
def test_one_view_jointly_is_one_view(variance) -> None:  # type: ignore[no-untyped-def]
    inside, outside, targets = references(1)
    joint = lira(inside[..., None], outside[..., None], targets[..., None], views="joint", variance=variance)
    np.testing.assert_allclose(joint, lira(inside, outside, targets, variance=variance), rtol=1e-8)


def test_joint_views_do_not_change_with_the_units_they_are_in() -> None:
    generator = np.random.default_rng(8)
    inside, outside, target = (generator.normal(size=(n, 5, 2)) for n in (9, 9, 3))
    turn = np.array([[1.0, -1.0], [0.0, 1.0]])  # (before, after) to (before, after - before)
    plain = lira(inside, outside, target, views="joint")
    np.testing.assert_allclose(lira(inside @ turn, outside @ turn, target @ turn, views="joint"), plain, rtol=1e-7)


def test_views_that_repeat_each_other_add_nothing_infinite() -> None:
    generator = np.random.default_rng(9)
    inside, outside, target = (generator.normal(size=(n, 5, 1)).repeat(2, axis=-1) for n in (9, 9, 3))
    assert np.isfinite(lira(inside, outside, target, views="joint")).all()


@pytest.mark.parametrize("joint", [False, True])
def test_leaving_one_out_is_fitting_the_others(joint: bool) -> None:
    generator = np.random.default_rng(10)
    values = generator.normal(size=(6, 40, 2)) + 100
    values[generator.random((6, 40)) < 0.4] = np.nan
    values[:, 0], values[5, 0] = 2.0, 50.0  # ties and one far off: a difference of sums would be rounding
    kind = JointMoments if joint else Moments
    whole = kind.of(values)
    for row in range(6):
        left, again = whole.leaving_out(row, values), kind.of(np.delete(values, row, axis=0))
        np.testing.assert_array_equal(left.count, again.count)
        np.testing.assert_allclose(left.mean, again.mean, rtol=1e-12)
        np.testing.assert_allclose(left.scatter, again.scatter, rtol=1e-7, atol=1e-10)
        np.testing.assert_allclose(left.scatter[0], again.scatter[0], rtol=1e-12)


def test_difficulty_calibration_is_a_difference() -> None:
    _, outside, targets = references(2)
    expected = targets - np.nanmean(outside, axis=0)
    np.testing.assert_allclose(difficulty_calibration(outside, targets), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda i, o, t: lira(i[:1], o, t, variance="record"), "1 where 2 are needed"),
        (lambda i, o, t: lira(np.where(np.arange(30) == 3, np.nan, i), o, t), "1 of 30 records .* 0 where 1 is needed"),
        (lambda i, o, t: lira(i[:1], o, t), "no record has 2 references in inside"),
        (lambda _i, o, t: lira(None, o, t), "in_confidences are missing"),
        (lambda i, o, t: lira(i[:, :5], o, t), "shape"),
        (lambda i, o, t: lira(i, o, t[:, :5]), "shape"),
        (lambda i, o, t: lira(i, o, np.where(t > 0, np.nan, t)), "not finite"),
        (lambda i, o, t: lira(np.where(np.isnan(i), np.inf, i), o, t), "infinite"),
        (lambda i, o, t: lira(i, o, t, variance="best"), "variance"),
        (lambda i, o, t: lira(i, o, t, prior_df=0), "prior_df"),
        (lambda i, o, t: lira(i, o, t, mode="offline", views="joint"), "one-sided"),
        (lambda _i, o, t: difficulty_calibration(np.full_like(o, np.nan), t), "0 where 1 is needed"),
    ],
)
def test_what_makes_no_sense_is_one_line(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message) as found:
        call(*references())
    assert "\n" not in str(found.value)


# Three mistakes of public code. Each check is passed by the attack as it is and failed by the mistake.


def uniform(log_p: FloatArray) -> bool:
    """Whether p-values of negatives keep their promise at 5 % and 1 % and do not waste it."""
    return all(0.75 * level < np.mean(log_p >= -np.log(level)) < 1.25 * level for level in (0.05, 0.01))


def at_chance(scores: FloatArray, positive: FloatArray) -> bool:
    """Whether nothing was found where nothing is."""
    return abs(gaussian_means.area(scores, positive) - 0.5) < 0.01


def test_a_target_among_its_own_references_is_caught() -> None:
    seen = gaussian_means.observations(12, 4000, 0.0, seed=11, shares=(0.5, 0.0, 0.5))
    right = trials(seen, GAMES["privacy"], Lira(), short="drop")
    assert at_chance(right.scores, right.positive)
    phi, given = seen.get("unlearned"), seen.assignment == 2
    fitted = Lira().fit(np.where(given, phi, np.nan), np.where(given, np.nan, phi))
    wrong = np.stack([fitted.score(Target(row)) for row in phi])
    many = given.sum(axis=0) > 2
    assert not at_chance(wrong[:, many].ravel(), given[:, many].ravel())


def test_the_spread_of_members_used_for_others_is_caught() -> None:
    seen = gaussian_means.observations(200, 500, 2.0, spread=0.4, seed=12)
    phi, given = seen.get("unlearned"), seen.assignment == 2
    right = trials(seen, GAMES["privacy"], Lira("offline"))
    assert uniform(right.scores[~right.positive])
    inside, outside = np.where(given, phi, np.nan), np.where(given, np.nan, phi)
    narrow = Predictive(
        Moments.of(outside).mean, Predictive.of(Moments.of(inside), "record", 4.0).scale, None, np.zeros(1)
    )
    assert not uniform(-narrow.log_upper(phi)[~given])


def test_the_spread_of_all_values_used_as_the_pooled_one_is_caught() -> None:
    seen = gaussian_means.observations(100, 500, 1.0, shift=np.linspace(-4, 4, 500), seed=13)
    phi, given = seen.get("unlearned"), seen.assignment == 2
    right = trials(seen, GAMES["privacy"], Lira("offline", variance="pooled"))
    assert uniform(right.scores[~right.positive])
    outside = np.where(given, np.nan, phi)
    total = Predictive(Moments.of(outside).mean, np.full(500, np.nanstd(outside)), None, np.zeros(1))
    assert not uniform(-total.log_upper(phi)[~given])


def test_p_values_of_the_student_predictive_hold_with_three_references() -> None:
    generator = np.random.default_rng(14)
    outside, fresh = generator.normal(size=(3, 40000)), generator.normal(size=40000)
    alarms = {
        variance: np.mean(lira(None, outside, fresh, mode="offline", variance=variance) >= -np.log(0.001))
        for variance in VARIANCES
    }
    assert alarms["student"] < stats.binom.isf(1e-6, 40000, 0.001) / 40000
    assert alarms["record"] > 0.03  # thirty times what it promises
