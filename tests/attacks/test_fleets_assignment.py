"""Who is given which record."""

import numpy as np
import pytest

from certify.attacks.fleets.assignment import (
    check_assignment,
    coin_flip_assignment,
    fixed_assignment,
    group_size,
    random_assignment,
)
from certify.attacks.observations import Cell
from certify.core.errors import InputError


def counts(assignment, axis):
    return np.stack([(assignment == cell).sum(axis=axis) for cell in Cell])


def test_every_model_has_the_same_numbers_of_records():
    found = counts(random_assignment(20, 203, seed=1, out=0.5, forget=0.125), 1)
    assert (found == np.array([102, 76, 25])[:, None]).all()


def test_rows_depend_on_seed_and_number_alone():
    few, many = (random_assignment(models, 60, seed=4) for models in (3, 50))
    assert np.array_equal(few, many[:3])
    assert not np.array_equal(few, random_assignment(3, 60, seed=5))
    assert len(np.unique(many, axis=0)) == 50


def test_rows_are_independent_draws():
    """The cell of a record in one model says nothing of its cell in the next."""
    found = random_assignment(4000, 8, seed=0, out=0.5, forget=0.25)
    share = (found[0::2] == Cell.OUT) & (found[1::2] == Cell.OUT)
    assert abs(share.mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 2000)


def test_both_ways_balanced_in_every_group():
    assert group_size(0.5, 0.125) == 8
    found = random_assignment(24, 100, seed=2, balance="both")
    for group in range(0, 24, 8):
        assert (counts(found[group : group + 8], 0) == np.array([4, 3, 1])[:, None]).all()
    assert (np.ptp(counts(found, 1), axis=1) <= 8).all()
    assert np.array_equal(found[:16], random_assignment(16, 100, seed=2, balance="both"))


def test_only_candidates_are_drawn():
    pool = np.array([3, 5, 8, 9])
    found = random_assignment(30, 12, seed=0, candidates=pool, out=0.5, forget=0.5)
    assert (np.delete(found, pool, axis=1) == Cell.RETAIN).all()
    assert (counts(found[:, pool], 1) == np.array([2, 0, 2])[:, None]).all()


def test_one_of_the_sets_is_forgotten_as_a_whole():
    sets = [np.array([0, 1, 2]), np.array([2, 7]), np.array([9])]
    found = random_assignment(60, 20, seed=0, forget_sets=sets, out=0.25)
    chosen = [np.flatnonzero(row == Cell.FORGET).tolist() for row in found]
    assert {tuple(rows) for rows in chosen} == {(0, 1, 2), (2, 7), (9,)}
    assert (found[:, 2] == Cell.OUT).any()


def test_coins_are_fair_and_independent():
    canaries = np.arange(10, 50)
    found = coin_flip_assignment(400, 60, canaries=canaries, seed=0)
    coins = found[:, canaries] == Cell.FORGET
    assert ((found[:, canaries] == Cell.OUT) != coins).all()
    assert (np.delete(found, canaries, axis=1) == Cell.RETAIN).all()
    assert abs(coins.mean() - 0.5) < 4 * 0.5 / np.sqrt(coins.size)
    # a sum of 40 independent fair coins has variance 10; with a fixed number of heads it would have none
    assert 7 < coins.sum(axis=1).var() < 14
    assert np.array_equal(found[:7], coin_flip_assignment(7, 60, canaries=canaries, seed=0))


def test_a_fixed_row():
    found = fixed_assignment(3, 6, forget=np.array([1, 4]), out=[5])
    assert found.tolist() == [[1, 2, 1, 1, 2, 0]] * 3


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: random_assignment(4, 10, seed=0, out=0.9, forget=0.5), "more than the whole"),
        (lambda: random_assignment(4, 10, seed=0, out=0.5, forget=0.0), "leave a model without"),
        (lambda: random_assignment(4, 10, seed=0, out=0.5, forget=0.5), "leave a model without"),
        (lambda: random_assignment(4, 10, seed=0, out=-1), "share between"),
        (lambda: random_assignment(0, 10, seed=0), "0 models"),
        (lambda: random_assignment(4, 10, seed=0, candidates=np.array([10])), "count records from 0"),
        (lambda: random_assignment(4, 10, seed=0, candidates=np.array([1, 1])), "repeats"),
        (lambda: random_assignment(5, 40, seed=0, balance="both"), "take 8 models"),
        (lambda: random_assignment(5, 40, seed=0, balance="both", out=0.37), "no group"),
        (lambda: random_assignment(4, 10, seed=0, forget_sets=[np.arange(10)]), "retains no record"),
        (lambda: random_assignment(4, 10, seed=0, forget_sets=[]), "at least one set"),
        (lambda: coin_flip_assignment(4, 10, canaries=np.arange(10), seed=0), "every record is a canary"),
        (lambda: fixed_assignment(4, 10, forget=np.arange(10)), "no record is retained"),
        (lambda: fixed_assignment(4, 10, forget=np.arange(3), out=[2]), "both forgotten and out"),
        (lambda: check_assignment(np.ones((2, 5)), 6), "shape (2, 5) for 6"),
        (lambda: check_assignment(np.full((2, 6), 3), 6), "other values"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(make, word):
    with pytest.raises(InputError, match=word.replace("(", r"\(").replace(")", r"\)")) as error:
        make()
    assert "\n" not in str(error.value)
