"""``certify session``: from the trained model through requests to a check that passes, and what is refused on the way."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from certify.models.weights import load_weights

Certify = Callable[..., SimpleNamespace]


@pytest.fixture
def home(project: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A trained model, a tolerance, no request yet; the session writes its own data file."""
    project.remove("unlearned.npz")
    project.remove("forget.txt")
    (project.folder / "train.npz").rename(project.folder / "base.npz")
    project.put("session.data", "base.npz").put("policy.tolerance", 1e-4)
    monkeypatch.chdir(project.folder)
    return project


def requests(home: Any, projects: Any) -> None:
    home.write("leave.txt", "person-0003\n\n  person-0050\n")
    home.write(
        "fix.npz", projects.npz(X=home.X[[7, 9]] + 0.5, y=home.y[[7, 9]], ids=np.array(["person-0007", "person-0009"]))
    )
    home.write("come.npz", projects.npz(X=home.X[[1, 2]] - 0.5, y=home.y[[1, 2]], ids=np.array(["new-1", "new-2"])))


def test_start_three_requests_export_check(home: Any, projects: Any, certify: Certify) -> None:
    requests(home, projects)
    for arguments in (
        ["start"],
        ["delete", "leave.txt"],
        ["correct", "fix.npz"],
        ["add", "come.npz"],
        ["export"],
    ):
        done = certify("session", *arguments)
        assert (done.code, done.stderr) == (0, ""), arguments
        assert done.stdout
    checked = certify("check", "--format", "json")
    assert checked.code == 0
    document = json.loads(checked.stdout)
    assert document["verdict"] == "pass"
    assert document["request"]["retained"] == 200 - 2 + 2
    assert document["request"]["forgotten"] == 2
    with np.load("train.npz") as written:
        assert len(written["ids"]) == 202
        place = written["ids"].tolist().index("person-0007")
        assert np.array_equal(written["X"][place], home.X[7] + 0.5)
    assert Path("forget.txt").read_text() == "person-0003\nperson-0050\n"
    released = certify("release")
    assert released.code == 0, released.stderr
    # the stream goes on after a release, and the ledger sees that nobody came back
    home.write("more.txt", "person-0100\nnew-1\n")
    assert certify("session", "delete", "more.txt").code == 0
    exported = certify("session", "export", "--force")
    assert exported.code == 0
    assert "1 deleted records came by `add`" in exported.stderr
    assert certify("release").code == 0


def test_the_control_an_export_without_the_requests_fails(home: Any, projects: Any, certify: Certify) -> None:
    requests(home, projects)
    home.put("policy.noise_std", 1e-5).put("policy.tolerance", 1e-7)
    for arguments in (["start"], ["delete", "leave.txt"], ["export"]):
        assert certify("session", *arguments).code == 0
    assert certify("check").code == 0
    Path("unlearned.npz").write_bytes(Path("original.npz").read_bytes())
    assert certify("check").code == 1


def test_machine_output_and_status(home: Any, projects: Any, certify: Certify) -> None:
    requests(home, projects)
    begun = json.loads(certify("session", "start", "--format", "json").stdout)
    assert begun["kind"] == "start"
    assert begun["retained"] == 200
    step = json.loads(certify("session", "delete", "leave.txt", "--format", "json").stdout)
    assert step["records"] == 2
    assert step["distance"] <= 5e-5  # half of the policy's tolerance
    status = json.loads(certify("session", "status", "--format", "json").stdout)
    assert [entry["kind"] for entry in status["requests"]] == ["start", "delete"]
    assert status["traces"] == status["deleted"] == 2
    assert status["distance"] <= status["tolerance"] == 5e-5
    assert "traces of 2" in certify("session", "status").stdout
    assert certify("session", "refresh").code == 0
    assert "traces" not in certify("session", "status").stdout
    exported = json.loads(certify("session", "export", "--format", "json").stdout)
    assert Path(exported["files"][0]).name == "unlearned.npz"
    assert exported["forgotten"] == 2


