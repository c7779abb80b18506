"""Records: what identifies them, what changes their digest, which of them are copies."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from certify.core.errors import InputError
from certify.data.dataset import Dataset, parse_ids

FINITE = st.floats(-1e6, 1e6, width=64)


def small(**changes):
    rng = np.random.default_rng(4)
    parts = {
        "X": rng.normal(size=(6, 3)),
        "y": rng.normal(size=6),
        "ids": np.array(["ann", "bob", "cy", "dee", "eve", "fay"]),
        "sample_weight": np.arange(1.0, 7.0),
    }
    return Dataset(**(parts | changes))


def _with(array, place, value):
    changed = array.copy()
    changed[place] = value
    return changed


_CHANGES = {
    "one feature by one bit": lambda d: {"X": _with(d.X, (4, 1), np.nextafter(d.X[4, 1], np.inf))},
    "one target": lambda d: {"y": _with(d.y, 2, d.y[2] + 1e-9)},
    "one id": lambda d: {"ids": _with(d.ids, 0, "abe")},
    "one weight": lambda d: {"sample_weight": _with(d.sample_weight, 5, 6.5)},
    "no weights": lambda _: {"sample_weight": None},
    "two features swapped": lambda d: {"X": d.X[:, ::-1]},
    "targets shifted": lambda d: {"y": np.roll(d.y, 1)},
    "ids swapped": lambda d: {"ids": d.ids[::-1]},
    "another shape": lambda d: {"X": d.X[:, :2]},
}


@pytest.mark.parametrize("change", _CHANGES.values(), ids=_CHANGES)
def test_any_single_change_changes_the_digest(change):
    data = small()
    assert small(**change(data)).digest() != data.digest()


@pytest.mark.parametrize("order", [[1, 0, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0]])
def test_another_order_changes_the_digest(order):
    data = small()
    assert data.take(np.array(order)).digest() != data.digest()


@pytest.mark.parametrize("position", range(6))
def test_a_missing_record_changes_the_digest(position):
    data = small()
    assert data.without(np.array([position])).digest() != data.digest()


@pytest.mark.parametrize(
    "rewrite",
    [np.asfortranarray, lambda a: a.astype(">f8"), lambda a: a[:, ::-1][:, ::-1]],
    ids=["fortran", "big", "view"],
)
def test_the_way_numbers_lie_in_memory_does_not_change_the_digest(rewrite):
    data = small()
    assert small(X=rewrite(data.X)).digest() == data.digest()


def test_weights_of_one_are_no_weights():
    assert small(sample_weight=np.ones(6)).digest() == small(sample_weight=None).digest()


def test_the_digest_is_the_same_on_every_machine():
    data = Dataset(np.array([[1.0, 2.0]]), np.array([3.0]), np.array([7]))
    assert data.digest() == "303e887456972a17a945b540fdde6d95df05dd3b84c0815dbd0cd3f22d6d1d77"


@pytest.mark.parametrize(
    ("first", "second"), [(["a\nb", "c"], ["a", "b\nc"]), ([1, 2], ["1", "2"]), (["\ud800", "x"], ["y", "x"])]
)
def test_ids_that_only_look_alike_have_different_digests(first, second):
    digests = {Dataset(np.zeros((2, 1)), np.zeros(2), np.array(ids)).digest() for ids in (first, second)}
    assert len(digests) == 2


def test_more_records_than_a_block_have_one_digest():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(70_000, 1)), np.zeros(70_000)
    data = Dataset(X, y, np.arange(70_000))
    changed = Dataset(_with(X, (69_999, 0), 0.5), y, np.arange(70_000))
    assert data.digest() == Dataset(X.copy(), y, np.arange(70_000)).digest() != changed.digest()


def test_positions_follow_the_order_asked_for():
    assert small().positions(["dee", "ann", "nobody", "dee"]).tolist() == [3, 0, -1, 3]


def test_numbers_and_strings_are_different_ids():
    numbers = small(ids=np.arange(6))
    assert numbers.positions([3, "3", 3.5, None]).tolist() == [3, -1, -1, -1]


@given(st.permutations(range(12)), st.integers(1, 11))
def test_take_and_without_split_the_records(order, count):
    ids = np.array([f"id-{number}" for number in order])
    data = Dataset(
        np.array(order, dtype=float)[:, None], np.array(order, dtype=float), ids, np.array(order, dtype=float)
    )
    chosen = np.array(sorted(order[:count]))
    taken, rest = data.take(chosen), data.without(chosen)
    assert sorted([*taken.ids, *rest.ids]) == sorted(ids)
    for part in (taken, rest):
        assert np.asarray(part.X)[:, 0].tolist() == part.y.tolist() == part.sample_weight.tolist()
        assert [f"id-{int(value)}" for value in part.y] == part.ids.tolist()
        assert np.all(np.diff(data.positions(part.ids)) > 0)


def test_the_features_left_cannot_be_written_through():
    rest = small().without(np.array([0]))
    with pytest.raises(TypeError):
        rest.X[:] = 0


def _plain(X, y):
    return Dataset(np.asarray(X, dtype=float), np.asarray(y, dtype=float), np.arange(len(y)))


@given(hnp.arrays(np.float64, (5, 2), elements=FINITE), hnp.arrays(np.float64, 5, elements=FINITE))
def test_every_record_is_a_copy_of_itself(X, y):
    data = _plain(X, y)
    assert data.copies_of(data) == 5


def test_minus_zero_is_zero():
    assert _plain([[0.0, 1.0]], [-0.0]).copies_of(_plain([[-0.0, 1.0]], [0.0])) == 1


@pytest.mark.parametrize(("X", "y"), [([[1.0, 2.0000001]], [3.0]), ([[1.0, 2.0]], [4.0]), ([[2.0, 1.0]], [3.0])])
def test_a_record_that_differs_anywhere_is_no_copy(X, y):
    assert _plain(X, y).copies_of(_plain([[1.0, 2.0]], [3.0])) == 0


def test_each_copy_is_counted():
    data = _plain([[1.0], [1.0], [2.0], [1.0]], [0.0, 0.0, 0.0, 1.0])
    assert data.copies_of(_plain([[1.0]], [0.0])) == 2


def test_types_do_not_hide_a_copy():
    single = Dataset(np.array([[1]], dtype=np.int8), np.array([True]), np.array([0]))
    assert single.copies_of(_plain([[1.0]], [1.0])) == 1


@pytest.mark.parametrize(
    ("changes", "trouble"),
    [
        ({"X": np.zeros(6)}, r"X has shape \(6,\), not \(records, features\)"),
        ({"X": np.zeros((6, 3), dtype=complex)}, "X has type complex128, not real numbers"),
        ({"y": np.array(list("abcdef"))}, "y has type <U1, not real numbers"),
        ({"y": np.zeros(5)}, r"y has shape \(5,\), X has 6 rows"),
        ({"ids": np.arange(5)}, r"ids has shape \(5,\), X has 6 rows"),
        ({"ids": np.arange(6.0)}, "ids have type float64"),
        ({"ids": np.array([1, 1, 1, 2, 2, 3])}, "ids are not unique: 3 of 6 repeat an earlier one"),
        ({"sample_weight": np.zeros((6, 1))}, "sample_weight has shape"),
        ({"X": np.zeros((6, 0))}, "holds no features"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes, trouble):
    with pytest.raises(InputError, match=f"data: {trouble}"):
        small(**changes)


def test_ids_are_parsed_by_line_and_never_shown():
    with pytest.raises(InputError) as caught:
        parse_ids(["ann", "", "mallory"], small(), "forget.txt")
    assert str(caught.value).startswith("forget.txt: 1 of 2 ids are not in data (first: line 3)")
    assert "mallory" not in str(caught.value)


@given(st.text(alphabet="0123456789+-_. \u0661\u0662e", max_size=6))
def test_only_the_canonical_spelling_of_a_whole_number_names_a_record(text):
    data = Dataset(np.zeros((30, 1)), np.zeros(30), np.arange(30))
    canonical = {str(number) for number in range(30)}
    if text.strip() in canonical:
        assert parse_ids([text], data, "forget").tolist() == [int(text)]
    else:
        with pytest.raises(InputError):
            parse_ids([text], data, "forget")


def _forms(X):
    return [X, sparse.csr_array(X), X.astype(np.float32), np.asfortranarray(X)]


def test_copies_are_found_in_every_form_and_block(monkeypatch):
    monkeypatch.setattr("certify.core.rows.BLOCK_BYTES", 1)
    generator = np.random.default_rng(0)
    X = generator.integers(-2, 3, size=(300, 2)).astype(float)
    y = generator.integers(0, 2, 300).astype(float)
    gone, kept = np.arange(7), np.arange(7, 300)
    wanted = {(*row, target) for row, target in zip(X[gone].tolist(), y[gone].tolist(), strict=True)}
    expected = sum((*row, target) in wanted for row, target in zip(X[kept].tolist(), y[kept].tolist(), strict=True))
    assert 0 < expected < 293
    for form in _forms(X):
        data = Dataset(form, y, np.arange(300))
        assert data.without(gone).copies_of(data.take(gone)) == expected


def test_records_of_equal_keys_are_compared_in_full(monkeypatch):
    monkeypatch.setattr("certify.data.dataset.record_keys", lambda _, y: np.zeros(len(y), np.int64))
    data = small()
    assert data.without(np.array([0])).copies_of(data.take(np.array([0]))) == 0
    assert data.copies_of(data.take(np.array([0]))) == 1


def test_a_sparse_dataset_has_a_digest_of_its_own_content():
    X = np.array([[0.0, 1.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    parts = {"y": np.arange(3.0), "ids": np.arange(3)}
    digest = Dataset(sparse.csr_array(X), **parts).digest()
    assert digest == Dataset(sparse.csr_array(X), **parts).digest()
    for place in ((0, 0), (0, 1), (2, 2)):
        other = X.copy()
        other[place] += 1
        assert Dataset(sparse.csr_array(other), **parts).digest() != digest
    assert Dataset(sparse.csr_array(X[[1, 0, 2]]), **parts).digest() != digest


def test_the_digest_does_not_depend_on_blocks_or_on_what_was_left_out(monkeypatch):
    generator = np.random.default_rng(1)
    X, y = generator.normal(size=(500, 3)), generator.normal(size=500)
    gone = np.array([0, 3, 250, 499])
    for form in (X, sparse.csr_array(X)):
        whole = Dataset(form, y, np.arange(500))
        lazy, eager = whole.without(gone), whole.take(np.delete(np.arange(500), gone))
        first = lazy.digest()
        assert first == eager.digest()
        monkeypatch.setattr("certify.core.rows.BLOCK_BYTES", 1)
        monkeypatch.setattr("certify.data.dataset._BLOCK", 7)
        assert lazy.digest() == first
        monkeypatch.undo()


def test_positions_are_found_in_every_block(monkeypatch):
    monkeypatch.setattr("certify.data.dataset._BLOCK", 4)
    data = small()
    assert data.positions(["fay", "nobody", "ann", "eve"]).tolist() == [5, -1, 0, 4]


def test_no_dense_content_has_the_digest_of_a_sparse_one():
    data = np.arange(1.0, 9.0)
    indices, indptr = np.array([0, 1, 2, 3, 0, 1, 2, 3]), np.array([0, 4, 8])
    thin = Dataset(sparse.csr_array((data, indices, indptr), shape=(2, 8)), np.zeros(2), np.arange(2))
    tail = hashlib.sha256(b"csr" + np.diff(indptr).astype("<i8").tobytes()).digest()
    tail += hashlib.sha256(indices.astype("<i8").tobytes()).digest()
    forged = np.frombuffer(data.astype("<f8").tobytes() + tail).reshape(2, 8)
    assert np.all(np.isfinite(forged))
    assert Dataset(forged, np.zeros(2), np.arange(2)).digest() != thin.digest()
