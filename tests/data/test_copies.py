"""Near copies are found by the quick way exactly where the slow way finds them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.core.rows import MappedRows
from certify.data import copies
from certify.data.copies import NEARNESS, near_copies
from certify.data.dataset import Dataset


def records(X, y=None):
    return Dataset(X, np.zeros(len(X)) if y is None else y, np.arange(len(X)))


def slow(data, other):
    """Every pair."""
    first, second = (np.column_stack([part.X, part.y]).astype(float) for part in (data, other))
    gap = np.abs(first[:, None] - second[None])
    near = np.all(gap <= NEARNESS * np.std(first, axis=0), axis=2) & np.any(gap > 0, axis=2)
    return int(near.any(axis=1).sum())


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([(30, 1), (60, 2), (60, 7), (200, 3)]),
    kind=st.sampled_from(["plain", "whole numbers", "single", "offset", "constant"]),
    power=st.sampled_from([-3.5, -2.5, -2.0, -1.5]),
)
def test_the_window_misses_no_pair(seed, size, kind, power):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=size), rng.integers(0, 2, size[0])
    if kind == "whole numbers":
        X = np.round(2 * X)
    if kind == "constant":
        X[:, 0] = 3.0
    if kind == "offset":
        X += 1e6
    wanted = records(X[:5] + 10.0**power * rng.normal(size=(5, size[1])) * (rng.random((5, 1)) > 0.2), y[:5])
    data = records(X.astype(np.float32) if kind == "single" else X, y)
    assert near_copies(data, wanted) == slow(data, wanted)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_each_near_copy_is_counted_once(count):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 4))
    wanted = records(np.vstack([X[:1] + 1e-4, X[:1] - 1e-4]))
    X[:1] += 5.0
    X[50 : 50 + count] = wanted.X[0] + 1e-5
    assert near_copies(records(X), wanted) == count


def test_an_equal_record_is_no_near_one():
    X = np.random.default_rng(0).normal(size=(50, 3))
    assert near_copies(records(X), records(X[:5])) == 0


def test_another_outcome_is_another_record():
    X, y = np.random.default_rng(0).normal(size=(50, 3)), np.arange(50) % 2
    assert near_copies(records(X + 1e-6, y), records(X[:5], y[:5])) == 5
    assert near_copies(records(X + 1e-6, y), records(X[:5], 1 - y[:5])) == 0


@pytest.mark.parametrize("size", [1e308, 1e-310, 0.0])
def test_extreme_numbers_are_survived(size):
    X = np.random.default_rng(0).uniform(-1, 1, size=(50, 3))
    X[:, 0] *= size
    X[10] = X[3]
    X[10, 1] += 1e-6
    assert near_copies(records(np.delete(X, 3, 0)), records(X[3:4])) == 1


@pytest.mark.parametrize("work", [10, 400])
def test_too_many_pairs_are_left_and_not_called_none_found(monkeypatch, work):
    monkeypatch.setattr(copies, "_WORK", work)
    X = np.random.default_rng(0).normal(size=(300, 20))
    assert near_copies(records(X), records(X[:100] + 1e-6)) is None


def test_records_left_in_a_file_or_less_some_rows_are_searched_alike(tmp_path):
    X = np.random.default_rng(0).normal(size=(300, 5))
    X[200:203] = X[7] + 1e-5
    np.save(tmp_path / "X.npy", X)
    mapped = MappedRows(np.load(tmp_path / "X.npy", mmap_mode="r"))
    for form in (X, mapped):
        data = records(form)
        gone = np.array([3, 7])
        assert near_copies(data.without(gone), data.take(gone)) == 3


@pytest.mark.parametrize("width", [1, 63, 65, 300])
def test_more_features_than_a_direction_has_miss_nothing(width):
    rng = np.random.default_rng(width)
    X = rng.normal(size=(400, width))
    wanted = records(X[:20] + 0.009 * rng.uniform(-1, 1, size=(20, width)) * X.std(0))
    assert near_copies(records(X), wanted) >= 20
    assert near_copies(records(X), wanted) == slow(records(X), wanted)


def test_a_record_beyond_all_others_is_near_nobody():
    X = np.random.default_rng(0).normal(size=(50, 3))
    assert near_copies(records(X), records(np.full((1, 3), 1e308))) == 0
