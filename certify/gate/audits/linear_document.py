"""What the audit of a linear model comes to: the certificate decides, and an attack can only contradict it."""

from collections.abc import Sequence
from dataclasses import replace

from certify.attacks.audits.findings import Control, Finding
from certify.attacks.registry import ATTACKS
from certify.core.rounding import format_plain, format_upper
from certify.core.verdict import Verdict, worst
from certify.gate.audits.document import NOT_COVERED, digest_of
from certify.gate.audits.entries import control_entry, entry_of, power_entry, refused
from certify.gate.audits.parts import audit_part
from certify.gate.audits.seen import Seen
from certify.gate.document import now, objective_part, policy_part, request_part, subject_part, tool
from certify.reports.audits import Audit
from certify.reports.schema import SCHEMA_VERSION, Assumption, CheckEntry, Document, Guarantee, Reproduction

_CONTRADICTION = (
    "a proven limit and what was measured cannot both be right: data, weights, objective or noise are not what the spec declares, "
    "or this software is wrong; compare them, do not release, and report it with the certificate"
)
_BLIND = "the original is not told apart through the noise either: shown, and decides nothing"


def decided(seen: Seen) -> tuple[list[Finding], list[Control]]:
    """Findings and controls as a linear model has them.

    An attack that does not even tell the original apart through the noise decides nothing, and nothing is refused for it; one that is
    inconclusive leaves the word to the certificate. A limit that is exceeded stays a failure.
    """
    controls = [_excused(one) for one in seen.controls]
    unable = [one for one in seen.controls if one.must_be_caught and not one.ok]
    findings = []
    for one in seen.findings:
        if one.verdict is Verdict.INCONCLUSIVE:
            findings.append(replace(one, verdict=None, note=f"the certificate decides. {one.note}".rstrip()))
        elif one.verdict is Verdict.PASS and refused(one, unable):
            findings.append(replace(one, verdict=None, note=f"{_BLIND}. {one.note}".rstrip()))
        else:
            findings.append(one)
    return findings, controls


def _excused(control: Control) -> Control:
    if control.ok or not control.must_be_caught:
        return control
    return replace(
        control,
        ok=True,
        summary=f"is told apart where the attack sees through the noise: p = {control.p_value:.3g}, it does not",
    )


def linear_audit(seen: Seen) -> Audit:
    """The audit's part of the document."""
    return audit_part(seen, *decided(seen))


def linear_entries(seen: Seen) -> tuple[CheckEntry, ...]:
    """Checks: each control that misbehaved, each limit that an attack exceeded, or one that says that nothing contradicts."""
    assert seen.linear is not None
    findings, controls = decided(seen)
    broken = [control for control in controls if not control.ok]
    entries = [control_entry(control) for control in broken]
    failed = [one for one in findings if one.verdict is Verdict.FAIL and not refused(one, broken)]
    entries += [_failure(one, _certified(one, seen)) for one in failed]
    return tuple(entries) or (_agreement(findings, seen),)


def _certified(one: Finding, seen: Seen) -> float | None:
    """The certified epsilon that a finding must not exceed; None where no proof speaks of what it measured."""
    assert seen.linear is not None
    if "epsilon" not in one.statistic:
        return None
    if ATTACKS[one.attack].kind == "instance":
        return seen.linear.measured.epsilon
    return float(seen.linear.certified[one.slice].max())


def _failure(one: Finding, certified: float | None) -> CheckEntry:
    entry = entry_of(one)
    if certified is None or not one.lower > certified:
        return entry
    words = f"{entry.summary}; certificate and audit contradict each other: epsilon is certified to be {format_upper(certified)} at most"
    return entry.model_copy(update={"summary": words, "remedy": _CONTRADICTION})


def _agreement(findings: Sequence[Finding], seen: Seen) -> CheckEntry:
    """One line: how many attacks, what they would have seen."""
    attacks = list(dict.fromkeys(one.attack for one in findings))
    seeing = {one.attack for one in findings if one.verdict is not None}
    counted = f"{len(attacks)} attack{'' if len(attacks) == 1 else 's'}"
    parts = [f"{counted} found nothing that contradicts the certificate" if attacks else "no attack could be run"]
    parts += [one.note for one in findings if one.id == "likelihood-ratio-instance"]
    rates = [one for one in findings if one.statistic.startswith("TPR") and one.verdict is not None]
    known = [one.minimum_detectable for one in rates if one.minimum_detectable is not None]
    if known:
        parts.append(
            f"a true-positive rate above {max(known):.3g} at {format_plain(seen.plan.fpr)} would have been seen"
        )
    blind = [
        name for name in attacks if name not in seeing and ATTACKS[name].kind == "membership" and ATTACKS[name].shadows
    ]
    if blind:
        parts.append(f"for information alone: {', '.join(blind)}")
    return CheckEntry(
        id="audit",
        title="empirical audit",
        verdict=Verdict.PASS,
        summary="; ".join(parts),
        measured=float(len(attacks)),
        quantity="attacks",
    )


def unrun_entry() -> CheckEntry:
    """Attacks are held against a certificate, and there is none."""
    return CheckEntry(
        id="audit",
        title="empirical audit",
        verdict=Verdict.REFUSED,
        summary="not run: an assumption above is not met",
    )


def linear_document(seen: Seen) -> Document:
    """The attacks alone, as one document."""
    assert seen.linear is not None
    inputs = seen.linear.inputs
    findings, controls = decided(seen)
    checks = linear_entries(seen)
    if not any(one.verdict is not None for one in findings):
        checks = (power_entry(),)
    verdict = worst([check.verdict for check in checks])
    copies = inputs.retained.copies_of(inputs.dataset.take(inputs.forgotten))
    reason = verdict.meaning
    if verdict is Verdict.PASS:
        reason = f"{checks[-1].summary}. What is certified, `certify check` says"
    return Document(
        schema_version=SCHEMA_VERSION,
        created=now(),
        tool=tool(),
        verdict=verdict,
        exit_code=verdict.exit_code,
        subject=subject_part(inputs),
        request=request_part(inputs, copies),
        policy=policy_part(inputs.loaded.spec.policy),
        checks=checks,
        guarantee=Guarantee(kind="empirical" if verdict is Verdict.PASS else "none", reason=reason),
        assumptions=_assumptions(seen, controls),
        not_covered=NOT_COVERED,
        reproduction=Reproduction(command=seen.command, spec=digest_of(inputs.loaded.record)),
        objective=objective_part(inputs),
        audit=audit_part(seen, findings, controls),
    )


def _assumptions(seen: Seen, controls: Sequence[Control]) -> tuple[Assumption, ...]:
    broken = any(not control.ok for control in controls)
    listed = [
        Assumption(
            id="recipe",
            statement="The declared objective is the one that was minimised.",
            status="declared",
            evidence="[objective]; shadow models and the reference are refitted by it",
        )
    ]
    if seen.fleets:
        listed += [
            Assumption(
                id="independent-models",
                statement="Shadow models are independent of each other: own records, own noise.",
                status="verified",
                evidence=f"{seen.trained} models fitted here",
            ),
            Assumption(
                id="controls",
                statement="Retrained models are not told apart.",
                status="violated" if broken else "verified",
                evidence="a control misbehaved" if broken else f"{len(controls)} controls",
            ),
        ]
    return tuple(listed)
