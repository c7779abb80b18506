"""The command in this process, and what every refusal has in common."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from by_path import load

from certify.cli.app import _run

_CORE_IDS = ("person-0", "person-1")


@pytest.fixture(scope="session")
def projects() -> ModuleType:
    return load("gate/projects")


@pytest.fixture
def build(tmp_path: Path, projects: ModuleType) -> Callable[..., Any]:
    """A project of a loss, in a folder of its own."""
    return lambda loss="logistic", name="project": projects.Project(tmp_path / name, loss)


@pytest.fixture
def project(build: Callable[..., Any]) -> Any:
    return build()


@pytest.fixture
def certify(capsys: pytest.CaptureFixture[str]) -> Callable[..., SimpleNamespace]:
    """The command line without a process of its own: fast, and with the same exit code."""

    def run(*arguments: object) -> SimpleNamespace:
        capsys.readouterr()
        code = _run([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return SimpleNamespace(code=code, stdout=out, stderr=err)

    return run


@pytest.fixture
def refuses(certify: Callable[..., SimpleNamespace]) -> Callable[..., str]:
    """Run a command that must refuse; its one line names the file or key, the trouble and the mend, and no record."""

    def run(project: Any, *fragments: str, command: str = "check", options: tuple[str, ...] = (), code: int = 2) -> str:
        before = project.snapshot()
        options = tuple(option.replace("@", str(project.folder)) for option in options)
        done = certify(command, project.path, *options)
        line = done.stderr.replace(str(project.folder), "")
        assert done.code == code, line
        assert done.stdout == ""
        assert line.startswith("certify: ")
        assert line.endswith("\n")
        assert line.count("\n") == 1
        assert "; " in line or " - see " in line
        assert not any(name in line for name in _CORE_IDS)
        assert [fragment for fragment in fragments if fragment not in line] == [], line
        assert project.snapshot() == before
        return line

    return run
