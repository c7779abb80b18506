"""The command line itself: help, version, unknown names, list, init, environment, where specs are found."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from certify.cli.app import _COMMANDS, EXIT_CODES
from certify.cli.output import FORMATS
from certify.convex.losses import LOSSES
from certify.unlearners import names


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_lists_every_command_and_every_exit_code(certify, option):
    done = certify(option)
    assert (done.code, done.stderr) == (0, "")
    assert [name for name in _COMMANDS if f"\n  {name} " not in done.stdout] == []
    assert [code for code in ("0", "1", "2", "3", "4", "70") if f"\n  {code} " not in EXIT_CODES] == []
    assert "Exit codes:" in done.stdout


@pytest.mark.parametrize("command", _COMMANDS)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_has_help(certify, command, option):
    done = certify(command, option)
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: certify {command}")


def test_without_arguments_the_help_is_an_error(certify):
    done = certify()
    assert (done.code, done.stdout) == (2, "")
    assert "Exit codes:" in done.stderr


def test_version_is_one_line(certify):
    done = certify("--version")
    assert done.code == 0
    assert done.stdout.startswith("certify ")
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("chek",), "no command 'chek'; did you mean 'check'?"),
        (("unlern",), "no command 'unlern'; did you mean 'unlearn'?"),
        (("zzz",), "no command 'zzz'; known are audit, check, "),
        (("--versio",), "'--version'"),
        (("list", "loses"), "'loses' is not one of"),
        (("report",), "Missing argument 'CERTIFICATE'"),
    ],
)
def test_unknown_words_are_one_line_with_the_nearest_name(certify, arguments, hint):
    done = certify(*arguments)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith("certify: ")
    assert done.stderr.count("\n") == 1
    assert hint in done.stderr


@pytest.mark.parametrize(("topic", "words"), [("unlearners", names()), ("losses", LOSSES), ("formats", FORMATS)])
def test_list_names_everything_there_is(certify, topic, words):
    alone, everything = certify("list", topic), certify("list")
    assert alone.code == everything.code == 0
    assert [word for word in words if word not in alone.stdout] == []
    assert alone.stdout.strip() in everything.stdout


def test_init_writes_a_spec_whose_check_names_the_first_missing_file(tmp_path, certify):
    done = certify("init", tmp_path / "new")
    assert (done.code, done.stdout) == (0, "")
    done = certify("check", tmp_path / "new")
    assert (done.code, done.stdout) == (2, "")
    assert "train.npz: no such file" in done.stderr


def test_the_spec_of_init_explains_every_table(tmp_path, certify):
    certify("init", tmp_path)
    text = (tmp_path / "certify.toml").read_text()
    assert tomllib.loads(text).keys() >= {"release", "objective", "data", "policy"}
    assert sum("#" in line for line in text.splitlines()) > 10


def test_the_spec_of_init_for_networks_names_every_key_and_is_one(tmp_path, certify):
    from certify.gate.load import load_spec
    from certify.gate.spec import AuditSpec, ReleaseSpec, TrainingSpec

    done = certify("init", tmp_path, "--kind", "torch")
    assert done.code == 0
    assert "certify audit" in done.stderr
    text = (tmp_path / "certify.toml").read_text()
    loaded = load_spec(tmp_path / "certify.toml")
    assert (loaded.spec.release.kind, loaded.spec.audit.models) == ("torch", 64)
    glm_alone = {"original_noise_std"}
    for section in (AuditSpec, ReleaseSpec, TrainingSpec):
        for key in set(section.model_fields) - glm_alone:
            assert re.search(rf"^(# )?{key} +?= ", text, re.MULTILINE), key
    commented = re.sub(r"^# (?=[a-z_]+ = )", "", text, flags=re.MULTILINE)
    (tmp_path / "all.toml").write_text(commented)
    load_spec(tmp_path / "all.toml")  # what stands in comments is valid too
    assert certify("audit", tmp_path / "certify.toml").code == 2  # no file is there yet


@pytest.mark.parametrize("target", ["certify.toml", "certify.toml/deeper", "a\0b"])
def test_init_refuses_a_folder_that_cannot_be(project, certify, target):
    before = project.snapshot()
    done = certify("init", f"{project.folder}/{target}")
    assert done.code == 2
    assert done.stderr.count("\n") == 1
    assert project.snapshot() == before


def test_init_never_overwrites(project, certify):
    before = project.snapshot()
    done = certify("init", project.folder)
    assert done.code == 2
    assert "certify.toml: is already there; edit it, or remove it first" in done.stderr
    assert project.snapshot() == before


def test_a_folder_stands_for_the_spec_in_it(project, certify):
    assert certify("check", project.folder, "--quiet").code == 0


def test_the_spec_here_is_the_default(project, certify, monkeypatch):
    monkeypatch.chdir(project.folder)
    assert certify("check", "--quiet").code == 0


def test_pyproject_is_the_second_default(project, projects, certify, monkeypatch):
    project.remove("certify.toml")
    project.write("pyproject.toml", projects.toml({"tool": {"certify": project.spec}}))
    monkeypatch.chdir(project.folder)
    assert certify("check", "--quiet").code == 0
    assert certify("check", "pyproject.toml", "--quiet").code == 0


def test_paths_are_relative_to_the_spec_wherever_one_stands(project, certify, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert certify("check", "../project/certify.toml", "--quiet").code == 0


def test_paths_may_be_absolute(project, certify):
    project.put("release.model", str(project.folder / "unlearned.npz"))
    assert certify("check", project.path, "--quiet").code == 0


def test_a_check_leaves_the_working_folder_as_it_was(project, certify, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    certify("check", project.path, "--quiet")
    assert Path.cwd() == tmp_path


def test_the_environment_gives_options(project, certify, monkeypatch):
    monkeypatch.setenv("CERTIFY_CHECK_FORMAT", "json")
    assert json.loads(certify("check", project.path).stdout)["verdict"] == "pass"


def test_the_command_line_wins_over_the_environment(project, certify, monkeypatch):
    monkeypatch.setenv("CERTIFY_CHECK_FORMAT", "json")
    assert certify("check", project.path, "--format", "text").stdout.startswith("certify ")


def test_the_environment_switches_and_repeats(project, certify, monkeypatch):
    monkeypatch.setenv("CERTIFY_CHECK_QUIET", "1")
    monkeypatch.setenv("CERTIFY_CHECK_OUTPUT", f"html={project.folder}/a.html json={project.folder}/b.json")
    assert certify("check", project.path).stdout == ""
    assert {"a.html", "b.json"} <= project.snapshot().keys()


@pytest.mark.parametrize(("name", "value"), [("CERTIFY_CHECK_FORMAT", "htlm"), ("CERTIFY_CHECK_QUIET", "perhaps")])
def test_a_wrong_environment_is_refused_like_an_option(project, refuses, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    refuses(project, repr(value), "see `certify check --help`")


@pytest.mark.parametrize("value", ["yesterday", "", "1.5", "9" * 40])
def test_a_clock_that_is_no_number_is_refused(project, refuses, monkeypatch, value):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", value)
    refuses(project, "SOURCE_DATE_EPOCH: ", "is not a number of seconds; unset it")


def test_a_fixed_clock_gives_the_same_bytes_twice(project, certify, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    first = certify("check", project.path, "--format", "json").stdout
    assert json.loads(first)["created"] == "2023-11-14T22:13:20Z"
    assert certify("check", project.path, "--format", "json").stdout == first


def test_a_bug_of_ours_is_70_in_one_line(project, refuses, monkeypatch):
    def broken(_):
        raise ZeroDivisionError("a record's content")

    monkeypatch.setattr("certify.gate.load.load_spec", broken)
    line = refuses(project, "internal error (ZeroDivisionError)", "CERTIFY_DEBUG=1", "nothing was certified", code=70)
    assert "content" not in line


def test_an_interrupt_is_130_and_says_that_nothing_was_written(project, certify, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("certify.gate.check.load_inputs", interrupted)
    done = certify("check", project.path)
    assert (done.code, done.stdout) == (130, "")
    assert done.stderr.splitlines() == ["", "certify: interrupted; nothing was written"]
