"""Files of records: every kind gives the same records and the same digest."""

import csv
import hashlib
import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from certify.core.errors import InputError
from certify.core.rows import FileRows
from certify.data.readers import Columns, _ids, read_dataset, read_forget_set

COLUMNS = Columns("outcome", None, "who", "weight")


def draw(ids):
    rng = np.random.default_rng(6)
    n = len(ids)
    X = rng.normal(size=(n, 3)) * 10.0 ** rng.integers(-300, 300, size=(n, 3))
    return {"X": X, "y": rng.normal(size=n), "ids": np.array(ids), "sample_weight": rng.random(n)}


def table(arrays):
    features = dict(zip("abc", arrays["X"].T, strict=True))
    return {"who": arrays["ids"], **features, "outcome": arrays["y"], "weight": arrays["sample_weight"]}


def write(folder, kind, arrays):
    path = folder / f"records.{kind}"
    if kind == "npz":
        np.savez(path, **arrays)
    elif kind == "csv":
        columns = table(arrays)
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
    else:
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.table(table(arrays)), path)
    return path


IDS = {
    "numbers": list(range(50, 70)),
    "strings": [f"person {number}" for number in range(20)],
    "padded numbers": [f"{number:03d}" for number in range(20)],
    "mixed": [*map(str, range(19)), "x"],
    "commas and quotes": [f'a,"{number}"' for number in range(20)],
    "signs": ["--5", "-", "+1", *map(str, range(17))],
    "long numbers": ["9" * 4_400, *map(str, range(19))],
}


@pytest.mark.parametrize("ids", IDS.values(), ids=IDS)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_every_kind_of_file_gives_the_same_records(tmp_path, kind, ids):
    arrays = draw(ids)
    first, _ = read_dataset(write(tmp_path, "npz", arrays))
    second, _ = read_dataset(write(tmp_path, kind, arrays), COLUMNS)
    assert second.digest() == first.digest()
    assert second.X.tobytes() == first.X.tobytes()
    assert second.ids.tolist() == arrays["ids"].tolist()
    assert second.sample_weight.tolist() == arrays["sample_weight"].tolist()


@pytest.mark.parametrize("kind", ["npz", "csv", "parquet"])
def test_the_record_of_a_file_is_of_the_bytes_read(tmp_path, kind):
    path = write(tmp_path, kind, draw(IDS["strings"]))
    _, record = read_dataset(path, COLUMNS)
    assert (record.path, record.size) == (str(path), len(path.read_bytes()))
    assert record.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("kind", ["NPZ", "Csv"])
def test_suffixes_may_be_written_in_capitals(tmp_path, kind):
    path = write(tmp_path, kind.lower(), draw(IDS["numbers"]))
    assert len(read_dataset(path.rename(tmp_path / f"X.{kind}"), COLUMNS)[0]) == 20


def test_without_ids_the_row_numbers_count_from_zero(tmp_path):
    arrays = draw(IDS["strings"])
    np.savez(tmp_path / "bare.npz", X=arrays["X"], y=arrays["y"])
    assert read_dataset(tmp_path / "bare.npz")[0].ids.tolist() == list(range(20))
    without = Columns("outcome", ("a", "b"))
    assert read_dataset(write(tmp_path, "csv", arrays), without)[0].ids.tolist() == list(range(20))


def test_features_come_in_the_order_they_are_named(tmp_path):
    arrays = draw(IDS["numbers"])
    path = write(tmp_path, "csv", arrays)
    found, _ = read_dataset(path, Columns("outcome", ("c", "a"), "who"))
    assert found.X.tolist() == arrays["X"][:, [2, 0]].tolist()
    assert found.sample_weight is None


def test_features_that_are_not_named_are_all_the_others(tmp_path):
    found, _ = read_dataset(write(tmp_path, "csv", draw(IDS["numbers"])), Columns("outcome", None, "who"))
    assert found.X.shape == (20, 4)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_numbers_survive_csv_bit_for_bit(tmp_path, values):
    buffer = io.StringIO()
    csv.writer(buffer).writerows([["a", "outcome"], *([repr(value), repr(value)] for value in values)])
    path = tmp_path / "round.csv"
    path.write_text(buffer.getvalue())
    assert read_dataset(path, Columns("outcome"))[0].X[:, 0].tobytes() == np.array(values).tobytes()


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["0", "7", "-3"], "i"),
        (["7", "007"], "U"),
        (["7", "7.0"], "U"),
        (["--5", "1"], "U"),
        (["-0", "1"], "U"),
        (["\u0663", "1"], "U"),
        (["9" * 18, "1"], "i"),
        (["9" * 19, "1"], "U"),
        (["", "1"], "U"),
    ],
)
def test_ids_are_numbers_only_where_all_are_written_as_such(texts, kind):
    assert _ids(Path("t.csv"), "id", np.array(texts)).dtype.kind == kind


