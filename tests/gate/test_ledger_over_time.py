"""The ledger over months: people forgotten at different times, adversaries with the file, disks that fill up.

What the ledger says of a tampered file on the command line, and a disk that is really full; `test_release_and_ledger.py` has the rest.
"""

import resource
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from by_path import load

from certify.cli.app import _run
from certify.core.errors import CertifyError
from certify.core.verdict import Verdict
from certify.gate.books import exported, verify_books
from certify.gate.ledger import Ledger
from certify.gate.measure import charged_mu
from certify.gate.release import release
from certify.gate.spec import PolicySpec

POLICY = PolicySpec(epsilon=1.0, delta=1e-5, noise_std=0.05)


project = load("gate/release_project")


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    made: Path = project.make(tmp_path / "p")
    return made


def forget(spec: Path, people: tuple[int, ...]) -> None:
    """Ask for these people from now on, and retrain without them."""
    arrays = np.load(spec.parent / "train.npz")
    kept = ~np.isin(np.arange(300), people)
    np.savez(spec.parent / "unlearned.npz", coef=project.fitted(arrays["X"][kept], arrays["y"][kept]))
    (spec.parent / "forget.txt").write_text("\n".join(f"person-{number}" for number in people))


def totals(spec: Path, people: tuple[int, ...]) -> list[float]:
    """Total mu of each of these people, as the ledger has it."""
    with Ledger.open(spec.parent / "certify-ledger.sqlite", spec.parent / "certify-ledger.key") as ledger:
        found = ledger.totals()
        return [found.get(ledger.pseudonym(f"person-{number}"), 0.0) for number in people]


# ------------------------------------------------------------------------------------- people at different times


def test_each_record_pays_from_the_release_on_that_first_forgets_it(spec: Path) -> None:
    one = charged_mu(POLICY)
    for people in ((3,), (3, 7), (3, 7, 11)):
        forget(spec, people)
        assert release(spec).result.verdict is Verdict.PASS
    assert totals(spec, (3, 7, 11, 20)) == pytest.approx([one * 3**0.5, one * 2**0.5, one, 0.0])


def test_a_record_taken_out_of_the_data_goes_on_paying(spec: Path) -> None:
    forget(spec, (3,))
    release(spec)
    # the next data no longer hold the record; another one asks
    with np.load(spec.parent / "train.npz") as file:
        arrays = dict(file)
    kept = np.arange(300) != 3
    np.savez(spec.parent / "train.npz", **{name: array[kept] for name, array in arrays.items()})
    rest = kept & (np.arange(300) != 9)
    np.savez(spec.parent / "unlearned.npz", coef=project.fitted(arrays["X"][rest], arrays["y"][rest]))
    (spec.parent / "forget.txt").write_text("person-9")
    assert release(spec).result.verdict is Verdict.PASS
    one = charged_mu(POLICY)
    assert totals(spec, (3, 9)) == pytest.approx([one * 2**0.5, one])


def test_the_cap_is_that_of_whoever_was_forgotten_first(tmp_path: Path) -> None:
    spec = project.make(tmp_path / "p", more="max_total_mu = 0.4")
    for people, verdict in (((3,), Verdict.PASS), ((3, 7), Verdict.PASS), ((3, 7, 11), Verdict.FAIL)):
        forget(spec, people)
        assert release(spec).result.verdict is verdict
    assert len(exported(spec)) == 3


# --------------------------------------------------------------------------------------- adversaries with the file


def edit(*statements: str) -> Callable[[Path, Path], None]:
    """What somebody with write access does: drop the triggers, then change what is written."""

    def act(path: Path, _: Path) -> None:
        connection = sqlite3.connect(path)
        for trigger in ("entries_keep", "entries_stay", "charges_keep", "charges_stay"):
            connection.execute(f"DROP TRIGGER {trigger}")
        connection.execute("PRAGMA foreign_keys = OFF")
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.close()

    return act


def swap(table: str) -> tuple[str, str, str]:
    return tuple(  # type: ignore[return-value]
        f"UPDATE {table} SET sequence = {new} WHERE sequence = {old}" for old, new in ((2, 99), (3, 2), (99, 3))
    )