def test_without_a_data_file_of_its_own_only_deletions_can_be_exported(
    project: Any, projects: Any, certify: Certify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.folder)
    requests(project, projects)
    original = Path("train.npz").read_bytes()
    Path("forget.txt").unlink()
    assert certify("session", "start").code == 0
    assert certify("session", "delete", "leave.txt").code == 0
    assert certify("session", "export").code == 2  # the project's weights are there
    Path("forget.txt").write_text("person-0003\nperson-0077\n")
    refused = certify("session", "export", "--force")
    assert refused.code == 2
    assert "names 1 records that the session has not deleted" in refused.stderr
    Path("forget.txt").unlink()
    assert certify("session", "export", "--force").code == 0
    assert certify("check").code == 0
    assert certify("session", "add", "come.npz").code == 0
    refused = certify("session", "export", "--force")
    assert refused.code == 2
    assert "[session] data" in refused.stderr
    assert Path("train.npz").read_bytes() == original


def test_refusals_are_one_line_with_the_right_code_and_change_nothing(
    home: Any, projects: Any, certify: Certify
) -> None:
    requests(home, projects)
    refused = certify("session", "status")
    assert refused.code == 2
    assert "no session yet" in refused.stderr
    assert certify("session", "start").code == 0
    assert certify("session", "delete", "leave.txt").code == 0
    home.write("nobody.txt", "person-9999\n")
    home.write("empty.txt", "\n\n")
    home.write("again.npz", projects.npz(X=home.X[[3]], y=home.y[[3]], ids=np.array(["new-9"])))
    home.write("numbered.npz", projects.npz(X=home.X[[3]], y=home.y[[3]]))
    before = home.snapshot()
    for arguments, words in (
        (["start"], "already"),
        (["delete", "leave.txt"], "deleted before"),
        (["delete", "nobody.txt"], "unknown"),
        (["delete", "empty.txt"], "names no record"),
        (["delete", "missing.txt"], "no such file"),
        (["add", "again.npz"], "equals a deleted record"),
        (["add", "numbered.npz"], "no ids"),
        (["add", "leave.txt"], "cannot read data"),
    ):
        done = certify("session", *arguments)
        assert done.code == 2, arguments
        assert words in done.stderr
        assert done.stderr.count("\n") == 1
        assert "person-" not in done.stderr
    assert home.snapshot() == before


def test_a_spec_that_declares_something_else_is_refused(home: Any, certify: Certify) -> None:
    assert certify("session", "start").code == 0
    home.put("objective.l2", 5.0)
    done = certify("session", "status")
    assert done.code == 2
    assert "not the objective" in done.stderr
    home.put("objective.l2", 4.0).put("session.tolerence", 1.0)
    assert "did you mean 'tolerance'" in certify("session", "status").stderr
    home.drop("session.tolerence").put("session.key", "certify-session.sqlite")
    assert "same file" in certify("session", "status").stderr
    home.put("session.key", "certify-ledger.key")
    assert "same file" in certify("session", "status").stderr


def test_an_edited_state_is_exit_1_and_a_tolerance_out_of_reach_exit_4(home: Any, certify: Certify) -> None:
    home.put("session.tolerance", 1e-200)
    done = certify("session", "start")
    assert done.code == 4
    assert "above the tolerance" in done.stderr
    assert not Path("certify-session.sqlite").exists()
    home.drop("session.tolerance")
    assert certify("session", "start").code == 0
    Path("certify-session.sqlite").write_bytes(b"edited")
    assert certify("session", "status").code == 1


def test_exported_weights_are_the_sessions(home: Any, projects: Any, certify: Certify) -> None:
    requests(home, projects)
    for arguments in (["start"], ["delete", "leave.txt"], ["export"]):
        assert certify("session", *arguments).code == 0
    exported, _ = load_weights(Path("unlearned.npz"))
    arrays = {**home.arrays}
    kept = ~np.isin(arrays["ids"], ["person-0003", "person-0050"])
    retrained = projects.train(
        projects.Objective("logistic", l2=4.0), {name: array[kept] for name, array in arrays.items()}
    )
    assert np.linalg.norm(exported.coef - retrained.coef) <= 5e-5


def test_shaped_noise_asks_for_a_tolerance_of_its_own(home: Any, projects: Any, certify: Certify) -> None:
    requests(home, projects)
    home.drop("policy.tolerance").put("policy.noise_shape", "curvature").put("policy.noise_std", 0.1)
    done = certify("session", "start")
    assert done.code == 2
    assert "session.tolerance" in done.stderr
    home.put("session.tolerance", 1e-6)
    for arguments in (["start"], ["delete", "leave.txt"], ["add", "come.npz"], ["export"]):
        assert certify("session", *arguments).code == 0
    assert certify("check").code == 0


