"""Built once for all packaging tests: a clean copy of the checkout, its wheel, a user's environment."""

import ast
import configparser
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PathDistribution, distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

LEFT_OUT = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "shared")


@dataclass(frozen=True)
class Built:
    """A wheel and the names it would put into site-packages."""

    path: Path
    names: tuple[str, ...]

    @property
    def installed(self) -> tuple[str, ...]:
        """The names without the wheel's own metadata."""
        return tuple(name for name in self.names if ".dist-info/" not in name)


@dataclass(frozen=True)
class Import:
    """One absolute import statement, and whether it runs as soon as its file is imported."""

    file: Path
    line: int
    module: str
    at_once: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


@pytest.fixture(scope="session")
def pyproject(repo_root: Path) -> dict[str, Any]:
    """The project's settings."""
    return tomllib.loads((repo_root / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def source(repo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy without leftovers: setuptools reuses ``build/`` and would pack files that are long gone."""
    return shutil.copytree(repo_root, tmp_path_factory.mktemp("source") / "tree", ignore=LEFT_OUT)


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``build(tree, "--wheel")`` runs the real front end with this environment's setuptools, offline."""

    def run(tree: Path, kind: str) -> Path:
        out = tmp_path_factory.mktemp("dist")
        command = [sys.executable, "-m", "build", kind, "--no-isolation", "--outdir", out, tree]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return next(out.iterdir())

    return run


@pytest.fixture(scope="session")
def read_wheel() -> Callable[[Path], Built]:
    """List what a wheel holds."""

    def read(path: Path) -> Built:
        with zipfile.ZipFile(path) as archive:
            return Built(path, tuple(sorted(archive.namelist())))

    return read


@pytest.fixture(scope="session")
def wheel(source: Path, build: Callable[..., Path], read_wheel: Callable[[Path], Built]) -> Built:
    """The wheel of this checkout."""
    return read_wheel(build(source, "--wheel"))


@pytest.fixture(scope="session")
def unpacked(wheel: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's content, as in site-packages."""
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel.path) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="session")
def closure() -> Callable[..., dict[str, str]]:
    """The distributions that requirements bring, transitively: normalised name to installed version."""
    return _closure


def _closure(requirements: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    done: set[tuple[str, str]] = set()
    waiting = list(_wanted(requirements, {""}))
    while waiting:
        requirement = waiting.pop()
        installed = distribution(requirement.name)
        found[_normal(requirement.name)] = installed.version
        extras = {"", *requirement.extras}
        new = {(_normal(requirement.name), extra) for extra in extras} - done
        done |= new
        waiting += _wanted(installed.requires or [], {extra for _, extra in new})
    return found


def _wanted(requirements: list[str], extras: set[str]) -> Iterator[Requirement]:
    """Those that apply on this interpreter for any of the extras; the empty one stands for none."""
    for requirement in map(Requirement, requirements):
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            yield requirement


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="session")
def user_command(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """How a user calls the command where only the wheel and what it asks for is installed."""
    home = tmp_path_factory.mktemp("user") / "env"
    venv.create(home, symlinks=True, with_pip=False)
    python = home / "bin" / "python"
    wheel_metadata = PathDistribution(next(unpacked.glob("*.dist-info")))
    _link(_entries(_closure(wheel_metadata.requires or [])) | set(unpacked.iterdir()), _site_packages(python))
    script = home / "bin" / "certify"
    script.write_text(_console_script(wheel_metadata), encoding="utf-8")
    return [str(python), "-I", str(script)]


def _entries(names: dict[str, str]) -> set[Path]:
    """What the distributions put directly into site-packages: packages, modules, shared libraries."""
    return {
        Path(str(found.locate_file(file.parts[0])))
        for found in map(distribution, names)
        for file in found.files or []
        if file.parts[0] not in {"..", "__pycache__"}
    }


def _link(entries: set[Path], folder: Path) -> None:
    for entry in entries:
        (folder / entry.name).symlink_to(entry)


def _site_packages(python: Path) -> Path:
    command = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    return Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())


def _console_script(metadata: PathDistribution) -> str:
    """What an installer writes for the entry point ``certify``."""
    points = configparser.ConfigParser(delimiters="=")
    points.read_string(metadata.read_text("entry_points.txt") or "")
    module, _, function = points["console_scripts"]["certify"].partition(":")
    return f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n"


@pytest.fixture(scope="session")
def imports() -> Callable[[Path], list[Import]]:
    """Every absolute import below a folder, in files of Python."""

    def collect(folder: Path) -> list[Import]:
        return [found for file in sorted(folder.rglob("*.py")) for found in _imports(file)]

    return collect


def _imports(file: Path) -> Iterator[Import]:
    tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    late = {inner for node in ast.walk(tree) if _runs_later(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        for module in _modules(node):
            yield Import(file, node.lineno, module, at_once=node not in late)


def _runs_later(node: ast.AST) -> bool:
    """Bodies of functions run when called, those under TYPE_CHECKING never."""
    typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    return typing_only or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def _modules(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        return [node.module]
    return []
