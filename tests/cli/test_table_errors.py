"""Tables, .csv and .parquet: what is wrong is said by column and record number, never by a cell's content."""

import datetime as dt
import io
import sys
from decimal import Decimal

import numpy as np
import pytest

_SECRET = "Mrs Secret"


def _line(project, row: int, text: str) -> str:
    lines = (project.folder / "train.csv").read_text().splitlines()
    lines[row] = text
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("cells", "trouble"),
    [
        (f"x,{_SECRET},1,1,1", "column 'a' is not a number in record 2"),
        ("x,,1,1,1", "column 'a' is not a number in record 2"),
        ("x,NA,1,1,1", "column 'a' is not a number in record 2"),
        (f"x,1,1,1,{_SECRET}", "column 'outcome' is not a number in record 2"),
        ("x,nan,1,1,1", "X has 1 NaN or infinite entries"),
        ("x,1,1,1,inf", "y has 1 NaN or infinite entries"),
        (f"x,1,1,1,1,{_SECRET}", "record 2 has 6 fields, the header has 5"),
        (_SECRET, "record 2 has 1 fields, the header has 5"),
        (f'x,"{_SECRET},1,1,1', "the header has 5"),
        (f'x,"{_SECRET * 20_000},1,1,1', "is not readable as CSV"),
        ("x,1,1,1,7", "labels must be {0, 1} or {-1, +1}"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_spoiled_record_is_refused_without_showing_it(project, refuses, cells, trouble):
    project.table()
    project.table(_line(project, 2, cells))
    assert _SECRET not in refuses(project, "train.csv: ", trouble)


@pytest.mark.parametrize(
    ("header", "trouble"),
    [
        ("who,a,a,c,outcome", "two columns have the same name"),
        ("who;a;b;c;outcome", "the header has 1"),
        ("who,a,b,c,outcomes", "no column 'outcome'; did you mean 'outcomes'?"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(project, refuses, header, trouble):
    project.table()
    project.table(_line(project, 0, header))
    refuses(project, "train.csv", trouble)


@pytest.mark.parametrize("who", ["who", None])
def test_a_table_without_header_never_shows_its_first_record(project, projects, refuses, who):
    text = projects.csv_text(project.arrays).partition("\n")[2]
    project.table(text, id=who)
    line = refuses(project, "no column 'outcome'", "check the names of its columns (5)")
    assert not any(cell in line for cell in text.splitlines()[0].split(",") if len(cell) > 3)


@pytest.mark.parametrize(
    ("columns", "trouble"),
    [
        ({"target": "outcom"}, "data.columns.target: train.csv has no column 'outcom'; did you mean 'outcome'?"),
        ({"id": "whom"}, "data.columns.id: train.csv has no column 'whom'; did you mean 'who'?"),
        ({"sample_weight": "zz"}, "data.columns.sample_weight: train.csv has no column 'zz'"),
        ({"features": ["a", "zz"]}, "data.columns.features: train.csv has no column 'zz'"),
        ({"features": ["a", "a", "b"]}, "data.columns.features: column 'a' is named twice"),
        ({"features": ["a", "b", "outcome"]}, "data.columns.features: column 'outcome' is named twice"),
        ({"id": "outcome"}, "data.columns.id: column 'outcome' is named twice"),
    ],
)
def test_named_columns_exist_and_serve_one_purpose(project, refuses, columns, trouble):
    project.table(**columns)
    refuses(project, trouble)


@pytest.mark.parametrize("text", ["", "who,a,b,c,outcome\n", "\n\n"])
def test_a_table_without_records_is_refused(project, refuses, text):
    project.table(text)
    refuses(project, "train.csv: has no records under its header line")


def test_a_table_of_targets_alone_is_refused(project, refuses):
    project.table("outcome\n1\n0\n", id=None)
    refuses(project, "data.columns.features: no feature column is left")


def test_a_table_needs_its_columns_named(project, refuses):
    project.table()
    project.drop("data.columns")
    refuses(project, "train.csv: a table needs [data.columns]")


def test_ids_in_a_table_are_unique(project, refuses):
    project.table()
    project.table((project.folder / "train.csv").read_text().replace("person-0001", "person-0002"))
    refuses(project, "train.csv: ids are not unique: 1 of 200")


@pytest.mark.parametrize("content", [b"\x80\x04\x95", "who,a\n\xf6,1\n".encode("latin-1")], ids=["pickle", "latin-1"])
def test_a_table_that_is_not_text_is_refused(project, refuses, content):
    project.table(content)
    refuses(project, "train.csv: is not UTF-8 text")


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: "\n".join('"' + line.replace(",", '","') + '"' for line in text.splitlines()).encode(),
        lambda text: text.replace("\nperson-0100", "\n\n\nperson-0100").encode(),
        lambda text: text.replace("who,a", " who , a ").encode(),
    ],
    ids=["crlf", "byte-order mark", "quoted", "blank lines", "padded header"],
)
def test_the_ways_of_writing_a_table_change_nothing(project, certify, rewrite):
    project.table()
    project.table(rewrite((project.folder / "train.csv").read_text()))
    assert certify("check", project.path, "--quiet").code == 0


@pytest.fixture
def parquet(project):
    """Write train.parquet with some columns replaced, and name it in the spec."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {"who": project.arrays["ids"], **dict(zip("abc", project.X.T, strict=True)), "outcome": project.y}

    def write(keep=slice(None), cut=None, **changes):
        buffer = io.BytesIO()
        pq.write_table(pa.table({name: list(value)[keep] for name, value in (columns | changes).items()}), buffer)
        project.write("train.parquet", buffer.getvalue()[:cut])
        project.put("data.path", "train.parquet")
        project.put("data.columns", {"target": "outcome", "id": "who"})

    return write


def test_a_parquet_file_passes_like_the_other_kinds(project, parquet, certify):
    parquet()
    assert certify("check", project.path, "--quiet").code == 0


@pytest.mark.parametrize("cut", [0, 3, 100, 4_000, -1])
def test_a_truncated_parquet_file_is_refused(project, parquet, refuses, cut):
    parquet(cut=cut)
    refuses(project, "train.parquet: is not a readable parquet file")


_CELLS = {
    "null": (None, "column 'a' has 1 missing values"),
    "nan": (np.nan, "X has 1 NaN or infinite entries"),
}


@pytest.mark.parametrize(("cell", "trouble"), _CELLS.values(), ids=_CELLS)
def test_a_missing_cell_of_parquet_is_refused(project, parquet, refuses, cell, trouble):
    parquet(a=[cell, *project.X[1:, 0]])
    refuses(project, "train.parquet: ", trouble)


@pytest.mark.parametrize(
    "cell",
    [_SECRET, [1.0], {"x": 1.0}, dt.date(2020, 1, 1), dt.datetime(2020, 1, 1), dt.timedelta(1)],
    ids=lambda cell: type(cell).__name__,
)
def test_a_column_of_parquet_that_is_not_a_number_is_refused(project, parquet, refuses, cell):
    parquet(a=[cell] * 200)
    assert _SECRET not in refuses(project, "train.parquet: column 'a' is not a number in record 1")


@pytest.mark.parametrize("cell", [True, 3, Decimal("1.5")], ids=lambda cell: type(cell).__name__)
def test_a_column_of_parquet_that_is_a_number_is_read(project, parquet, certify, cell):
    parquet(a=[cell] * 200)
    assert certify("check", project.path, "--quiet").code == 1


def test_a_parquet_file_without_records_is_refused(project, parquet, refuses):
    parquet(keep=slice(0))
    refuses(project, "train.parquet: holds no records")


def test_parquet_without_pyarrow_says_what_to_install(project, parquet, refuses, monkeypatch):
    parquet()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refuses(project, "train.parquet: reading .parquet needs pyarrow", "install certify-unlearning[parquet]")


def test_digits_with_underscores_are_not_read_as_a_number(tmp_path):
    from certify.core.errors import InputError
    from certify.data.readers import Columns, read_dataset

    path = tmp_path / "t.csv"
    path.write_text("a,y\n1,0\n1_000,1\n")
    with pytest.raises(InputError, match="column 'a' is not a number in record 2"):
        read_dataset(path, Columns("y"))


def test_spaces_around_an_id_in_a_table_do_not_count(project, certify):
    project.table()
    text = (project.folder / "train.csv").read_text()
    project.table(text.replace("person-0003,", "  person-0003 ,").replace("person-0050,", "person-0050\t,"))
    assert certify("check", project.path, "--quiet").code == 0


def test_two_ids_of_a_table_that_differ_in_spaces_alone_are_refused(project, refuses):
    project.table()
    project.table(_line(project, 5, " person-0007 ,1,1,1,1"))
    refuses(project, "train.csv: 1 ids in column 'who' equal another one but for spaces around it", "its own id")


def test_two_ids_of_a_table_that_are_the_same_are_refused_as_before(project, refuses):
    project.table()
    project.table(_line(project, 5, "person-0007,1,1,1,1"))
    refuses(project, "ids are not unique: 1 of 200 repeat an earlier one")
