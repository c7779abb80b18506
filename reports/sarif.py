"""SARIF 2.1.0, for code-scanning views. Its ``kind`` has exactly our outcomes."""

import hashlib
import json
from typing import Any
from urllib.parse import quote

from certify.core.verdict import Verdict
from certify.reports.schema import CheckEntry, Document
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
        "results": [_result(document, entry) for entry in document.checks],
    }
    content = {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}
    return json.dumps(content, indent=2) + "\n"


def _driver(document: Document) -> dict[str, Any]:
    rules = [{"id": clean(entry.id), "shortDescription": {"text": clean(entry.title)}} for entry in document.checks]
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
    uri = quote(clean(document.reproduction.spec.path).replace("\\", "/"))
    identity = hashlib.sha256(f"{entry.id}\0{document.subject.model.path}".encode(errors="replace")).hexdigest()
    return {
        "ruleId": clean(entry.id),
        "kind": kind,
        "level": "error" if kind == "fail" else "none",
        "message": {"text": f"{clean(entry.title)}: {clean(entry.summary)}.{mend}"},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri}, "region": {"startLine": 1}}}],
        "partialFingerprints": {"certifyCheck/v1": identity},
    }
