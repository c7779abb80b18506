"""What docs/sessions.md shows is what happens."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from by_path import load

_HERE = Path(__file__).resolve().parent


readme = load("docs/readme")
TEXT = (readme.ROOT / "docs" / "sessions.md").read_text(encoding="utf-8")
BLOCKS = readme.blocks(TEXT)


def test_the_commands_pass_one_after_the_other(tmp_path: Path) -> None:
    for mark, body in BLOCKS.items():
        if mark.startswith("file: "):
            (tmp_path / mark.removeprefix("file: ")).write_text(body, encoding="utf-8")
    for command in BLOCKS["run"].strip().splitlines():
        done = readme.shell(command, tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
    assert (tmp_path / "released-0001.npz").exists()


def test_the_python_session_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKS["python"]], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", sorted(set(re.findall(r"certify session (\w+)", TEXT))))
def test_every_command_that_is_named_exists(name: str) -> None:
    from certify.cli.session import command

    assert name in command.commands
