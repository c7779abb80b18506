"""The built distributions hold what they must, work for a user, and work from the checkout's own folder."""

import subprocess
import sys
import tarfile

import pytest


def files_to_ship(source):
    """Every file of the shipped folders under its installed name: code, templates, the typing marker."""
    for folder, home in {
        "certify": "",
        "attacks": "certify/",
        "unlearners": "certify/",
        "reports": "certify/",
    }.items():
        for file in (source / folder).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                yield home + file.relative_to(source).as_posix()


def test_the_wheel_holds_every_file_and_nothing_else(source, wheel):
    assert sorted(wheel.installed) == sorted(files_to_ship(source))


def test_the_wheel_adds_one_name(wheel):
    assert {name.partition("/")[0] for name in wheel.installed} == {"certify"}


def test_the_wheel_has_types_templates_and_licence(wheel):
    assert "certify/py.typed" in wheel.names
    assert any(name.startswith("certify/gate/templates/") for name in wheel.names)
    assert any(name.startswith("certify/reports/templates/") for name in wheel.names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel.names)


def test_the_sdist_builds_the_same_wheel(source, wheel, build, read_wheel, tmp_path):
    with tarfile.open(build(source, "--sdist")) as archive:
        archive.extractall(tmp_path, filter="data")
    assert read_wheel(build(next(tmp_path.iterdir()), "--wheel")).names == wheel.names


@pytest.mark.parametrize(
    "code", ["import certify.attacks, certify.reports, certify.unlearners", "import certify.cli.app"]
)
def test_the_checkouts_own_folder_does_not_shadow(repo_root, code):
    """There ``certify/`` is found before the editable install; its siblings must be found nevertheless."""
    done = subprocess.run([sys.executable, "-c", code], cwd=repo_root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_module_runs_like_the_command(repo_root, run_certify):
    command = [sys.executable, "-m", "certify", "--version"]
    module = subprocess.run(command, cwd=repo_root, capture_output=True, text=True, check=False)
    script = run_certify("--version")
    assert (module.returncode, module.stdout) == (script.code, script.stdout)
    assert script.code == 0


def user_run(command, *arguments, cwd):
    return subprocess.run(
        [*command, *arguments], cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("module", ["pytest", "hypothesis", "sklearn", "pyarrow", "mypy"])
def test_the_users_environment_has_no_developer_package(user_command, tmp_path, module):
    done = user_run(user_command[:-1], "-c", f"import {module}", cwd=tmp_path)
    assert f"No module named '{module}'" in done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["check", "--help"], ["list"]])
def test_the_wheel_works_without_developer_packages(user_command, tmp_path, arguments):
    done = user_run(user_command, *arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_every_shipped_module_imports_without_developer_packages(user_command, wheel, tmp_path):
    """A module only some command needs must not be the one that imports a test tool."""
    files = [name for name in wheel.installed if name.endswith(".py") and not name.endswith("__main__.py")]
    modules = [name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in files]
    code = f"import importlib\nfor module in {modules!r}: importlib.import_module(module)"
    done = user_run(user_command[:-1], "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_demo_works_from_the_wheel(user_command, tmp_path):
    done = user_run(user_command, "demo", "--out", str(tmp_path / "demo"), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert any((tmp_path / "demo").rglob("*.html"))
