"""Matrices looked at in blocks: less some rows, in files, and mapped."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from certify.core.errors import InputError
from certify.core.rows import FileRows, MappedRows, Without, blocks, stamp_of


@given(st.integers(1, 30), st.data())
def test_without_some_rows_every_slice_and_position_is_right(records: int, data: st.DataObject) -> None:
    matrix = np.arange(3 * records).reshape(records, 3)
    omitted = np.array(sorted(data.draw(st.sets(st.integers(0, records - 1)))), dtype=np.int64)
    kept = np.delete(matrix, omitted, axis=0)
    start, stop = data.draw(st.integers(0, records)), data.draw(st.integers(0, records + 3))
    for form in (matrix, sparse.csr_array(matrix)):
        lazy = Without(form, omitted)
        assert lazy.shape == kept.shape
        assert len(lazy) == len(kept)
        found = lazy[start:stop]
        np.testing.assert_array_equal(found.toarray() if sparse.issparse(found) else found, kept[start:stop])
    positions = data.draw(st.lists(st.integers(0, len(kept) - 1), max_size=5)) if len(kept) else []
    np.testing.assert_array_equal(Without(matrix, omitted)[np.array(positions, dtype=np.int64)], kept[positions])


def test_without_nothing_copies_nothing() -> None:
    matrix = np.arange(12.0).reshape(6, 2)
    assert np.shares_memory(Without(matrix, np.array([], dtype=np.int64))[1:4], matrix)
    assert np.shares_memory(Without(matrix, np.array([5]))[1:4], matrix)


def test_blocks_cover_every_row_once() -> None:
    for matrix in (np.zeros((1000, 2000)), sparse.csr_array((5000, 10)), np.zeros((1, 1))):
        rows = [row for part in blocks(matrix) for row in range(part.start, part.stop)]
        assert rows == list(range(matrix.shape[0]))


def in_file(path: Path, matrix: np.ndarray) -> FileRows:
    with path.open("rb") as file:
        offset = path.stat().st_size - matrix.nbytes
        return FileRows(path, file.fileno(), offset, (700, 11), matrix.dtype, stamp_of(file.fileno()))


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, np.ndarray]:
    matrix = np.random.default_rng(0).normal(size=(700, 11))
    path = tmp_path / "X.npy"
    np.save(path, matrix)
    return path, matrix


@pytest.mark.parametrize(
    "rows", [slice(0, 700), slice(3, 9), slice(690, 900), slice(5, 5), np.array([4, 699, 0]), np.array([], int)]
)
def test_a_file_is_read_where_it_is_looked_at(saved: tuple[Path, np.ndarray], rows: object) -> None:
    path, matrix = saved
    lazy = in_file(path, matrix)
    np.testing.assert_array_equal(lazy[rows], matrix[rows])  # type: ignore[index]
    mapped = MappedRows(np.load(path, mmap_mode="r"))
    np.testing.assert_array_equal(mapped[rows], matrix[rows])  # type: ignore[index]


def test_a_file_that_changes_under_the_reader_is_refused(saved: tuple[Path, np.ndarray]) -> None:
    path, matrix = saved
    lazy = in_file(path, matrix)
    lazy[0:5]
    os.truncate(path, path.stat().st_size - 8)
    with pytest.raises(InputError, match="changed while it was being read"):
        lazy[690:700]
    with pytest.raises(InputError, match="changed while it was being read"):
        lazy[0:5]


def test_an_edit_in_place_is_refused(saved: tuple[Path, np.ndarray]) -> None:
    path, matrix = saved
    lazy = in_file(path, matrix)
    with path.open("r+b") as file:
        file.seek(-8, os.SEEK_END)
        file.write(b"12345678")
    os.utime(path, ns=(1, 1))
    with pytest.raises(InputError, match="changed while it was being read"):
        lazy[0:5]


def test_only_a_whole_read_only_map_gives_back_its_pages(saved: tuple[Path, np.ndarray]) -> None:
    path, matrix = saved
    whole = np.load(path, mmap_mode="r")
    assert MappedRows.fits(whole)
    assert not MappedRows.fits(whole[5:])
    assert not MappedRows.fits(np.load(path, mmap_mode="c"))
    assert not MappedRows.fits(matrix)
    np.save(path, np.asfortranarray(matrix))
    assert not MappedRows.fits(np.load(path, mmap_mode="r"))


@pytest.mark.parametrize(
    "rows", [slice(0, 6, 2), slice(None, None, -1), np.array([-1]), np.ones(6, dtype=bool), np.array([0.0])]
)
def test_rows_asked_for_in_any_other_way_are_refused(saved: tuple[Path, np.ndarray], rows: object) -> None:
    path, matrix = saved
    for lazy in (Without(matrix, np.array([2])), in_file(path, matrix)):
        with pytest.raises(IndexError):
            lazy[rows]
