"""What the README shows is what happens."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from by_path import load

_HERE = Path(__file__).resolve().parent


readme = load("docs/readme")
TEXT = readme.README.read_text(encoding="utf-8")
BLOCKS = readme.blocks(TEXT)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return readme.transcripts(tmp_path_factory.mktemp("demo"))


@pytest.mark.parametrize("name", sorted(readme.TRANSCRIPTS))
def test_a_transcript_is_real_output_up_to_digits(name: str, shown: dict[str, str]) -> None:
    assert readme.masked(BLOCKS[f"transcript: {name}"]) == readme.masked(shown[name])


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("walk")
    for mark, body in BLOCKS.items():
        if mark.startswith("file: "):
            (folder / mark.removeprefix("file: ")).write_text(body, encoding="utf-8")
    return folder


def test_the_walk_through_passes_command_by_command(walk: Path) -> None:
    for command in BLOCKS["run"].strip().splitlines():
        done = readme.shell(command, walk)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
    assert {"report.html", "certificate.json"} <= {path.name for path in walk.iterdir()}


def test_the_audit_of_a_network_runs(tmp_path: Path) -> None:
    shutil.copytree(readme.ROOT / "examples", tmp_path / "examples")
    first, second = BLOCKS["audit"].strip().splitlines()
    for command in (first, second):
        done = readme.shell(command, tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
    assert "in all about" in done.stdout
    assert (tmp_path / "audit-digits" / "report.html").exists()


def test_the_python_session_runs(tmp_path: Path) -> None:
    script = tmp_path / "session.py"
    script.write_text(BLOCKS["python"] + 'assert 0 < bound.distance < float("inf")\n', encoding="utf-8")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_command_the_readme_names_exists() -> None:
    from certify.cli.app import _COMMANDS

    named = set(re.findall(r"certify (check|demo|init|unlearn|report|list|audit|release|verify|ledger)\b", TEXT))
    assert named <= set(_COMMANDS)


def test_every_exit_code_is_documented_in_readme_and_help() -> None:
    from certify.cli.app import EXIT_CODES
    from certify.core.verdict import Verdict

    for verdict in Verdict:
        assert f"| {verdict.exit_code} | {verdict.value} |" in TEXT
        assert re.search(rf"^  {verdict.exit_code} +{verdict.value}", EXIT_CODES, re.MULTILINE)
