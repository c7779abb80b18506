"""Findings and controls as checks: what was measured, against what, and what would mend it."""

from collections.abc import Sequence

from certify.attacks.audits.findings import Control, Finding
from certify.core.rounding import format_lower, format_plain, format_upper
from certify.core.verdict import Verdict
from certify.reports.audit_games import game_label
from certify.reports.schema import CheckEntry

_MISSES = "the attack misses even models that forgot nothing: train more shadow models, or leave this attack out"
_NOT_ALIKE = (
    "retrained models differ from each other by more than chance: check that all were trained by one recipe, and that the rows of the "
    "scores belong together"
)
_NOT_BY_CHANCE = (
    "even retrained models tell the records to forget from those never seen: draw them by chance, one by one (no whole classes), anew for "
    "each model, and check that the rows of the scores belong together"
)
_WIDE = (
    "have original models observed, and name a limit that they exceed: audit.max_tpr_at_fpr with a smaller fpr, or a smaller epsilon; "
    "or hard forget_sets"
)
_NEARER = "no retrained model is so near the others, and a ruined one may be: distances show nothing of it; add u-lira"
_MORE_RETRAINED = "more retrained models narrow it: raise audit.replicates, or name more in release.retrained"


def entries_of(findings: Sequence[Finding], controls: Sequence[Control]) -> tuple[CheckEntry, ...]:
    """One check for each finding that decides, and one for each control that misbehaved, or for all together where none did.

    Where a control misbehaves, what the same attack found in the same game is refused, not reported.
    """
    broken = [control for control in controls if not control.ok]
    entries = [control_entry(control) for control in broken]
    if controls and not broken:
        entries.append(_controls_entry(controls))
    deciding = [one for one in findings if one.verdict is not None]
    entries += [entry_of(one) for one in deciding if not refused(one, broken)]
    return tuple(entries)


def refused(finding: Finding, broken: Sequence[Control]) -> bool:
    """Whether a control of this finding's own attack and game misbehaved."""
    own = (finding.attack, finding.game, finding.slice)
    return any((control.attack, control.game, control.slice) == own for control in broken)


def control_entry(control: Control) -> CheckEntry:
    """A control that misbehaved, as a check."""
    remedy = _MISSES if control.must_be_caught else _NOT_BY_CHANCE if control.game == "privacy" else _NOT_ALIKE
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
    seen = sum(control.must_be_caught and control.able for control in controls)
    return CheckEntry(
        id="controls",
        title="controls",
        verdict=Verdict.PASS,
        summary=f"retrained models were not told apart ({len(controls) - caught} of {len(controls) - caught}); original ones were ({seen} of {caught})",
        measured=float(len(controls)),
        quantity="controls",
    )


def entry_of(one: Finding) -> CheckEntry:
    """A finding that decides, as a check."""
    assert one.verdict is not None
    limit = "" if one.limit is None else f"; at most {format_plain(one.limit, 3)} is allowed"
    ends = (
        ""
        if one.upper == float("inf")
        else f" ({100 * one.confidence:g} %: {format_lower(one.lower)} to {format_upper(one.upper)})"
    )
    value = format_lower(one.value) if one.upper == float("inf") else format_plain(one.value, 3)
    where = "" if one.slice == "all" else f", {one.slice} records"
    direction = "" if one.direction is None else f", {one.direction}"
    bound = ", epsilon" if one.statistic.startswith("epsilon") else ""
    return CheckEntry(
        id=one.id,
        title=f"{one.title}, {game_label(one.game)}{direction}{where}{bound}",
        verdict=one.verdict,
        summary=f"{one.statistic} is {value}{ends}{limit}{_p(one)}",
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
    if one.attack.endswith("-distance"):
        return _NEARER if one.value < 1 else _MORE_RETRAINED
    if one.game == "coin-flip":
        return "plant more canaries"
    if one.limit is not None and one.upper <= one.limit:
        return _WIDE
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
