"""Whatever is wrong with the records: exit 2, one line with the file, the trouble and the mend, never a record."""

import errno
import os
import pickle  # noqa: TID251 - written here, to be refused
from pathlib import Path

import numpy as np
import pytest

HALVES = np.array([np.nan, np.inf, -np.inf])
_SHAPES = {
    "1-D": (lambda p: {"X": p.X[:, 0]}, "X has shape (200,), not (records, features)"),
    "3-D": (lambda p: {"X": p.X[:, :, None]}, "X has shape (200, 3, 1)"),
    "0-D": (lambda _: {"X": np.float64(3)}, "X is a single value"),
    "complex": (lambda p: {"X": p.X + 0j}, "X has type complex128, not real numbers"),
    "strings": (lambda p: {"X": p.X.astype(str)}, "X has type <U"),
    "dates": (lambda p: {"X": p.X.astype("datetime64[s]")}, "X has type datetime64[s]"),
    "records": (lambda _: {"X": np.zeros((200, 3), dtype=[("a", float)])}, "not real numbers"),
    "no records": (lambda p: {"X": p.X[:0], "y": p.y[:0], "ids": None}, "holds no records"),
    "no features": (lambda p: {"X": p.X[:, :0]}, "holds no features"),
    "wide integers": (lambda _: {"X": np.full((200, 3), 2**63 + 1, dtype=np.uint64)}, "too large for float64"),
    "long double": (lambda p: {"X": p.X.astype(np.longdouble)}, "wider than float64"),
    "y strings": (lambda p: {"y": p.y.astype(str)}, "y has type <U"),
    "y short": (lambda p: {"y": p.y[:-1]}, "y has shape (199,), X has 200 rows"),
    "y column": (lambda p: {"y": p.y[:, None]}, "y has shape (200, 1), X has 200 rows"),
    "y single": (lambda _: {"y": np.float64(1)}, "y is a single value"),
    "ids short": (lambda p: {"ids": p.arrays["ids"][1:]}, "ids has shape (199,)"),
    "ids float": (lambda _: {"ids": np.arange(200.0)}, "ids have type float64"),
    "ids bytes": (lambda p: {"ids": p.arrays["ids"].astype("S")}, "not whole numbers or strings"),
    "ids bool": (lambda _: {"ids": np.arange(200) > 5}, "ids have type bool"),
    "ids twice": (lambda p: {"ids": np.array(["person-0000", *p.arrays["ids"][:-1]])}, "1 of 200 repeat an earlier"),
    "weights short": (lambda _: {"sample_weight": np.ones(3)}, "sample_weight has shape (3,)"),
    "weights negative": (lambda _: {"sample_weight": -np.ones(200)}, "sample weights must be at least 0"),
    "weights zero": (lambda _: {"sample_weight": np.zeros(200)}, "not all 0"),
    "weights text": (lambda _: {"sample_weight": np.array(["a"] * 200)}, "sample_weight has type <U1"),
}


@pytest.mark.parametrize(("change", "trouble"), _SHAPES.values(), ids=_SHAPES)
def test_arrays_that_make_no_sense_are_refused(project, refuses, change, trouble):
    project.data(**change(project))
    refuses(project, "train.npz: ", trouble)


@pytest.mark.parametrize("value", HALVES, ids=str)
@pytest.mark.parametrize("row", [3, 5], ids=["forgotten", "retained"])
@pytest.mark.parametrize("name", ["X", "y", "sample_weight"])
def test_nan_and_infinity_anywhere_are_refused(project, projects, refuses, name, row, value):
    array = {"X": project.X, "y": project.y, "sample_weight": np.ones(200)}[name]
    project.data(**{name: projects.poke(array, (row, 1) if name == "X" else row, value)})
    refuses(project, "train.npz: ", f"{name} has 1 NaN or infinite entries (first in row {row})")


@pytest.mark.parametrize("value", HALVES, ids=str)
def test_nan_in_the_test_records_is_refused(project, projects, refuses, value):
    project.write("test.npz", projects.npz(X=projects.poke(project.X, (7, 0), value), y=project.y))
    project.put("data.test", "test.npz")
    refuses(project, "test.npz: X has 1 NaN or infinite entries")


