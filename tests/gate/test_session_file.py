"""The file of a session: whole after a kill at any instant, one process at a time, and every edit is noticed."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from by_path import load

from certify.core.errors import InputError, TamperedError
from certify.gate.session import tables

HERE = Path(__file__).parent


made = load("gate/session_records")
DATA = made.draw("logistic")

KILLER = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import session_records as made
from certify.gate.session import store, tables
folder, point, data = Path(sys.argv[2]), sys.argv[3], made.draw("logistic")

def die(*_args, **_kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

def after(module, name, times=1):
    real, left = getattr(module, name), [times]
    def then_die(*args, **kwargs):
        result = real(*args, **kwargs)
        left[0] -= 1
        if not left[0]:
            die()
        return result
    setattr(module, name, then_die)

if point.startswith("start:"):
    if point == "start: tables written": after(tables, "write_state")
    if point == "start: key written": after(store.SessionKey, "save")
    if point == "start: named": after(store.SessionKey, "save", 2)
    made.begin(folder, data).close()
session = made.again(folder, data)
if point == "before writing": tables.write_state = die
if point == "tables written": after(tables, "write_state")
if point == "factor written": after(tables, "write_factor")
if point == "log written": after(tables, "append")
if point == "pending written": after(tables.SessionKey, "save")
if point == "committed":
    save, calls = tables.SessionKey.save, []
    def second(self, path):
        calls.append(1)
        die() if len(calls) == 2 else save(self, path)
    tables.SessionKey.save = second
if point == "done": after(store.Store, "write")
session.refresh() if point == "factor written" else session.delete(["p-3", "p-4"])
if point == "closing": after(tables, "write_factor")
session.close()
"""


def kill(folder: Path, point: str, script: str = KILLER) -> None:
    """Run the script in a child of this process that dies at the point: imports are paid for once."""
    child = os.fork()
    if child == 0:
        try:
            sys.argv = ["-c", str(HERE), str(folder), point]
            exec(script, {})
        finally:
            os._exit(3)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), (point, status)
    assert os.WTERMSIG(status) == signal.SIGKILL


def prepare(folder: Path) -> np.ndarray:
    with made.begin(folder, DATA) as session:
        session.delete("p-1")
        w: np.ndarray = session.parameters
        return w


@pytest.mark.parametrize(
    ("point", "happened"),
    [
        ("before writing", False),
        ("tables written", False),
        ("factor written", False),
        ("log written", False),
        ("pending written", False),
        ("committed", True),
        ("done", True),
        ("closing", True),
    ],
)
def test_a_kill_at_any_instant_leaves_before_or_after(tmp_path: Path, point: str, *, happened: bool) -> None:
    w = prepare(tmp_path)
    kill(tmp_path, point)
    with made.again(tmp_path, DATA) as session:  # verified and certified again
        assert np.array_equal(session.parameters, w) != happened
        assert len(session.log) == (3 if happened else 2)
        assert session.records.count == (57 if happened else 59)
        if happened:
            with pytest.raises(InputError, match="deleted before"):
                session.delete("p-3")
        session.delete("p-9")
    with made.again(tmp_path, DATA) as session:
        assert session.records.count == (56 if happened else 58)


def test_an_interruption_between_commit_and_key_leaves_no_session_that_forgets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path)
    with made.again(tmp_path, DATA) as session, monkeypatch.context() as patch:
        save, calls = tables.SessionKey.save, []

        def full(key: tables.SessionKey, path: Path) -> None:
            calls.append(path)
            if len(calls) == 2:
                raise InputError("cannot be written (no space left on device)", where="disk", mend="free room")
            save(key, path)

        patch.setattr(tables.SessionKey, "save", full)
        with pytest.raises(InputError, match="no space"):
            session.delete("p-3")
        with pytest.raises(InputError, match="open the session again"):
            session.add("n-1", [1.0, 2.0, 3.0], 1.0)
    with made.again(tmp_path, DATA) as session:
        assert session.records.count == 58
        with pytest.raises(InputError, match="cannot come back"):
            session.add("p-3", [1.0, 2.0, 3.0], 1.0)


