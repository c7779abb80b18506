"""Tables of an audit: rows of text, rounded against ourselves, that several renderers set."""

from certify.core.rounding import format_plain, format_upper
from certify.reports.audit_games import distance_label, game_label, game_question, part_label, plain_title, slice_label
from certify.reports.audit_wording import (
    REFERENCES,
    SOURCES,
    blind,
    leading,
    limit_words,
    measured,
    null_words,
    p_words,
    percent,
)
from certify.reports.audits import Audit, Control, DistanceFinding, Finding
from certify.reports.schema import Document
from certify.reports.wording import WORDS, clean, plural


def strongest_rows(audit: Audit) -> list[tuple[str, str]]:
    """The leading finding in full, for page one."""
    finding = leading(audit)
    if finding is None:
        return []
    rows = [
        ("Attack", plain_title(finding)),
        ("What it asks", clean(game_question(finding.game))),
        ("Records", slice_label(finding.slice)),
        (clean(finding.statistic), measured(finding)),
        ("The policy allows", limit_words(finding)),
        ("Retrained models in the place", null_words(finding)),
        ("p-value against them", p_words(finding.p_value, finding.adjusted_p)),
        ("How the interval was made", method_words(finding)),
        ("Smallest leak it would have seen", detectable_words(finding)),
        ("Most this many models could show", "" if finding.ceiling is None else format_upper(finding.ceiling)),
    ]
    return [row for row in rows if row[1]]


def method_words(finding: Finding) -> str:
    """How the interval was made: level, units, method."""
    units = f", from {plural(finding.units, 'independent unit')}" if finding.units else ""
    sides = "two-sided " if max(abs(finding.lower), abs(finding.upper)) < float("inf") else ""
    return f"{sides}{percent(finding.confidence)}{units}" + (f": {clean(finding.method)}" if finding.method else "")


def detectable_words(finding: Finding) -> str:
    """The smallest leak the audit would have seen, and how surely."""
    if finding.minimum_detectable is None:
        return "not computed"
    chance = "" if finding.power is None else f", with probability {format_plain(finding.power)}"
    return f"{'none, however strong' if blind(finding) else format_upper(finding.minimum_detectable)}{chance}"


def word(finding: Finding) -> str:
    """The verdict of a finding; one that decides nothing says so."""
    return "for information" if finding.verdict is None else WORDS[finding.verdict]


def finding_row(finding: Finding) -> tuple[str, str, str, str, str, str]:
    """A finding as (which, verdict, measured, limit, null, p)."""
    records = slice_label(finding.slice)
    kind = f" ({finding.direction})" if finding.direction else ""
    return (
        f"{clean(finding.title)}: {clean(finding.attack)}, {clean(game_label(finding.game))}, {records}",
        word(finding) + kind,
        f"{clean(finding.statistic)} {measured(finding)}",
        limit_words(finding),
        null_words(finding) or "not computed",
        p_words(finding.p_value, finding.adjusted_p),
    )


def control_row(control: Control) -> tuple[str, str, str, str]:
    """A control as (what stands in the place, expectation, how it came out, what was seen)."""
    seen = "" if "p = " in control.summary else p_words(control.p_value, None)
    return (
        clean(control.name),
        control.expectation,
        "as it must" if control.ok else "NOT as it must",
        clean(control.summary) + (f" ({seen})" if seen else ""),
    )


def distance_rows(audit: Audit) -> list[tuple[str, str, str, str, str]]:
    """Distances as (which, of what, value, ratio to the null's median, p)."""
    return [_distance(item) for item in audit.distances]


def _distance(item: DistanceFinding) -> tuple[str, str, str, str, str]:
    null = (
        f"; null {format_plain(min(item.null_values), 3)} to {format_plain(max(item.null_values), 3)}"
        if item.null_values
        else ""
    )
    ratio = "" if item.ratio is None else format_plain(item.ratio, 3)
    p_value = p_words(item.p_value, item.adjusted_p) or "none"
    return distance_label(item.name), part_label(item.part), f"{format_plain(item.value, 3)}{null}", ratio, p_value


def design_rows(audit: Audit) -> list[tuple[str, str]]:
    """Design and cost."""
    design = audit.design
    forecast = "" if design.forecast_seconds is None else f" (forecast {format_plain(design.forecast_seconds, 3)})"
    rows = [
        ("Source", SOURCES[design.source]),
        ("Method under audit", design.method),
        ("Compared with", REFERENCES.get(design.reference, design.reference)),
        ("Models of each world", f"{design.models:,}"),
        ("Records scored", f"{design.records:,}"),
        ("Share of a model's records that it forgot", f"{format_plain(100 * design.forget_share, 3)} %"),
        ("Confidence of intervals, two-sided", percent(design.confidence)),
        ("Chance that a method equal to retraining fails, at most", format_plain(design.alpha)),
        ("Looked for", "under- and over-forgetting" if design.two_sided else "under-forgetting alone"),
        ("Models trained", f"{design.models_trained:,}, {design.from_cache:,} of them in an earlier run"),
        ("Seconds", f"{format_plain(design.seconds, 3)}{forecast}"),
        ("Device", design.device),
        ("Seed", str(design.seed)),
        ("Parameters", "" if design.parameters is None else f"{design.parameters:,}"),
        ("Architecture (SHA-256)", design.architecture_digest or ""),
    ]
    return [(name, clean(value)) for name, value in rows if value]


_NUMBERS = (
    "value", "lower", "upper", "confidence", "p_value", "adjusted_p", "null_mean", "null_lower", "null_upper", "corrected",
    "minimum_detectable", "power", "ceiling", "needed_models", "direction",
)  # fmt: skip


def audit_numbers(document: Document, name: str) -> list[tuple[str, float | int | str | None]]:
    """The numbers of the finding or control that has this id, for machines; none when there is no such."""
    audit = document.audit
    if audit is None:
        return []
    finding = next((item for item in audit.findings if item.id == name), None)
    if finding is not None:
        return [(key, getattr(finding, key)) for key in _NUMBERS]
    control = next((item for item in audit.controls if item.id and item.id == name), None)
    return [] if control is None else [("value", control.value), ("p_value", control.p_value)]
