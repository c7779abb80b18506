"""What the figures of an audit are drawn from: curves, histograms, rankings, distances, relearning, ceilings."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from certify.attacks.audits.findings import Curve
from certify.attacks.audits.membership import Membership, epsilon_ceiling
from certify.attacks.audits.ranking import LEAST_A_SIDE, Ranking, rank_records
from certify.attacks.observations import Observations
from certify.attacks.registry import ATTACKS
from certify.attacks.relearning import Curve as Relearning
from certify.attacks.relearning import band
from certify.attacks.scores.games import GAMES, Game
from certify.core.arrays import FloatArray, IntArray
from certify.gate.audits.seen import Seen
from certify.reports import audits as parts
from certify.reports.audit_games import slice_label

_SHOWN = 20
_BINS = 40


def _curves(seen: Seen) -> Iterable[Curve]:
    for name, (_, audit) in seen.fleets.items():
        for curve in audit.curves:
            yield replace(curve, slice=name)


def roc(seen: Seen) -> Iterable[parts.RocCurve]:
    """Every attack's curve in every game and fleet."""
    return map(_roc, _curves(seen))


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


def histograms(seen: Seen) -> Iterable[parts.Histogram]:
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
    where = "" if slice_name == "all" else f", {slice_label(slice_name)}"
    return parts.Histogram(
        title=f"{ATTACKS[one.attack].title}, {one.game.name}{where}",
        axis="score",
        edges=tuple(float(edge) for edge in edges),
        series=tuple(
            parts.Counts(label=label, counts=tuple(int(n) for n in np.histogram(np.clip(values, low, high), edges)[0]))
            for label, values in series.items()
        ),
    )


def rankings(seen: Seen) -> list[parts.Ranking]:
    """One a fleet, of the game against retrained models where they were observed."""
    found = []
    for name, (observations, _) in seen.fleets.items():
        game = GAMES["retrain"] if observations.has("retrained") else GAMES["privacy"]
        if all(observations.has(world) for world in game.worlds):
            rows = np.arange(observations.records) if seen.linear is None else seen.linear.rows[name]
            found.append(_ranking(observations, game, rows, name))
    return [one for one in found if one is not None]


def _ranking(observations: Observations, game: Game, rows: IntArray, name: str) -> parts.Ranking | None:
    found, null = rank_records(observations, game), None
    if found is None:
        return None
    if all(observations.has(world) for world in game.null().worlds):
        null = rank_records(observations, game.null())
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
        attack="phi (log odds of the true class)",
        statistic="difference in standard deviations",
        tested=found.tested,
        rejected=found.rejected,
        level=found.level,
        correction="Benjamini-Hochberg",
        confidence=found.confidence,
        records=records,
        null_rejected=None if null is None else null.rejected,
        note=f"Each record is tested by Welch's t over models{_left_out(found)}.",
        slice=name,
    )


def _left_out(found: Ranking) -> str:
    """Records that had too few models to be ranked."""
    few = f"fewer than {LEAST_A_SIDE} models on a side"
    return f"; {found.left_out:,} records with {few} left out" if found.left_out else ""


def distances(seen: Seen) -> Iterable[parts.DistanceFinding]:
    """Of the model under review, beside those of retrained models to each other."""
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


def relearning(seen: Seen) -> Iterable[parts.RelearningCurve]:
    """What comes back when training goes on, where that was looked at."""
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


def ceilings(seen: Seen) -> tuple[parts.Ceiling, ...]:
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
