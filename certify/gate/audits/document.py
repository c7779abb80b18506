"""From what an audit saw to the document."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from certify.attacks.audits.findings import Control, Finding
from certify.attacks.distances.null import REMINDER
from certify.attacks.observations import Cell, Observations
from certify.attacks.registry import ATTACKS
from certify.core.files import FileRecord
from certify.core.rounding import format_plain, format_upper
from certify.core.verdict import Verdict, worst
from certify.gate.audits.entries import UNCONTROLLED, Fleet, entries_of, power_entry
from certify.gate.audits.parts import audit_part
from certify.gate.audits.request_part import request_part
from certify.gate.audits.seen import Seen
from certify.gate.document import now, tool
from certify.reports.schema import (
    SCHEMA_VERSION,
    Assumption,
    Document,
    FileDigest,
    Guarantee,
    PolicySummary,
    Reproduction,
    Subject,
)

NOT_COVERED = (
    "Attacks that were not run, and stronger ones nobody has found yet: an audit finds leaks, it never shows that there is none.",
    "Releases made before the deletion: whoever holds the earlier model can compare it with this one.",
    "Other copies and derivatives of the records: backups, logs, embeddings, other models, features computed with them.",
    "The same facts in other records: retained records that resemble the forgotten ones still act.",
    "The honesty of the operator: it is assumed that the weights, the records and the training recipe are the ones that were used.",
)


def audit_document(seen: Seen) -> Document:
    """Everything an audit found, as one document."""
    policy = seen.loaded.spec.policy
    controls = seen.controls
    first = next((observations for observations, _ in seen.fleets.values()), None)
    findings = [_of_all_models(_controlled(one, controls), first) for one in seen.findings]
    broken = {control.id for control in controls if not control.ok}
    fleet = None if first is None else _fleet(first, seen)
    checks = entries_of(findings, controls, fleet)
    if not any(one.verdict in (Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE) for one in findings):
        checks = (*checks, power_entry())
    verdict = worst([check.verdict for check in checks])
    return Document(
        schema_version=SCHEMA_VERSION,
        created=now(),
        tool=tool(),
        verdict=verdict,
        exit_code=verdict.exit_code,
        subject=_subject(seen),
        request=request_part(seen),
        policy=PolicySummary(**policy.model_dump(), distance_limit=None),
        checks=checks,
        guarantee=_guarantee(verdict, findings, seen),
        assumptions=_assumptions(seen, broken=bool(broken)),
        not_covered=(*NOT_COVERED, REMINDER) if any(part.distances for part in seen.request) else NOT_COVERED,
        reproduction=Reproduction(command=seen.command, spec=digest_of(seen.loaded.record)),
        audit=audit_part(seen, findings, controls),
    )


def _of_all_models(one: Finding, fleet: Observations | None) -> Finding:
    """The same, with models needed among which as many as here have nothing to be looked at."""
    targets = 0 if fleet is None else fleet.models // 2
    if one.needed_models is None or not 0 < one.units < targets or ATTACKS[one.attack].kind != "membership":
        return one
    return replace(one, needed_models=math.ceil(one.needed_models * targets / one.units))


def _fleet(first: Observations, seen: Seen) -> Fleet:
    forgotten = float(np.mean(np.count_nonzero(first.assignment == int(Cell.FORGET), axis=1)))
    return Fleet(first.models, elsewhere=seen.scores is not None, forgotten=forgotten)


def _controlled(one: Finding, controls: Sequence[Control]) -> Finding:
    """No pass of an attack that nothing shows to see anything: the original, which forgot nothing, must be told apart in its place."""
    own = (one.attack, one.game, one.slice)
    tried = any((control.attack, control.game, control.slice) == own for control in controls if control.must_be_caught)
    if one.verdict is not Verdict.PASS or tried:
        return one
    return replace(one, verdict=Verdict.INCONCLUSIVE, note=f"{UNCONTROLLED}. {one.note}".strip())


def digest_of(record: FileRecord) -> FileDigest:
    """A file as the document names it."""
    return FileDigest(path=record.path, sha256=record.sha256, bytes=record.size)


def _subject(seen: Seen) -> Subject:
    from certify.gate.audits.request_part import model_record

    original = None if seen.inputs is None or seen.inputs.original is None else digest_of(seen.inputs.original)
    parameters = None
    if seen.inputs is not None:
        parameters = sum(value.numel() for value in seen.inputs.task.model.parameters())
    return Subject(kind="torch", model=digest_of(model_record(seen)), original=original, parameters=parameters)


def _guarantee(verdict: Verdict, findings: list[Finding], seen: Seen) -> Guarantee:
    if verdict is not Verdict.PASS:
        return Guarantee(kind="none", reason=verdict.meaning)
    rates = [one for one in findings if one.verdict is Verdict.PASS and one.statistic.startswith("TPR")]
    worst_rate = max((one.upper for one in rates), default=None)
    seen_from = max((one.minimum_detectable for one in rates if one.minimum_detectable is not None), default=None)
    words = f"no leak above the limits was found at confidence {format_plain(1 - seen.plan.alpha)}"
    if worst_rate is not None:
        words += f"; the true-positive rate at false-positive rate {format_plain(seen.plan.fpr)} is at most {format_upper(worst_rate)}"
    if seen_from is not None:
        words += f"; one above {format_upper(seen_from)} would have been seen with probability 0.8"
    if rates:
        hidden = 1 - seen.plan.alpha ** (1 / max(1, min(one.units for one in rates)))
        words += f"; one that fails outright for fewer than {100 * hidden:.2g} models in 100 may have gone unseen"
    return Guarantee(kind="empirical", reason=words)


def _assumptions(seen: Seen, *, broken: bool) -> tuple[Assumption, ...]:
    return (
        Assumption(
            id="recipe",
            statement="The training recipe of the audit is the one that made the original model.",
            status="declared",
            evidence="[training], or release.train"
            if seen.source == "fleet"
            else "declared by whoever made the scores or weights",
        ),
        Assumption(
            id="independent-models",
            statement="Shadow models are independent of each other: own records, own seeds.",
            status="verified" if seen.source == "fleet" else "declared",
            evidence=f"{seen.trained} models trained here from seeds of their own"
            if seen.source == "fleet"
            else "made elsewhere",
        ),
        Assumption(
            id="controls",
            statement="Retrained models are not told apart, and original ones are.",
            status="violated" if broken else "verified" if seen.controls else "declared",
            evidence="a control misbehaved"
            if broken
            else f"{len(seen.controls)} controls"
            if seen.controls
            else "no control could be run",
        ),
    )
