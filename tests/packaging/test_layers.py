"""The rule that imports run downward is in force: each kind of trespass turns import-linter red."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def lint(unpacked, repo_root, tmp_path):
    """Run import-linter with our rules on a copy of the installed tree to which one file was added."""

    def run(file=None, line=""):
        tree = shutil.copytree(unpacked, tmp_path / "tree")
        if file:
            target = tree / "certify" / file
            target.parent.mkdir(exist_ok=True)
            target.write_text(line + "\n", encoding="utf-8")
        command = [
            Path(sys.executable).with_name("lint-imports"),
            "--no-cache",
            "--config",
            repo_root / "pyproject.toml",
        ]
        return subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)

    return run


def test_the_tree_keeps_the_rules(lint):
    done = lint()
    assert done.returncode == 0, done.stdout
    assert "KEPT" in done.stdout


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("core/trespass.py", "import certify.convex"),
        ("convex/trespass.py", "import certify.reports"),
        ("convex/trespass.py", "import certify.privacy"),
        ("reports/trespass.py", "import certify.privacy"),
        ("reports/trespass.py", "import certify.gate"),
        ("attacks/trespass.py", "import certify.unlearners"),
        ("unlearners/trespass.py", "import certify.attacks"),
        ("unlearners/trespass.py", "import certify.reports"),
        ("gate/trespass.py", "import certify.cli"),
        ("core/trespass.py", "from certify import gaussian"),
        ("core/trespass.py", "def later():\n    import certify.gate"),
    ],
)
def test_a_trespass_is_seen(lint, file, line):
    done = lint(file, line)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BROKEN" in done.stdout
    assert "trespass" in done.stdout


def test_a_package_without_a_floor_is_seen(lint):
    done = lint("newcomer/__init__.py")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "newcomer" in done.stdout
