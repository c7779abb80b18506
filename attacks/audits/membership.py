"""One membership attack in one game on a fleet: rates over models, exact p-values, the null beside them, controls, a curve."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import rankdata

from certify.attacks.audits.findings import Curve
from certify.attacks.audits.randomisation import assignment_p_value, paired_p_value
from certify.attacks.audits.rates import LOOSER, METHOD, tallies, tpr_at
from certify.attacks.estimates import Estimate
from certify.attacks.observations import Observations, Trials
from certify.attacks.registry import ATTACKS
from certify.attacks.scores.games import Game
from certify.attacks.statistics.means import (
    auc_of_models,
    epsilon_lower_bound_over_models,
    epsilon_of_shares,
    threshold_at,
    thresholds_at,
)
from certify.core.arrays import FloatArray, IntArray
from certify.core.errors import TooLittlePowerError

Score = Callable[[Observations, Game, IntArray], Trials]
"""Trials of the target models at these positions in a game, with all other models as references."""

LEAST_MODELS = 16
"""Half of them are references and half are looked at; with fewer no interval is of use."""

ENOUGH_MODELS = 32
"""With fewer an audit is nearly blind: at 16 it settles next to nothing, at 32 it fails what forgot nothing (docs/audit_figures.md)."""

EPSILON_FPR = 0.1
"""Rate of the threshold that epsilon is bounded at: lower ones give larger bounds with hundreds of models, and none with dozens."""

DIRECTIONS = ("under-forgetting", "over-forgetting")
"""Positives score high, or low: more, or less, like records that were trained on."""

_CURVE = np.logspace(-3, 0, 31)[:-1]


@dataclass(frozen=True, eq=False)
class Side:
    """One direction of an attack.

    Attributes:
        direction: one of :data:`DIRECTIONS`.
        tpr: at the false-positive rate asked for.
        null: the rate with retrained models in the place; None where none were observed.
        strict: lower end of the rate at the confidence that is left for one of many findings.
        epsilon: refuted at the same threshold, in the game against retrained models alone; and strictly, and at most.
    """

    direction: str
    tpr: Estimate
    null: Estimate | None
    strict: float
    epsilon: "Refuted | None" = None


@dataclass(frozen=True)
class Refuted:
    """Lower bounds on epsilon.

    Attributes:
        value: at the audit's confidence.
        strict: at the confidence that is left for one of many findings.
        ceiling: what a perfect attack would have given, at the audit's confidence.
        null: with retrained models in the place; None where none were observed.
        delta: of the guarantee.
    """

    value: float
    strict: float
    ceiling: float
    null: float | None
    delta: float


@dataclass(frozen=True)
class Levels:
    """What an audit asks of every attack.

    Attributes:
        fpr: false-positive rate at which the true-positive rate is limited.
        confidence: of each interval, two-sided.
        strict: confidence left for one of all findings.
        delta: of the guarantee under audit.
    """

    fpr: float
    confidence: float
    strict: float
    delta: float


@dataclass(frozen=True, eq=False)
class Membership:
    """What one attack showed in one game.

    Attributes:
        attack: its name.
        game: what it told apart.
        sides: under- and over-forgetting.
        trials: of the targets.
        reference: of the reference models, each scored by the others: thresholds come from these.
        null: trials with retrained models in the place.
        p_value: two-sided: that retrained models in the place would have scored as far from chance (or from each other).
        null_p: the same of retrained models in the place.
        control_p: the same of the original ones.
        curve: for the report.
    """

    attack: str
    game: Game
    sides: tuple[Side, Side]
    trials: Trials
    reference: Trials
    null: Trials | None
    p_value: float | None
    null_p: float | None
    control_p: float | None
    curve: Curve


def require_models(models: int) -> None:
    """Refuse a fleet of too few models.

    Raises:
        TooLittlePowerError: there are fewer than 16 models.
    """
    if models < LEAST_MODELS:
        raise TooLittlePowerError(
            f"{models} shadow models are too few for an interval over models: {LEAST_MODELS} are the least and settle next to nothing, "
            f"{ENOUGH_MODELS} find what forgot nothing, 64 are a good number",
            where="audit.models",
            mend=f"give {ENOUGH_MODELS} or more",
        )


def references_and_targets(models: int) -> tuple[IntArray, IntArray]:
    """Even and odd positions, so that every block of a fleet serves both.

    Raises:
        TooLittlePowerError: there are fewer than 16 models.
    """
    require_models(models)
    return np.arange(0, models, 2), np.arange(1, models, 2)


def membership(
    observations: Observations, attack: str, score: Score, game: Game, levels: Levels, *, seed: int = 0
) -> Membership:
    """Run one attack in one game.

    Half of the models are references: they calibrate the scores, and thresholds are set where *their* negatives, each scored by
    the other references, have a given false-positive rate. The other half are looked at once. Given the references, targets are
    independent, so that rates over targets have proven intervals; and where unlearning is perfect a target and its retrained twin
    are exchangeable, so that p-values are exact.

    Args:
        observations: a fleet.
        attack: for names.
        score: the attack.
        game: what is told apart from what.
        levels: rates and confidences.
        seed: of permutations.

    Raises:
        TooLittlePowerError: too few models.
        InputError: a world that the game needs was not observed.
    """
    references, targets = references_and_targets(observations.models)
    found = {"reference": score(observations.pick(references), game, np.arange(len(references)))}
    found["real"] = score(observations, game, targets)
    for name, other in (("null", game.null()), ("control", game.control())):
        if all(observations.has(world) for world in other.worlds):
            found[name] = score(observations, other, targets)
    if "null" in found:
        found["null reference"] = score(observations.pick(references), game.null(), np.arange(len(references)))
    sides = tuple(_side(direction, found, game, levels) for direction in DIRECTIONS)
    if ATTACKS[attack].learns and _moved(observations, game) < 0:
        # it knows which way the method moves phi: what scores high here was forgotten too much
        sides = tuple(replace(side, direction=name) for side, name in zip(sides[::-1], DIRECTIONS, strict=True))
    curve = _curve(attack, game, found, levels.confidence)
    at_chance = _AT_CHANCE.get(game.name)
    return Membership(
        attack=attack,
        game=game,
        sides=(sides[0], sides[1]),
        trials=found["real"],
        reference=found["reference"],
        null=found.get("null"),
        p_value=_p_value(found["real"], found.get("null"), game, seed),
        null_p=None if at_chance is None or "null" not in found else at_chance(found["null"], seed),
        control_p=_p_value(found["control"], found.get("null"), game, seed) if "control" in found else None,
        curve=curve,
    )


def _moved(observations: Observations, game: Game) -> float:
    """Mean over records of how much higher phi is in the positive world. It names a direction; both are looked at whatever it is."""
    means = []
    for side in (game.positive, game.negative):
        inside = observations.assignment == int(side.cell)
        total = np.where(inside, observations.get(side.world), 0.0).sum(axis=0)
        with np.errstate(invalid="ignore"):
            means.append(total / inside.sum(axis=0))
    gaps = means[0] - means[1]
    known = gaps[~np.isnan(gaps)]
    return float(known.mean()) if known.size else 0.0


def _of_twins(trials: Trials, seed: int) -> float:
    """Positives and negatives are two models with the same records: were they made alike, either could be the other."""
    high = [_mean_ranks(trials, positive=positive) for positive in (True, False)]
    return paired_p_value(*high, seed=seed)


def _of_assignments(trials: Trials, seed: int) -> float:
    """Positives and negatives are records of one model, told apart by a chance that an honest model does not depend on."""
    return assignment_p_value(trials, seed=seed)


_AT_CHANCE = {"retrain": _of_twins, "privacy": _of_assignments}
"""Games in which honest retraining leaves nothing to find, with their exact test."""


def _p_value(trials: Trials, null: Trials | None, game: Game, seed: int) -> float | None:
    """Two-sided p-value that the models in the unlearned ones' place are retrained ones; None where it cannot be had.

    In games where something is left to find even then (what the earlier release, or membership itself, gives away), AUCs within
    models are compared with those of their retrained twins.
    """
    if game.name in _AT_CHANCE:
        return _AT_CHANCE[game.name](trials, seed)
    return None if null is None else paired_p_value(auc_of_models(trials), auc_of_models(null), seed=seed)


def _mean_ranks(trials: Trials, *, positive: bool) -> FloatArray:
    """Mean rank of each model's positive, or negative, trials among all of them."""
    ranks = rankdata(trials.scores) / len(trials)
    own = np.asarray(trials.positive).astype(bool) == positive
    _, model = np.unique(trials.models, return_inverse=True)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.bincount(model[own], ranks[own]) / np.bincount(model[own]))


