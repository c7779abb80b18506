"""Files are written whole or not at all, and every failure is one line."""

import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from certify.core import files
from certify.core.errors import CertifyError, InputError
from certify.core.files import (
    check_writable,
    make_folder,
    open_input,
    read_text,
    remove_quietly,
    write_file,
    write_files,
)

NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


def one_line(error: pytest.ExceptionInfo[CertifyError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert error.value.mend
    return text


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for content in (b"first", b"", b"\x00\xff" * 10_000):
        write_file(path, content)
        assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_several_files_are_written(tmp_path: Path) -> None:
    write_files({tmp_path / name: name.encode() for name in "abc"})
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: name for name in "abc"}


def test_new_files_have_the_permissions_of_the_umask(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_file(tmp_path / "ours", b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_failing_second_stage_leaves_everything_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"old")
    honest, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 2:
            raise NO_SPACE
        honest(descriptor)

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(InputError) as caught:
        write_files({tmp_path / "a": b"new", tmp_path / "b": b"new", tmp_path / "c": b"new"})
    assert "no space left" in one_line(caught)
    assert caught.value.where.endswith("b")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_an_interruption_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "a", b"x")
    assert not list(tmp_path.iterdir())


def test_what_a_killed_writer_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    writer = (
        "import sys, time\nfrom certify.core import files\nfrom pathlib import Path\n"
        "files.os.fsync = lambda _: (print('staged', flush=True), time.sleep(60))\n"
        "files.write_file(Path(sys.argv[1]), b'x' * 100)\n"
    )
    path = tmp_path / "weights.safetensors"
    with subprocess.Popen([sys.executable, "-c", writer, path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "staged\n"
        others = {tmp_path / ".weights.safetensors.old", tmp_path / ".weights.safetensors.longer-than-that"}
        for other in others:
            other.write_bytes(b"the user's own")
        (temporary,) = set(tmp_path.iterdir()) - others
        write_file(path, b"new")
        assert temporary.exists()
        process.kill()
        process.wait()
    write_file(path, b"newer")
    assert set(tmp_path.iterdir()) == {path, *others}
    assert path.read_bytes() == b"newer"


def test_a_bad_path_among_good_ones_leaves_none(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        write_files({tmp_path / "a": b"x", tmp_path / "absent" / "b": b"x"})
    assert "folder does not exist" in one_line(caught)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("absent/x", "folder does not exist"),
        ("file/x", "folder does not exist"),
        ("folder", "is a folder"),
        ("a" * 300, "cannot be written"),
        ("nul\0byte", "not a valid path"),
    ],
)
def test_a_path_that_cannot_be_written_is_refused_in_one_line(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for attempt in (lambda: write_file(tmp_path / name, b"x"), lambda: check_writable(tmp_path / name)):
        with pytest.raises(InputError) as caught:
            attempt()
        assert words in one_line(caught)


def test_a_long_name_that_the_disk_takes_is_taken(tmp_path: Path) -> None:
    write_file(tmp_path / ("a" * 250), b"x")  # its temporary name must not be longer than it
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_without_permission_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # root may write anywhere: the answer of the system is what is tested
    monkeypatch.setattr(files.os, "access", lambda *_: False)
    with pytest.raises(InputError) as caught:
        write_file(tmp_path / "x", b"x")
    assert "not writable" in one_line(caught)


def test_a_folder_that_may_not_be_searched_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(_: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "lstat", denied)
    with pytest.raises(InputError) as caught:
        check_writable(tmp_path / "x")
    assert "permission denied" in one_line(caught)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("absent", "no such file"),
        ("folder", "is a folder"),
        ("a" * 300, "cannot be read"),
        ("a\0b", "not a valid path"),
    ],
)
def test_a_path_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError) as caught:
        open_input(tmp_path / name)
    assert words in one_line(caught)


def test_a_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    assert make_folder(tmp_path / "a" / "b").is_dir()
    assert make_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_bytes(b"")
    for name in ("file", "file/x", "a" * 300):
        with pytest.raises(InputError) as caught:
            make_folder(tmp_path / name)
        assert "cannot be made a folder" in one_line(caught)


def test_text_comes_without_its_byte_order_mark_and_with_its_digest(tmp_path: Path) -> None:
    raw = b"\xef\xbb\xbfcaf\xc3\xa9"
    (tmp_path / "a").write_bytes(raw)
    text, record = read_text(tmp_path / "a")
    assert text == "café"
    assert (record.sha256, record.size) == (hashlib.sha256(raw).hexdigest(), len(raw))


def test_what_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("café".encode("latin-1"))
    with pytest.raises(InputError) as caught:
        read_text(tmp_path / "a")
    assert "not UTF-8" in one_line(caught)


def test_removing_is_quiet(tmp_path: Path) -> None:
    remove_quietly(tmp_path / "absent")
    remove_quietly(tmp_path)
    assert tmp_path.is_dir()


def test_an_error_is_one_line_whatever_it_was_made_of() -> None:
    error = InputError("two\nlines\tand  blanks", where="a\nb", mend="mend\nit")
    assert str(error) == "a b: two lines and blanks; mend it"
    assert str(InputError("alone")) == "alone"


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/null"])
def test_a_device_is_not_read(name):
    with pytest.raises(InputError, match="device or a pipe"):
        read_text(Path(name))


def test_a_pipe_without_a_writer_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="device or a pipe"):
        read_text(tmp_path / "pipe")