def test_two_kills_in_a_row_are_no_tampering(tmp_path: Path) -> None:
    prepare(tmp_path)
    shutil.copy(tmp_path / "s.sqlite", tmp_path / "backup")
    kill(tmp_path, "committed")
    made.again(tmp_path, DATA).close()
    whole = (tmp_path / "s.sqlite").read_bytes()
    shutil.copy(tmp_path / "backup", tmp_path / "s.sqlite")  # the key was told on opening: this is no longer the newest
    with pytest.raises(TamperedError, match="older copy"):
        made.again(tmp_path, DATA)
    (tmp_path / "s.sqlite").write_bytes(whole)
    kill(tmp_path, "committed", KILLER.replace('["p-3", "p-4"]', '"p-7"'))
    kill_again = KILLER.replace('["p-3", "p-4"]', '["p-6"]')
    for point in ("pending written", "tables written"):
        kill(tmp_path, point, kill_again)
    with made.again(tmp_path, DATA) as session:
        assert session.records.count == 56
        assert session.delete("p-6").retained == 55


@pytest.mark.parametrize("point", ["start: tables written", "start: key written", "start: named"])
def test_a_kill_while_a_session_begins_leaves_none_or_one(tmp_path: Path, point: str) -> None:
    kill(tmp_path, point)
    if point == "start: named":
        with made.again(tmp_path, DATA) as session:
            assert session.records.count == 60
        return
    with pytest.raises(InputError, match="no session yet"):
        made.again(tmp_path, DATA)
    with made.begin(tmp_path, DATA) as session:
        assert session.delete("p-1").retained == 59


STREAM = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import session_records as made
with made.again(Path(sys.argv[2]), made.draw("logistic", records=500)) as session:
    print("ready", flush=True)
    for row in range(400):
        session.delete(f"p-{row + 50}") if row % 2 else session.add(f"n-{row}", session.records.file.dataset.X[row] + 1, row % 4 == 0)