def _side(direction: str, found: dict[str, Trials], game: Game, levels: Levels) -> Side:
    turned = {name: _turned(trials, direction) for name, trials in found.items()}
    null = None
    if "null" in turned:
        null = _rate(turned["null"], turned["null reference"], levels.fpr, levels.confidence)
    return Side(
        direction,
        _rate(turned["real"], turned["reference"], levels.fpr, levels.confidence),
        null,
        _rate(turned["real"], turned["reference"], levels.fpr, levels.strict).lower,
        _refuted(turned, levels) if game.name == "retrain" else None,
    )


def _refuted(found: dict[str, Trials], levels: Levels) -> Refuted:
    threshold = threshold_at(found["reference"], EPSILON_FPR)
    models = len(np.unique(found["real"].models))
    null = None
    if "null" in found:
        at = threshold_at(found["null reference"], EPSILON_FPR)
        null = float(epsilon_lower_bound_over_models(found["null"], at, levels.delta, levels.confidence))
    value, strict = (
        float(epsilon_lower_bound_over_models(found["real"], threshold, levels.delta, confidence))
        for confidence in (levels.confidence, levels.strict)
    )
    return Refuted(value, strict, epsilon_ceiling(models, levels.delta, levels.confidence), null, levels.delta)


def epsilon_ceiling(models: int, delta: float, confidence: float) -> float:
    """The bound that so many models would give an attack that never errs: by betting on means over models.

    Not the one of :func:`certify.attacks.statistics.ceiling.epsilon_ceiling`, which is of independent trials and larger.
    """
    return float(epsilon_of_shares(np.ones(models), np.zeros(models), delta, confidence))


