"""A pass that a method which forgets nothing, or ruins the model, would get, too, is none."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from certify.attacks.audits.findings import Finding, joined
from certify.attacks.audits.fleet import FleetAudit
from certify.attacks.audits.membership import DIRECTIONS, Levels, Membership, references_and_targets
from certify.attacks.audits.playing import score_of
from certify.attacks.audits.rates import LOOSER, tallies, tpr_at
from certify.attacks.observations import Observations
from certify.attacks.statistics.means import thresholds_at
from certify.core.verdict import Verdict

EMPTY = "models that forgot nothing are within the limit of every attack, too, so that passing shows nothing"
"""Said of what would have passed."""


def without_empty_passes(
    found: FleetAudit, observations: Observations, levels: Levels, rates: dict[str, float]
) -> FleetAudit:
    """The same audit, a pass turned into inconclusive where nothing shows that it takes forgetting.

    That is where all limits are kept and the originals in the unlearned ones' place would keep all of them as well. (Where one attack
    or game alone is so blind, another one decides; where no originals were observed, the gate passes nothing anyhow.)

    Args:
        found: what attacks found.
        observations: the fleet.
        levels: as it was run.
        rates: largest true-positive rate allowed, by game.
    """
    deciding = [one for one in found.findings if one.verdict is not None]
    passed = [one for one in deciding if one.verdict is Verdict.PASS]
    if not passed or len(passed) < len(deciding) or not observations.has("original"):
        return found
    looked_at = {(one.attack, one.game) for one in passed}
    played = [one for one in found.shown if (one.attack, one.game.name) in looked_at]
    if all(_original_passes(observations, one, levels, rates[one.game.name]) for one in played):
        return _open(found, EMPTY)
    return found


def _original_passes(observations: Observations, one: Membership, levels: Levels, limit: float) -> bool:
    """Whether the originals in the unlearned models' place are within the limit, in both directions."""
    references, targets = references_and_targets(observations.models)
    score, game = score_of(one.attack), one.game.control()
    calibration = score(observations.pick(references), game, np.arange(len(references)))
    trials = score(observations, game, targets)
    rates = np.minimum(1.0, levels.fpr * np.array(LOOSER))
    for direction in DIRECTIONS:
        sign = 1.0 if direction == "under-forgetting" else -1.0
        own, other = (replace(part, scores=sign * part.scores) for part in (trials, calibration))
        if tpr_at(levels.fpr, *tallies(own, thresholds_at(other, rates)), levels.confidence).upper > limit:
            return False
    return True


RUINED = (
    "a model that was ruined gives no record away either, and no game that was played compares with retrained models"
)
"""Said of what would have passed."""


def without_passes_of_ruined(found: FleetAudit, games: Sequence[str]) -> FleetAudit:
    """The same audit, a pass turned into inconclusive where no game puts unlearned models beside retrained ones.

    Random weights tell forgotten records from those never seen as little as retraining does: ``privacy`` alone passes them.

    Args:
        found: what attacks found.
        games: that were played.
    """
    return found if "retrain" in games else _open(found, RUINED)


def _open(found: FleetAudit, why: str) -> FleetAudit:
    return replace(found, findings=tuple(_opened(one, why) for one in found.findings))


def _opened(one: Finding, why: str) -> Finding:
    if one.verdict is not Verdict.PASS:
        return one
    return replace(one, verdict=Verdict.INCONCLUSIVE, needed_models=None, note=joined(why, one.note))
