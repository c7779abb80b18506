"""Every example in a docstring is true. Modules are found on disk and imported by the name a user imports."""

import doctest
import importlib
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def modules() -> list[str]:
    """Names of all modules of all packages that pyproject.toml maps to folders."""
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    found = set()
    for package, folder in setup["package-dir"].items():
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            if "templates" not in parts and parts != ("__main__",):
                found.add(".".join((package, *parts)))
    return sorted(found)


@pytest.mark.parametrize("name", modules())
def test_the_examples_of_a_module_are_true(name: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(name), raise_on_error=False)
    assert failed == 0


def test_the_examples_that_matter_are_found_at_all() -> None:
    # a finder that finds nothing would pass everything
    finder = doctest.DocTestFinder(exclude_empty=True)
    with_examples = {
        name for name in modules() if any(test.examples for test in finder.find(importlib.import_module(name)))
    }
    assert with_examples >= {"certify.privacy.gaussian", "certify.convex.certificate", "certify.core.rounding"}
    assert "certify.attacks.epsilon" in with_examples
