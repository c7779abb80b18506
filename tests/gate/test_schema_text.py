"""Tables and triggers are compared text for text: a guard that was neutralised is noticed before anybody makes use of it."""

import hashlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from by_path import load

from certify.cli.app import _run
from certify.core.errors import TamperedError
from certify.gate import entries
from certify.gate.ledger import Ledger
from certify.gate.session import Session, tables
from certify.gate.session.store import Store

project, made = load("gate/release_project"), load("gate/session_records")


def rewrite(path: Path, kind: str, name: str, change: Callable[[str], str]) -> None:
    """What somebody with write access does to the stored text of a table or trigger."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA writable_schema = ON")
    (text,) = connection.execute("SELECT sql FROM sqlite_master WHERE type = ? AND name = ?", (kind, name)).fetchone()
    assert change(text) != text
    connection.execute("UPDATE sqlite_master SET sql = ? WHERE type = ? AND name = ?", (change(text), kind, name))
    connection.commit()
    connection.close()


CHANGES = {
    "letter case": lambda text: text.replace("BEFORE", "before").replace("NOT NULL", "not null"),
    "one letter of the message": lambda text: text.replace("ledger only", "Ledger only").replace("TEXT", "text", 1),
    "white space": lambda text: text.replace(" BEFORE ", "  BEFORE ").replace("TEXT NOT", "TEXT  NOT", 1),
    "never fires": lambda text: text.replace(" BEGIN", " WHEN 0 BEGIN").replace(
        "sequence INTEGER", "sequence INTEGER "
    ),
}


@pytest.fixture
def ledger(tmp_path: Path) -> tuple[Path, Path]:
    path, key = tmp_path / "l.sqlite", tmp_path / "l.key"
    with Ledger.open(path, key, create=True, write=True) as opened:
        opened.append("release", {"number": 1, "mu": 0.1, "forgotten": 1, "files": {}}, [("a", 0.1)])
    return path, key


@pytest.mark.parametrize("item", [("trigger", "entries_keep"), ("trigger", "charges_stay"), ("table", "entries")])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_text_in_the_ledger_is_named(
    ledger: tuple[Path, Path], item: tuple[str, str], change: Callable[[str], str]
) -> None:
    rewrite(ledger[0], *item, change)
    with pytest.raises(TamperedError, match=f"its {item[0]} {item[1]} was changed"), Ledger.open(*ledger):
        pass


@pytest.mark.parametrize("item", [("trigger", "log_keep"), ("trigger", "tombstones_stay"), ("table", "log")])
def test_a_changed_text_in_a_session_is_named(tmp_path: Path, item: tuple[str, str]) -> None:
    data = made.draw("logistic")
    with made.begin(tmp_path, data, "logistic", tolerance=1e-3):
        pass
    (path,) = tmp_path.glob("*.sqlite")
    (key,) = tmp_path.glob("*.key")
    with Session.open(path, key, data):
        pass
    rewrite(path, *item, CHANGES["letter case"])
    with pytest.raises(TamperedError, match=f"its {item[0]} {item[1]} was changed"):
        Store.open(path, key)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DROP TRIGGER entries_stay", "its trigger entries_stay is missing"),
        ("CREATE TRIGGER mine AFTER INSERT ON entries BEGIN SELECT 1; END", "one trigger too many"),
        ("CREATE VIEW people AS SELECT * FROM charges", "one view too many"),
        ("CREATE INDEX quick ON charges (record)", "one index too many"),
    ],
)
def test_what_is_missing_or_not_ours_is_named(ledger: tuple[Path, Path], statement: str, words: str) -> None:
    connection = sqlite3.connect(ledger[0])
    connection.execute(statement)
    connection.commit()
    connection.close()
    with pytest.raises(TamperedError, match=words), Ledger.open(*ledger):
        pass


def test_the_text_survives_what_sqlite_does_by_itself(ledger: tuple[Path, Path]) -> None:
    connection = sqlite3.connect(ledger[0])
    connection.execute("VACUUM")
    connection.execute("REINDEX")
    connection.close()
    with Ledger.open(*ledger) as opened:
        assert len(opened.entries()) == 2


def test_the_text_of_the_first_version_is_that_of_this_one() -> None:
    """A ledger or a session of an earlier version has to open: whoever changes a statement keeps the old text beside it."""
    digests = [hashlib.sha256(script.encode()).hexdigest()[:16] for script in (entries.SCHEMA, tables.SCHEMA)]
    assert digests == ["6765e1e15154406c", "0715d236e1993a6f"]


def test_the_command_line_says_it_in_one_line_and_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = project.make(tmp_path / "p")
    assert _run(["release", str(spec), "--quiet"]) == 0
    rewrite(spec.parent / "certify-ledger.sqlite", "trigger", "entries_keep", CHANGES["letter case"])
    capsys.readouterr()
    for words in (["ledger", "verify"], ["release"], ["check"]):
        assert _run([*words, str(spec)]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert "entries_keep was changed" in err
    assert not list(spec.parent.glob("*released-0002*"))
