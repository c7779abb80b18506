"""Where documents go: all of the files or none, nothing else on standard output, nothing that is checked overwritten."""

import errno
import json
import os
import stat
import sys
import tempfile

import pytest

from certify.cli.output import FORMATS

_TEXTS = [name for name in FORMATS if name != "pdf"]


@pytest.mark.parametrize(
    ("options", "trouble"),
    [
        (("html=@/no/report.html",), "its folder does not exist; create"),
        (("html=@",), "is a folder, not a file"),
        (("html=@/r.html", "json=@/r.html"), "is given twice"),
        (("html=@/r.html", "json=@/sub/../r.html"), "is given twice"),
        (("htm=@/r.html",), "unknown format 'htm'; did you mean 'html'?"),
        (("@/report.doc",), "no format is known for"),
        (("@/report",), "write FORMAT=FILE"),
        (("",), "no format is known for ''"),
        (("html=",), "html= names no file"),
        (("html=@/a\0b.html",), "is not a valid path"),
        (("html=@/" + "x" * 300,), "cannot be written (file name too long)"),
        (("html=@/fifo",), "is not a plain file"),  # as root, renaming over /dev/null would break the machine
        (("html=@/loop",), "is a link that leads in a circle"),
        (("html=@/good.html", "json=@/no/bad.json"), "its folder does not exist"),
    ],
)
def test_a_path_that_cannot_be_written_is_refused_and_nothing_is_written(project, refuses, options, trouble):
    (project.folder / "sub").mkdir()
    (project.folder / "loop").symlink_to("loop")
    os.mkfifo(project.folder / "fifo")
    refuses(project, trouble, options=tuple(part for option in options for part in ("--output", option)))


@pytest.mark.parametrize(
    "name", ["certify.toml", "train.npz", "forget.txt", "unlearned.npz", "original.npz", "test.npz", "link.txt"]
)
def test_a_report_never_overwrites_what_is_checked(project, projects, refuses, name):
    project.write("test.npz", projects.npz(X=project.X, y=project.y))
    project.put("data.test", "test.npz")
    (project.folder / "link.txt").symlink_to("train.npz")
    refuses(project, "would overwrite what is being checked", options=("--output", f"text=@/{name}"))


def test_a_report_through_a_link_leaves_the_link(project, certify):
    (project.folder / "sub").mkdir()
    (project.folder / "latest.json").symlink_to("sub/real.json")
    assert certify("check", project.path, "--quiet", "--output", project.folder / "latest.json").code == 0
    assert (project.folder / "latest.json").is_symlink()
    assert json.loads((project.folder / "sub" / "real.json").read_text())["verdict"] == "pass"


def test_a_full_disk_leaves_nothing_behind(project, refuses, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    project.write("old.json", "kept")
    options = ("--output", "html=@/new.html", "--output", "json=@/old.json")
    refuses(project, "cannot be written (no space left on device)", options=options)


def test_a_folder_that_may_not_be_written_is_refused(project, refuses, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # the tests may run as root, who may write everywhere
    refuses(project, "its folder is not writable", options=("--output", "html=@/r.html"))


def test_a_folder_that_refuses_late_is_reported(project, refuses, monkeypatch):
    def denied(*_args, **_kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "mkstemp", denied)
    refuses(project, "cannot be written (permission denied)", options=("--output", "html=@/r.html"))


@pytest.mark.parametrize("model", ["unlearned.npz", "original.npz"])
def test_every_format_is_written_and_printed_alike(project, certify, monkeypatch, model):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    project.put("release.model", model)
    options = [part for name in _TEXTS for part in ("--output", f"{name}={project.folder / ('out.' + name)}")]
    code = certify("check", project.path, "--quiet", *options).code
    for name in _TEXTS:
        done = certify("check", project.path, "--format", name)
        assert (done.code, done.stderr) == (code, "")
        assert done.stdout.encode() == (project.folder / f"out.{name}").read_bytes()


@pytest.mark.parametrize(
    ("suffix", "start"),
    [
        (".html", "<!doctype html"),
        (".md", "## certify"),
        (".json", "{"),
        (".sarif", "{"),
        (".xml", "<?xml"),
        (".txt", "certify "),
    ],
)
def test_the_suffix_gives_the_format(project, certify, suffix, start):
    path = project.folder / f"report{suffix}"
    assert certify("check", project.path, "--quiet", "--output", path).code == 0
    assert path.read_text().lower().startswith(start)


@pytest.mark.parametrize("model", ["unlearned.npz", "original.npz"])
def test_quiet_prints_nothing(project, certify, model):
    done = certify("check", project.put("release.model", model).path, "--quiet")
    assert (done.stdout, done.stderr) == ("", "")


def test_a_failing_check_still_writes_its_report(project, certify):
    path = project.folder / "report.json"
    project.put("release.model", "original.npz")
    assert certify("check", project.path, "--quiet", "--output", path).code == 1
    assert json.loads(path.read_text())["exit_code"] == 1


def test_a_refused_input_writes_no_report(project, refuses):
    project.write("forget.txt", "")
    refuses(project, "forget.txt", options=("--output", "json=@/report.json"))


def test_reports_have_the_permissions_of_the_umask(project, certify):
    old = os.umask(0o027)
    try:
        certify("check", project.path, "--quiet", "--output", project.folder / "report.json")
    finally:
        os.umask(old)
    assert stat.S_IMODE((project.folder / "report.json").stat().st_mode) == 0o640


@pytest.mark.parametrize("options", [("--format", "htlm"), ("--formt", "json"), ("--output",), ("a", "b")])
def test_wrong_usage_is_one_line_with_the_help_to_read(project, refuses, options):
    refuses(project, "see `certify", "--help`", options=options)


def test_a_pdf_that_nothing_can_print_is_refused_before_any_work(certify, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    done = certify("audit", tmp_path / "not-there.toml", "--output", f"pdf={tmp_path / 'report.pdf'}")
    assert (done.code, done.stdout) == (2, "")
    assert "a PDF needs weasyprint" in done.stderr  # and not that there is no spec
