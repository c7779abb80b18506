"""Findings and controls as checks: what was measured, against what, and what would mend it."""

from collections.abc import Sequence

from certify.attacks.audits.findings import Control, Finding
from certify.core.rounding import format_plain
from certify.core.verdict import Verdict
from certify.reports.schema import CheckEntry


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
    remedy = (
        "the attack cannot tell even models that forgot nothing: train more shadow models, or leave it out"
        if control.must_be_caught
        else "retrained models differ from each other by more than chance: check that the recipe is the same for all, and the scores' rows"
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
        summary=f"{len(controls) - caught} with retrained models found nothing, {caught} with the original found it",
        measured=float(len(controls)),
        quantity="controls",
    )


def entry_of(one: Finding) -> CheckEntry:
    """A finding that decides, as a check."""
    assert one.verdict is not None
    limit = "" if one.limit is None else f"; the limit is {format_plain(one.limit, 3)}"
    upper = (
        "" if one.upper == float("inf") else f", {100 * one.confidence:g} % interval {one.lower:.3g} to {one.upper:.3g}"
    )
    where = "" if one.slice == "all" else f", {one.slice} records"
    direction = "" if one.direction is None else f", {one.direction}"
    bound = ", epsilon" if one.statistic.startswith("epsilon") else ""
    return CheckEntry(
        id=one.id,
        title=f"{one.title}: {one.game}{direction}{where}{bound}",
        verdict=one.verdict,
        summary=f"{one.statistic} {one.value:.3g}{upper}{limit}{_p(one)}",
        measured=one.value,
        limit=one.limit,
        quantity=one.statistic,
        remedy=_remedy(one),
    )


def _p(one: Finding) -> str:
    level = one.p_value if one.adjusted_p is None else one.adjusted_p
    return "" if level is None or one.verdict is Verdict.PASS else f"; p = {level:.2g} against retraining"


def _remedy(one: Finding) -> str | None:
    if one.verdict is Verdict.FAIL and one.direction == "over-forgetting":
        return "the model avoids the forgotten records, which gives them away too: forget less hard (fewer steps, smaller lr), or retrain"
    if one.verdict is Verdict.FAIL:
        return "unlearn more (more steps, another method), or retrain"
    return _how_to_settle(one) if one.verdict is Verdict.INCONCLUSIVE else None


def _how_to_settle(one: Finding) -> str:
    if one.attack == "release-lira":
        return "one model with so few forgotten records cannot settle it: audit the method with u-lira"
    if one.attack.endswith("-distance"):
        return "more retrained models narrow it: raise audit.replicates, or name more in release.retrained"
    if one.game == "coin-flip":
        return "plant more canaries"
    if one.limit is not None and one.limit >= 1 and one.statistic.startswith("TPR"):
        return "name a limit that something could exceed: audit.max_tpr_at_fpr with a smaller fpr, or a smaller epsilon"
    if one.needed_models is None:
        return "no number of models would settle it: the limit is as strict as chance"
    return f"about {one.needed_models:,} shadow models would settle it: `certify audit --models {one.needed_models}` (those that are there are kept)"


def power_entry() -> CheckEntry:
    """Nothing decided: absence of evidence never reads as a pass."""
    return CheckEntry(
        id="audit",
        title="empirical audit",
        verdict=Verdict.INCONCLUSIVE,
        summary="no attack that was run could decide anything",
        remedy="add u-lira, or name the original so that distances can show that they see something",
    )
