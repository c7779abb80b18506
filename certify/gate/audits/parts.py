"""The audit's part of the document: claim, design, findings, controls, what was not tested."""

from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np

from certify.attacks.audits.findings import Control, Finding
from certify.attacks.registry import ATTACKS
from certify.attacks.scores.games import GAMES
from certify.core.rounding import format_plain
from certify.core.verdict import Verdict
from certify.gate.audits import pictures
from certify.gate.audits.entries import refused
from certify.gate.audits.seen import Seen
from certify.reports import audits as parts

_SHOWN = 20
_BINS = 40


def audit_part(seen: Seen, findings: Sequence[Finding], controls: Sequence[Control]) -> parts.Audit:
    """Everything the audit saw, for the document."""
    broken = [control for control in controls if not control.ok]
    shown = [
        replace(one, verdict=None, note=f"refused: a control misbehaved. {one.note}") if refused(one, broken) else one
        for one in findings
    ]
    rankings = pictures.rankings(seen)
    return parts.Audit(
        claim=_claim(seen),
        design=_design(seen),
        controls=tuple(_control(control) for control in controls),
        findings=tuple(parts.Finding(**asdict(one)) for one in shown),
        strongest=_strongest(shown),
        not_tested=_not_tested(seen),
        roc=tuple(pictures.roc(seen)),
        histograms=tuple(pictures.histograms(seen)),
        ranking=rankings[0] if rankings else None,
        further_rankings=tuple(rankings[1:]),
        distances=tuple(pictures.distances(seen)),
        relearning=tuple(pictures.relearning(seen)),
        ceilings=pictures.ceilings(seen),
    )


def _claim(seen: Seen) -> str:
    plan, release = seen.plan, seen.loaded.spec.release
    made = seen.method.partition("(")[0] if seen.inputs is not None and seen.plan.membership else release.unlearner
    who = f"Models unlearned by {made}" if made else "The unlearned models"
    level = f"epsilon {format_plain(plan.epsilon)} at delta {format_plain(plan.delta)}"
    if plan.membership and "retrain" not in plan.games and not (plan.request or plan.coins):
        # a model that was ruined gives no record away: only a comparison with retrained ones shows it
        return f"{who} give away which records they forgot by no more than the retraining claim {level} allows; whether they are like retrained ones was not asked"
    return f"{who} cannot be told from models retrained without the forgotten records: {level}"


def _design(seen: Seen) -> parts.AuditDesign:
    given = seen.loaded.spec.audit
    assert given is not None
    fleet = next((observations for observations, _ in seen.fleets.values()), None)
    share = 0.0 if fleet is None else float(np.mean(fleet.assignment == 2) / max(np.mean(fleet.assignment > 0), 1e-12))
    task = None if seen.inputs is None else seen.inputs.task
    retrained = 0 if seen.review is None else seen.review.retrained.models
    linear = seen.linear
    if linear is not None and fleet is not None:
        share = linear.shares[next(iter(seen.fleets))]
    records = 0 if task is None else len(task)
    if linear is not None:
        retrained, records = 1, len(linear.inputs.dataset)
    return parts.AuditDesign(
        source=seen.source,
        method=seen.method,
        reference="retrain",
        models=retrained if fleet is None else fleet.models,
        records=records if fleet is None else fleet.records,
        forget_share=share,
        confidence=given.confidence,
        alpha=seen.plan.alpha,
        two_sided=True,
        seed=given.seed,
        device="cpu" if linear is not None else "none: nothing was run" if task is None else str(task.place()),
        seconds=seen.seconds,
        models_trained=seen.trained,
        from_cache=seen.kept,
        parameters=_parameters(seen),
        forecast_seconds=seen.forecast,
        notes=tuple(seen.notes),
    )


def _parameters(seen: Seen) -> int | None:
    if seen.linear is not None:
        return int(seen.linear.inputs.problem.size)
    return None if seen.inputs is None else sum(value.numel() for value in seen.inputs.task.model.parameters())


def _control(control: Control) -> parts.Control:
    return parts.Control(
        id=control.id,
        name=control.name,
        expectation="must be caught" if control.must_be_caught else "must not be caught",
        p_value=control.p_value,
        value=control.value,
        ok=control.ok,
        summary=control.summary,
    )


def _strongest(findings: Sequence[Finding]) -> str | None:
    """The finding that lies farthest beyond its limit, or nearest to it, in units of its interval."""
    known = [one for one in findings if one.verdict is not None and one.limit is not None]
    if not known:
        return None

    def beyond(one: Finding) -> tuple[bool, bool, float]:
        two_sided = bool(np.isfinite(one.upper))  # a lower bound far below its limit says little of what was seen
        width = one.upper - one.lower if two_sided else 1.0
        assert one.limit is not None
        return one.verdict is Verdict.FAIL, two_sided, (one.value - one.limit) / max(width, 1e-12)

    return max(known, key=beyond).id


def _not_tested(seen: Seen) -> tuple[str, ...]:
    given = seen.loaded.spec.audit
    assert given is not None
    asked, kind = set(given.attacks), "network" if seen.linear is None else "convex"
    unasked = [
        name
        for name, attack in ATTACKS.items()
        if name not in asked and kind in attack.kinds and attack.shadows | (attack.kind != "membership")
    ]
    listed = [*dict.fromkeys(seen.left_out)]
    if unasked:
        listed.append(f"attacks that were not asked for: {', '.join(unasked)}")
    games = [name for name in GAMES if name in ("retrain", "privacy", "retain-side") and name not in given.games]
    if games and (seen.plan.membership or seen.linear is None):
        listed.append(f"games that were not asked for: {', '.join(games)}")
    sets = [name for name in ("memorised", "outliers", "cluster") if name not in given.forget_sets]
    if seen.source == "fleet" and seen.plan.membership and sets and "request" not in seen.fleets:
        listed.append(f"forget sets of hard records: {', '.join(sets)}")
    return tuple(listed)
