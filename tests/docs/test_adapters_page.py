"""What the page on adapters shows is what happens, and its table names every adapter."""

import doctest
import inspect
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "adapters.md"


def test_the_examples_of_the_page_are_true():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    failed, tried = doctest.testfile(str(PAGE), module_relative=False, optionflags=options, encoding="utf-8")
    assert failed == 0
    assert tried > 12


def test_the_table_names_every_adapter():
    from certify.convex.adapters import estimators, statsmodels, torch

    table = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    names = [*estimators.ADAPTERS, "GLM", "OLS", "nn.Linear"]
    assert all(name in inspect.getsource(statsmodels) for name in ("GLM", "OLS"))
    assert "nn.Linear" in inspect.getsource(torch)
    assert [name for name in names if not any(name in line for line in table)] == []
