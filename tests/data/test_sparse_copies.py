"""Near copies among sparse records are those that the dense search finds, whatever is stored and whatever is not."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from certify.data import copies
from certify.data.copies import NEARNESS, near_copies
from certify.data.dataset import Dataset


def records(X, y=None):
    return Dataset(X, np.zeros(X.shape[0]) if y is None else y, np.arange(X.shape[0]))


def csr(data):
    return Dataset(sparse.csr_array(data.X), data.y, data.ids)


def slow(data, other):
    """Every pair."""
    first, second = (np.column_stack([part.X, part.y]).astype(float) for part in (data, other))
    gap = np.abs(first[:, None] - second[None])
    near = np.all(gap <= NEARNESS * np.std(first, axis=0), axis=2) & np.any(gap > 0, axis=2)
    return int(near.any(axis=1).sum())


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([(30, 1), (60, 2), (60, 7), (200, 40)]),
    kind=st.sampled_from(["plain", "whole numbers", "single", "constant", "tiny entries"]),
    density=st.sampled_from([0.0, 0.05, 0.3, 1.0]),
    power=st.sampled_from([-3.5, -2.5, -2.0, -1.5]),
)
def test_it_finds_what_every_pair_finds(seed, size, kind, density, power):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=size) * (rng.random(size) < density), rng.integers(0, 2, size[0]).astype(float)
    if kind == "whole numbers":
        X = np.round(2 * X)
    if kind == "constant":
        X[:, 0] = 3.0
    if kind == "tiny entries":
        X *= np.where(rng.random(size) < 0.5, 1e-3, 1.0)
    # moved where there is an entry, and now and then where there is none
    moved = 10.0**power * rng.normal(size=(5, size[1])) * ((X[:5] != 0) | (rng.random((5, size[1])) < 0.1))
    wanted = records(X[:5] + moved * (rng.random((5, 1)) > 0.2), y[:5] + 10.0**power * (rng.random(5) < 0.3))
    data = records(X.astype(np.float32) if kind == "single" else X, y)
    expected = slow(data, wanted)
    assert near_copies(csr(data), csr(wanted)) == expected
    assert near_copies(data, wanted) == expected


@pytest.mark.parametrize("density", [0.01, 0.2])
def test_near_copies_that_were_planted_are_counted(density):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(400, 300)) * (rng.random((400, 300)) < density)
    wanted = X[:20].copy()
    X[100:103] = wanted[4] * (1 + 1e-5)
    X[200] = wanted[9]  # equal: no near copy
    X[201] = wanted[9]
    X[201, np.flatnonzero(wanted[9] == 0)[0]] = 1.0  # one entry more
    X[202] = wanted[9]
    X[202, np.flatnonzero(wanted[9])[0]] = 0.0  # one entry less
    data, other = records(X[20:]), records(wanted)
    assert near_copies(csr(data), csr(other)) == slow(data, other) == 3


def test_records_with_nothing_but_small_entries_and_with_none():
    rng = np.random.default_rng(2)
    X = rng.normal(size=(200, 6)) * (rng.random((200, 6)) < 0.2)
    X[:10] = 0.0
    X[10:20] = 1e-4 * rng.normal(size=(10, 6))
    for wanted in (np.zeros((1, 6)), X[10:12] + 1e-5, 1e-4 * np.eye(6)[:2]):
        data, other = records(X), records(wanted)
        assert near_copies(csr(data), csr(other)) == slow(data, other) > 0


def test_zeros_that_are_stored_are_zeros():
    X = np.random.default_rng(3).normal(size=(50, 4)) * (np.random.default_rng(4).random((50, 4)) < 0.5)
    form = sparse.csr_array(X)
    full = sparse.csr_array((np.r_[X.ravel()], np.tile(np.arange(4), 50), np.arange(0, 201, 4)), shape=X.shape)
    assert full.nnz > form.nnz
    wanted = X[:6] * (1 + 1e-4)
    for data in (form, full):
        for other in (sparse.csr_array(wanted), full[:6]):
            expected = slow(records(X), records(other.toarray()))
            assert near_copies(records(data), records(other)) == expected
    assert near_copies(records(full), records(full[:6])) == slow(records(X), records(X[:6]))


def test_the_target_counts():
    X, y = sparse.csr_array(np.eye(40)), np.arange(40) % 2
    near = sparse.csr_array(np.eye(40)[:5] * (1 + 1e-5))
    assert near_copies(records(X, y), records(near, y[:5])) == 5
    assert near_copies(records(X, y), records(near, 1 - y[:5])) == 0


def test_records_less_some_rows_and_in_many_blocks_are_searched_alike(monkeypatch):
    rng = np.random.default_rng(5)
    X = rng.normal(size=(900, 30)) * (rng.random((900, 30)) < 0.2)
    X[500:503] = X[7] * (1 + 1e-5)
    data, gone = csr(records(X)), np.array([3, 7])
    expected = slow(records(np.delete(X, gone, 0)), records(X[gone]))
    assert near_copies(data.without(gone), data.take(gone)) == expected >= 3
    monkeypatch.setattr("certify.core.rows.BLOCK_BYTES", 1)
    assert near_copies(data.without(gone), data.take(gone)) == expected


@pytest.mark.parametrize("size", [1e308, 1e-310, 0.0])
def test_extreme_numbers_are_survived(size):
    X = np.random.default_rng(0).uniform(-1, 1, size=(50, 3))
    X[:, 0] *= size
    X[10] = X[3]
    X[10, 1] += 1e-6
    assert near_copies(csr(records(np.delete(X, 3, 0))), csr(records(X[3:4]))) == 1


@pytest.mark.parametrize("work", [10, 400])
def test_too_many_pairs_are_left_and_not_called_none_found(monkeypatch, work):
    monkeypatch.setattr(copies, "_WORK", work)
    X = sparse.csr_array(np.round(np.random.default_rng(0).random((300, 20))))
    assert near_copies(records(X), records(X[:100] * (1 + 1e-6))) is None


def test_no_matrix_is_made_dense():
    rng = np.random.default_rng(6)
    X = sparse.random_array((20_000, 50_000), density=2e-4, format="csr", rng=rng)
    near = sparse.csr_array(
        (X.data[: X.indptr[40]] * (1 + 1e-6), X.indices[: X.indptr[40]], X.indptr[:41]), (40, 50_000)
    )
    tracemalloc.start()
    try:
        found = near_copies(records(X), records(near))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == int(np.sum(np.diff(X.indptr[:41]) > 0))
    assert peak < 100e6 < 8 * 20_000 * 50_000
