"""Files of records: every kind gives the same records and the same digest."""

import csv
import hashlib
import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certify.core.errors import InputError
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
    assert _ids(np.array(texts)).dtype.kind == kind


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