"""


def test_kills_at_random_instants_lose_at_most_the_request_under_way(tmp_path: Path) -> None:
    data, rng = made.draw("logistic", records=500), random.Random(3)
    made.begin(tmp_path, data).close()
    done = 0
    for _ in range(2):
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        made.begin(tmp_path, data).close()
        command = [sys.executable, "-c", STREAM, str(HERE), str(tmp_path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.uniform(0.02, 0.5))
        process.kill()
        process.wait()
        process.stdout.close()
        with made.again(tmp_path, data) as session:
            number = len(session.log) - 1
            assert session.records.count == 500 + (number + 1) // 2 - number // 2
            assert session.bound.distance <= session.tolerance
            truth, slack = made.retrained(session.objective, session.records.retained(), session.parameters)
            assert np.linalg.norm(session.parameters - truth) <= session.bound.distance + slack
            done += number
    assert done > 0  # the kills did not all come before the first request


def test_another_process_waits_or_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with made.begin(tmp_path, DATA) as session:
        session.delete("p-1")
        monkeypatch.setattr("certify.gate.session.tables.WAIT_SECONDS", 0.2)
        with pytest.raises(InputError, match="another process holds the session"):
            made.again(tmp_path, DATA)
        session.delete("p-2")
    monkeypatch.undo()
    one = KILLER.replace('session.delete(["p-3", "p-4"])', "session.delete(sys.argv[4])")
    running = [
        subprocess.Popen([sys.executable, "-c", one, str(HERE), str(tmp_path), "none", name]) for name in ("p-5", "p-6")
    ]
    assert [process.wait(120) for process in running] == [0, 0]
    with made.again(tmp_path, DATA) as session:
        assert session.records.count == 56


def edit(folder: Path, *statements: str) -> None:
    """What somebody with the file does: drop the triggers first."""
    connection = sqlite3.connect(folder / "s.sqlite")
    for trigger in ("log_keep", "log_stay", "tombstones_keep", "tombstones_stay"):
        connection.execute(f"DROP TRIGGER {trigger}")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE log SET body = replace(body, 'delete', 'refresh') WHERE sequence = 2", "entry 2"),
        ("UPDATE log SET time = '2020-01-01T00:00:00Z' WHERE sequence = 1", "entry 1"),
        ("DELETE FROM log WHERE sequence = 2", "entry 2"),
        ("DELETE FROM log WHERE sequence = 3", "older copy"),
        ("DELETE FROM log", "older copy"),
        ("DELETE FROM tombstones", "tables"),
        ("DELETE FROM later", "tables"),
        ("UPDATE later SET content = zeroblob(40)", "tables"),
        ("UPDATE later SET content = zeroblob(3)", "tables"),
        ("DELETE FROM superseded", "tables"),
        ("UPDATE model SET parameters = zeroblob(32)", "tables"),
        ("UPDATE model SET parameters = zeroblob(7)", "tables"),
        ("DELETE FROM model", "tables"),
    ],
)
def test_every_edit_is_noticed(tmp_path: Path, statement: str, words: str) -> None:
    prepare(tmp_path)
    with made.again(tmp_path, DATA) as session:
        session.correct("p-2", [1.0, 2.0, 3.0], 1.0)
    edit(tmp_path, statement)
    with pytest.raises(TamperedError, match=words) as caught:
        made.again(tmp_path, DATA)
    assert caught.value.exit_code == 1


def test_tombstones_and_log_are_kept_by_the_database_itself(tmp_path: Path) -> None:
    prepare(tmp_path)
    connection = sqlite3.connect(tmp_path / "s.sqlite")
    for statement in (
        "DELETE FROM tombstones",
        "UPDATE tombstones SET mark = ''",
        "DELETE FROM log",
        "UPDATE log SET body = ''",
    ):
        with pytest.raises(sqlite3.IntegrityError, match=r"only grows|a tombstone stays"):
            connection.execute(statement)
    connection.close()


def test_an_older_copy_in_which_the_deleted_still_live_is_noticed(tmp_path: Path) -> None:
    prepare(tmp_path)
    shutil.copy(tmp_path / "s.sqlite", tmp_path / "backup")
    with made.again(tmp_path, DATA) as session:
        session.delete("p-2")
    shutil.copy(tmp_path / "backup", tmp_path / "s.sqlite")
    with pytest.raises(TamperedError, match="older copy"):
        made.again(tmp_path, DATA)


def test_a_truncated_or_garbled_file_and_a_missing_one_are_named(tmp_path: Path) -> None:
    prepare(tmp_path)
    state, key = tmp_path / "s.sqlite", tmp_path / "s.key"
    whole, secret = state.read_bytes(), key.read_bytes()
    for size in (0, 10, 4096, len(whole) // 2):
        state.write_bytes(whole[:size])
        with pytest.raises(TamperedError) as caught:
            made.again(tmp_path, DATA)
        assert "\n" not in str(caught.value)
    state.write_bytes(b"not a database" * 1000)
    with pytest.raises(TamperedError, match="not a session"):
        made.again(tmp_path, DATA)
    state.unlink()
    with pytest.raises(TamperedError, match="its key is still there"):
        made.again(tmp_path, DATA)
    state.write_bytes(whole)
    key.unlink()
    with pytest.raises(InputError, match="key is missing"):
        made.again(tmp_path, DATA)
    key.write_bytes(secret.replace(b"session_key", b"ledger_key"))
    with pytest.raises(InputError, match="not a session key"):
        made.again(tmp_path, DATA)
    key.write_bytes(secret)
    made.again(tmp_path, DATA).close()


def test_a_stored_bound_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights exchanged together with their digests, by somebody who has the key: the certificate is measured again."""
    prepare(tmp_path)
    monkeypatch.setattr("certify.gate.session.store.Store.verify", lambda _self: None)
    edit(tmp_path, "UPDATE model SET parameters = zeroblob(32)")
    with pytest.raises(TamperedError, match="certified to"):
        made.again(tmp_path, DATA)


def flips(content: bytes, places: "list[tuple[bytes, int]]") -> "list[bytes]":
    """The content with the highest bit of one byte changed, near each of some words."""
    changed = []
    for word, offset in places:
        damaged = bytearray(content)
        damaged[content.index(word) + offset] ^= 0x80
        changed.append(bytes(damaged))
    return changed


def test_a_byte_that_is_no_text_is_tampering_and_shows_nothing(tmp_path: Path) -> None:
    prepare(tmp_path)
    state = tmp_path / "s.sqlite"
    for damaged in flips(state.read_bytes(), [(b"TRIGGER log_keep", 40), (b'"distance"', 4), (b"CREATE TABLE", 20)]):
        state.write_bytes(damaged)
        with pytest.raises(TamperedError) as caught:
            made.again(tmp_path, DATA)
        assert caught.value.exit_code == 1
        assert "distance" not in str(caught.value)


def test_the_state_is_for_its_owner_alone(tmp_path: Path) -> None:
    prepare(tmp_path)
    assert (tmp_path / "s.sqlite").stat().st_mode & 0o077 == 0
