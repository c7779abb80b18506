"""Published scores, computed as published: brute force, scikit-learn and SciPy say the same."""

import builtins
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from certify.attacks.legacy import (
    entropy_attack,
    forgetting_quality,
    klom_plug_in,
    logistic,
    mia_efficacy,
    plug_in_epsilon,
    rf_jsd,
    u_mia,
)
from certify.attacks.legacy.klom_plug_in import records
from certify.attacks.legacy.neurips_2023 import CAP, epsilons, final_score, points
from certify.attacks.legacy.u_mia import u_mia_of_models
from certify.core.errors import ConfigurationError, InputError


def brute_epsilon(one: np.ndarray, two: np.ndarray, step: float = 0.01, delta: float = 1e-5) -> float:
    """The competition's rule on its own grid of thresholds, one at a time."""
    larger, smaller = (two, one) if np.median(two) > np.median(one) else (one, two)
    narrow, wide = (two, one) if np.ptp(one) >= np.ptp(two) else (one, two)
    width, pool = np.ptp(narrow), np.concatenate([one, two])
    rates = [(np.mean(larger >= t), np.mean(smaller >= t)) for t in np.arange(pool.min(), pool.max() + step, 2 * step)]
    for right in np.arange(narrow.min() + width - 2, narrow.max() + 2, 10 * step):
        for left in np.arange(right - width - 2, right - width + 2, 10 * step):
            rates.append(tuple(np.mean((left <= s) & (s <= right)) for s in (narrow, wide)))  # noqa: PERF401
    best = 0.0
    for tpr, fpr in rates:
        fnr = 1 - tpr
        if fnr < 1e-9 and fpr < 1e-9:
            return CAP
        if fnr < 1e-9 or fpr < 1e-9:
            continue
        for top, bottom in ((1 - delta - fpr, fnr), (1 - delta - fnr, fpr)):
            best = max(best, float(np.log(max(top, 1e-300) / bottom)))
    return best


@pytest.mark.parametrize("shift", [0.0, 1.0, -3.0])
def test_epsilon_is_that_of_the_published_grid(shift: float) -> None:
    generator = np.random.default_rng(int(10 * abs(shift)))
    one, two = 3 * generator.normal(size=(16, 6)) + shift, 3 * generator.normal(size=(16, 6)) * [1, 1, 1, 0.3, 0.3, 2]
    expected = [brute_epsilon(one[:, n], two[:, n]) for n in range(6)]
    found = epsilons(one, two)
    # a grid can only miss thresholds
    assert (found >= np.array(expected) - 1e-9).all()
    np.testing.assert_allclose(found, expected, atol=0.25)
    assert np.median(np.abs(found - expected)) < 1e-9
    np.testing.assert_allclose(epsilons(two, one), found)


def test_points_and_special_cases_of_the_competition() -> None:
    assert points(np.array([0.0, 0.49, 0.5, 1.2, 3.9, 4.0, 50.0]), 64).tolist() == [
        1,
        1,
        0.5,
        0.25,
        0.0078125,
        0.00390625,
        0,
    ]
    assert points(np.array([4.99, 5.0]), 64).tolist() == [2.0**-9, 0]  # ceil(log 63) = 5
    apart = np.arange(8.0)[:, None]
    assert epsilons(apart + 100, apart).tolist() == [CAP]
    assert forgetting_quality(apart + 100, apart) == 0
    assert epsilons(np.zeros((8, 1)), np.zeros((8, 1))).tolist() == [0]
    assert epsilons(np.zeros((8, 1)), np.ones((8, 1))).tolist() == [CAP]
    assert epsilons(1e-4 * apart, apart).tolist() == [CAP]  # far narrower: the cap at once
    assert forgetting_quality(apart, apart) > 0.2
    assert final_score(0.5, (0.8, 0.9), (0.7, 0.7)) == pytest.approx(0.5 * 8 / 9)


