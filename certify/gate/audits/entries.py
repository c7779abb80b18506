"""Findings and controls as checks: what was measured, against what, and what would mend it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from certify.attacks.audits.doing_nothing import EMPTY, RUINED
from certify.attacks.audits.findings import Control, Finding
from certify.attacks.audits.membership import ENOUGH_MODELS
from certify.core.rounding import format_lower, format_plain, format_upper
from certify.core.verdict import Verdict
from certify.reports.audit_games import game_label, slice_label
from certify.reports.schema import CheckEntry

UNCONTROLLED = "within the limit, and no original model was there to show that this attack sees anything"
"""Said of what would have passed without its control."""

_FEW = 5
"""Records a model, below which more of them help rather than more models."""

_NOT_ALIKE = (
    "retrained models differ from each other by more than chance: check that all were trained by one recipe, and that the rows of the "
    "scores belong together"
)
_NOT_BY_CHANCE = (
    "even retrained models tell the records to forget from those never seen: draw them by chance, one by one (no whole classes), anew for "
    "each model, and check that the rows of the scores belong together"
)
_NEARER = "no retrained model is so near the others, and a ruined one may be: distances show nothing of it; add u-lira"


@dataclass(frozen=True)
class Fleet:
    """The shadow models of an audit, for what would mend it.

    Attributes:
        models: of each world.
        elsewhere: their scores were made elsewhere, so that no command of ours gives more.
        forgotten: records that a model forgot, on average.
    """

    models: int
    elsewhere: bool
    forgotten: float = math.inf


def entries_of(
    findings: Sequence[Finding], controls: Sequence[Control], fleet: Fleet | None = None
) -> tuple[CheckEntry, ...]:
    """One check for each finding that decides, and one for each control that misbehaved, or for all together where none did.

    Where a control misbehaves, what the same attack found in the same game is refused, not reported. How many models there were, and
    whether more can be had by asking, is said by ``fleet``, for what would mend it.
    """
    broken = [control for control in controls if not control.ok]
    entries = [control_entry(control, fleet) for control in broken]
    if controls and not broken:
        entries.append(_controls_entry(controls))
    deciding = [one for one in findings if one.verdict is not None]
    entries += [entry_of(one, fleet) for one in deciding if not refused(one, broken)]
    return tuple(entries)


def refused(finding: Finding, broken: Sequence[Control]) -> bool:
    """Whether a control of this finding's own attack and game misbehaved."""
    own = (finding.attack, finding.game, finding.slice)
    return any((control.attack, control.game, control.slice) == own for control in broken)


def control_entry(control: Control, fleet: Fleet | None = None) -> CheckEntry:
    """A control that misbehaved, as a check."""
    remedy = _NOT_BY_CHANCE if control.game == "privacy" else _NOT_ALIKE
    if control.must_be_caught:
        remedy = f"the attack misses even models that forgot nothing: {_more(fleet)}, or leave this attack out"
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


def entry_of(one: Finding, fleet: Fleet | None = None) -> CheckEntry:
    """A finding that decides, as a check."""
    assert one.verdict is not None
    limit = "" if one.limit is None else f"; at most {format_plain(one.limit, 3)} is allowed"
    ends = (
        ""
        if one.upper == float("inf")
        else f" ({100 * one.confidence:g} %: {format_lower(one.lower)} to {format_upper(one.upper)})"
    )
    value = format_lower(one.value) if one.upper == float("inf") else format_plain(one.value, 3)
    where = "" if one.slice == "all" else f", {slice_label(one.slice)}"
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
        remedy=_remedy(one, fleet),
    )


def _p(one: Finding) -> str:
    level = one.p_value if one.adjusted_p is None else one.adjusted_p
    return "" if level is None or one.verdict is Verdict.PASS else f"; p = {format_upper(level, 2)}"


def _remedy(one: Finding, fleet: Fleet | None) -> str | None:
    if one.verdict is Verdict.FAIL and one.direction == "over-forgetting":
        return "the model avoids the forgotten records, which gives them away too: forget less hard (fewer steps, smaller lr), or retrain"
    if one.verdict is Verdict.FAIL:
        return "unlearn more (more steps, another method), or retrain"
    return _how_to_settle(one, fleet) if one.verdict is Verdict.INCONCLUSIVE else None


def _how_to_settle(one: Finding, fleet: Fleet | None) -> str:
    special = _why_models_do_not_help(one, fleet)
    if special or one.needed_models is None:
        return special or "no number of models would settle it: the limit is as strict as chance itself"
    return f"about {one.needed_models:,} shadow models would settle it: {_asked_for(one.needed_models, fleet)}"


def _why_models_do_not_help(one: Finding, fleet: Fleet | None) -> str | None:
    """What would settle a finding that more shadow models would not."""
    limitless = one.limit is not None and one.limit >= 1 and one.statistic.startswith("TPR")
    beside = one.attack == "release-lira" or one.attack.endswith("-distance")
    of_method = "audit the method, with u-lira" if fleet is None else "the checks of the method, beside it, can"
    unreachable = one.needed_models is None and one.statistic.startswith("epsilon")
    found = [
        (one.note.startswith(UNCONTROLLED), "give the original as well, the model before the deletion, as a control"),
        (one.note.startswith(RUINED), "play the game retrain as well: audit.games"),
        (beside and one.needed_models is not None, f"about {one.needed_models or 0:,} retrained models of this request would settle it: raise audit.replicates to so many, or name (in release.retrained) or score so many"),
        (one.attack == "release-lira", f"so few forgotten records of one model cannot settle it: {of_method}"),
        (one.attack.endswith("-distance") and one.value < 1, _NEARER),
        (one.attack.endswith("-distance"), "more retrained models narrow it: raise audit.replicates, or name more in release.retrained"),
        (one.game == "coin-flip", "plant more canaries"),
        (limitless or one.note.startswith(EMPTY), "name a limit that models which forgot nothing exceed, or hard forget_sets: audit.max_tpr_at_fpr with a smaller fpr, or a smaller epsilon"),
        (unreachable, "no number of models would refute so large an epsilon: name a smaller audit.max_epsilon_lower_bound"),
    ]  # fmt: skip
    return next((text for applies, text in found if applies), None)


def _more(fleet: Fleet | None) -> str:
    if fleet is None:
        return "train more shadow models"
    if fleet.forgotten < _FEW:
        more = (
            "score more records"
            if fleet.elsewhere
            else "let each forget more (audit.forget_share), or give more records"
        )
        return f"a model forgot {fleet.forgotten:.2g} records on average, too few for it: {more}"
    wanted = max(ENOUGH_MODELS, 2 * fleet.models)
    blind = f" (with fewer than {ENOUGH_MODELS} an audit is nearly blind)" if fleet.models < ENOUGH_MODELS else ""
    return f"{fleet.models} shadow models are too few for it{blind}: {_asked_for(wanted, fleet)}"


def _asked_for(models: int, fleet: Fleet | None) -> str:
    """How to get so many models: by a command, or from whoever scores them."""
    if fleet is not None and fleet.elsewhere:
        return f"score {models:,} models of each world"
    return f"`certify audit --models {models}`"


def power_entry() -> CheckEntry:
    """Nothing decided: absence of evidence never reads as a pass."""
    return CheckEntry(
        id="audit",
        title="empirical audit",
        verdict=Verdict.INCONCLUSIVE,
        summary="no attack that was run could decide anything",
        remedy="add u-lira, or name the original so that distances can show that they see something",
    )
