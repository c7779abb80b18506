"""Array files are read without running anything in them; damage of any kind is one line, never a traceback."""

import hashlib
import io
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from certify.core.arrayfiles import read_arrays
from certify.core.errors import InputError

X, IDS = np.arange(12.0).reshape(3, 4), np.array(["a", "b", "c"])


def archive(*, compressed: bool = False) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, X=X, ids=IDS)
    return buffer.getvalue()


def plain() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, X)
    return buffer.getvalue()


FORMS = {"npz": archive(), "compressed": archive(compressed=True), "npy": plain()}


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_arrays(path)
    assert caught.value.where == str(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("form", sorted(FORMS))
def test_arrays_come_with_the_digest_of_their_bytes(tmp_path: Path, form: str) -> None:
    path = tmp_path / "data"
    path.write_bytes(FORMS[form])
    arrays, record = read_arrays(path)
    np.testing.assert_array_equal(arrays["" if form == "npy" else "X"], X)
    if form != "npy":
        assert arrays["ids"].tolist() == IDS.tolist()
    assert (record.sha256, record.size) == (hashlib.sha256(FORMS[form]).hexdigest(), len(FORMS[form]))
    assert record.path == str(path)


@pytest.mark.parametrize("tenth", range(10))
@pytest.mark.parametrize("form", sorted(FORMS))
def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path: Path, form: str, tenth: int) -> None:
    content = FORMS[form]
    (tmp_path / "x").write_bytes(content[: len(content) * tenth // 10])
    assert any(words in refused(tmp_path / "x") for words in ("truncated or damaged", "neither an .npz"))


@pytest.mark.parametrize("form", sorted(FORMS))
def test_flipped_bytes_are_read_or_refused_but_never_a_traceback(tmp_path: Path, form: str) -> None:
    generator, path = np.random.default_rng(1), tmp_path / "x"
    refusals = 0
    for _ in range(400):
        content = bytearray(FORMS[form])
        for place in generator.integers(0, len(content), generator.integers(1, 4)):
            content[place] = generator.integers(256)
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy's word about headers that look like Python 2
            try:
                arrays, _ = read_arrays(path)
            except InputError:
                refusals += 1
            else:
                assert all(isinstance(array, np.ndarray) for array in arrays.values())
    assert refusals > 50


@pytest.mark.parametrize("content", [b"", b"x", b"\x00" * 500, b"a,b\n1,2\n", b"PK\x03\x04", b"\x93NUMPY", b"%PDF-1.7"])
def test_garbage_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    refused(tmp_path / "x.npz")


# A pickle that would write a file if anything opened it: protocol 4, builtins.open called with a path.
def trap(victim: Path) -> bytes:
    name = str(victim).encode()
    return b"\x80\x04cbuiltins\nopen\n(X" + len(name).to_bytes(4, "little") + name + b"X\x01\x00\x00\x00wtR."


def test_the_trap_works(tmp_path: Path) -> None:
    # the control: opened as a pickle, it does run
    import importlib

    victim = tmp_path / "ran"
    importlib.import_module("pickle").loads(trap(victim)).close()
    assert victim.exists()


def test_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    victim, path = tmp_path / "ran", tmp_path / "model.pkl"
    path.write_bytes(trap(victim))
    assert "is a pickle" in refused(path)
    assert not victim.exists()


def test_a_torch_archive_is_refused_and_not_run(tmp_path: Path) -> None:
    victim, path = tmp_path / "ran", tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("model/data.pkl", trap(victim))
        file.writestr("model/data/0", b"\x00" * 8)
    assert "is a pickle" in refused(path)
    assert not victim.exists()


@pytest.mark.parametrize("form", ["npz", "npy"])
def test_an_object_array_is_refused_as_the_pickle_it_is(tmp_path: Path, form: str) -> None:
    path, array = tmp_path / f"x.{form}", np.array([{}, None], dtype=object)
    if form == "npz":
        np.savez(path, X=X, bad=array)
    else:
        np.save(path, array)
    assert "is a pickle" in refused(path)


def test_an_archive_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    # NumPy would hand over the bytes of such a member as if they were an array
    path = tmp_path / "x.npz"
    path.write_bytes(archive())
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("readme.txt", "hello")
    refused(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "absent.npz")
    assert "is a folder" in refused(tmp_path)