TAMPERED = {
    "edited": edit("UPDATE entries SET body = replace(body, '0.26', '0.01') WHERE sequence = 2"),
    "charge lowered": edit("UPDATE charges SET mu = 0.0 WHERE sequence = 3"),
    "charged to somebody else": edit(
        "UPDATE charges SET record = replace(record, substr(record, 1, 4), 'ffff') WHERE sequence = 2"
    ),
    "release missing": edit("DELETE FROM charges WHERE sequence = 2", "DELETE FROM entries WHERE sequence = 2"),
    "last release missing": edit("DELETE FROM charges WHERE sequence = 3", "DELETE FROM entries WHERE sequence = 3"),
    "reordered": edit(*swap("entries"), *swap("charges")),
    "missing and renumbered": edit(
        "DELETE FROM charges WHERE sequence = 2",
        "DELETE FROM entries WHERE sequence = 2",
        "UPDATE entries SET sequence = 2 WHERE sequence = 3",
        "UPDATE charges SET sequence = 2 WHERE sequence = 3",
    ),
    "entry added": edit(
        "INSERT INTO entries SELECT 4, kind, time, body, digest, digest FROM entries WHERE sequence = 3",
    ),
    "truncated": lambda path, _: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "garbled": lambda path, _: path.write_bytes(path.read_bytes()[:-3000] + b"\x00" * 3000),
    "emptied": lambda path, _: path.write_bytes(b""),
    "gone": lambda path, _: path.unlink(),
    "copied back from a backup": lambda path, backup: shutil.copy(backup, path),
}


@pytest.mark.parametrize("tamper", TAMPERED.values(), ids=TAMPERED)
def test_a_tampered_ledger_is_named_in_one_line_and_exit_1(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], tamper: Callable[[Path, Path], None]
) -> None:
    release(spec)
    shutil.copy(spec.parent / "certify-ledger.sqlite", tmp_path / "backup")
    forget(spec, (3, 7, 11))
    release(spec)
    tamper(spec.parent / "certify-ledger.sqlite", tmp_path / "backup")
    before = {path.name for path in spec.parent.iterdir()}
    for words in (["ledger", "verify"], ["ledger", "list"], ["release"], ["check"]):
        capsys.readouterr()
        assert _run([*words, str(spec)]) == 1, words
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert "certify-ledger.sqlite" in err
        assert "person-" not in err
    # nothing was released, and nothing is left behind
    assert {path.name for path in spec.parent.iterdir()} <= before


def test_a_ledger_of_another_project_is_named_in_one_line_and_exit_1(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = project.make(tmp_path / "other")
    for each in (spec, other):
        release(each)
        release(each)
    shutil.copy(other.parent / "certify-ledger.sqlite", spec.parent / "certify-ledger.sqlite")
    capsys.readouterr()
    assert _run(["release", str(spec)]) == 1
    assert "another project" in capsys.readouterr().err


def test_control_the_untouched_ledger_serves_every_command(spec: Path) -> None:
    release(spec)
    forget(spec, (3, 7, 11))
    release(spec)
    for words in (["ledger", "verify"], ["ledger", "list"], ["check"], ["release"]):
        assert _run([*words, str(spec)]) == 0, words


# ------------------------------------------------------------------------------------------------ a full disk


@contextmanager
def room(size: int) -> Iterator[None]:
    """No file of this process may grow beyond so many bytes: to a program this is a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 100, 300, 600, 2_000, 6_000, 9_000, 20_000, 23_000, 28_000])
def test_a_disk_that_fills_up_leaves_the_books_whole(spec: Path, size: int) -> None:
    release(spec)
    written = None
    try:
        with room(size):
            written = release(spec)
    except CertifyError as error:
        assert "\n" not in str(error)  # noqa: PT017 - whether it fails depends on the room
    verify_books(spec)
    assert len(exported(spec)) == (2 if written is None else 3)
    # with room again everything goes on where it stood
    assert release(spec).result.verdict is Verdict.PASS
    verify_books(spec)
    assert not [path.name for path in spec.parent.iterdir() if path.name.endswith((".staged", ".new", "-journal"))]


def test_control_the_sizes_of_a_full_disk_reach_from_the_first_byte_to_enough(spec: Path) -> None:
    release(spec)
    outcomes = []
    for size in (0, 100_000):
        try:
            with room(size):
                release(spec)
            outcomes.append("released")
        except CertifyError:
            outcomes.append("full")
    assert outcomes == ["full", "released"]
