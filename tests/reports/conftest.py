"""Sample documents as fixtures: test folders are not packages, so they are loaded by path."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from certify.reports.schema import Document


@pytest.fixture(scope="session")
def samples() -> ModuleType:
    path = Path(__file__).with_name("samples.py")
    spec = importlib.util.spec_from_file_location("certify_report_samples", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=["pass", "fail", "inconclusive", "refused", "unbounded", "hostile"])
def document(request: pytest.FixtureRequest, samples: ModuleType) -> Document:
    found: Document = samples.ALL[request.param]
    return found
