"""Verifying a certificate with nothing trusted: files by digest, numbers by computing them again, the whole by the ledger."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certify.core.arrayfiles import record_of
from certify.core.errors import CertifyError, InputError, TamperedError
from certify.core.files import decode, open_input, read_bytes
from certify.core.verdict import Verdict, worst
from certify.gate.booked import booking_of
from certify.gate.check import check_inputs, check_loaded
from certify.gate.inputs import load_inputs
from certify.gate.ledger import Ledger
from certify.gate.load import LoadedSpec, load_spec
from certify.gate.release import booked_files, sha256
from certify.reports.schema import Document, FileDigest, fields_of, parse_document

_NOT_COMPARED = {"created", "tool", "release", "evidence", "exit_code", "verdict"}
_OF_THE_RUN = {"seconds", "forecast_seconds", "from_cache"}
"""How an audit was run, not what it found."""
_OF_THE_LEDGER = {"ledger", "tombstones"}
_ASKED = re.compile(r" --models (\d{1,9})$")
"""In the command of an audit: shadow models in the place of the spec's."""
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e-?\d+)?")


@dataclass(frozen=True)
class Finding:
    """One thing that was verified.

    Attributes:
        what: the file, field or entry.
        verdict: pass, fail (it was changed) or refused (it could not be verified).
        detail: what was found.
    """

    what: str
    verdict: Verdict
    detail: str


@dataclass(frozen=True)
class Verification:
    """Everything that was verified; the verdict is the worst of it."""

    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """fail if anything was changed, refused if anything could not be verified, else pass."""
        return worst([finding.verdict for finding in self.findings])


def verify(certificate: str | Path) -> Verification:
    """Verify a certificate against its files, its ledger, and a fresh computation.

    Args:
        certificate: a JSON document; its files are looked for where it says and beside it.

    Raises:
        InputError: it is not a certificate, and no ledger near it booked another content under its name.
        TamperedError: it is not a certificate, and a ledger that might know it was changed too.
    """
    path = Path(certificate)
    content = read_bytes(path)[0]
    try:
        document = parse_document(decode(content, path), where=str(path))
    except InputError as error:
        changed = _other_than_booked(path, content)
        if changed is None:
            raise
        return Verification((Finding("certificate", Verdict.FAIL, f"{changed} (it {error.what})"),))
    findings = [_verdict(document), *(_file(path, label, file) for label, file in _files(document))]
    spec = _found(path, document.reproduction.spec.path)
    if spec is None:
        missing = Finding("recomputation", Verdict.REFUSED, "the spec is not here, so nothing could be computed again")
        return Verification((*findings, *_unasked(path, content), missing))
    return Verification((*findings, *_ledger(path, content, spec, document), *_recomputed(spec, document)))


def _other_than_booked(path: Path, content: bytes) -> str | None:
    """How the bytes differ from what a ledger booked under this path; None where they do not, or no ledger knows it."""
    booking = booking_of(path)
    if booking is None or booking.digest == sha256(content):
        return None
    return f"was changed: entry {booking.sequence} of {booking.ledger} booked other bytes"


def _unasked(path: Path, content: bytes) -> list[Finding]:
    """What a ledger knows of a certificate that names none: it may have been made to keep silent."""
    try:
        changed = _other_than_booked(path, content)
    except TamperedError as error:
        return [Finding("ledger", Verdict.FAIL, str(error))]
    return [] if changed is None else [Finding("certificate", Verdict.FAIL, changed)]


def _verdict(document: Document) -> Finding:
    """The overall verdict must be the worst of the checks, and the guarantee must not outlive a failure."""
    expected = worst([entry.verdict for entry in document.checks])
    if any(item.status == "violated" for item in document.assumptions) and expected is Verdict.PASS:
        expected = Verdict.REFUSED
    claims = document.guarantee.kind != "none"
    consistent = document.verdict is expected and document.exit_code == expected.exit_code
    if consistent and claims == (expected is Verdict.PASS):
        return Finding("verdict", Verdict.PASS, f"{expected.value}, the worst of its checks")
    return Finding(
        "verdict", Verdict.FAIL, f"its checks say {expected.value}: the verdict or the guarantee was changed"
    )


def _files(document: Document) -> Iterator[tuple[str, FileDigest]]:
    yield "spec", document.reproduction.spec
    yield "model", document.subject.model
    if document.subject.original is not None:
        yield "original model", document.subject.original
    yield "training data", document.request.data
    yield "forget set", document.request.forget
    yield from (("test data", item.data) for item in document.utility if item.data is not None)
    if document.release is not None:
        yield "released weights", document.release.file


def _found(certificate: Path, name: str) -> Path | None:
    """A file where the certificate says, else beside it."""
    return next((path for path in (Path(name), certificate.parent / Path(name).name) if path.is_file()), None)


def _file(certificate: Path, label: str, file: FileDigest) -> Finding:
    path = _found(certificate, file.path)
    if path is None:
        return Finding(label, Verdict.REFUSED, f"{file.path} is not here")
    with open_input(path) as opened:
        digest = record_of(path, opened).sha256
    if digest != file.sha256:
        return Finding(label, Verdict.FAIL, f"{path} was changed: its digest is not the certificate's")
    return Finding(label, Verdict.PASS, f"{path}: digest agrees")


