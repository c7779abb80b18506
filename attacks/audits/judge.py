"""From what attacks showed to findings with verdicts, and controls with theirs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from certify.attacks.audits.findings import Control, Finding, joined
from certify.attacks.audits.membership import (
    ENOUGH_MODELS,
    Levels,
    Membership,
    Refuted,
    Side,
    auc,
    epsilon_ceiling,
)
from certify.attacks.registry import ATTACKS
from certify.attacks.statistics.equivalence import Decision, decide
from certify.attacks.statistics.multiple import holm
from certify.core.rounding import down
from certify.core.verdict import Verdict

CONTROL_LEVEL = 0.01
"""Chance, at most, that an audit is refused because retrained models happened to look unlike each other."""

_MOST_TARGETS = 2**17
"""Models that no plan goes beyond."""

_DECIDING = ("retrain", "privacy")
"""Games in which honest retraining leaves nothing to find, so that a limit on the rate itself makes sense."""


def rate_limit(game: str, fpr: float, epsilon: float, delta: float) -> float:
    """Largest TPR at ``fpr`` that an (epsilon, delta) guarantee against retraining allows in a game.

    Against retrained models it is ``exp(epsilon) fpr + delta``. Among unlearned ones both sides are epsilon away from retraining:
    ``exp(epsilon) (exp(epsilon) fpr + delta) + delta``.
    """
    factor = math.exp(min(epsilon, 700.0))
    once = factor * fpr + delta
    limit = min(1.0, once if game == "retrain" else factor * once + delta)
    digit = 10.0 ** (math.floor(math.log10(limit)) - 2)
    return max(down(fpr), min(1.0, math.floor(limit / digit) * digit))  # three digits, rounded against the method


def findings_of(
    found: Membership, levels: Levels, *, rate: float, epsilon: float | None, slice_name: str = "all"
) -> list[Finding]:
    """The findings of one attack in one game.

    Args:
        found: what the attack showed.
        levels: as it was run.
        rate: largest true-positive rate that is allowed.
        epsilon: largest epsilon that may be refuted; None where the game says nothing of epsilon.
        slice_name: "all", or the worst-case set that the fleet forgot.
    """
    decides = found.game.name in _DECIDING and ATTACKS[found.attack].shadows
    area, listed = auc(found.trials), []
    note = "" if math.isnan(area) else f"mean AUC within a model {area:.3f}"
    for side in found.sides:
        listed.append(_rate_finding(found, side, levels, rate, slice_name, note, decides=decides))
        if side.epsilon is not None and epsilon is not None and decides:
            listed.append(_epsilon_finding(found, side, side.epsilon, levels, epsilon, slice_name))
    return listed


def _names(found: Membership, side: Side, slice_name: str, what: str) -> dict[str, Any]:
    info = ATTACKS[found.attack]
    parts = [found.attack, found.game.name, side.direction.partition("-")[0], what]
    return {
        "id": "-".join(parts if slice_name == "all" else [*parts, slice_name]),
        "attack": found.attack,
        "title": info.title,
        "game": found.game.name,
        "slice": slice_name,
        "direction": side.direction,
        "source": info.reference,
    }


def _rate_finding(
    found: Membership, side: Side, levels: Levels, limit: float, slice_name: str, note: str, *, decides: bool
) -> Finding:
    tpr, null = side.tpr, side.null
    decision = decide(tpr, limit)
    verdict = decision.verdict
    plan = _power(decision) if decides else {}
    if verdict is Verdict.FAIL and side.strict <= limit:
        plan = plan and {**plan, "needed_models": 4 * tpr.units}
        verdict, note = Verdict.INCONCLUSIVE, joined("above the limit alone, not as one of many findings", note)
    elif limit >= 1:
        verdict, note = (
            Verdict.INCONCLUSIVE,
            joined("the limit allows every rate, so that nothing could exceed it", note),
        )
    return Finding(
        **_names(found, side, slice_name, "tpr"),
        statistic=f"TPR at FPR {levels.fpr:g}",
        value=tpr.value,
        lower=tpr.lower,
        upper=tpr.upper,
        confidence=tpr.confidence,
        verdict=verdict if decides or (verdict is Verdict.FAIL and found.game.name in _DECIDING) else None,
        limit=limit if found.game.name in _DECIDING else None,
        p_value=found.p_value,
        null_mean=None if null is None else null.value,
        null_lower=None if null is None else null.lower,
        null_upper=None if null is None else null.upper,
        corrected=None if null is None else tpr.value - null.value,
        units=tpr.units,
        method=tpr.method,
        note=note,
        **plan,
    )


def _epsilon_finding(
    found: Membership, side: Side, bound: Refuted, levels: Levels, limit: float, slice_name: str
) -> Finding:
    able, units = bound.ceiling >= limit, side.tpr.units
    verdict: Verdict | None = None
    if bound.strict > limit:
        verdict, note = Verdict.FAIL, ""
    elif not able:
        verdict = Verdict.INCONCLUSIVE
        note = f"{units} models could not refute more than {bound.ceiling:.3g}, however strong the leak"
    elif bound.value > limit:
        verdict, note = Verdict.INCONCLUSIVE, "refuted alone, not as one of many findings"
    else:  # what is not refuted is not shown to hold: passing is for the rate beside it
        note = "not refuted, which is no evidence that it holds"
    return Finding(
        **_names(found, side, slice_name, "epsilon"),
        statistic="epsilon lower bound",
        value=bound.value,
        lower=bound.value,
        upper=math.inf,
        confidence=levels.confidence,
        verdict=verdict,
        limit=limit,
        p_value=found.p_value,
        null_mean=bound.null,
        corrected=None if bound.null is None else bound.value - bound.null,
        ceiling=bound.ceiling,
        needed_models=_models_wanted(verdict, units, limit, levels, able=able),
        units=units,
        method=f"betting on pairs of rates, over models, at delta {levels.delta:g}; threshold set on other models",
        note=note,
    )


def _models_wanted(verdict: Verdict | None, units: int, limit: float, levels: Levels, *, able: bool) -> int | None:
    """Models with which something could be refuted; twice the fleet where it nearly was."""
    if verdict is not Verdict.INCONCLUSIVE:
        return None
    return 4 * units if able else models_for_epsilon(limit, levels)


def models_for_epsilon(limit: float, levels: Levels) -> int | None:
    """Shadow models with which a perfect attack could refute ``limit``: twice the targets, as half are references.

    None where more than a quarter of a million would be needed.
    """
    targets = 1
    while epsilon_ceiling(targets, levels.delta, levels.confidence) < limit:
        targets *= 2
        if targets > _MOST_TARGETS:
            return None
    return max(ENOUGH_MODELS, 2 * targets)


def controls_of(found: Sequence[Membership], alpha: float) -> list[Control]:
    """Retrained models in the place must not be caught by any attack, original ones must be by each.

    The first are judged together, after Holm at :data:`CONTROL_LEVEL`; the others one by one at ``alpha``. Attacks without shadow
    models are baselines: they may fail a method, but need not catch the original, and passing them is no evidence.
    """
    known = [one for one in found if one.game.name in _DECIDING]
    nulls = [one for one in known if one.null_p is not None]
    adjusted = _holm([one.null_p for one in nulls if one.null_p is not None])
    listed = [
        _control(
            one, "retrained models", one.null_p, ok=level > CONTROL_LEVEL, caught=False, adjusted=level, of=len(nulls)
        )
        for one, level in zip(nulls, adjusted, strict=True)
    ]
    listed.extend(
        _control(one, "original models", one.control_p, ok=one.control_p <= alpha, caught=True)
        for one in known
        if one.control_p is not None and ATTACKS[one.attack].shadows
    )
    return listed


def _control(
    one: Membership, who: str, p: float | None, *, ok: bool, caught: bool, adjusted: float | None = None, of: int = 0
) -> Control:
    wanted = "must be told apart" if caught else "must not be told apart"
    shown = "" if adjusted is None or adjusted == p else f" ({adjusted:.3g} after Holm)"
    twins = len(np.unique(one.trials.models))
    if not caught and one.game.name == "retrain" and of * 2.0 ** (1 - twins) > CONTROL_LEVEL:
        shown += f", of which {twins} models could show nothing else: too few for this control"
    return Control(
        id=f"control-{who.partition(' ')[0]}-{one.attack}-{one.game.name}",
        attack=one.attack,
        game=one.game.name,
        name=f"{who} in the unlearned ones' place: {one.attack}, {one.game.name}",
        must_be_caught=caught,
        p_value=p,
        value=None,
        ok=ok,
        summary=f"{wanted}: p = {p:.3g}{shown}, {'as it must be' if ok else 'and it is otherwise'}",
    )


def _holm(p_values: Sequence[float]) -> list[float]:
    return [float(p) for p in holm(np.array(p_values))] if p_values else []


def settled(
    findings: Sequence[Finding],
    alpha: float,
    *,
    others: int = 0,
    request: bool = False,
    retrained: Mapping[str, int] | None = None,
) -> list[Finding]:
    """The findings with Holm's correction over their p-values, each attack and game counted once.

    A rate above its limit fails only where the corrected, exact p-value is at most ``alpha``: honest retraining then fails with
    probability ``alpha`` at most over all findings together, whatever the intervals are worth. Attacks that put one model beside retrained
    models of its request count as one, by their smallest p-value (:func:`~certify.attacks.audits.exchangeable.together` makes it hold),
    with half of ``alpha`` for its own where there is anything else: their p-values are ranks and cannot be small.

    Args:
        findings: of an audit.
        alpha: allowed error.
        others: attacks and games that are still to come, not counting those on one model.
        request: whether attacks on one model are still to come.
        retrained: by attack on one model, of how many retrained models it is the odd one out: for how many would settle it.
    """
    keys: dict[tuple[str, str, str], float] = {}
    for one in findings:
        if one.p_value is not None:
            keys[_key(one)] = min(keys.get(_key(one), 1.0), one.p_value)
    own = int(_REQUEST in keys or request)
    rest = len(keys) - int(_REQUEST in keys) + others
    weights = {key: 1.0 if not rest or not own else 0.5 if key == _REQUEST else 0.5 / rest for key in keys}
    if not own:
        weights = dict.fromkeys(keys, 1.0 / max(rest, 1))
    levels = _weighted_holm(keys, weights, 1.0 - sum(weights.values()))
    return [_settled(one, levels.get(_key(one)), alpha, (retrained or {}).get(one.attack)) for one in findings]


_REQUEST = ("one model", "retrain", "all")


def _key(one: Finding) -> tuple[str, str, str]:
    """What is counted once."""
    return _REQUEST if ATTACKS[one.attack].kind == "distance" else (one.attack, one.game, one.slice)


def _weighted_holm(
    keys: Mapping[tuple[str, str, str], float], weights: Mapping[tuple[str, str, str], float], spare: float
) -> dict[tuple[str, str, str], float]:
    """Adjusted p-values: in order of p over weight, each is multiplied by what weight is left over its own (Holm 1979).

    ``spare`` is the weight of what is still to come, which counts as the last.
    """
    left, level, found = sum(weights.values()) + max(0.0, spare), 0.0, {}
    for key in sorted(keys, key=lambda one: keys[one] / weights[one]):
        level = max(level, keys[key] * left / weights[key])
        found[key] = min(1.0, level)
        left -= weights[key]
    return found


def _settled(one: Finding, level: float | None, alpha: float, retrained: int | None) -> Finding:
    if one.p_value is None or level is None:
        return one
    level = max(level, one.p_value)  # of several that count as one, each has to show something itself
    if one.verdict is not Verdict.FAIL or level <= alpha:
        return replace(one, adjusted_p=level)
    known = ATTACKS[one.attack].kind == "membership"
    needed = 4 * one.units if known else one.needed_models  # twice the fleet, of which half are references
    if retrained is not None:  # the odd one out of J + 1: with more of them the same rank is worth more
        needed = math.ceil((retrained + 1) * level / alpha * (1 - 1e-9)) - 1
    return replace(one, adjusted_p=level, verdict=Verdict.INCONCLUSIVE, needed_models=needed)


def _power(decision: Decision) -> dict[str, Any]:
    """What the audit would have seen, and what it would take to settle: half of the shadow models are references."""
    return {
        "minimum_detectable": min(1.0, decision.detectable),
        "power": decision.power,
        "needed_models": max(ENOUGH_MODELS, 2 * decision.needed) if decision.needed else None,
    }
