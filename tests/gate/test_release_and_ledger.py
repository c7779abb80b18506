"""A release is whole or absent, books itself once, and whoever touches the books is noticed."""

import json
import os
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

from certify.core.errors import CertifyError, InputError, TamperedError
from certify.core.verdict import Verdict
from certify.gate import release as release_module
from certify.gate.books import exported, summary, verify_books
from certify.gate.check import check
from certify.gate.ledger import Ledger
from certify.gate.release import release
from certify.gate.verify import verify
from certify.models.weights import load_weights

project = load("gate/release_project")


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    made: Path = project.make(tmp_path / "p")
    return made


def files(spec: Path) -> set[str]:
    return {path.name for path in spec.parent.iterdir()}


def test_a_passing_model_is_released_with_noise_and_booked(spec: Path) -> None:
    done = release(spec)
    assert done.result.verdict is Verdict.PASS
    assert done.weights is not None
    before, after = load_weights(spec.parent / "unlearned.npz")[0].coef, load_weights(done.weights)[0].coef
    assert 0 < np.abs(before - after).max() < 10 * 0.05
    assert [entry["kind"] for entry in exported(spec)] == ["created", "release"]
    part = done.result.report.release
    assert part is not None
    assert part.total_mu >= part.charged_mu >= (done.result.report.guarantee.mu or 1)
    assert not [name for name in files(spec) if name.endswith(".staged")]


def test_two_releases_draw_different_noise_and_compose(spec: Path) -> None:
    first, second = release(spec), release(spec)
    assert first.weights is not None
    assert second.weights is not None
    assert not np.array_equal(load_weights(first.weights)[0].coef, load_weights(second.weights)[0].coef)
    one, two = first.result.report.release, second.result.report.release
    assert one is not None
    assert two is not None
    assert two.total_mu == pytest.approx(np.hypot(one.charged_mu, two.charged_mu))
    assert (one.number, two.number) == (1, 2)


def test_a_failing_model_is_not_released(spec: Path) -> None:
    shutil.copy(spec.parent / "original.npz", spec.parent / "unlearned.npz")
    spec.write_text(spec.read_text().replace("noise_std = 0.05", "noise_std = 0.0005"))
    done = release(spec)
    assert done.result.verdict is Verdict.FAIL
    assert done.weights is None
    assert not [name for name in files(spec) if name.startswith(("released", "certificate"))]
    assert [entry["kind"] for entry in exported(spec)] == ["created"]


def test_the_cap_ends_the_releases(tmp_path: Path) -> None:
    spec = project.make(tmp_path / "p", more="max_total_mu = 0.4")
    assert release(spec).result.verdict is Verdict.PASS  # 0.268
    assert release(spec).result.verdict is Verdict.PASS  # 0.379
    last = release(spec)
    assert last.result.verdict is Verdict.FAIL  # 0.464
    assert any("budget is spent" in (entry.remedy or "") for entry in last.result.report.checks)
    assert check(spec).verdict is Verdict.FAIL
    assert len(exported(spec)) == 3


def test_what_is_charged_is_the_policys_limit_and_not_the_measured_value(spec: Path) -> None:
    done = release(spec)
    charged = exported(spec)[1]["body"]["mu"]
    assert charged == pytest.approx(0.268, abs=1e-3)
    assert charged > 100 * (done.result.report.guarantee.mu or 0)
    assert str(done.result.report.guarantee.mu) not in json.dumps(exported(spec))


def test_a_forgotten_record_that_comes_back_is_refused(spec: Path) -> None:
    release(spec)
    (spec.parent / "forget.txt").write_text("person-9")
    rng = np.load(spec.parent / "train.npz")
    kept = np.arange(300) != 9
    np.savez(spec.parent / "unlearned.npz", coef=project.fitted(rng["X"][kept], rng["y"][kept]))
    entry = next(entry for entry in release(spec).result.report.checks if entry.id == "tombstones")
    assert entry.verdict is Verdict.FAIL
    assert entry.measured == 2


