"""What an audit saw, in sentences. They say what was found and what would have been seen; none says that there is nothing."""

from certify.core.rounding import format_lower, format_plain, format_upper
from certify.core.verdict import Verdict, worst
from certify.reports.audit_games import game_label, in_words, slice_label
from certify.reports.audits import Audit, AuditDesign, Control, Finding, Vulnerable
from certify.reports.wording import clean, plural

HONEST = (
    "This audit takes the operator to be honest, and perhaps wrong. It looked at models that the named method made, on the "
    "records that it was given. It cannot show that the deployed model is one of them, or that no other copy is kept."
)
"""Said on page one of every audit."""

ABSENCE = "Not finding a leak is not a proof that there is none: another attack may find one."

WHY_RETRAIN = "Is the model compared with retrained ones?"
BELOW_CHANCE = "Is it good when an attack does worse than guessing (AUC below 0.5)?"

SOURCES = {
    "fleet": "models trained and unlearned for this audit",
    "scores": "scores made elsewhere, taken as they were given",
    "checkpoints": "weights made elsewhere, taken as they were given",
}


REFERENCES = {"retrain": "models retrained without the forgotten records"}


def method_name(design: AuditDesign) -> str:
    """The method under audit, and what it is compared with."""
    return f"{clean(design.method)} against {clean(REFERENCES.get(design.reference, design.reference))}"


def audit_verdict(audit: Audit) -> Verdict | None:
    """The worst of what decides, a control that misbehaved being a refusal; None when nothing decides.

    The document's own verdict stands on its checks. This one says which sentence the audit gets.
    """
    deciding = [finding.verdict for finding in audit.findings if finding.verdict is not None]
    deciding += [Verdict.REFUSED for _ in misbehaved(audit)]
    return worst(deciding) if deciding else None


def leading(audit: Audit) -> Finding | None:
    """The finding page one speaks of: the first that failed if any, the strongest one otherwise, the worst where none is named."""
    verdict = audit_verdict(audit)
    named = audit.evidence
    if named is not None and named.verdict is verdict:
        return named
    same = [finding for finding in audit.findings if finding.verdict is verdict]
    return next(iter([*same, *([named] if named else []), *audit.findings]), None)


def percent(share: float) -> str:
    """A share as a percentage.

    >>> percent(0.95), percent(0.005)
    ('95 %', '0.5 %')
    """
    return f"{format_plain(100 * share)} %"


def interval(finding: Finding | Vulnerable) -> str:
    """The interval, its lower end rounded down, its upper end rounded up.

    An end that is infinite is left out.
    """
    ends = [end for end in (finding.lower, finding.upper) if abs(end) != float("inf")]
    if len(ends) == 2:
        return f"{format_lower(finding.lower)} to {format_upper(finding.upper)}"
    if not ends:
        return "no interval"
    return f"at least {format_lower(ends[0])}" if finding.upper == float("inf") else f"at most {format_upper(ends[0])}"


def measured(finding: Finding) -> str:
    """Value and interval.

    A bound is not said twice, and what has no interval is given none.
    """
    if finding.lower == finding.value == finding.upper:
        return f"{format_plain(finding.value, 3)} (no interval)"
    ends = interval(finding)
    if finding.value in (finding.lower, finding.upper) and ends.startswith("at "):
        return ends
    return f"{format_plain(finding.value, 3)} ({ends})"


def limit_words(finding: Finding) -> str:
    """The limit as the policy has it; empty without one."""
    low, high = finding.limit_lower, finding.limit
    if low is not None and high is not None:
        return f"{format_plain(low)} to {format_plain(high)}"
    if high is not None:
        return f"at most {format_plain(high)}"
    return "" if low is None else f"at least {format_plain(low)}"


def null_words(finding: Finding) -> str:
    """What retrained models in the place give; empty when it was not computed."""
    if finding.null_mean is None:
        return ""
    ends = (
        f" ({format_lower(finding.null_lower)} to {format_upper(finding.null_upper)})"
        if finding.null_lower is not None and finding.null_upper is not None
        else ""
    )
    return f"{format_plain(finding.null_mean, 3)}{ends}"


def p_words(p_value: float | None, adjusted: float | None) -> str:
    """p-values, rounded up; empty without any."""
    parts = [] if p_value is None else [f"p {format_upper(p_value, 2)}"]
    return ", ".join(parts if adjusted is None else [*parts, f"adjusted {format_upper(adjusted, 2)}"])


def blind(finding: Finding) -> bool:
    """Whether not even the largest rate that there is would have been seen."""
    return finding.statistic.startswith("TPR") and (finding.minimum_detectable or 0.0) >= 1


def seen_words(finding: Finding) -> str:
    """What the audit would have seen; says so when that is not known."""
    if finding.minimum_detectable is None:
        return "How small a leak the audit would have seen was not computed."
    chance = "" if finding.power is None else f" with probability {format_plain(finding.power)}"
    if blind(finding):
        return f"However strong a leak, the audit would not have seen it{chance}: too few models."
    return f"The audit would have seen a leak above {format_upper(finding.minimum_detectable)}{chance}."


def sentence(audit: Audit) -> str:
    """What the audit says, in a few sentences."""
    verdict, finding = audit_verdict(audit), leading(audit)
    if verdict is Verdict.REFUSED:
        return _refused(audit)
    if finding is None:
        return "The audit has no finding."
    if verdict is Verdict.FAIL:
        return f"{_found(finding)} {_controls(audit)}".rstrip()
    if verdict is Verdict.INCONCLUSIVE:
        return _undecided(finding, audit.design)
    return _not_found(finding) if verdict is Verdict.PASS else _informs(finding)