@pytest.mark.parametrize("kind", ["npz", "csv", "parquet"])
@pytest.mark.parametrize("ids", ["numbers", "strings", "padded numbers"])
def test_the_forget_set_finds_its_records_in_every_kind(tmp_path, kind, ids):
    data, _ = read_dataset(write(tmp_path, kind, draw(IDS[ids])), COLUMNS)
    (tmp_path / "forget.txt").write_text(f"{IDS[ids][7]}\n{IDS[ids][2]}\n")
    positions, record = read_forget_set(tmp_path / "forget.txt", data)
    assert positions.tolist() == [7, 2]
    assert record.size == (tmp_path / "forget.txt").stat().st_size


def test_007_and_7_are_two_people(tmp_path):
    (tmp_path / "agents.csv").write_text("who,a,outcome\n007,1,0\n7,2,1\n8,3,1\n")
    data, _ = read_dataset(tmp_path / "agents.csv", Columns("outcome", None, "who"))
    (tmp_path / "forget.txt").write_text("007\n")
    assert read_forget_set(tmp_path / "forget.txt", data)[0].tolist() == [0]


def test_a_padded_number_is_nobody_where_ids_are_numbers(tmp_path):
    (tmp_path / "agents.csv").write_text("who,a,outcome\n6,1,0\n7,2,1\n")
    data, _ = read_dataset(tmp_path / "agents.csv", Columns("outcome", None, "who"))
    (tmp_path / "forget.txt").write_text("007\n")
    with pytest.raises(InputError, match="1 of 1 ids are not in"):
        read_forget_set(tmp_path / "forget.txt", data)


def _csr_parts(X):
    return {"X_data": X.data, "X_indices": X.indices, "X_indptr": X.indptr, "X_shape": X.shape}


def test_sparse_features_are_read(tmp_path):
    X = sparse.random_array((9, 5), density=0.4, format="csr", rng=np.random.default_rng(0))
    path = tmp_path / "train.npz"
    np.savez_compressed(path, y=np.arange(9.0), ids=np.arange(9) + 100, **_csr_parts(X))
    data, _ = read_dataset(path)
    assert sparse.issparse(data.X)
    np.testing.assert_array_equal(data.X.toarray(), X.toarray())
    assert data.ids.tolist() == list(range(100, 109))


_BROKEN_CSR = {
    "a column beyond the shape": {"X_indices": np.array([0, 7, 1])},
    "indptr too short": {"X_indptr": np.array([0, 2])},
    "indptr that falls": {"X_indptr": np.array([0, 3, 2])},
    "a shape of one number": {"X_shape": np.array([2])},
    "a shape of text": {"X_shape": np.array(["2", "2"])},
    "data too short": {"X_data": np.ones(1)},
    "an entry twice": {"X_indices": np.array([0, 0, 1])},
}


@pytest.mark.parametrize("change", _BROKEN_CSR.values(), ids=_BROKEN_CSR)
def test_parts_that_are_no_matrix_are_refused(tmp_path, change):
    path = tmp_path / "train.npz"
    X = sparse.csr_array(np.array([[1.0, 2.0], [0.0, 3.0]]))
    np.savez(path, y=np.zeros(2), **(_csr_parts(X) | change))
    with pytest.raises(InputError) as caught:
        read_dataset(path)
    assert "CSR matrix" in str(caught.value) or "entry twice" in str(caught.value)


@pytest.fixture
def left_in_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr("certify.core.arrayfiles.LAZY_BYTES", 1)
    generator = np.random.default_rng(3)
    X, y = generator.normal(size=(300, 4)), generator.normal(size=300)
    path = tmp_path / "train.npz"
    np.savez(path, y=y, X=X)
    return path, X


def test_a_large_matrix_stays_in_its_file(left_in_its_file):
    path, X = left_in_its_file
    data, record = read_dataset(path)
    assert isinstance(data.X, FileRows)
    np.testing.assert_array_equal(data.X[0:300], X)
    np.testing.assert_array_equal(data.X[17:40], X[17:40])
    assert record.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    np.savez_compressed(path.with_name("small.npz"), y=data.y, X=X)
    eager, _ = read_dataset(path.with_name("small.npz"))
    assert not isinstance(eager.X, FileRows)
    assert eager.digest() == data.digest()
    assert eager.without(np.array([3])).digest() == data.without(np.array([3])).digest()


@pytest.mark.parametrize("kind", [np.int64, np.float16, np.float32, ">f8"])
def test_a_large_matrix_of_any_type_is_read_right(left_in_its_file, kind):
    path, X = left_in_its_file
    np.savez(path, y=np.zeros(300), X=(100 * X).astype(kind))
    data, _ = read_dataset(path)
    np.testing.assert_array_equal(np.asarray(data.X[0:300], float), (100 * X).astype(kind).astype(float))


def test_a_large_matrix_that_is_damaged_is_refused(left_in_its_file):
    path, _ = left_in_its_file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match="truncated or damaged"):
        read_dataset(path)


def test_a_file_that_changes_while_it_is_read_is_refused(left_in_its_file, monkeypatch):
    path, _ = left_in_its_file
    from certify.core import arrayfiles

    load = arrayfiles._load

    def slow(*args):
        arrays = load(*args)
        path.touch()
        os.utime(path, ns=(5, 5))
        return arrays

    monkeypatch.setattr(arrayfiles, "_load", slow)
    with pytest.raises(InputError, match="changed while it was being read"):
        read_dataset(path)