def test_no_id_and_no_weight_stands_in_the_ledger_or_its_key(spec: Path) -> None:
    release(spec)
    for name in ("certify-ledger.sqlite", "certify-ledger.key"):
        assert b"person-" not in (spec.parent / name).read_bytes()
    assert (spec.parent / "certify-ledger.key").stat().st_mode & 0o077 == 0


def test_update_and_delete_are_refused_by_the_database_itself(spec: Path) -> None:
    release(spec)
    with sqlite3.connect(spec.parent / "certify-ledger.sqlite") as connection:
        for statement in (
            "UPDATE entries SET body = '{}'",
            "DELETE FROM entries",
            "DELETE FROM charges",
            "UPDATE charges SET mu = 0",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="only grows"):
                connection.execute(statement)
    connection.close()


def rewrite(path: Path, statement: str) -> None:
    """What an attacker with the file does: drop the triggers first."""
    connection = sqlite3.connect(path)
    for trigger in ("entries_keep", "entries_stay", "charges_keep", "charges_stay"):
        connection.execute(f"DROP TRIGGER {trigger}")
    connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE entries SET body = replace(body, '0.2', '0.1') WHERE sequence = 2", "entry 2 was changed"),
        ("UPDATE entries SET time = '2020-01-01T00:00:00Z' WHERE sequence = 3", "entry 3 was changed"),
        ("DELETE FROM entries WHERE sequence = 2", "entry 2 is missing"),
        ("DELETE FROM entries WHERE sequence = 3", "older copy"),
        ("UPDATE charges SET mu = 0.0 WHERE sequence = 2", "charges of entry 2"),
        ("DELETE FROM charges", "charges of entry 2"),
    ],
)
def test_every_edit_is_noticed_and_named(spec: Path, statement: str, words: str) -> None:
    release(spec)
    release(spec)
    rewrite(spec.parent / "certify-ledger.sqlite", statement)
    for attempt in (lambda: release(spec), lambda: summary(spec), lambda: check(spec)):
        with pytest.raises(TamperedError, match=words) as caught:
            attempt()
        assert caught.value.exit_code == 1


def test_a_ledger_copied_back_from_a_backup_is_noticed(spec: Path, tmp_path: Path) -> None:
    release(spec)
    shutil.copy(spec.parent / "certify-ledger.sqlite", tmp_path / "backup")
    release(spec)
    shutil.copy(tmp_path / "backup", spec.parent / "certify-ledger.sqlite")
    with pytest.raises(TamperedError, match="older copy"):
        release(spec)


def test_a_ledger_of_another_project_is_noticed(spec: Path, tmp_path: Path) -> None:
    other = project.make(tmp_path / "other")
    release(spec)
    release(other)
    shutil.copy(other.parent / "certify-ledger.sqlite", spec.parent / "certify-ledger.sqlite")
    with pytest.raises(TamperedError, match="another project"):
        release(spec)


