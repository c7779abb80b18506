"""Sample documents as fixtures."""

from types import ModuleType

import pytest
from by_path import load

from certify.reports.schema import Document


@pytest.fixture(scope="session")
def samples() -> ModuleType:
    return load("reports/samples")


@pytest.fixture(params=["pass", "fail", "inconclusive", "refused", "unbounded", "hostile"])
def document(request: pytest.FixtureRequest, samples: ModuleType) -> Document:
    found: Document = samples.ALL[request.param]
    return found
