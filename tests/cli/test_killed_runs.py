"""Runs of ``certify unlearn`` on a network, ended by signals at random moments and taken up until they are done."""

import json
import random
import signal
import subprocess
import sys
import time

import pytest
from network_project import write_project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

KILLS = 12
COMMAND = (
    "import sys; from certify.unlearners.networks.checkpoint import Checkpoint;"
    "Checkpoint.due = property(lambda _: True);"  # every pass is kept, so that kills fall into writing too
    "from certify.cli.app import main; sys.argv[0] = 'certify'; main()"
)
OUTPUTS = {f"unlearned.safetensors{end}" for end in ("", ".evidence.json")}
CHECKPOINT = "unlearned.safetensors.checkpoint"
MEASURED = ("seconds", "peak_memory", "warnings")


def evidence_of(folder):
    read = json.loads((folder / "unlearned.safetensors.evidence.json").read_text())
    return {key: value for key, value in read.items() if key not in MEASURED}


def begun(folder, method, *knobs):
    settings = [part for knob in knobs for part in ("--set", knob)]
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, "unlearn", "--method", method, *settings, "--seed", "3"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(run):
    _, said = run.communicate()
    assert run.returncode == 0, said


def wait_for_a_pass(run, checkpoint):
    """Until the run has kept something, or is over."""

    def stamp():
        return checkpoint.stat().st_mtime_ns if checkpoint.exists() else None

    before = stamp()
    while run.poll() is None and stamp() in {before, None}:
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("method", "knobs"), [("fine-tune", ["epochs=150"]), ("scrub", ["epochs=60", "max_epochs=30"])]
)
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bits(tmp_path, method, knobs):
    folder = write_project(tmp_path / "project").parent
    inputs = {path.name for path in folder.iterdir()} | {"__pycache__"}
    started = time.monotonic()
    finish(begun(folder, method, *knobs))
    took = time.monotonic() - started
    weights, evidence = (folder / "unlearned.safetensors").read_bytes(), evidence_of(folder)
    draw, kept = random.Random(0), 0
    for number in range(KILLS):
        for name in OUTPUTS:
            (folder / name).unlink(missing_ok=True)
        run = begun(folder, method, *knobs)
        if number % 4 == 3:
            time.sleep(draw.uniform(0.0, took))  # while it starts, or whenever
        else:
            wait_for_a_pass(run, folder / CHECKPOINT)
            time.sleep(draw.uniform(0.0, 0.3))
        how = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)[number % 3]
        run.send_signal(how)
        _, said = run.communicate()
        left = {path.name for path in folder.iterdir()} - inputs
        strays = {name for name in left - OUTPUTS - {CHECKPOINT} if name.startswith(".unlearned")}
        assert left - OUTPUTS - {CHECKPOINT} == strays
        assert how is not signal.SIGINT or not strays
        kept += CHECKPOINT in left
        if "unlearned.safetensors" in left:
            assert (folder / "unlearned.safetensors").read_bytes() == weights
            assert evidence_of(folder) == evidence
        elif how is signal.SIGINT and run.returncode == 130:
            assert said.count("\n") <= 2
            assert (f"{CHECKPOINT} is left: the same command goes on" in said) == (CHECKPOINT in left)
    assert kept >= KILLS / 2  # else nothing was tried here
    for name in OUTPUTS:
        (folder / name).unlink(missing_ok=True)
    finish(begun(folder, method, *knobs))
    assert (folder / "unlearned.safetensors").read_bytes() == weights
    assert evidence_of(folder) == evidence
    assert {path.name for path in folder.iterdir()} - inputs == OUTPUTS  # what a kill left beside it is gone too
