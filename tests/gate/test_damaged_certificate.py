"""A certificate that was damaged beyond reading is still known to the ledger that booked it."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from by_path import load

from certify.cli.app import _run
from certify.core.errors import InputError, TamperedError
from certify.core.verdict import Verdict
from certify.gate.books import verify_books
from certify.gate.release import release
from certify.gate.verify import verify

project = load("gate/release_project")


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    made: Path = project.make(tmp_path / "p")
    release(made)
    return made


@pytest.fixture
def certificate(spec: Path) -> Path:
    return spec.parent / "certificate-0001.json"


def edited(change: Callable[[dict], object]) -> Callable[[bytes], bytes]:
    def act(content: bytes) -> bytes:
        raw = json.loads(content)
        change(raw)
        return json.dumps(raw).encode()

    return act


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda content: content[: len(content) // 2],
    "emptied": lambda _: b"",
    "one bracket lost": lambda content: content.replace(b"{", b"", 1),
    "no text": lambda content: content.replace(b"pass", b"\xff\xfe\xfd", 1),
    "no object": lambda _: b"[]\n",
    "no version": edited(lambda raw: raw.pop("schema_version")),
    "newer version": edited(lambda raw: raw.update(schema_version="2.0")),
    "a field of the wrong type": edited(lambda raw: raw["request"].update(forgotten="two")),
    "no release any more": edited(lambda raw: raw.update(release=None)),
    "another spec": edited(lambda raw: raw["reproduction"]["spec"].update(path="nowhere.toml")),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("from_elsewhere", [False, True])
def test_a_damaged_certificate_is_named_as_changed_and_exit_1(
    certificate: Path,
    damage: Callable[[bytes], bytes],
    from_elsewhere: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path if from_elsewhere else certificate.parent)
    certificate.write_bytes(damage(certificate.read_bytes()))
    capsys.readouterr()
    assert _run(["verify", str(certificate) if from_elsewhere else certificate.name]) == 1
    out, err = capsys.readouterr()
    assert err == ""
    assert "CHANGED" in out
    assert "entry 2" in out
    assert "Traceback" not in out
    # the ledger's own walk says it too
    assert _run(["ledger", "verify", str(certificate.with_name("certify.toml"))]) == 1
    assert "certificate-0001.json" in capsys.readouterr().err


def test_control_the_untouched_certificate_passes_and_an_unknown_one_is_no_certificate(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(certificate.parent)
    assert verify(certificate).verdict is Verdict.PASS
    half = certificate.read_bytes()[:300]
    other = certificate.with_name("mine.json")
    other.write_bytes(half)
    elsewhere = tmp_path / "q" / "certificate-0001.json"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(half)
    for unknown in (other, elsewhere):
        with pytest.raises(InputError, match="is not JSON"):
            verify(unknown)
        assert _run(["verify", str(unknown)]) == 2


def test_a_ledger_without_its_key_cannot_be_asked(certificate: Path) -> None:
    certificate.write_bytes(b"{")
    (certificate.parent / "certify-ledger.key").unlink()
    assert _run(["verify", str(certificate)]) == 2


def test_a_ledger_that_was_changed_too_is_named(certificate: Path) -> None:
    certificate.write_bytes(b"{")
    os.truncate(certificate.parent / "certify-ledger.sqlite", 100)
    with pytest.raises(TamperedError, match=r"certify-ledger\.sqlite"):
        verify(certificate)


def test_the_ledger_of_another_name_in_a_folder_above_is_found(tmp_path: Path) -> None:
    home = project.make(tmp_path / "p").parent
    inner = home / "models"
    inner.mkdir()
    (home / "unlearned.npz").rename(inner / "unlearned.npz")
    text = (home / "certify.toml").read_text().replace('"unlearned.npz"', '"models/unlearned.npz"')
    (home / "certify.toml").write_text(text + '[ledger]\npath = "books.db"\nkey = "books.key"\n')
    release(home / "certify.toml")
    damaged = inner / "certificate-0001.json"
    damaged.write_bytes(damaged.read_bytes()[:-40])
    (finding,) = verify(damaged).findings
    assert finding.verdict is Verdict.FAIL
    assert "books.db" in finding.detail


def test_a_folder_in_the_place_of_a_booked_file_is_a_change(spec: Path, certificate: Path) -> None:
    certificate.unlink()
    certificate.mkdir()
    with pytest.raises(TamperedError, match=r"certificate-0001\.json"):
        verify_books(spec)
    certificate.rmdir()
    assert any("not here" in line for line in verify_books(spec))
