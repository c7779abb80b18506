"""The document: everything a check found, as data. Every format is rendered from it and from nothing else.

Charter. A field is never removed and never changes its meaning; new fields are optional; a reader that meets a
newer major version refuses it. Upper bounds are stored unrounded and are rounded up when they are shown.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from certify.core.errors import InputError
from certify.core.verdict import Verdict, worst
from certify.reports.audits import (
    Audit,
    AuditDesign,
    Band,
    Ceiling,
    Control,
    Counts,
    DistanceFinding,
    Finding,
    Histogram,
    Ranking,
    RelearningCurve,
    RocCurve,
    Vulnerable,
)
from certify.reports.measures import (
    Attacker,
    AttackLimit,
    Bounds,
    Comparison,
    CurvePoint,
    Guarantee,
    NextStep,
    OneStep,
    OneStepBound,
    Predictions,
    ShapedNoise,
    Utility,
)
from certify.reports.parts import (
    Assumption,
    CheckEntry,
    Evidence,
    FileDigest,
    ObjectiveSummary,
    Part,
    PolicySummary,
    Release,
    Reproduction,
    Request,
    Subject,
    Tool,
)

__all__ = [
    "ADDED",
    "SCHEMA_VERSION",
    "Assumption",
    "AttackLimit",
    "Attacker",
    "Audit",
    "AuditDesign",
    "Band",
    "Bounds",
    "Ceiling",
    "CheckEntry",
    "Comparison",
    "Control",
    "Counts",
    "CurvePoint",
    "DistanceFinding",
    "Document",
    "Evidence",
    "FileDigest",
    "Finding",
    "Guarantee",
    "Histogram",
    "NextStep",
    "ObjectiveSummary",
    "OneStep",
    "OneStepBound",
    "PolicySummary",
    "Predictions",
    "Ranking",
    "RelearningCurve",
    "Release",
    "Reproduction",
    "Request",
    "RocCurve",
    "ShapedNoise",
    "Subject",
    "Tool",
    "Utility",
    "Vulnerable",
    "contradicts_itself",
    "fields_of",
    "parse_document",
    "read_document",
]

SCHEMA_VERSION = "1.2"

ADDED = {"one_step": 1, "audit": 2}
"""Fields of the document by the minor version they came with; the others are as old as 1.0."""


class Document(Part):
    """The whole result of one check."""

    schema_version: str
    created: str
    tool: Tool
    verdict: Verdict
    exit_code: int
    subject: Subject
    request: Request
    policy: PolicySummary
    checks: tuple[CheckEntry, ...]
    guarantee: Guarantee
    assumptions: tuple[Assumption, ...]
    not_covered: tuple[str, ...]
    reproduction: Reproduction
    objective: ObjectiveSummary | None = None
    bounds: Bounds | None = None
    curve: tuple[CurvePoint, ...] = ()
    attacker: Attacker | None = None
    comparison: Comparison | None = None
    utility: tuple[Utility, ...] = ()
    next_steps: tuple[NextStep, ...] = ()
    evidence: Evidence | None = None
    release: Release | None = None
    predictions: Predictions | None = None
    shaped_noise: ShapedNoise | None = None
    one_step: OneStep | None = None
    """Since schema 1.1."""
    audit: Audit | None = None
    """Since schema 1.2."""

    def to_json(self) -> str:
        """The document as JSON text, two spaces deep, ending in a newline."""
        return self.model_dump_json(indent=2) + "\n"

    def to_dict(self) -> dict[str, Any]:
        """The document as plain values that ``json`` can write."""
        value: dict[str, Any] = json.loads(self.to_json())
        return value


def parse_document(text: str, *, where: str) -> Document:
    """Read a document back.

    Raises:
        InputError: the text is not a document, is damaged, or comes from a newer major version.
    """
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):  # not JSON, or a number of thousands of digits
        raise InputError(
            "is not JSON", where=where, mend="give the file written by `certify check --output json=FILE`"
        ) from None
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if not isinstance(version, str):
        raise InputError(
            "is not a certificate (it has no schema_version)",
            where=where,
            mend="give the file written by `certify check --output json=FILE`",
        )
    if version.partition(".")[0] != SCHEMA_VERSION.partition(".")[0]:
        raise InputError(
            f"has schema version {version[:20]!r}, this certify reads {SCHEMA_VERSION}",
            where=where,
            mend="use the certify that wrote it",
        )
    try:
        return Document.model_validate(raw)
    except ValidationError as error:
        if _minor(version) > _minor(SCHEMA_VERSION):
            raise InputError(
                f"has schema version {version[:20]!r} with fields that this certify ({SCHEMA_VERSION}) does not know",
                where=where,
                mend="use a newer certify",
            ) from None
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"the certificate's {key} is damaged ({first['msg'].lower()})", where=where, mend="run the check again"
        ) from None


def fields_of(version: str) -> set[str]:
    """Fields that a document of this schema version may have.

    >>> "one_step" in fields_of("1.0"), "one_step" in fields_of("1.1"), "audit" in fields_of("1.1")
    (False, True, False)
    """
    return {name for name in Document.model_fields if ADDED.get(name, 0) <= _minor(version)}


def _minor(version: str) -> int:
    text = version.partition(".")[2]
    return int(text) if text.isdecimal() and len(text) < 9 else 0


def contradicts_itself(document: Document) -> bool:
    """Whether no check could have written this.

    A violated assumption may turn a pass of all checks into a refusal. Beside a finding that failed, or a control that misbehaved, there is
    no pass.
    """
    audit = document.audit
    if audit is not None and document.verdict is Verdict.PASS:
        failed = any(finding.verdict is Verdict.FAIL for finding in audit.findings)
        if failed or any(not control.ok for control in audit.controls):
            return True
    found = worst(check.verdict for check in document.checks)
    possible = {found, Verdict.REFUSED} if found is Verdict.PASS else {found}
    return document.verdict not in possible or document.exit_code != document.verdict.exit_code


def read_document(path: Path) -> Document:
    """Read a document from a JSON file."""
    from certify.core.files import read_text

    return parse_document(read_text(path)[0], where=str(path))
