"""Sample documents as fixtures."""

from types import ModuleType

import pytest
from by_path import load

from certify.reports.formats import render
from certify.reports.schema import Document


@pytest.fixture(scope="session")
def samples() -> ModuleType:
    return load("reports/samples")


@pytest.fixture(params=["pass", "fail", "inconclusive", "refused", "unbounded", "hostile"])
def document(request: pytest.FixtureRequest, samples: ModuleType) -> Document:
    found: Document = samples.ALL[request.param]
    return found


@pytest.fixture(scope="session")
def audits() -> ModuleType:
    return load("reports/audit_samples")


class _Pages(dict[str, str]):
    """HTML of the audited samples, each made once."""

    def __init__(self, audits: ModuleType) -> None:
        super().__init__()
        self._audits = audits

    def __missing__(self, key: str) -> str:
        self[key] = render(self._audits.ALL[key], "html").decode()
        return self[key]


@pytest.fixture(scope="session")
def pages(audits: ModuleType) -> dict[str, str]:
    return _Pages(audits)
