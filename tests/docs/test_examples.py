"""The examples run as they stand."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.py"))


def test_there_are_examples():
    assert EXAMPLES


# the audit runs in the README's test
@pytest.mark.parametrize("path", [path for path in EXAMPLES if path.stem != "audit_digits"], ids=lambda path: path.stem)
def test_an_example_runs(path, tmp_path):
    done = subprocess.run([sys.executable, path], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_new_method_conforms_and_is_found_by_its_entry_point(monkeypatch, tmp_path):
    from importlib.metadata import EntryPoint

    from certify import unlearners
    from certify.unlearners import registry

    monkeypatch.syspath_prepend(str(EXAMPLES[0].parent))
    point = EntryPoint("anchored-ascent", "my_unlearner:AnchoredAscent", "certify.unlearners")
    monkeypatch.setattr(registry, "_others", lambda: {"anchored-ascent": point})
    assert "anchored-ascent" in unlearners.names()
    assert unlearners.get("anchored-ascent")(steps=3).steps == 3