def test_a_truncated_or_garbled_ledger_is_noticed(spec: Path) -> None:
    release(spec)
    path = spec.parent / "certify-ledger.sqlite"
    whole = path.read_bytes()
    for size in (0, 10, 100, 4096, len(whole) // 2, len(whole) - 4096):
        path.write_bytes(whole[:size])
        with pytest.raises(TamperedError) as caught:
            release(spec)
        assert "\n" not in str(caught.value)
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(TamperedError, match="not a ledger"):
        release(spec)


def test_a_missing_ledger_or_key_is_named(spec: Path) -> None:
    release(spec)
    key = spec.parent / "certify-ledger.key"
    content = key.read_bytes()
    key.unlink()
    with pytest.raises(InputError, match="key is missing"):
        release(spec)
    key.write_bytes(content)
    (spec.parent / "certify-ledger.sqlite").unlink()
    with pytest.raises(TamperedError, match="is gone"):
        release(spec)


KILLER = """
import os, signal, sys
from certify.gate import ledger, release
point = sys.argv[2]

def die(*_args, **_kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

if point == "before staging": release._Staging.write = die
if point == "before booking": release._Staging.book = die
if point == "before commit": ledger.Ledger.commit = die
if point == "pending written":
    save = ledger.Ledger._save_key
    ledger.Ledger._save_key = lambda self, *a, **k: (save(self, *a, **k), die())
if point == "after commit":
    save = ledger.Ledger._save_key
    ledger.Ledger._save_key = lambda self, s, d, pending: save(self, s, d, pending) if pending else die()
if point == "before naming": release._Staging.reveal = die
if point == "half named":
    reveal = release._Staging.reveal
    def half(self):
        release.staged(self.weights_path).replace(self.weights_path)
        die()
    release._Staging.reveal = half
release.release(sys.argv[1])
"""


@pytest.mark.parametrize(
    ("point", "booked"),
    [
        ("before staging", False),
        ("before booking", False),
        ("before commit", False),
        ("pending written", False),
        ("after commit", True),
        ("before naming", True),
        ("half named", True),
    ],
)
def test_a_kill_at_any_instant_leaves_before_or_after(spec: Path, point: str, *, booked: bool) -> None:
    release(spec)
    done = subprocess.run([sys.executable, "-c", KILLER, str(spec), point], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    verify_books(spec)  # whatever happened, the books are whole; a booked release gets its files
    assert len(exported(spec)) == (3 if booked else 2)
    named = {"released-0002.npz", "certificate-0002.json"}
    assert (named <= files(spec)) if booked else not (named & files(spec))
    later = release(spec)
    assert later.result.report.release is not None
    assert later.result.report.release.number == (3 if booked else 2)
    verify_books(spec)


def test_two_kills_in_a_row_are_no_tampering(spec: Path) -> None:
    release(spec)
    for point in ("after commit", "pending written"):
        done = subprocess.run([sys.executable, "-c", KILLER, str(spec), point], check=False, capture_output=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
    verify_books(spec)
    assert len(exported(spec)) == 3


def test_a_full_disk_leaves_nothing_booked(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object, **_kwargs: object) -> None:
        raise InputError("cannot be written (no space left on device)", where="disk", mend="free room")

    with monkeypatch.context() as patch:
        patch.setattr(release_module, "write_file", full)
        with pytest.raises(InputError, match="no space"):
            release(spec)
    assert len(exported(spec)) == 1
    assert release(spec).result.verdict is Verdict.PASS


def test_two_processes_releasing_at_once_both_end_up_in_the_books(spec: Path) -> None:
    release(spec)
    command = [sys.executable, "-c", f"from certify.gate.release import release; release({str(spec)!r})"]
    running = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(120) for process in running] == [0, 0, 0]
    assert len(exported(spec)) == 5
    verify_books(spec)


def test_a_ledger_that_is_held_is_told_and_not_waited_for_forever(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release(spec)
    monkeypatch.setattr("certify.gate.ledger._WAIT_SECONDS", 0.2)
    holder = sqlite3.connect(spec.parent / "certify-ledger.sqlite", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    started = time.monotonic()
    with pytest.raises(InputError, match="another release holds"):
        release(spec)
    assert time.monotonic() - started < 30
    holder.close()


def test_a_clock_that_goes_backwards_is_noted_and_stops_nothing(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release(spec)

    class Yesterday:
        @staticmethod
        def now(_zone: object) -> "Yesterday":
            return Yesterday()

        def strftime(self, _format: str) -> str:
            return "2001-01-01T00:00:00Z"

    monkeypatch.setattr("certify.gate.entries.datetime", Yesterday)
    release(spec)
    assert any("clock went backwards before entry 3" in line for line in verify_books(spec))


def test_verify_accepts_what_was_released_and_names_any_change(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(spec.parent)
    done = release("certify.toml")
    assert done.certificate is not None
    assert verify(done.certificate).verdict is Verdict.PASS
    for name, what in (
        ("unlearned.npz", "model"),
        ("forget.txt", "forget set"),
        ("released-0001.npz", "released weights"),
        ("certify.toml", "spec"),
    ):
        path = Path(name)
        content = path.read_bytes()
        path.write_bytes(content + b"\n")
        found = verify(done.certificate)
        assert found.verdict is Verdict.FAIL
        assert what in {finding.what for finding in found.findings if finding.verdict is Verdict.FAIL}
        path.write_bytes(content)
    Path("train.npz").rename("elsewhere.npz")
    assert "training data" in {f.what for f in verify(done.certificate).findings if f.verdict is Verdict.REFUSED}


def test_verify_names_a_changed_number_even_without_the_ledger(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(spec.parent)
    document = check("certify.toml").document
    for section, field, value in (
        ("policy", "epsilon", 2.0),
        ("guarantee", "mu", 1e-3),
        ("bounds", "distance", 1e-3),
        ("request", "forgotten", 1),
        ("objective", "l2", 50.0),
    ):
        changed = json.loads(json.dumps(document))
        changed[section][field] = value
        Path("c.json").write_text(json.dumps(changed))
        found = verify("c.json")
        assert found.verdict is Verdict.FAIL
        assert f"{section}.{field}" in {finding.what for finding in found.findings}
    Path("c.json").write_text(json.dumps(document))
    assert verify("c.json").verdict is Verdict.PASS


def test_verify_notices_a_verdict_that_its_checks_do_not_support(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(spec.parent)
    shutil.copy("original.npz", "unlearned.npz")
    spec.write_text(spec.read_text().replace("noise_std = 0.05", "noise_std = 0.0005"))
    document = check("certify.toml").document
    assert document["verdict"] == "fail"
    document |= {"verdict": "pass", "exit_code": 0}
    Path("c.json").write_text(json.dumps(document))
    assert any(f.what == "verdict" and f.verdict is Verdict.FAIL for f in verify("c.json").findings)


def test_pseudonyms_know_an_id_as_text_or_number_and_need_the_key(spec: Path, tmp_path: Path) -> None:
    release(spec)
    other = project.make(tmp_path / "other")
    release(other)
    with Ledger.open(spec.parent / "certify-ledger.sqlite", spec.parent / "certify-ledger.key") as ledger:
        mine = ledger.pseudonym("1")
        assert mine == ledger.pseudonym(1)  # an id may come back from another file format
        assert mine != ledger.pseudonym("2")
    with Ledger.open(other.parent / "certify-ledger.sqlite", other.parent / "certify-ledger.key") as ledger:
        assert ledger.pseudonym("1") != mine


def test_the_command_line_releases_lists_verifies_and_refuses_seeds(spec: Path, run_certify: object) -> None:
    def run(*words: str) -> tuple[int, str, str]:
        done = run_certify(*words, cwd=spec.parent)  # type: ignore[operator]
        return done.code, done.stdout, done.stderr

    assert run("ledger", "list")[0] == 2
    code, _, stderr = run("release", "--seed", "1")
    assert code == 2
    assert "cannot be seeded" in stderr
    assert run("release")[0] == 0
    code, listed, _ = run("ledger", "list")
    assert code == 0
    assert "release 1: 2 records forgotten" in listed
    assert run("ledger", "verify")[0] == 0
    assert json.loads(run("ledger", "show", "2")[1])["kind"] == "release"
    assert len(run("ledger", "export")[1].splitlines()) == 2
    assert run("ledger", "show", "9")[0] == 2
    assert run("verify", "certificate-0001.json")[0] == 0
    os.truncate(spec.parent / "certify-ledger.sqlite", 100)
    assert run("ledger", "list")[0] == 1


def test_a_report_that_cannot_be_delivered_stops_the_release_before_it_is_booked(
    spec: Path, run_certify: object
) -> None:
    done = run_certify("release", "--output", "html=unlearned.npz", cwd=spec.parent)  # type: ignore[operator]
    assert done.code == 2
    assert "would overwrite" in done.stderr
    assert not [name for name in files(spec) if name.startswith("released")]
    assert len(exported(spec)) == 1


def test_a_second_ledger_cannot_overwrite_a_release(spec: Path) -> None:
    first = release(spec)
    assert first.weights is not None
    content = first.weights.read_bytes()
    two = spec.with_name("two.toml")
    two.write_text(spec.read_text() + '\n[ledger]\npath = "b.sqlite"\nkey = "b.key"\n')
    with pytest.raises(InputError, match="already there"):
        release(two)
    assert first.weights.read_bytes() == content
    verify_books(spec)


def test_records_without_ids_cannot_be_booked(spec: Path) -> None:
    arrays = np.load(spec.parent / "train.npz")
    np.savez(spec.parent / "train.npz", X=arrays["X"], y=arrays["y"])
    (spec.parent / "forget.txt").write_text("3\n7")
    assert check(spec).verdict is Verdict.PASS
    with pytest.raises(InputError, match="stable id"):
        release(spec)
    assert "certify-ledger.sqlite" not in files(spec)


def test_a_ledger_is_not_its_own_key(spec: Path) -> None:
    spec.write_text(spec.read_text() + '\n[ledger]\npath = "same"\nkey = "same"\n')
    with pytest.raises(CertifyError, match="same file"):
        release(spec)
    assert "same" not in files(spec)


def test_verify_does_not_let_tiny_numbers_or_counts_pass_as_rounding(
    spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(spec.parent)
    spec.write_text(spec.read_text().replace("delta = 1e-5", "delta = 1e-10"))
    text = Path("c.json")
    honest = check("certify.toml").report.to_json()
    for old, new in (("1e-10", "1e-30"), ("2 of 300", "2 of 301")):
        assert old in honest
        text.write_text(honest.replace(old, new))
        assert verify(text).verdict is Verdict.FAIL
    document = json.loads(honest)
    document["bounds"]["distance"] /= 2
    text.write_text(json.dumps(document))
    assert verify(text).verdict is Verdict.FAIL


def test_an_original_that_cannot_be_certified_does_not_refuse_the_model(
    spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from certify.core.errors import AssumptionViolatedError
    from certify.gate import measure as measure_module

    honest = measure_module.measure
    calls: list[int] = []

    def only_the_first(*arguments: object) -> object:
        calls.append(1)
        if len(calls) > 1:
            raise AssumptionViolatedError("no modulus")
        return honest(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(measure_module, "measure", only_the_first)
    monkeypatch.setattr("certify.gate.check.measure", only_the_first)
    document = check(spec).report
    assert document.verdict is Verdict.PASS
    assert document.comparison is not None
    assert document.comparison.original_distance == float("inf")


def test_a_cap_or_a_ledger_is_not_passed_over_when_records_have_no_ids(spec: Path) -> None:
    release(spec)
    arrays = np.load(spec.parent / "train.npz")
    np.savez(spec.parent / "train.npz", X=arrays["X"], y=arrays["y"])
    (spec.parent / "forget.txt").write_text("3\n7")
    assert check(spec).verdict is Verdict.REFUSED
    for name in ("certify-ledger.sqlite", "certify-ledger.key"):
        (spec.parent / name).unlink()
    assert check(spec).verdict is Verdict.PASS
    spec.write_text(spec.read_text().rstrip() + "\nmax_total_mu = 9.0\n")
    assert check(spec).verdict is Verdict.REFUSED


def test_a_release_named_by_the_next_one_first_is_still_whole(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reveal = release_module._Staging.reveal

    def overtaken(self: release_module._Staging) -> None:
        verify_books(spec)  # what the next release does first: it names the booked files
        reveal(self)

    monkeypatch.setattr(release_module._Staging, "reveal", overtaken)
    done = release(spec)
    assert done.weights is not None
    assert done.weights.is_file()
    verify_books(spec)


@pytest.mark.parametrize("moment", ["read", "named"])
def test_a_release_that_names_its_files_while_the_next_one_looks_is_whole(
    spec: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    reveal, digest = release_module._Staging.reveal, release_module.sha256

    def overtaken(self: release_module._Staging) -> None:
        def late(content: bytes) -> str:  # the next one has read a staged file, and now the first names them all
            monkeypatch.setattr(release_module, "sha256", digest)
            reveal(self)
            return digest(content)

        def gone(_path: Path) -> bool:  # it has seen no released file yet
            monkeypatch.undo()
            reveal(self)
            return False

        if moment == "read":
            monkeypatch.setattr(release_module, "sha256", late)
        else:
            monkeypatch.setattr(Path, "exists", gone)
        ledger = self._ledger
        with release_module.Ledger.open(ledger.path, spec.parent / "certify-ledger.key") as opened:
            release_module.recover(opened)

    monkeypatch.setattr(release_module._Staging, "reveal", overtaken)
    done = release(spec)
    assert done.weights is not None
    assert done.weights.is_file()
    assert not [name for name in files(spec) if name.endswith(".staged")]
    verify_books(spec)


def test_an_unbooked_draw_of_the_noise_does_not_stay(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_self: object) -> None:
        raise InputError("cannot be booked", where="ledger", mend="try again")

    monkeypatch.setattr(release_module._Staging, "book", broken)
    with pytest.raises(InputError, match="cannot be booked"):
        release(spec)
    assert not [name for name in files(spec) if name.endswith(".staged")]


def test_the_charge_is_never_below_what_a_passing_release_measures() -> None:
    from certify.gate.measure import charged_mu, distance_limit
    from certify.gate.spec import PolicySpec
    from certify.privacy import gaussian, noise

    for epsilon in (0.0, 0.1, 1.0, 8.0):
        for tolerance in (None, 1e-25, 1e-3):
            policy = PolicySpec(epsilon=epsilon, delta=1e-5, noise_std=0.01, tolerance=tolerance)
            limit = distance_limit(policy)
            largest = gaussian.ratio(limit + noise.grid_cost(0.01, 100_000).extra_shift, 0.01)
            assert charged_mu(policy) >= largest


def test_a_full_disk_right_after_the_commit_keeps_the_booked_files(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = Ledger._save_key

    def full(self: Ledger, sequence: int, digest: str, pending: str | None) -> None:
        if pending is None:
            raise InputError("cannot be written (no space left on device)", where="key", mend="free room")
        save(self, sequence, digest, pending)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "_save_key", full)
        with pytest.raises(InputError, match="no space"):
            release(spec)
    assert any("2 entries" in line for line in verify_books(spec))
    assert {"released-0001.npz", "certificate-0001.json"} <= files(spec)


@pytest.mark.parametrize(("word", "offset"), [(b"entries_keep", 40), (b'"number"', 3), (b"CREATE TABLE", 20)])
def test_a_byte_that_is_no_text_is_tampering_and_shows_nothing(spec: Path, word: bytes, offset: int) -> None:
    release(spec)
    path = spec.parent / "certify-ledger.sqlite"
    content = bytearray(path.read_bytes())
    content[bytes(content).index(word) + offset] ^= 0x80
    path.write_bytes(bytes(content))
    for action in (verify_books, summary, release):
        with pytest.raises(TamperedError) as caught:
            action(spec)
        assert caught.value.exit_code == 1
        assert "number" not in str(caught.value)


def test_a_ledger_and_key_of_another_project_are_refused(spec: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(spec.parent, other, ignore=lambda *_: ["other"])
    release(spec)
    release(other / spec.name)
    for name in ("certify-ledger.sqlite", "certify-ledger.key"):
        shutil.copy(other / name, spec.parent / name)
    before = files(spec)
    with pytest.raises(TamperedError, match="another project"):
        release(spec)
    assert files(spec) == before