@pytest.mark.parametrize(
    ("loss", "shift", "trouble"),
    [
        ("logistic", 1, "labels must be {0, 1} or {-1, +1}"),
        ("logistic", 0.5, "labels must be {0, 1} or {-1, +1}"),
        ("poisson", -1e3, "targets must be at least 0"),
        ("softmax", 1, "labels must be whole numbers 0..2"),
        ("softmax", -1, "labels must be whole numbers 0..2"),
        ("softmax", 0.5, "labels must be whole numbers 0..2"),
    ],
)
@pytest.mark.parametrize("where", ["train", "forgotten rows", "test"])
def test_targets_outside_the_domain_of_the_loss_are_refused(build, projects, refuses, loss, shift, trouble, where):
    project = build(loss)
    if where == "test":
        project.write("test.npz", projects.npz(X=project.X, y=project.y + shift))
        project.put("data.test", "test.npz")
    else:
        rows = list(projects.FORGOTTEN) if where == "forgotten rows" else slice(None)
        # the largest class is moved, so that one step up always leaves the domain
        moved = project.y.astype(float)
        moved[rows] = (project.y.max() if shift > 0 else 0) + shift
        project.data(y=moved)
    refuses(project, "test.npz" if where == "test" else "train.npz", trouble)


def test_test_records_with_other_features_are_refused(project, projects, refuses):
    project.write("test.npz", projects.npz(X=project.X[:, :2], y=project.y))
    project.put("data.test", "test.npz")
    refuses(project, "test.npz: has 2 features, the training data 3")


def test_missing_arrays_are_named_with_what_is_there(project, projects, refuses):
    project.write("train.npz", projects.npz(features=project.X, outcome=project.y))
    refuses(project, "train.npz: has no array 'X' (it has: features, outcome)", "numpy.savez")


def test_a_bare_array_is_refused(project, projects, refuses):
    project.write("train.npz", projects.npy(project.X))
    refuses(project, "train.npz: has no array 'X'")


@pytest.mark.parametrize("share", [0, 0.0001, 0.0003, 0.01, 0.2, 0.5, 0.9, 0.99, 0.9999])
def test_a_truncated_file_is_refused(project, refuses, share):
    content = (project.folder / "train.npz").read_bytes()
    project.write("train.npz", content[: int(share * len(content))])
    refuses(project, "train.npz: ", "numpy.savez")


def test_a_flipped_bit_is_noticed(project, refuses):
    content = bytearray((project.folder / "train.npz").read_bytes())
    content[1_000] ^= 1
    project.write("train.npz", bytes(content))
    refuses(project, "train.npz: is truncated or damaged")


class Bomb:
    """Unpickling this would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


@pytest.mark.parametrize("wrap", [pickle.dumps, None], ids=["pickle", "object array"])
def test_a_pickle_is_refused_and_never_opened(project, projects, refuses, tmp_path, wrap):
    bomb = Bomb(tmp_path / "exploded")
    content = wrap(bomb) if wrap else projects.npz(X=np.array([[bomb]], dtype=object), y=project.y)
    project.write("train.npz", content)
    refuses(project, "train.npz: is a pickle; loading one would run code", "numpy.savez")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("suffix", [".pkl", ".pt", ".joblib", ".xlsx", ""])
def test_data_of_an_unknown_kind_is_refused(project, refuses, suffix):
    project.write("records" + suffix, b"x")
    project.put("data.path", "records" + suffix)
    refuses(project, "cannot read data from a", "use .npz (arrays X, y, ids), .csv or .parquet")


def test_a_missing_file_is_named(project, refuses):
    project.remove("train.npz")
    refuses(project, "train.npz: no such file")


def test_a_folder_in_place_of_a_file_is_named(project, refuses):
    project.remove("train.npz")
    (project.folder / "train.npz").mkdir()
    refuses(project, "train.npz: is a folder, not a file")


@pytest.mark.parametrize("name", ["train.npz", "forget.txt", "unlearned.npz", "original.npz"])
def test_a_file_without_permission_is_named(project, refuses, monkeypatch, name):
    opened = os.open

    def closed(path, *args, **kwargs):
        if Path(path).name == name:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *args, **kwargs)

    before = project.snapshot()
    monkeypatch.setattr(os, "open", closed)
    monkeypatch.setattr(type(project), "snapshot", lambda _: before)
    refuses(project, f"{name}: cannot be read (permission denied); check its permissions")


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ">f8", np.int64, bool])
def test_other_types_of_numbers_are_accepted(project, certify, dtype):
    project.data(X=project.X.astype(dtype), y=project.y.astype(int))
    assert certify("check", project.path, "--quiet").code in {0, 1}


@pytest.mark.parametrize("scale", [1e200, 5e307, 1e-320])
@pytest.mark.parametrize("name", ["X", "y"])
@pytest.mark.parametrize("loss", ["squared", "poisson"])
def test_numbers_at_the_edge_of_float64_never_pass_and_never_crash(build, certify, loss, name, scale):
    project = build(loss)
    with np.errstate(over="ignore"):
        project.data(**{name: np.clip(project.arrays[name] * scale, -1e308, 1e308)})
    done = certify("check", project.path)
    assert done.code == 1
    assert done.stderr == ""
