"""`certify demo`, as a newcomer runs it: once, again, after an edit, and then on their own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

CERTIFY = Path(sys.executable).with_name("certify")
STORIES = ("any-visit", "visit-count")
FILES = {
    *("train.npz", "test.npz", "forget.txt", "original.npz", "unlearned.npz", "unlearned.npz.evidence.json"),
    *("certify.toml", "unchanged.toml", "report.html", "certificate.json"),
    *("unchanged-report.html", "unchanged-certificate.json"),
}


def _run(*arguments, cwd):
    return subprocess.run(
        [CERTIFY, *arguments],
        cwd=cwd,
        env=os.environ | {"NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Two runs into the same folder, with an edit between them."""
    home = tmp_path_factory.mktemp("demo")
    first = _run("demo", "--out", "story", cwd=home)
    files = {story: {path.name for path in (home / "story" / story).iterdir()} for story in STORIES}
    edited = home / "story" / "any-visit" / "certify.toml"
    edited.write_text(edited.read_text() + "# mine\n")
    second = _run("demo", "--out", "story", cwd=home)
    return SimpleNamespace(home=home, folder=home / "story", first=first, second=second, files=files)


def test_the_story_ends_well(demo):
    assert (demo.first.returncode, demo.first.stderr) == (0, "")
    assert demo.first.stdout.count("PASS (exit 0)") == len(STORIES)
    assert demo.first.stdout.count("FAIL (exit 1)") == len(STORIES)


def test_the_story_fits_a_screen(demo):
    assert max(len(line) for line in demo.first.stdout.splitlines()) <= 110
    assert demo.first.stdout.count("\n") < 45


@pytest.mark.parametrize("story", STORIES)
def test_every_file_of_the_story_is_there_and_nothing_else(demo, story):
    assert demo.files[story] == FILES


def test_the_second_run_tells_the_same_story(demo):
    assert (demo.second.returncode, demo.second.stderr) == (0, "")
    kept = [line for line in demo.second.stdout.splitlines() if "edited" in line]
    assert kept == ["Your edited spec of an earlier run was kept as story/any-visit/certify.edited-1.toml."]


def test_an_edited_spec_is_kept_aside(demo):
    kept = (demo.folder / "any-visit" / "certify.edited-1.toml").read_text()
    assert kept == (demo.folder / "any-visit" / "certify.toml").read_text() + "# mine\n"
    assert not (demo.folder / "visit-count" / "certify.edited-1.toml").exists()


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize(("spec", "code"), [((), 0), (("unchanged.toml",), 1)])
def test_the_check_accepts_what_the_demo_left(demo, story, spec, code):
    done = _run("check", *spec, "--format", "json", cwd=demo.folder / story)
    assert (done.returncode, done.stderr) == (code, "")
    assert json.loads(done.stdout)["exit_code"] == code


@pytest.mark.parametrize("story", STORIES)
def test_the_certificate_of_the_demo_renders_again(demo, story):
    done = _run("report", "certificate.json", cwd=demo.folder / story)
    assert done.returncode == 0
    assert "PASS" in done.stdout


def test_a_file_in_place_of_the_folder_is_refused_before_any_work(tmp_path, certify):
    path = tmp_path / "file"
    path.write_text("mine")
    done = certify("demo", "--out", path)
    assert done.code == 2
    assert f"{path}: cannot be made a folder" in done.stderr
    assert done.stderr.count("\n") == 1
    assert path.read_text() == "mine"
