"""SARIF 2.1.0, for code-scanning views. Its ``kind`` has exactly our outcomes, and one for findings that decide nothing."""

import hashlib
import json
import math
from typing import Any
from urllib.parse import quote

from certify.core.verdict import Verdict
from certify.reports.audit_tables import audit_numbers, finding_row
from certify.reports.schema import CheckEntry, Document, Finding
from certify.reports.wording import clean, tally

_KINDS = {
    Verdict.PASS: "pass",
    Verdict.FAIL: "fail",
    Verdict.INCONCLUSIVE: "open",
    Verdict.REFUSED: "review",
}


def render_sarif(document: Document) -> str:
    """One run with one result a check; a level other than none belongs to failures alone."""
    run = {
        "tool": {"driver": _driver(document)},
        "invocations": [_invocation(document)],
        "results": [
            *(_result(document, entry) for entry in document.checks),
            *(_information(document, finding) for finding in _undeciding(document)),
        ],
    }
    content = {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}
    return json.dumps(content, indent=2) + "\n"


def _undeciding(document: Document) -> list[Finding]:
    """Findings without a check of their own."""
    checks = {entry.id for entry in document.checks}
    return [finding for finding in (document.audit.findings if document.audit else ()) if finding.id not in checks]


def _driver(document: Document) -> dict[str, Any]:
    named = [(entry.id, entry.title) for entry in document.checks]
    named += [(finding.id, finding.title) for finding in _undeciding(document)]
    rules = [{"id": clean(name), "shortDescription": {"text": clean(title)}} for name, title in named]
    return {"name": clean(document.tool.name), "version": clean(document.tool.version), "rules": rules}


def _invocation(document: Document) -> dict[str, Any]:
    refused = document.verdict is Verdict.REFUSED
    notes = [
        {"level": "error", "message": {"text": clean(entry.summary)}, "associatedRule": {"id": clean(entry.id)}}
        for entry in document.checks
        if entry.verdict is Verdict.REFUSED
    ]
    if refused and not notes:
        notes = [{"level": "error", "message": {"text": tally(document)}}]
    return {
        "executionSuccessful": not refused,
        "exitCode": document.exit_code,
        "toolExecutionNotifications": notes,
    }


def _result(document: Document, entry: CheckEntry) -> dict[str, Any]:
    kind = _KINDS[entry.verdict]
    mend = f" {clean(entry.remedy)}." if entry.remedy else ""
    numbers = {name: _plain(value) for name, value in audit_numbers(document, entry.id) if value is not None}
    return {
        "ruleId": clean(entry.id),
        "kind": kind,
        "level": "error" if kind == "fail" else "none",
        "message": {"text": f"{clean(entry.title)}: {clean(entry.summary)}.{mend}"},
        "locations": _place(document),
        "partialFingerprints": {"certifyCheck/v1": _identity(document, entry.id)},
    } | ({"properties": numbers} if numbers else {})


def _information(document: Document, finding: Finding) -> dict[str, Any]:
    """A finding that decides nothing, as SARIF's kind for it."""
    title, _, measured, _, null, _ = finding_row(finding)
    return {
        "ruleId": clean(finding.id),
        "kind": "informational",
        "level": "none",
        "message": {"text": f"{title}: {measured}; null {null}."},
        "locations": _place(document),
        "partialFingerprints": {"certifyCheck/v1": _identity(document, finding.id)},
        "properties": {name: _plain(value) for name, value in audit_numbers(document, finding.id) if value is not None},
    }


def _plain(value: object) -> object:
    """JSON has no infinity."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _place(document: Document) -> list[dict[str, Any]]:
    uri = quote(clean(document.reproduction.spec.path).replace("\\", "/"))
    return [{"physicalLocation": {"artifactLocation": {"uri": uri}, "region": {"startLine": 1}}}]


def _identity(document: Document, name: str) -> str:
    return hashlib.sha256(f"{name}\0{document.subject.model.path}".encode(errors="replace")).hexdigest()
