"""RMIA: against its definition over all pairs, on degenerate references, and against the wrong choice of references."""

import gaussian_means
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.attacks.scores.games import GAMES
from certify.attacks.scores.leave_one_out import trials
from certify.attacks.scores.rmia import Rmia, rmia, tuned_a
from certify.core.arrays import FloatArray
from certify.core.errors import InputError


def probability(phi: FloatArray) -> FloatArray:
    return 1 / (1 + np.exp(-phi))


def sample(seed: int = 0) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
    """In, out, two targets, population of the references and of the targets."""
    generator = np.random.default_rng(seed)
    values = 2 * generator.normal(size=(8, 40))
    members = generator.random((8, 40)) < 0.5
    members[0], members[1] = True, False
    crowd = 2 * generator.normal(size=(8, 90))
    crowd[generator.random((8, 90)) < 0.3] = np.nan
    crowd[0] = 1.0
    inside, outside = np.where(members, values + 2, np.nan), np.where(members, np.nan, values)
    return inside, outside, 2 * generator.normal(size=(2, 40)), crowd, 2 * generator.normal(size=(2, 90))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("a", [None, 0.0, 0.3, 1.0])
def test_scores_are_the_share_of_pairs_won(a: float | None, gamma: float) -> None:
    inside, outside, targets, crowd, their = sample()
    p_out, p_z = np.nanmean(probability(outside), axis=0), np.nanmean(probability(crowd), axis=0)
    if a is None:
        p_x = (p_out + np.nanmean(probability(inside), axis=0)) / 2
    else:
        p_x, p_z = ((1 + a) * p + (1 - a) for p in (p_out, p_z))
        p_x, p_z = p_x / 2, p_z / 2
    found = rmia(inside if a is None else None, outside, targets, crowd, their, gamma=gamma, a=a)
    for score, x, z in zip(found, targets, their, strict=True):
        pairs = (probability(x) / p_x)[:, None] / (probability(z) / p_z)[None, :]
        np.testing.assert_array_equal(score, (pairs >= gamma).mean(axis=1))


def test_the_largest_half_of_the_references_is_not_their_mean() -> None:
    """The mutant: sorting in descending order and keeping as many columns as a record has OUT references."""
    _, outside, targets, crowd, their = sample(1)
    crowd = np.nan_to_num(crowd, nan=-3.0)  # nobody was given the population: all are OUT
    half = np.sort(crowd, axis=0)[::-1][:4]
    right, wrong = (rmia(None, outside, targets, z, their, a=1.0) for z in (crowd, half))
    p_z = probability(their) / probability(crowd).mean(axis=0)
    p_x = probability(targets) / np.nanmean(probability(outside), axis=0)
    expected = np.stack([(x[:, None] >= z).mean(axis=1) for x, z in zip(p_x, p_z, strict=True)])
    np.testing.assert_array_equal(right, expected)
    assert (wrong > right).mean() > 0.5


def test_references_that_equal_the_target_are_ties() -> None:
    same = np.random.default_rng(2).normal(size=40) * 300  # where probabilities round to 0 and 1 as well
    crowd = np.random.default_rng(3).normal(size=30) * 300
    online = rmia(np.tile(same, (5, 1)), np.tile(same, (3, 1)), same, np.tile(crowd, (7, 1)), crowd)
    offline = rmia(None, np.tile(same, (3, 1)), same, np.tile(crowd, (7, 1)), crowd, a=1.0)
    assert set(online) == set(offline) == {1.0}  # LR is 1 and gamma is 1: every pair is won, nothing is told apart
    assert set(rmia(None, np.tile(same, (3, 1)), same, np.tile(crowd, (7, 1)), crowd, a=1.0, gamma=1.001)) == {0.0}


@given(st.permutations(range(12)))
def test_the_order_of_the_population_is_of_no_matter(order: list[int]) -> None:
    inside, outside, targets, crowd, their = sample(4)
    plain = rmia(inside, outside, targets, crowd[:, :12], their[:, :12])
    np.testing.assert_array_equal(rmia(inside, outside, targets, crowd[:, order], their[:, order]), plain)


def test_far_out_confidences_keep_their_order() -> None:
    outside, crowd = np.full((2, 3), -900.0), np.zeros((2, 2))
    found = rmia(None, outside, np.array([-890.0, -900.0, -910.0]), crowd, np.array([1.0, -1.0]), a=1.0)
    assert found.tolist() == [1.0, 0.5, 0.0]


def test_one_reference_more_than_halves_the_distance_to_the_best_attack() -> None:
    """RMIA is for few references: with three it beats LiRA's floor, the population attack, by far."""
    shift = np.random.default_rng(5).normal(scale=4, size=800)
    seen = gaussian_means.observations(8, 800, 2.0, shift=shift, seed=5)
    found = trials(seen, GAMES["privacy"], Rmia("offline", a=1.0), short="drop")
    plain = seen.get("unlearned")[found.models, found.records]
    areas = [gaussian_means.area(scores, found.positive) for scores in (plain, found.scores)]
    assert areas[1] > areas[0] + 0.1


def test_the_tuned_a_is_the_one_that_works_best_on_references() -> None:
    generator = np.random.default_rng(6)
    members = generator.random((6, 300)) < 0.5
    values = generator.normal(size=300) * 3 + generator.normal(size=(6, 300)) + 2 * members
    crowd = generator.normal(size=200) * 3 + generator.normal(size=(6, 200))
    best = tuned_a(values, members, crowd)
    areas = []
    for a in np.linspace(0, 1, 11):
        each = []
        for row in range(6):
            rest = np.delete(np.where(members, np.nan, values), row, axis=0)
            seen = ~np.isnan(rest).all(axis=0)
            scores = rmia(None, rest[:, seen], values[row, seen], np.delete(crowd, row, axis=0), crowd[row], a=float(a))
            each.append(gaussian_means.area(scores, members[row, seen]))
        areas.append(np.mean(each))
    assert best == pytest.approx(np.linspace(0, 1, 11)[int(np.argmax(areas))])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda i, o, t, c, z: rmia(i, o, t, c, z, a=0.3), "a is for the offline attack"),
        (lambda i, o, t, c, z: rmia(i, o, t, c, z, gamma=0.0), "gamma"),
        (lambda _i, o, t, c, z: rmia(None, o, t, c, z, a=1.5), "a: must be from 0 to 1"),
        (lambda i, o, t, c, z: rmia(i, o[:, :5], t, c, z), "shapes"),
        (lambda i, o, t, c, z: rmia(i, o, t, c, z[0]), "2 targets, 1 rows"),
        (lambda i, o, t, c, z: rmia(i, o, t, np.full_like(c, np.nan), z), "90 of 90 records .* 0 where 1 is needed"),
        (lambda i, o, t, c, z: rmia(np.full_like(i, np.nan), o, t, c, z), "in_confidences"),
        (lambda _i, o, _t, c, _z: tuned_a(o[:1], o[:1] > 0, c[:1]), "two or more"),
        (lambda *_: tuned_a(np.zeros((3, 4)), np.ones((3, 4)), np.zeros((3, 5))), "members and non-members"),
    ],
)
def test_what_makes_no_sense_is_one_line(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message) as found:
        call(*sample())
    assert "\n" not in str(found.value)
