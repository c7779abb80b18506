"""The null of a distance: p-values that are uniform for honest retrains in every design, and alarms for what is not one."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist

from certify.attacks.distances import Distance, Stack, against_pool, against_rows, directional, weight_distances
from certify.attacks.distances.exchange import energy, exchange
from certify.attacks.distances.null import REMINDER
from certify.attacks.statistics.permutation import energy_test
from certify.core.errors import ArgumentError, InputError

RUNS = 1000
LEVELS = (0.05, 0.25)


def rarely(p_values: list[float]) -> None:
    """No more small p-values than chance gives: fails only where that has a chance below 1e-6."""
    for level in LEVELS:
        alarms = int(np.sum(np.asarray(p_values) <= level + 1e-12))
        assert alarms <= stats.binom.isf(1e-6, len(p_values), level), (level, alarms)


def used_up(p_values: list[float], level: float, share: float) -> None:
    """Nor far fewer: a test that never rejects would be valid and useless."""
    assert np.mean(np.asarray(p_values) <= level + 1e-12) >= share * level


def pool_of(generator: np.random.Generator, unlearned: int, retrained: int, *, coupled: bool = False) -> np.ndarray:
    """Weights of honest models, heavy-tailed; row k of both from one start if coupled."""
    starts = (
        3 * generator.normal(size=(max(unlearned, retrained), 6)) if coupled else np.zeros((unlearned + retrained, 6))
    )
    shift = np.concatenate([starts[:unlearned], starts[:retrained]]) if coupled else starts
    return shift + generator.standard_t(3, size=(unlearned + retrained, 6))


@pytest.mark.parametrize(
    ("unlearned", "retrained", "paired", "coupled"),
    [(1, 19, None, False), (8, 8, None, False), (8, 8, None, True), (8, 8, False, False), (5, 12, None, False)],
)
def test_p_values_of_honest_retrains_are_valid(
    unlearned: int, retrained: int, paired: bool | None, coupled: bool
) -> None:
    generator = np.random.default_rng([unlearned, retrained, int(coupled)])
    found = []
    for run in range(RUNS):
        pool = pool_of(generator, unlearned, retrained, coupled=coupled)
        labels = exchange(unlearned, retrained, paired=paired, draws=199, seed=run)
        found.append(labels.p_value(energy(cdist(pool, pool), labels.labels)))
    rarely(found)
    used_up(found, 0.25, 0.7)


def test_exchanging_over_pairs_that_are_coupled_would_waste_power_and_within_them_does_not() -> None:
    generator, within, across = np.random.default_rng(0), [], []
    for run in range(100):
        pool = pool_of(generator, 8, 8, coupled=True)
        pool[:8] += 2.5
        matrix = cdist(pool, pool)
        for paired, found in ((True, within), (False, across)):
            labels = exchange(8, 8, paired=paired, draws=199, seed=run)
            found.append(labels.p_value(energy(matrix, labels.labels)) <= 0.05)
    assert np.mean(within) > 0.7
    assert np.mean(within) > np.mean(across) + 0.2


def test_wrong_pairs_are_seen() -> None:
    # comparing unlearned k with retrained k + 1: in coupled fleets the distance is another one altogether
    generator = np.random.default_rng(3)
    pool = pool_of(generator, 16, 16, coupled=True)
    again = pool[16:] + generator.standard_t(3, size=(16, 6)) - generator.standard_t(3, size=(16, 6))
    one, two, more = (Stack({"w": part}) for part in (pool[:16], pool[16:], again))
    right = weight_distances(one, two, more, metrics=["l2"])[0]
    np.testing.assert_allclose(right.values, np.linalg.norm(pool[:16] - pool[16:], axis=1))
    wrong = weight_distances(one, Stack({"w": np.roll(pool[16:], 1, axis=0)}), more, metrics=["l2"])[0]
    assert wrong.value > 1.3 * right.value


def test_rank_of_one_model_among_many_is_the_conformal_p_value() -> None:
    generator = np.random.default_rng(1)
    for _ in range(20):
        pool = generator.normal(size=(20, 4))
        matrix = cdist(pool, pool)
        means = matrix.sum(axis=1)
        found = against_pool("l2", "whole", matrix, 1)
        assert found.p_value == pytest.approx(np.mean(means >= means[0] - 1e-12))
        assert found.floor == pytest.approx(1 / 20)
    pool[0] += 100
    assert against_pool("l2", "whole", cdist(pool, pool), 1).p_value == pytest.approx(1 / 20)


def test_eighteen_retrained_models_cannot_show_anything_at_five_per_cent() -> None:
    pool = np.random.default_rng(0).normal(size=(19, 2))
    pool[0] += 1000
    assert against_pool("l2", "whole", cdist(pool, pool), 1).p_value > 0.05


def numbers(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(size, 30))


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("nothing was unlearned", lambda u: u + 1.0),
        ("too much was forgotten", lambda u: u - 1.0),
        ("all from one checkpoint", lambda u: u.mean(axis=0) + 0.05 * u),
        ("too wild", lambda u: 2.0 * u),
    ],
)
def test_what_is_no_retrain_is_found_on_both_sides(what: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    pool = np.concatenate([change(numbers(12, 1)), numbers(12, 2)])
    found = against_pool("l2", "whole", cdist(pool, pool), 12)
    assert found.p_value <= 0.01, what
    assert found.floor <= 0.001


def test_numbers_of_a_pool() -> None:
    pool = numbers(9)
    matrix = cdist(pool, pool)
    found = against_pool("l2", "whole", matrix, 3)
    assert isinstance(found, Distance)
    assert found.value == pytest.approx(matrix[:3, 3:].mean())
    inside = matrix[3:, 3:][~np.eye(6, dtype=bool)]
    assert found.mean_null == pytest.approx(inside.mean())
    assert found.ratio.value == pytest.approx(found.value / found.mean_null)
    assert found.ratio.lower <= found.ratio.value <= found.ratio.upper
    np.testing.assert_allclose(found.null, matrix[3:, 3:].sum(axis=1) / 5)
    assert (found.models, found.caveat) == ((3, 6), REMINDER)
    assert found.floor == pytest.approx(1 / 84)  # 9 choose 3


def test_layers_that_never_moved_have_ratio_one_and_no_alarm() -> None:
    frozen = Stack({"w": np.ones((4, 3))})
    found = weight_distances(frozen, frozen, metrics=["l2"])[0]
    assert (found.value, found.mean_null, found.ratio.value, found.p_value) == (0, 0, 1, 1)
    moved = weight_distances(Stack({"w": np.ones((4, 3)) + 1e-6}), frozen, metrics=["l2"])[0]
    assert moved.ratio.value == np.inf
    assert moved.p_value == moved.floor == 2 / 16


def test_p_values_of_rows_are_valid_and_used_up() -> None:
    generator, farther, both = np.random.default_rng(4), [], []
    for run in range(RUNS):
        draw = np.exp(generator.normal(size=12))  # hard and easy draws of records
        own, null = draw * generator.exponential(size=12), draw * generator.exponential(size=12)
        farther.append(against_rows("js", "forget", own, null, draws=199, seed=run).p_value)
        both.append(against_rows("js", "forget", own, null, draws=199, seed=run, side="both").p_value)
    for found in (farther, both):
        rarely(found)
        used_up(found, 0.25, 0.7)


def test_rows_too_far_and_too_close() -> None:
    generator = np.random.default_rng(5)
    null = 1 + 0.1 * generator.normal(size=16)
    far = against_rows("l2", "whole", null + 0.3, null)
    assert far.p_value == far.floor
    assert far.ratio.lower > 1.2
    assert against_rows("l2", "whole", 0 * null, null).p_value == 1  # copies of the retrained models are not too far
    close = against_rows("l2", "whole", 0 * null, null, side="both")
    assert close.p_value == close.floor == 2 / 1000


def test_the_ratio_s_interval_covers_one_for_honest_retrains() -> None:
    generator, covered = np.random.default_rng(6), 0
    for run in range(200):
        pool = generator.normal(size=(32, 20))
        ratio = against_pool("l2", "whole", cdist(pool, pool), 16, draws=9, seed=run).ratio
        covered += ratio.lower <= 1 <= ratio.upper
    assert covered >= stats.binom.ppf(1e-6, 200, 0.9)


def test_directional_p_values_are_valid_where_the_direction_knows_no_labels() -> None:
    generator, paired, free, student = np.random.default_rng(7), [], [], []
    for run in range(400):
        one, two = generator.standard_t(5, size=(10, 8)), generator.standard_t(5, size=(10, 8))
        middle = 0.5 * (one + two)  # the gradient of |w|^2 at the middle of each pair
        first = directional({"w": one}, {"w": two}, {"w": middle}, draws=99, seed=run)
        paired.append(first.p_value)
        student.append(first.t_p_value)
        pooled = np.concatenate([one, two]).mean(axis=0)
        free.append(directional({"w": one}, {"w": two}, {"w": pooled}, paired=False, draws=99, seed=run).p_value)
    for found in (paired, free, student):
        rarely(found)
        used_up(found, 0.25, 0.7)


def test_a_direction_taken_at_the_mean_of_the_retrained_models_is_biased() -> None:
    # why the documentation asks for the mean of all models: here the null is true, and alarms are far more than 5 %
    generator, alarms = np.random.default_rng(8), 0
    for run in range(200):
        one, two = generator.normal(size=(6, 400)), generator.normal(size=(6, 400))
        alarms += directional({"w": one}, {"w": two}, {"w": two.mean(axis=0)}, draws=99, seed=run).p_value <= 0.05
    assert alarms > 150


def test_a_direction_sees_a_shift_that_a_distance_over_all_weights_does_not() -> None:
    generator = np.random.default_rng(9)
    way = generator.normal(size=2000)
    way /= np.linalg.norm(way)
    one, two = generator.normal(size=(20, 2000)) - 2.0 * way, generator.normal(size=(20, 2000))
    found = directional({"w": one}, {"w": two}, {"w": way})
    assert found.p_value <= 0.002
    assert found.value.upper < 0  # towards a lower loss: too little was forgotten
    assert found.value.lower < -2.0 < found.value.upper
    pool = np.concatenate([one, two])
    assert against_pool("l2", "whole", cdist(pool, pool), 20).p_value > 0.02
    over = directional({"w": one + 4.0 * way}, {"w": two}, {"w": way})
    assert over.value.lower > 0


def test_student_agrees_with_scipy() -> None:
    one, two = numbers(7, 1), numbers(7, 2)
    way = np.ones(30)
    projected = (one - two) @ way / np.sqrt(30)
    assert directional({"w": one}, {"w": two}, {"w": way}).t_p_value == pytest.approx(
        stats.ttest_1samp(projected, 0).pvalue
    )


def test_relabellings_are_complete_where_they_can_be_and_begin_with_the_truth() -> None:
    for first, second, paired, count in ((3, 3, True, 8), (3, 3, False, 20), (1, 30, None, 31), (4, 2, None, 15)):
        found = exchange(first, second, paired=paired)
        assert found.complete
        assert len(found.labels) == count == len({tuple(row) for row in found.labels.tolist()})
        assert (found.labels.sum(axis=1) == first).all()
    drawn = exchange(12, 12, draws=500)
    assert not drawn.complete
    for found in (drawn, exchange(12, 13, draws=500)):
        assert found.labels[0].tolist() == [place < 12 for place in range(len(found.labels[0]))]
        assert len(found.labels) == 501
        assert (found.labels.sum(axis=1) == 12).all()
        assert abs(found.labels[1:].mean(axis=0) - 12 / len(found.labels[0])).max() < 0.12
    assert (drawn.labels[:, :12] ^ drawn.labels[:, 12:]).all()  # of each pair one
    np.testing.assert_array_equal(drawn.labels, exchange(12, 12, draws=500).labels)
    assert (drawn.labels != exchange(12, 12, draws=500, seed=1).labels).any()


def test_energy_is_the_textbook_formula() -> None:
    matrix = cdist(numbers(7), numbers(7))
    labels = exchange(3, 4).labels
    for row, value in zip(labels, energy(matrix, labels), strict=True):
        one, two = matrix[np.ix_(row, row)], matrix[np.ix_(~row, ~row)]
        expected = 2 * matrix[np.ix_(row, ~row)].mean() - one.sum() / 6 - two.sum() / 12
        assert value == pytest.approx(expected)


def test_without_pairs_it_is_the_energy_test_of_the_statistics() -> None:
    pool = numbers(9)
    pool[:4] += 0.4
    matrix = cdist(pool, pool)
    labels = exchange(4, 5, paired=False)
    expected = energy_test(matrix, np.arange(9) < 4)
    assert labels.p_value(energy(matrix, labels.labels)) == pytest.approx(expected.p_value)
    assert energy(matrix, labels.labels)[0] == pytest.approx(expected.statistic)


def test_models_of_a_pair_are_not_compared_where_pairs_are_exchanged() -> None:
    # a common start makes unlearned k close to retrained k: all with all, that would look like unlearning better than retraining
    starts = 10 * numbers(12)
    pool = np.concatenate([starts + numbers(12, 1), starts + numbers(12, 2)])
    matrix = cdist(pool, pool)
    found = against_pool("l2", "whole", matrix, 12)
    off = ~np.eye(12, dtype=bool)
    assert found.value == pytest.approx(matrix[:12, 12:][off].mean())
    assert found.ratio.lower <= found.ratio.value <= found.ratio.upper
    assert found.ratio.lower <= 1 <= found.ratio.upper
    free = against_pool("l2", "whole", matrix, 12, paired=False)
    assert free.value == pytest.approx(matrix[:12, 12:].mean())
    assert free.value < 0.95 * found.value


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: exchange(0, 3), "empty"),
        (lambda: exchange(3, 4, paired=True), "make no pairs"),
        (lambda: exchange(9, 9, draws=0), "draws"),
        (lambda: against_pool("l2", "whole", np.zeros((3, 3)), 2), "fewer than two retrained"),
        (lambda: against_pool("l2", "whole", np.zeros((5, 4)), 2), "fewer than two retrained"),
        (lambda: against_pool("l2", "whole", np.full((5, 5), np.nan), 2), "not a number"),
        (lambda: against_rows("l2", "whole", np.zeros(3), np.zeros(4)), "shapes"),
        (lambda: against_rows("l2", "whole", np.full(3, np.nan), np.zeros(3)), "finite"),
        (lambda: directional({"w": np.zeros((3, 2))}, {"w": np.zeros((3, 2))}, {"w": np.zeros(2)}), "zero"),
        (lambda: directional({"w": np.zeros((3, 2))}, {"w": np.zeros((3, 2))}, {"v": np.ones(2)}), "alone"),
        (lambda: directional({"w": np.zeros((3, 2))}, {"w": np.zeros((3, 2))}, {"w": np.ones(5)}), "shapes"),
        (lambda: directional({"w": np.zeros((1, 2))}, {"w": np.zeros((3, 2))}, {"w": np.ones(2)}), "two models"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(call: Callable[[], object], message: str) -> None:
    with pytest.raises((InputError, ArgumentError), match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
