"""Findings and controls as checks: what was measured, against what, and what would mend it."""

from collections.abc import Sequence

from certify.attacks.audits.findings import Control, Finding
from certify.core.rounding import format_lower, format_plain, format_upper
from certify.core.verdict import Verdict
from certify.reports.audit_games import game_label
from certify.reports.schema import CheckEntry


def entries_of(findings: Sequence[Finding], controls: Sequence[Control]) -> tuple[CheckEntry, ...]:
    """One check for each finding that decides, and one for each control that misbehaved, or for all together where none did.

    Where a control misbehaves, what the same attack found in the same game is refused, not reported.
    """
    broken = [control for control in controls if not control.ok]
    entries = [_control_entry(control) for control in broken]
    if controls and not broken:
        entries.append(_controls_entry(controls))
    deciding = [one for one in findings if one.verdict is not None]
    entries += [_entry(one) for one in deciding if not refused(one, broken)]
    return tuple(entries)


def refused(finding: Finding, broken: Sequence[Control]) -> bool:
    """Whether a control of this finding's own attack and game misbehaved."""
    own = f"-{finding.attack}-{finding.game}"
    suffix = own if finding.slice == "all" else f"{own}-{finding.slice}"
    return any(control.id.endswith(suffix) for control in broken)


def _control_entry(control: Control) -> CheckEntry:
    remedy = (
        "the attack misses even models that forgot nothing: train more shadow models, or leave this attack out"
        if control.must_be_caught
        else "retrained models differ from each other by more than chance: check that all were trained by one recipe, and that the rows of the scores belong together"
    )
    return CheckEntry(
        id=control.id,
        title=f"control: {control.name}",
        verdict=Verdict.REFUSED,
        summary=control.summary,
        measured=control.p_value,
        quantity="p-value",
        remedy=remedy,
    )


def _controls_entry(controls: Sequence[Control]) -> CheckEntry:
    caught = sum(control.must_be_caught for control in controls)
    return CheckEntry(
        id="controls",
        title="controls",
        verdict=Verdict.PASS,
        summary=f"retrained models were not told apart ({len(controls) - caught} of {len(controls) - caught}); original ones were ({caught} of {caught})",
        measured=float(len(controls)),
        quantity="controls",
    )


def _entry(one: Finding) -> CheckEntry:
    assert one.verdict is not None
    limit = "" if one.limit is None else f"; at most {format_plain(one.limit, 3)} is allowed"
    ends = (
        ""
        if one.upper == float("inf")
        else f" ({100 * one.confidence:g} %: {format_lower(one.lower)} to {format_upper(one.upper)})"
    )
    where = "" if one.slice == "all" else f", {one.slice} records"
    direction = "" if one.direction is None else f", {one.direction}"
    bound = ", epsilon" if one.statistic.startswith("epsilon") else ""
    return CheckEntry(
        id=one.id,
        title=f"{one.title}, {game_label(one.game)}{direction}{where}{bound}",
        verdict=one.verdict,
        summary=f"{one.statistic} is {format_plain(one.value, 3)}{ends}{limit}{_p(one)}",
        measured=one.value,
        limit=one.limit,
        quantity=one.statistic,
        remedy=_remedy(one),
    )


def _p(one: Finding) -> str:
    level = one.p_value if one.adjusted_p is None else one.adjusted_p
    return "" if level is None or one.verdict is Verdict.PASS else f"; p = {format_upper(level, 2)}"


def _remedy(one: Finding) -> str | None:
    if one.verdict is Verdict.FAIL and one.direction == "over-forgetting":
        return "the model avoids the forgotten records, which gives them away too: forget less hard (fewer steps, smaller lr), or retrain"
    if one.verdict is Verdict.FAIL:
        return "unlearn more (more steps, another method), or retrain"
    return _how_to_settle(one) if one.verdict is Verdict.INCONCLUSIVE else None


def _how_to_settle(one: Finding) -> str:
    if one.attack == "release-lira":
        return "so few forgotten records of one model cannot settle it: audit the method, with u-lira"
    if one.game == "coin-flip":
        return "plant more canaries"
    if one.needed_models is None:
        return "no number of models would settle it: the limit is as strict as chance itself"
    return f"about {one.needed_models:,} shadow models would settle it: `certify audit --models {one.needed_models}`"


def power_entry() -> CheckEntry:
    """Nothing decided: absence of evidence never reads as a pass."""
    return CheckEntry(
        id="audit",
        title="empirical audit",
        verdict=Verdict.INCONCLUSIVE,
        summary="no attack that was run could decide anything",
        remedy="add u-lira, or name the original so that distances can show that they see something",
    )
