"""What every test may lean on: one hypothesis profile, the checkout's root, the installed command."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

# No deadline: the first example pays for imports, and a shared runner's clock is no judge of ours.
# In CI the examples are a function of the test alone: a red build is red again for whoever looks into it.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

ROOT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--measured", action="store_true", help="print what the rows of docs/acceptance.md measured")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not terminalreporter.config.getoption("--measured"):
        return
    terminalreporter.section("measured")
    for report in terminalreporter.getreports("passed"):
        for row, values in report.user_properties:
            terminalreporter.write_line(f"{row}: {values}  [{report.nodeid.rpartition('/')[2]}]")


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Note what a row of docs/acceptance.md measured, ``measured("N2", error=1e-15)``; ``--measured`` prints it."""

    def note(row: str, **values: float) -> None:
        record_property(
            row, ", ".join(f"{name.replace('_', ' ')} {float(value):.2g}" for name, value in values.items())
        )

    return note


@dataclass(frozen=True)
class Finished:
    """How a run of the command ended."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The folder that holds pyproject.toml."""
    return ROOT


@pytest.fixture
def run_certify(tmp_path: Path) -> Callable[..., Finished]:
    """Run the installed ``certify`` as a user's CI would: own process, no terminal, no stdin, empty folder.

    ``run_certify("check", "x.toml", cwd=folder, env={"CERTIFY_X": "1"})``; ``env`` adds to the present one.
    """

    def run(
        *arguments: object, cwd: Path = tmp_path, env: dict[str, str] | None = None, timeout: float = 240
    ) -> Finished:
        done = subprocess.run(
            [Path(sys.executable).with_name("certify"), *map(str, arguments)],
            cwd=cwd,
            env=os.environ | {"NO_COLOR": "1"} | (env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=timeout,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    return run