def test_exactly_retrained_models_score_a_fifth_instead_of_one() -> None:
    generator = np.random.default_rng(0)
    found = forgetting_quality(generator.normal(size=(64, 100)), generator.normal(size=(64, 100)))
    assert 0.1 < found < 0.3


def test_klom_plug_in_is_the_written_out_sum() -> None:
    generator = np.random.default_rng(1)
    one, two = 3 * generator.normal(size=(30, 5)), 3 * generator.normal(size=(40, 5))
    one[0, 0] = 1e9  # cut at 100
    for n in range(5):
        x, y = np.clip(one[:, n], -100, 100), np.clip(two[:, n], -100, 100)
        edges = np.linspace(min(x.min(), y.min()), max(x.max(), y.max()), 21)
        p, q = np.histogram(x, edges)[0] / 30, np.histogram(y, edges)[0] / 40
        assert records(one, two)[n] == pytest.approx(
            entropy(p, np.maximum(q, 1e-5)) - np.log(np.maximum(q, 1e-5).sum()), rel=1e-9
        )
    assert klom_plug_in(one, two) == pytest.approx(records(one, two).mean())
    assert klom_plug_in(one, one) == 0


def test_plug_in_epsilon_is_the_largest_ratio() -> None:
    positives, negatives = np.array([3.0, 2.0, 2.0, 0.0]), np.array([2.5, 1.0, 0.0, 0.0])
    # at 2: (3/4) / (1/4) both ways; at 3 there is no false positive, and (4/4) / (3/4) the other way
    assert plug_in_epsilon(positives, negatives) == pytest.approx(np.log(3))
    assert plug_in_epsilon(negatives, negatives) == 0
    assert plug_in_epsilon([1.0, 2.0], [0.0]) == pytest.approx(
        np.log(2)
    )  # separated: the ratios that would say so divide by zero
    assert plug_in_epsilon([1.0, 0.0], [0.0, 0.0]) == pytest.approx(np.log(2))


def test_plug_in_epsilon_does_not_vanish_with_more_trials() -> None:
    generator = np.random.default_rng(2)
    for size in (100, 2000, 20000):
        found = [plug_in_epsilon(generator.normal(size=size), generator.normal(size=size)) for _ in range(60)]
        assert 0.8 < np.mean(found) < 1.4


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_logistic_regression_is_scikit_learn_s(scale: float, *, balanced: bool) -> None:
    generator = np.random.default_rng(3)
    y = generator.random(200) < 0.3
    x = scale * (generator.normal(size=200) + y)
    slope, intercept = logistic.fit(x, y, balanced=balanced)
    peer = LogisticRegression(class_weight="balanced" if balanced else None, tol=1e-12, max_iter=10_000).fit(
        x[:, None], y
    )
    assert slope == pytest.approx(peer.coef_[0, 0], rel=1e-4)
    assert intercept == pytest.approx(peer.intercept_[0], rel=1e-3, abs=1e-5)
    np.testing.assert_array_equal(logistic.predict((slope, intercept), x), peer.predict(x[:, None]))


def test_logistic_regression_of_separated_classes_ends() -> None:
    slope, _ = logistic.fit(np.array([-1e4, -1e4, 1e4, 1e4]), np.array([False, False, True, True]))
    assert 0 < slope < 1


def test_mia_efficacy_is_the_published_machine() -> None:
    generator = np.random.default_rng(4)
    retain, forget, test = (generator.beta(a, 1, size=80) for a in (6, 3, 2))
    x, y = np.concatenate([retain, test])[:, None], np.arange(160) < 80
    expected = 1 - SVC(C=3, gamma="auto", kernel="rbf").fit(x, y).predict(forget[:, None]).mean()
    assert mia_efficacy(retain, forget, test) == pytest.approx(expected)
    assert mia_efficacy(retain, forget, test, classifier="logistic") != pytest.approx(expected)
    many = mia_efficacy(generator.beta(6, 1, size=500), forget, test, seed=1)
    assert 0 <= many <= 1