def _where(finding: Finding) -> str:
    records = slice_label(finding.slice)
    if finding.attack.endswith("-distance"):
        return f"{clean(finding.statistic)}, as {clean(finding.title)},"
    asked = game_label(finding.game)
    game = f", {asked}" if asked != finding.game else ""
    return f"{clean(finding.statistic)} of {clean(finding.attack)} on {records}{game}"


def _not_found(finding: Finding) -> str:
    high = finding.upper if finding.upper != float("inf") else finding.lower
    range_ = (
        f"outside {format_lower(finding.lower)} to {format_upper(finding.upper)}"
        if finding.limit_lower is not None and abs(finding.lower) != float("inf") and high == finding.upper
        else f"above {format_upper(high)}"
    )
    return f"No leak {range_} was found ({_where(finding)}). {seen_words(finding)}"


def _informs(finding: Finding) -> str:
    null = null_words(finding)
    beside = f"; retrained models in the place of the unlearned ones give {null}" if null else ""
    return f"For information, deciding nothing: {_where(finding)} is {measured(finding)}{beside}. {seen_words(finding)}"


def _found(finding: Finding) -> str:
    kind, where = f": {finding.direction}" if finding.direction else "", _where(finding)
    null = null_words(finding)
    parts = [
        f"A leak was found{kind}. {where[:1].upper()}{where[1:]} is {measured(finding)}",
        f"retrained models in the place of the unlearned ones give {null}" if null else "",
        f"the policy allows {limit_words(finding)}" if limit_words(finding) else "",
    ]
    tail = {
        "under-forgetting": " The model still gives the forgotten records away.",
        "over-forgetting": " The model avoids the forgotten records more than one that never saw them, which gives them away as well.",
        None: "",
    }[finding.direction]
    words = in_words(finding)
    return "; ".join(part for part in parts if part) + "." + (f" {words}" if words else "") + tail


def _undecided(finding: Finding, design: AuditDesign) -> str:
    ends = [end for end in (finding.limit, finding.limit_lower) if end is not None]
    straddled = any(finding.lower <= end <= finding.upper for end in ends)
    why = f", and the limit ({limit_words(finding)}) lies inside that interval" if straddled else ""
    beside = finding.attack == "release-lira" or finding.attack.endswith("-distance")
    needed = (
        f" About {finding.needed_models:,} retrained models of this request are expected to settle it."
        if finding.needed_models is not None and beside
        else f" About {finding.needed_models:,} models of each world are expected to settle it; this audit had {design.models:,}."
        if finding.needed_models is not None
        else ""
    )
    return f"Nothing is settled: {_where(finding)} is {measured(finding)}{why}.{needed} {seen_words(finding)}"


def _refused(audit: Audit) -> str:
    return f"The audit is refused. {_controls(audit) or 'A test that decides could not be made.'}"


def _controls(audit: Audit) -> str:
    """Which controls misbehaved, and what that means; empty where none did."""
    bad = misbehaved(audit)
    if not bad:
        return ""
    named = [f"{clean(control.name)} {control.expectation}, and {clean(control.summary)}" for control in bad[:3]]
    more = [f"{len(bad) - 3} more"] if len(bad) > 3 else []
    many = f"{len(bad)} of {plural(len(audit.controls), 'control')} did not come out as {'it' if len(bad) == 1 else 'they'} must"
    return f"{many} ({'; '.join([*named, *more])}): what hangs on {'it' if len(bad) == 1 else 'them'} counts neither for the method nor against it."


def misbehaved(audit: Audit) -> tuple[Control, ...]:
    """Controls that did not come out as they must."""
    return tuple(control for control in audit.controls if not control.ok)


def answers(audit: Audit) -> list[tuple[str, str]]:
    """The two questions that users of audits ask most, answered with this audit's numbers."""
    design, finding = audit.design, leading(audit)
    null = "" if finding is None else null_words(finding)
    figure = "" if finding is None or not null else f" There, {_where(finding)} is {null}."
    compared = (
        f"Yes. Every finding that has a null was computed a second time with retrained models in the place of the unlearned ones.{figure} "
        "A finding is what goes beyond that, not what goes beyond an ideal number."
    )
    unbiased = "No. No finding of this audit has its retrain null, which is why none should be trusted alone."
    sides = (
        "What is good is what retrained models give, neither more nor less: this audit looked on both sides."
        if design.two_sided
        else "What is good is what retrained models give. This audit looked for under-forgetting alone."
    )
    has_null = any(item.null_mean is not None for item in audit.findings)
    return [
        (WHY_RETRAIN, compared if has_null else unbiased),
        (
            BELOW_CHANCE,
            f"No. A model that shuns the forgotten records points them out as surely as one that remembers them. {sides}",
        ),
    ]


def alarm_words(design: AuditDesign) -> str:
    """The false-alarm guarantee."""
    return (
        f"A method that equals the reference fails with probability at most {format_plain(design.alpha)}, "
        "over all findings that decide together."
    )


def scope_words(audit: Audit) -> str:
    """What was looked at."""
    design = audit.design
    return (
        f"The method: {clean(design.method)}. The reference: {clean(REFERENCES.get(design.reference, design.reference))}. Looked at: {plural(design.models, 'model')} "
        f"of each world and {plural(design.records, 'record')}; {SOURCES[design.source]}."
    )


def control_line(audit: Audit) -> str:
    """How many controls came out as they must."""
    good = sum(control.ok for control in audit.controls)
    if not audit.controls:
        return "no control was run"
    return f"{good} of {len(audit.controls)} came out as they must"
