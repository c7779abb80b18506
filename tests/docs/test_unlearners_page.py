"""What docs/unlearners.md shows is what happens."""

import subprocess
import sys
from pathlib import Path

import pytest
from by_path import load

readme = load("docs/readme")
TEXT = (readme.ROOT / "docs" / "unlearners.md").read_text(encoding="utf-8")
BLOCKS = readme.blocks(TEXT)


def test_the_commands_pass_one_after_the_other(tmp_path: Path) -> None:
    for mark, body in BLOCKS.items():
        if mark.startswith("file: "):
            (tmp_path / mark.removeprefix("file: ")).write_text(body, encoding="utf-8")
    for command in BLOCKS["run"].strip().splitlines():
        done = readme.shell(command, tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
    assert (tmp_path / "unlearned.safetensors.evidence.json").exists()


def test_the_commands_of_sisa_pass_one_after_the_other(tmp_path: Path) -> None:
    for mark, body in BLOCKS.items():
        if mark.startswith("file: "):
            (tmp_path / mark.removeprefix("file: ")).write_text(body, encoding="utf-8")
    (tmp_path / "forget.txt").write_text("page-3\npage-5\n")
    for command in ("python train.py", *BLOCKS["run: sisa"].strip().splitlines()):
        done = readme.shell(command, tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        if "check" in command:  # the exit code is the verdict's, which the page passes over
            assert "sisa(shards=4, slices=2, epochs=4)" in done.stdout, done.stdout + done.stderr
    assert not (tmp_path / "ensemble-0.safetensors").exists()
    assert (tmp_path / "ensemble-2.safetensors.evidence.json").exists()


@pytest.mark.parametrize("block", ["python", "sisa"])
def test_the_python_sessions_run(tmp_path: Path, block: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKS[block]], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