def test_mia_efficacy_without_scikit_learn_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    x = np.linspace(0, 1, 20)
    with pytest.raises(ConfigurationError, match="scikit-learn"):
        mia_efficacy(x, x, x)
    assert 0 <= mia_efficacy(x, x, x, classifier="logistic") <= 1


def test_u_mia_is_right_where_losses_tell_and_at_chance_where_they_do_not() -> None:
    generator = np.random.default_rng(5)
    assert u_mia(generator.exponential(0.01, 200), 5 + generator.exponential(1, 300)) == 1.0
    chance = u_mia_of_models(generator.exponential(size=(100, 80)), generator.exponential(size=(100, 80)))
    assert abs(chance.mean() - 0.5) < 0.02
    assert 0.02 < chance.std() < 0.08  # half over the root of 160: what one model's value is off by
    huge = u_mia(np.full(20, 1e300), np.zeros(20))
    assert huge == 1.0  # cut at 400


def test_records_that_u_mia_scores_are_not_in_its_fit() -> None:
    # forgotten and test records each with one loss of their own: a fit that saw them would still know nothing
    generator = np.random.default_rng(6)
    found = [u_mia(generator.normal(size=20), generator.normal(size=20), folds=20, seed=s) for s in range(40)]
    assert np.mean(found) < 0.55


def test_entropy_attack_is_scikit_learn_s() -> None:
    generator = np.random.default_rng(7)
    retain, forget, test = (generator.exponential(a, size=n) for a, n in ((0.1, 300), (0.2, 50), (0.4, 80)))
    x, y = np.concatenate([retain, test])[:, None], np.arange(380) < 300
    peer = LogisticRegression(class_weight="balanced").fit(x, y)
    assert entropy_attack(retain, forget, test) == pytest.approx(peer.predict(forget[:, None]).mean(), abs=0.021)


def test_rf_jsd_is_the_mean_over_classes_of_scipy_s() -> None:
    generator = np.random.default_rng(8)
    p, q = generator.dirichlet(np.ones(4), size=30), generator.dirichlet(np.ones(4), size=50)
    y, z = np.arange(30) % 3, np.arange(50) % 4
    expected = np.mean([jensenshannon(p[y == c].mean(axis=0), q[z == c].mean(axis=0)) ** 2 for c in range(3)])
    assert rf_jsd(p, y, q, z) == pytest.approx(expected)
    # a mean over classes and records: more records of the same kind change nothing
    assert rf_jsd(np.tile(p, (5, 1)), np.tile(y, 5), q, z) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: forgetting_quality(np.zeros((3, 2)), np.zeros((3, 2))), "four"),
        (lambda: forgetting_quality(np.zeros((5, 2)), np.zeros((5, 3))), "shapes"),
        (lambda: forgetting_quality(np.full((5, 2), np.nan), np.zeros((5, 2))), "finite"),
        (lambda: klom_plug_in(np.zeros((5, 2)), np.zeros((5, 3))), "shapes"),
        (lambda: klom_plug_in(np.full((5, 2), np.nan), np.zeros((5, 2))), "not a number"),
        (lambda: plug_in_epsilon(np.zeros(0), np.zeros(3)), "missing"),
        (lambda: mia_efficacy(np.zeros(3), np.zeros(0), np.zeros(3)), "finite confidences"),
        (lambda: u_mia(np.zeros(3), np.zeros(30)), "folds"),
        (lambda: entropy_attack(np.zeros(3), np.full(3, np.inf), np.zeros(3)), "finite entropies"),
        (lambda: entropy_attack(np.zeros(0), np.zeros(3), np.zeros(3)), "two classes"),
        (lambda: rf_jsd(np.ones((1, 2)) / 2, [0], np.ones((1, 2)) / 2, [1]), "no class"),
        (lambda: rf_jsd(np.ones((1, 2)) / 2, [0, 1], np.ones((1, 2)) / 2, [1]), "do not fit"),
    ],
)
def test_what_makes_no_sense_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
