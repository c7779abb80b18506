"""KLOM with its null: the plug-in value of the core, an excess of zero and uniform p-values for honest retrains."""

import numpy as np
import pytest
from scipy import stats

from certify.attacks.distances import klom_per_record
from certify.core.errors import ArgumentError, InputError
from certify.core.metrics import binned_divergence


def margins(seed: int, models: int = 24, records: int = 40) -> np.ndarray:
    return 3 * np.random.default_rng(seed).standard_t(4, size=(models, records)) + np.arange(records)


def test_values_are_those_of_the_core() -> None:
    one, two = margins(0), margins(1)
    found = klom_per_record(one, two, draws=19)
    expected = [binned_divergence(one[:, n], two[:, n]) for n in range(40)]
    np.testing.assert_allclose(found.values, expected, rtol=1e-10)
    assert found.mean == pytest.approx(np.mean(expected))


def test_only_models_that_were_to_forget_a_record_count_for_it() -> None:
    one, two = margins(0), margins(1)
    used = np.random.default_rng(2).random(one.shape) < 0.4
    used[:2] = True
    found = klom_per_record(np.where(used, one, 1e6), np.where(used, two, -1e6), used=used, draws=19)
    for n in range(40):
        assert found.values[n] == pytest.approx(binned_divergence(one[used[:, n], n], two[used[:, n], n]), rel=1e-10)
    assert found.models.tolist() == used.sum(axis=0).tolist()


def test_blocks_of_records_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = klom_per_record(margins(0), margins(1), draws=99)
    monkeypatch.setattr("certify.attacks.distances.klom._CELLS", 20 * (100 + 48) * 7)
    parts = klom_per_record(margins(0), margins(1), draws=99)
    np.testing.assert_array_equal(whole.p_values, parts.p_values)
    np.testing.assert_array_equal(whole.null, parts.null)
    assert whole.p_value == parts.p_value


def test_for_honest_retrains_the_plug_in_is_biased_and_the_excess_is_not() -> None:
    generator = np.random.default_rng(3)
    one, two = generator.normal(size=(50, 2000)), generator.normal(size=(50, 2000))
    found = klom_per_record(one, two, draws=99)
    assert found.mean > 0.2
    error = found.excess.std() / np.sqrt(2000)
    assert abs(found.mean_excess) < 4.5 * error
    for level in (0.05, 0.25):  # records are independent here, so that the count of alarms is binomial
        alarms = int((found.p_values <= level).sum())
        assert alarms <= stats.binom.isf(1e-6, 2000, level)
        assert alarms >= stats.binom.ppf(1e-6, 2000, 0.7 * level)


def test_the_p_value_over_all_records_is_valid_though_records_of_a_model_move_together() -> None:
    generator, found = np.random.default_rng(4), []
    for run in range(1000):
        one, two = (generator.normal(size=(8, 1)) + 0.3 * generator.normal(size=(8, 12)) for _ in range(2))
        found.append(klom_per_record(one, two, draws=99, seed=run).p_value)
    for level in (0.05, 0.25):
        alarms = int((np.array(found) <= level).sum())
        assert stats.binom.ppf(1e-6, 1000, 0.6 * level) <= alarms <= stats.binom.isf(1e-6, 1000, level)


@pytest.mark.parametrize("shift", [2.0, -2.0])
def test_too_little_and_too_much_forgotten_are_found_and_the_rest_is_not(shift: float) -> None:
    generator = np.random.default_rng(5)
    one, two = generator.normal(size=(64, 200)), generator.normal(size=(64, 200))
    one[:, :20] += shift
    found = klom_per_record(one, two)
    assert found.flagged[:20].mean() > 0.9
    assert found.flagged[20:].sum() <= 5
    assert found.p_value == found.floor
    assert found.quantiles()[0.95] > 0.3


def test_constant_margins_are_no_difference() -> None:
    found = klom_per_record(np.ones((8, 3)), np.ones((8, 3)))
    assert (found.p_values == 1).all()
    assert found.mean_excess == 0
    apart = klom_per_record(np.ones((8, 3)), np.zeros((8, 3)))
    assert (apart.p_values == 2 / 256).all()


@pytest.mark.parametrize(
    ("one", "two", "options", "message"),
    [
        (np.zeros((4, 3)), np.zeros((5, 3)), {}, "shapes"),
        (np.full((4, 3), np.inf), np.zeros((4, 3)), {}, "not finite"),
        (np.zeros((4, 3)), np.zeros((4, 3)), {"used": np.eye(4, 3)}, "fewer than two"),
        (np.zeros((4, 3)), np.zeros((4, 3)), {"bins": 1}, "bins"),
        (np.zeros((4, 3)), np.zeros((4, 3)), {"level": 1.0}, "level"),
    ],
)
def test_what_makes_no_sense_is_refused(one: np.ndarray, two: np.ndarray, options: dict, message: str) -> None:
    with pytest.raises((InputError, ArgumentError), match=message):
        klom_per_record(one, two, **options)
