"""Published scores beside their null: valid p-values, corrected values of 0 for honest retrains, alarms on both sides."""

import numpy as np
import pytest
from scipy import stats

from certify.attacks.legacy import (
    against_null,
    forgetting_quality,
    klom_plug_in,
    over_models,
    plug_in_epsilon,
    values_against_null,
)
from certify.core.errors import InputError

RUNS = 1000


def sets(generator: np.random.Generator, models: int = 8, records: int = 5) -> list[np.ndarray]:
    """Three sets of honest models, row k of each with the same draw of records, records of a model moving together."""
    draw = generator.normal(size=(models, records))
    return [draw + generator.normal(size=(models, 1)) + generator.normal(size=(models, records)) for _ in range(3)]


@pytest.mark.parametrize("score", [forgetting_quality, klom_plug_in, plug_in_epsilon])
def test_p_values_of_honest_retrains_are_valid_for_every_score(score) -> None:
    generator, found = np.random.default_rng(0), []
    for run in range(500 if score is not forgetting_quality else 150):
        one, two, _ = sets(generator, 8, 3)
        found.append(against_null(score, one, two, draws=39, seed=run).p_value)
    for level in (0.05, 0.25):
        alarms = int((np.array(found) <= level + 1e-12).sum())
        assert alarms <= stats.binom.isf(1e-6, len(found), level)


@pytest.mark.parametrize(("unlearned", "retrained"), [(1, 39), (8, 8), (6, 12)])
def test_p_values_of_scores_of_single_models_are_valid(unlearned: int, retrained: int) -> None:
    generator, found = np.random.default_rng([unlearned, retrained]), []
    for run in range(RUNS):
        one, two = generator.gamma(0.5, size=unlearned), generator.gamma(0.5, size=retrained)
        found.append(values_against_null(one, two, draws=199, seed=run).p_value)
    for level in (0.05, 0.25):
        alarms = int((np.array(found) <= level + 1e-12).sum())
        assert stats.binom.ppf(1e-6, RUNS, 0.7 * level) <= alarms <= stats.binom.isf(1e-6, RUNS, level)


def test_the_null_holds_what_perfect_unlearning_really_scores() -> None:
    generator, corrected, plain = np.random.default_rng(1), [], []
    for run in range(40):
        one, two, again = sets(generator, 16, 10)
        found = against_null(klom_plug_in, one, two, again, draws=39, seed=run)
        corrected.append(found.corrected)
        plain.append(found.value)
    assert found.null_of == "retrained models against retrained models"
    assert np.mean(plain) > 0.5
    assert abs(np.mean(corrected)) < 4 * np.std(corrected) / np.sqrt(40)


@pytest.mark.parametrize("shift", [2.0, -2.0])
def test_too_little_and_too_much_forgotten_are_found(shift: float) -> None:
    generator = np.random.default_rng(2)
    one, two, again = sets(generator, 12, 20)
    quality = against_null(forgetting_quality, one + 3 * shift, two, again, draws=99, published_ideal=1.0)
    assert quality.floor == 0.02
    assert quality.p_value <= 0.04
    assert quality.corrected < 0
    klom = against_null(klom_plug_in, one + 3 * shift, two, again)
    assert klom.p_value <= 2 * klom.floor  # of 4,096 relabellings two look like this
    assert klom.corrected > 1
    values = values_against_null(one.mean(axis=1) + 3 * shift, two.mean(axis=1))
    assert values.p_value == values.floor
    assert values.interval is not None
    assert np.sign(values.interval.lower) == np.sign(values.interval.upper) == np.sign(shift)


def test_without_a_second_retrain_the_correction_is_smaller_and_says_so() -> None:
    one, two, again = sets(np.random.default_rng(3), 12, 20)
    both = against_null(klom_plug_in, one + 5, two, again)
    alone = against_null(klom_plug_in, one + 5, two)
    assert alone.null_of == "labels of unlearned and retrained models exchanged"
    assert 0 < alone.corrected < both.corrected
    assert alone.p_value == both.p_value


def test_two_sided_rank_of_one_model() -> None:
    retrained = np.arange(39.0)
    for value, p in ((100.0, 2 / 40), (-1.0, 2 / 40), (19.5, 1.0)):
        found = values_against_null(np.array([value]), retrained)
        assert found.p_value == pytest.approx(p, abs=0.06 if p == 1 else 1e-12)
        assert found.floor == 2 / 40
    assert values_against_null(np.array([100.0]), retrained[:38]).p_value > 0.05


def test_interval_over_models() -> None:
    values = np.random.default_rng(4).normal(size=9)
    found = over_models(values)
    expected = stats.t.interval(0.95, 8, values.mean(), stats.sem(values))
    assert (found.lower, found.upper) == pytest.approx(expected)
    assert found.units == 9
    with pytest.raises(InputError, match="two finite values"):
        over_models(values[:1])


def test_sets_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="same records"):
        against_null(klom_plug_in, np.zeros((4, 3)), np.zeros((4, 2)))
    with pytest.raises(InputError, match="retrain as many"):
        against_null(klom_plug_in, np.zeros((4, 3)), np.zeros((4, 3)), np.zeros((5, 3)))
    with pytest.raises(InputError, match="one value a model"):
        values_against_null(np.zeros((4, 3)), np.zeros(4))
