"""As a shell sees it: real processes, pipes that break, disks that are full, streams that are closed, interrupts."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

CERTIFY = Path(sys.executable).with_name("certify")


def _shell(command, folder, **env):
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=os.environ | {"CERTIFY": str(CERTIFY)} | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(("model", "code"), [("unlearned.npz", 0), ("original.npz", 1)])
def test_the_exit_code_reaches_the_shell_and_json_is_alone_on_stdout(project, model, code):
    project.put("release.model", model)
    done = _shell('"$CERTIFY" check --format json', project.folder)
    document = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (code, "")
    assert document["exit_code"] == code


def test_bad_input_reaches_the_shell_as_one_line(project):
    project.write("forget.txt", "")
    done = _shell('"$CERTIFY" check', project.folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr == "certify: forget.txt: the forget set is empty: there is nothing to check; write one id a line\n"
    )


@pytest.mark.parametrize("command", ["list", "check --format html"])
def test_a_reader_that_goes_away_reads_neither_as_a_pass_nor_as_a_fail(project, command):
    # the reader is gone before the writer begins
    done = _shell(f'("$CERTIFY" {command}; echo $? >code) | exec 0<&-; cat code', project.folder)
    assert done.stderr == ""
    assert done.stdout.strip() == "74"


def test_the_first_byte_is_enough_for_head(project):
    done = _shell('set -o pipefail; "$CERTIFY" list | head -c 1', project.folder)
    assert done.stdout == "U"
    assert "Traceback" not in done.stderr
    assert done.returncode in {0, 74}


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full")
@pytest.mark.parametrize("command", ["list", "check"])
def test_a_full_disk_under_standard_output_is_not_a_verdict(project, command):
    done = _shell(f'"$CERTIFY" {command} >/dev/full', project.folder)
    assert done.returncode == 74
    assert done.stderr.startswith("certify: the system refused to read or write (no space left on device)")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("command", "code"), [("check >&-", 0), ("list >&-", 0), ("check missing.toml 2>&-", 2)])
def test_closed_streams_leave_the_exit_code(project, command, code):
    done = _shell(f'"$CERTIFY" {command}', project.folder)
    assert done.returncode == code
    assert "Traceback" not in done.stderr


def test_python_m_certify_is_the_same_command(project):
    done = _shell(f'"{sys.executable}" -m certify check --quiet', project.folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_interrupted_unlearning_leaves_nothing(project):
    project.remove("unlearned.npz")
    before = project.snapshot()
    # retraining that tells when it has begun and then never ends; a shell's background jobs ignore interrupts, and so would it
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "import sys, time, certify.unlearners.methods.retrain as r; from certify.cli.app import main;"
        "r._improve = lambda *_: (print('started', file=sys.stderr, flush=True), time.sleep(60));"
        "sys.argv[1:] = ['unlearn', '--method', 'retrain']; main()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=project.folder, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stderr.readline() == "started\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.strip() == "certify: interrupted; nothing was written"
    assert project.snapshot() == before