def test_an_export_does_not_lose_the_names_of_people_to_be_forgotten(
    home: Any, projects: Any, certify: Certify
) -> None:
    assert certify("session", "start").code == 0
    requests(home, projects)
    home.write("forget.txt", "person-0100\nperson-0003\n")
    assert certify("session", "delete", "leave.txt").code == 0
    for arguments in (["session", "export"], ["session", "export", "--force"]):
        refused = certify(*arguments)
        assert refused.code == 2
        assert "names 1 records that the session has not deleted" in refused.stderr
        assert Path("forget.txt").read_text().startswith("person-0100")
    home.write("rest.txt", "person-0100\n")
    assert certify("session", "delete", "rest.txt").code == 0
    assert certify("session", "export", "--force").code == 0
    assert "person-0100" in Path("forget.txt").read_text()


# --------------------------------------------------------------- a forget file that is there before the session


def test_whom_the_forget_file_already_names_is_deleted_at_the_start(
    project: Any, certify: Certify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.folder)
    done = certify("session", "start")
    assert (done.code, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert "begun with 200" in first
    assert "deleted 4; 196 retained" in second
    status = json.loads(certify("session", "status", "--format", "json").stdout)
    assert [entry["kind"] for entry in status["requests"]] == ["start", "delete"]
    # nothing is left to do: the export takes the forget file for its own, and what it writes passes
    assert certify("session", "export", "--force").code == 0
    checked = json.loads(certify("check", "--format", "json").stdout)
    assert checked["verdict"] == "pass"
    assert checked["request"]["forgotten"] == 4


def test_the_first_request_stands_in_the_machine_output(
    project: Any, certify: Certify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.folder)
    begun = json.loads(certify("session", "start", "--format", "json").stdout)
    assert (begun["kind"], begun["records"], begun["retained"]) == ("start", 200, 200)
    (deletion,) = begun["requests"]
    assert (deletion["kind"], deletion["records"], deletion["retained"]) == ("delete", 4, 196)


@pytest.mark.parametrize(
    ("content", "trouble"),
    [
        ("person-0003\nperson-9999\n", "1 of 2 ids are not in"),
        ("person-0003\nperson-0003\n", "line 2 repeats"),
        (b"\xff\n", "is not UTF-8 text"),
    ],
)
def test_a_forget_file_that_makes_no_sense_begins_no_session(
    project: Any, certify: Certify, monkeypatch: pytest.MonkeyPatch, content: Any, trouble: str
) -> None:
    monkeypatch.chdir(project.folder)
    project.write("forget.txt", content)
    before = project.snapshot()
    refused = certify("session", "start")
    assert refused.code == 2
    assert refused.stderr.count("\n") == 1
    assert "forget.txt" in refused.stderr
    assert trouble in refused.stderr
    assert project.snapshot() == before


def test_a_first_request_that_fails_begins_no_session(
    project: Any, certify: Certify, monkeypatch: pytest.MonkeyPatch
) -> None:
    from certify.core.errors import AssumptionViolatedError
    from certify.gate.session import Session

    monkeypatch.chdir(project.folder)
    before = project.snapshot()

    def fail(*_: object) -> None:
        raise AssumptionViolatedError("the tolerance was not reached", where="delete", mend="raise it")

    with monkeypatch.context() as patched:
        patched.setattr(Session, "delete", fail)
        assert certify("session", "start").code == 4
    assert project.snapshot() == before
    assert certify("session", "start").code == 0


@pytest.mark.parametrize("content", [None, "", "\n  \n"])
def test_without_names_nobody_is_deleted(
    project: Any, certify: Certify, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    monkeypatch.chdir(project.folder)
    project.remove("forget.txt")
    if content is not None:
        project.write("forget.txt", content)
    done = certify("session", "start")
    assert done.code == 0
    assert len(done.stdout.splitlines()) == 1


def test_a_deletion_that_matches_but_for_spaces_in_the_data_is_said_to(
    home: Any, projects: Any, certify: Certify
) -> None:
    ids = home.arrays["ids"].astype("U32")
    ids[3] += " "
    home.write("base.npz", projects.npz(X=home.X, y=home.y, ids=ids))
    assert certify("session", "start").code == 0
    home.write("leave.txt", "person-0003\n")
    refused = certify("session", "delete", "leave.txt")
    assert refused.code == 2
    assert "record 1 of 1 is unknown, but for spaces around an id in the data" in refused.stderr
