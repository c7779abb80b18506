"""Projects as fixtures."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from by_path import load

from certify.cli.app import _run


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
def check_json(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, Any]]]:
    """``certify check --format json`` in this process: the exit code and the document on standard output."""

    def run(path: Path) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        code = _run(["check", str(path), "--format", "json"])
        out, err = capsys.readouterr()
        assert err == ""
        return code, json.loads(out)

    return run


@pytest.fixture(scope="session")
def minimiser() -> Callable[..., float]:
    """True distance of weights to the minimiser on some records, by the 60-digit oracle, rounded up."""
    module = load("convex/conftest")

    def distance(objective: Any, data: Any, w: Any) -> float:
        exact = module.exact(objective, data.X, data.y, data.sample_weight, len(w))
        return float(module.distance(module.numbers(w), exact.minimiser(w))) * (1 + 1e-15)

    return distance
