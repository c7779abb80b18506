"""The audit's part of the document: design, findings, controls, and what the figures are drawn from."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace

import numpy as np

from certify.attacks.audits.findings import Control, Curve, Finding
from certify.attacks.audits.membership import Membership, epsilon_ceiling
from certify.attacks.audits.ranking import LEAST_A_SIDE, Ranking, rank_records
from certify.attacks.registry import ATTACKS
from certify.attacks.relearning import Curve as Relearning
from certify.attacks.relearning import band
from certify.attacks.scores.games import GAMES
from certify.core.arrays import FloatArray
from certify.core.rounding import format_plain
from certify.core.verdict import Verdict
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
    return parts.Audit(
        claim=_claim(seen),
        design=_design(seen),
        controls=tuple(_control(control) for control in controls),
        findings=tuple(parts.Finding(**asdict(one)) for one in shown),
        strongest=_strongest(shown),
        not_tested=_not_tested(seen),
        roc=tuple(_roc(curve) for curve in _curves(seen)),
        histograms=tuple(_histograms(seen)),
        ranking=_ranking(seen),
        distances=tuple(_distances(seen)),
        relearning=tuple(_relearning(seen)),
        ceilings=_ceilings(seen),
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
        device="cpu" if linear is not None else "none: nothing was run" if task is None else task.device,
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
    games = [name for name in GAMES if name in ("retrain", "privacy", "retain-side") and name not in seen.plan.games]
    if games and (seen.plan.membership or seen.linear is None):
        listed.append(f"games that were not asked for: {', '.join(games)}")
    sets = [name for name in ("memorised", "outliers", "cluster") if name not in given.forget_sets]
    if seen.source == "fleet" and seen.plan.membership and sets:
        listed.append(f"forget sets of hard records: {', '.join(sets)}")
    return tuple(listed)


def _curves(seen: Seen) -> Iterable[Curve]:
    for name, (_, audit) in seen.fleets.items():
        for curve in audit.curves:
            yield replace(curve, slice=name)


def _roc(curve: Curve) -> parts.RocCurve:
    return parts.RocCurve(
        attack=ATTACKS[curve.attack].title,
        game=curve.game,
        slice=curve.slice,
        fpr=_numbers(curve.fpr),
        tpr=_numbers(curve.tpr),
        lower=_numbers(curve.lower),
        upper=_numbers(curve.upper),
        confidence=curve.confidence,
        band=curve.band,
        null_fpr=_numbers(curve.null_fpr),
        null_tpr=_numbers(curve.null_tpr),
    )


def _numbers(values: FloatArray) -> tuple[float, ...]:
    return tuple(float(value) for value in np.clip(values, 0.0, 1.0))


def _histograms(seen: Seen) -> Iterable[parts.Histogram]:
    """Scores of the first attack with shadow models in each game: forgotten, the other side, and retrained in the place."""
    for name, (_, audit) in seen.fleets.items():
        done: set[str] = set()
        for one in audit.shown:
            if ATTACKS[one.attack].shadows and one.game.name not in done:
                done.add(one.game.name)
                yield _histogram(one, name)


def _histogram(one: Membership, slice_name: str) -> parts.Histogram:
    positive = np.asarray(one.trials.positive).astype(bool)
    other = "retrained" if one.game.negative.world == "retrained" else "never seen"
    series = {"unlearned": one.trials.scores[positive], other: one.trials.scores[~positive]}
    if one.null is not None:
        series["retrained in the place"] = one.null.scores[np.asarray(one.null.positive).astype(bool)]
    everything = np.concatenate(list(series.values()))
    low, high = np.quantile(everything, [0.002, 0.998])
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    where = "" if slice_name == "all" else f", {slice_name} records"
    return parts.Histogram(
        title=f"{ATTACKS[one.attack].title}, {one.game.name}{where}",
        axis="score",
        edges=tuple(float(edge) for edge in edges),
        series=tuple(
            parts.Counts(label=label, counts=tuple(int(n) for n in np.histogram(np.clip(values, low, high), edges)[0]))
            for label, values in series.items()
        ),
    )


def _ranking(seen: Seen) -> parts.Ranking | None:
    for name, (observations, _) in seen.fleets.items():
        rows = np.arange(observations.records) if seen.linear is None else seen.linear.rows[name]
        game = GAMES["retrain"] if observations.has("retrained") else GAMES["privacy"]
        if not all(observations.has(world) for world in game.worlds):
            continue
        found = rank_records(observations, game)
        null = None
        if all(observations.has(world) for world in game.null().worlds):
            null = rank_records(observations, game.null())
        if found is None:
            continue
        records = tuple(
            parts.Vulnerable(
                rank=place + 1,
                row=int(rows[found.records[place]]),
                value=float(found.difference[place]),
                lower=float(found.lower[place]),
                upper=float(found.upper[place]),
                p_value=float(found.p_values[place]),
                adjusted_p=float(found.adjusted[place]),
                direction="under-forgetting" if found.difference[place] > 0 else "over-forgetting",
            )
            for place in range(min(_SHOWN, found.tested))
        )
        return parts.Ranking(
            attack="phi, record by record",
            statistic="difference in standard deviations",
            tested=found.tested,
            rejected=found.rejected,
            level=found.level,
            correction="Benjamini-Hochberg",
            confidence=found.confidence,
            records=records,
            null_rejected=None if null is None else null.rejected,
            note=f"Welch's t test of each record over models{_which_fleet(name, len(seen.fleets))}{_left_out(found)}",
        )
    return None


def _left_out(found: Ranking) -> str:
    """Records that had too few models to be ranked."""
    few = f"fewer than {LEAST_A_SIDE} models on a side"
    return f"; {found.left_out:,} records with {few} left out" if found.left_out else ""


def _which_fleet(name: str, fleets: int) -> str:
    """Of several fleets one is ranked."""
    if fleets == 1:
        return ""
    return f", in the first of {fleets} fleets ({'random' if name == 'all' else name} forget sets)"


def _distances(seen: Seen) -> Iterable[parts.DistanceFinding]:
    for part in seen.request:
        for one in part.distances:
            kind = "outputs" if any(f.attack == "function-distance" for f in part.findings) else "parameters"
            yield parts.DistanceFinding(
                name=one.name,
                part=one.part,
                kind=kind,
                value=one.value,
                null_values=tuple(float(value) for value in one.null),
                p_value=one.p_value,
                ratio=one.ratio.value,
                note=one.test,
            )


def _relearning(seen: Seen) -> Iterable[parts.RelearningCurve]:
    curves = {} if seen.review is None else seen.review.curves
    if not curves:
        return
    given = seen.loaded.spec.audit
    assert given is not None
    count = curves["unlearned"].accuracy.shape[1]
    yield parts.RelearningCurve(
        kind="retained records alone",
        metric="accuracy on the forgotten records",
        passes=tuple(float(place) for place in range(count)),
        unlearned=_band(curves["unlearned"], given.confidence),
        retrained=_band(curves["retrained"], given.confidence),
        confidence=given.confidence,
        original=_band(curves["original"], given.confidence) if "original" in curves else None,
    )


def _band(curve: Relearning, confidence: float) -> parts.Band:
    mean = curve.accuracy.mean(axis=0)
    lower, upper = (mean, mean) if len(curve.accuracy) < 2 else band(curve.accuracy, confidence=confidence)
    return parts.Band(
        mean=tuple(map(float, mean)),
        lower=tuple(float(max(0.0, value)) for value in lower),
        upper=tuple(float(min(1.0, value)) for value in upper),
    )


def _ceilings(seen: Seen) -> tuple[parts.Ceiling, ...]:
    """The largest epsilon that the audit could have refuted, however strong the leak."""
    targets = {one.sides[0].tpr.units for _, audit in seen.fleets.values() for one in audit.shown}
    confidence = 1 - seen.plan.alpha
    return tuple(
        parts.Ceiling(
            statistic="epsilon lower bound",
            units=units,
            value=epsilon_ceiling(units, seen.plan.delta, confidence),
            confidence=confidence,
        )
        for units in sorted(targets)
    )