def _turned(trials: Trials, direction: str) -> Trials:
    return trials if direction == "under-forgetting" else replace(trials, scores=-trials.scores)


def _rate(trials: Trials, reference: Trials, fpr: float, confidence: float) -> Estimate:
    thresholds = thresholds_at(reference, np.minimum(1.0, fpr * np.array(LOOSER)))
    return tpr_at(fpr, *tallies(trials, thresholds), confidence)


def _curve(attack: str, game: Game, found: dict[str, Trials], confidence: float) -> Curve:
    """Mean rates over targets at thresholds from the references; the band is over models, point by point."""
    positive, negative = tallies(found["real"], thresholds_at(found["reference"], _CURVE))
    error, null = (1 - confidence) / 2, (np.zeros(0), np.zeros(0))
    if "null" in found:
        caught, alarms = tallies(found["null"], thresholds_at(found["null reference"], _CURVE))
        null = alarms.means(), caught.means()
    return Curve(
        attack=attack,
        game=game.name,
        slice="all",
        fpr=negative.means(),
        tpr=positive.means(),
        lower=positive.lower(error),
        upper=positive.upper(error),
        null_fpr=null[0],
        null_tpr=null[1],
        confidence=confidence,
        band=f"point by point; {METHOD}",
    )


def auc(trials: Trials) -> float:
    """Mean over models of the AUC within a model; NaN where none has both kinds of trials."""
    found = auc_of_models(trials)
    return float(np.nanmean(found)) if np.isfinite(found).any() else math.nan
