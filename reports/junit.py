"""JUnit XML, for continuous integration: one test case a check, with the numbers of its finding; other findings are no cases."""

import xml.etree.ElementTree as ET

from certify.core.verdict import Verdict
from certify.reports.audit_tables import audit_numbers
from certify.reports.schema import CheckEntry, Document
from certify.reports.wording import clean


def render_junit(document: Document) -> bytes:
    """A suite per model; failure for fail and inconclusive, error for refused."""
    verdicts = [entry.verdict for entry in document.checks]
    suite = ET.Element(
        "testsuite",
        name=clean(f"certify {document.subject.model.path}"),
        tests=str(len(verdicts)),
        failures=str(sum(verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE) for verdict in verdicts)),
        errors=str(sum(verdict is Verdict.REFUSED for verdict in verdicts)),
        skipped="0",
        timestamp=clean(document.created).removesuffix("Z"),
    )
    for entry in document.checks:
        _case(suite, document, entry)
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _case(suite: ET.Element, document: Document, entry: CheckEntry) -> None:
    case = ET.SubElement(
        suite, "testcase", classname=clean(f"certify.{document.subject.kind}"), name=clean(entry.title)
    )
    properties = ET.SubElement(case, "properties")
    numbers = [("id", entry.id), ("measured", entry.measured), ("limit", entry.limit)]
    for name, value in [*numbers, *audit_numbers(document, entry.id)]:
        if value is not None:
            ET.SubElement(properties, "property", name=name, value=clean(str(value)))
    if entry.verdict is Verdict.PASS:
        return
    tag = "error" if entry.verdict is Verdict.REFUSED else "failure"
    problem = ET.SubElement(case, tag, type=entry.verdict.value, message=clean(entry.summary))
    problem.text = clean(entry.remedy or "")