def _ledger(certificate: Path, content: bytes, spec: Path, document: Document) -> list[Finding]:
    """The entry that booked this certificate, byte for byte."""
    part = document.release
    if part is None:
        return _unasked(certificate, content)
    try:
        loaded = load_spec(spec)
        with Ledger.open(loaded.resolve(loaded.spec.ledger.path), loaded.resolve(loaded.spec.ledger.key)) as ledger:
            return [_booked(ledger, content, part.ledger_sequence)]
    except InputError as error:
        return [Finding("ledger", Verdict.REFUSED, str(error))]
    except CertifyError as error:
        return [Finding("ledger", Verdict.FAIL, str(error))]


def _booked(ledger: Ledger, content: bytes, sequence: int) -> Finding:
    entry = next((entry for entry in ledger.entries() if entry.sequence == sequence), None)
    digests = set(booked_files(ledger, entry).values()) if entry is not None else set()
    if sha256(content) in digests:
        return Finding("ledger", Verdict.PASS, f"entry {sequence} booked this certificate, byte for byte")
    return Finding("ledger", Verdict.FAIL, f"entry {sequence} did not book these bytes: the certificate was changed")


def _recomputed(spec: Path, document: Document) -> list[Finding]:
    """A fresh check, compared field by field."""
    try:
        fresh = _checked_again(_without_ledger(spec), document)
    except CertifyError as error:
        return [Finding("recomputation", Verdict.FAIL, f"the check cannot be repeated: {error}")]
    changed: list[str] = []
    close: list[str] = []
    if document.model_fields_set - fields_of(document.schema_version):
        changed.append("schema_version")  # an older one, on a document with newer fields
    for field, before, now in _differences(_comparable(document), _comparable(_as_of(document.schema_version, fresh))):
        (close if not _is_declared(field) and _within_rounding(before, now) else changed).append(field)
    findings = [Finding(field, Verdict.FAIL, "is not what a fresh computation gives") for field in changed]
    note = f"; {len(close)} numbers differ within rounding (first: {close[0]})" if close else ""
    return findings or [Finding("recomputation", Verdict.PASS, f"every number and statement computed again{note}")]


def _checked_again(loaded: LoadedSpec, document: Document) -> Document:
    asked = _ASKED.search(document.reproduction.command)
    models = None if asked is None else int(asked[1])
    network = loaded.spec.release.kind == "torch"
    # a check would hold a linear model's attacks against its bounds
    if models is not None or (document.audit is not None and document.bounds is None and not network):
        from certify.gate.audits.run import audit_loaded

        return audit_loaded(loaded, models=models).report
    if network:
        return check_loaded(loaded).report
    return check_inputs(load_inputs(loaded)).report


def _as_of(version: str, fresh: Document) -> Document:
    """A fresh document as an older certify would have written it: without the fields that came later."""
    known = fields_of(version)
    later = {name: field.default for name, field in Document.model_fields.items() if name not in known}
    return fresh.model_copy(update=later | ({"schema_version": version} if later else {}))


def _is_declared(field: str) -> bool:
    """What is given rather than measured is the same on every machine, to the last digit."""
    return field.startswith(("policy.", "request.", "objective.", "subject.", "reproduction.")) or field.endswith(
        (".limit", ".delta", ".fpr")
    )


def _without_ledger(spec: Path) -> LoadedSpec:
    """The spec without its cap: the ledger has moved on since, and is verified apart."""
    loaded = load_spec(spec)
    policy = loaded.spec.policy.model_copy(update={"max_total_mu": None})
    return LoadedSpec(loaded.spec.model_copy(update={"policy": policy}), loaded.path, loaded.record)


def _comparable(document: Document) -> dict[str, Any]:
    """What a fresh check must reproduce: file paths are left out, digests are not."""
    content = {key: value for key, value in document.to_dict().items() if key not in _NOT_COMPARED}
    content["checks"] = [entry for entry in content["checks"] if entry["id"] not in _OF_THE_LEDGER]
    content["assumptions"] = [item for item in content["assumptions"] if item["id"] != "noise"]
    if content["audit"] is not None:
        design = content["audit"]["design"]
        content["audit"]["design"] = {key: value for key, value in design.items() if key not in _OF_THE_RUN}
    content["policy"].pop("max_total_mu")
    content["reproduction"].pop("command")
    comparable: dict[str, Any] = _without_paths(content)
    return comparable


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_paths(item) for key, item in value.items() if key != "path"}
    return [_without_paths(item) for item in value] if isinstance(value, list) else value


def _differences(before: Any, now: Any, field: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            yield from _differences(before.get(key), now.get(key), f"{field}.{key}".lstrip("."))
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for index, (left, right) in enumerate(zip(before, now, strict=True)):
            yield from _differences(left, right, f"{field}[{index}]")
    elif before != now or type(before) is not type(now):
        yield field, before, now


def _within_rounding(before: Any, now: Any) -> bool:
    """Whether two values differ no more than two machines' summation orders may."""
    if isinstance(before, str) and isinstance(now, str):
        pairs = list(zip(_NUMBER.findall(before), _NUMBER.findall(now), strict=False))
        same_words = _NUMBER.sub("#", before) == _NUMBER.sub("#", now)
        return same_words and all(left == right or _close_text(left, right) for left, right in pairs)
    numeric = isinstance(before, float) and isinstance(now, float)
    return numeric and math.isclose(before, now, rel_tol=1e-6, abs_tol=0.0)


def _close_text(before: str, now: str) -> bool:
    """Printed measurements may differ in the last of three digits; counts are exact."""
    measured = "." in before or "e" in before or "." in now or "e" in now
    return measured and math.isclose(
        float(before.replace(",", "")), float(now.replace(",", "")), rel_tol=1e-2, abs_tol=0.0
    )
