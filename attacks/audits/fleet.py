"""All membership attacks of an audit on one fleet."""

from collections.abc import Sequence
from dataclasses import dataclass

from certify.attacks.audits.findings import Control, Curve, Finding
from certify.attacks.audits.judge import controls_of, findings_of
from certify.attacks.audits.membership import Levels, Membership, membership
from certify.attacks.audits.playing import game_of, plays, score_of
from certify.attacks.observations import Cell, Observations
from certify.attacks.registry import ATTACKS
from certify.core.progress import track


@dataclass(frozen=True, eq=False)
class FleetAudit:
    """What the membership attacks found on a fleet.

    Attributes:
        findings: with verdicts, before Holm's correction of what they report.
        controls: retrained and original models in the unlearned ones' place.
        shown: what each attack showed in each game.
        left_out: attacks and games that could not be played, each with the reason.
    """

    findings: tuple[Finding, ...]
    controls: tuple[Control, ...]
    shown: tuple[Membership, ...]
    left_out: tuple[str, ...]

    @property
    def curves(self) -> tuple[Curve, ...]:
        """For the report."""
        return tuple(one.curve for one in self.shown)


def audit_fleet(
    observations: Observations,
    attacks: Sequence[str],
    games: Sequence[str],
    levels: Levels,
    *,
    rates: dict[str, float],
    epsilon: float,
    slice_name: str = "all",
    seed: int = 0,
) -> FleetAudit:
    """Play every attack in every game.

    Args:
        observations: K models.
        attacks: names of membership attacks.
        games: names of games.
        levels: false-positive rate, confidences, delta.
        rates: largest true-positive rate allowed, by game.
        epsilon: largest epsilon that may be refuted.
        slice_name: "all", or what kind of records the fleet forgot.
        seed: of permutations.

    Raises:
        TooLittlePowerError: too few models.
        InputError: a signal or world that an attack needs was not observed.
    """
    crowd = bool((observations.assignment == int(Cell.OUT)).any(axis=1).all())
    lonely = [] if crowd else [name for name in attacks if ATTACKS[name].crowd]
    pairs = [(attack, game) for attack in attacks for game in games if plays(attack, game) and attack not in lonely]
    left_out = [
        f"{attack}: it compares with records that a model was never given, and every model was given all of them"
        for attack in lonely
    ]
    left_out += [
        f"{attack} in the game {game}: it has no part in it"
        for attack in attacks
        for game in games
        if not plays(attack, game)
    ]
    shown, findings = [], []
    for attack, name in track(pairs, "attacks"):
        game = game_of(attack, name)
        missing = [world for world in game.worlds if not observations.has(world)]
        if missing:
            left_out.append(f"{attack} in the game {name}: {missing[0]} models were not observed")
            continue
        one = membership(observations, attack, score_of(attack), game, levels, seed=seed)
        shown.append(one)
        findings += findings_of(one, levels, rate=rates[name], epsilon=epsilon, slice_name=slice_name)
    return FleetAudit(tuple(findings), tuple(controls_of(shown, 1 - levels.confidence)), tuple(shown), tuple(left_out))
