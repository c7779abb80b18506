"""The membership attacks by name, as functions that score target models in a game."""

from collections.abc import Callable, Sequence

import numpy as np

from certify.attacks.audits.membership import Score
from certify.attacks.observations import Cell, Observations, Trials
from certify.attacks.scores.calibrated import Calibrated
from certify.attacks.scores.conformal import AttackR
from certify.attacks.scores.games import GAMES, Game
from certify.attacks.scores.leave_one_out import trials
from certify.attacks.scores.lira import Lira
from certify.attacks.scores.population import Population
from certify.attacks.scores.references import Attack
from certify.attacks.scores.rmia import Rmia
from certify.core.arrays import IntArray

_BY_NAME: dict[str, Callable[[], Attack]] = {
    "u-lira": Lira,
    "u-lira-offline": lambda: Lira("offline"),
    "lira": Lira,
    "rmia": Rmia,
    "calibrated-loss": Calibrated,
    "attack-r": AttackR,
    "two-version": lambda: Lira(views="joint"),
    "loss": Population,
    "entropy": lambda: Population("entropy"),
    "modified-entropy": lambda: Population("modified-entropy"),
    "gap": lambda: Population("correct"),
}

_FOLDS = 4
"""Reference models of classical LiRA are scored by the rest of them, a quarter at a time: what is scored was unlearned, what scores was not."""


def score_of(name: str) -> Score:
    """The attack called ``name`` as it is played on a fleet; records with too few references are left out, by the assignment alone."""
    attack = _BY_NAME[name]()

    def score(observations: Observations, game: Game, targets: IntArray) -> Trials:
        every = len(targets) == observations.models
        if name == "lira":
            parts = [targets[place::_FOLDS] for place in range(_FOLDS)] if every else [targets]
            cells = (int(game.positive.cell), int(game.negative.cell))
            tried = [part for part in parts if all((observations.assignment[part] == cell).any() for cell in cells)]
            return _joined([_by_originals(observations, game, attack, part) for part in tried or parts])
        return trials(observations, game, attack, targets=None if every else targets, short="drop")

    return score


def _by_originals(observations: Observations, game: Game, attack: Attack, targets: IntArray) -> Trials:
    """Targets scored by all other models as they were before the deletion."""
    return trials(_with_originals(observations, game, targets), game, attack, targets=targets, short="drop")


def _joined(parts: Sequence[Trials]) -> Trials:
    """All of them, in the order given."""
    names = ("scores", "positive", "models", "records")
    return Trials(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def game_of(name: str, game: str) -> Game:
    """The game as an attack plays it: who holds both versions plays for two."""
    return GAMES["two-version"] if name == "two-version" and game == "privacy" else GAMES[game]


def plays(name: str, game: str) -> bool:
    """Whether the attack has a part in the game: those that look at the earlier model tell records apart, not ways of training."""
    return name not in ("two-version", "lira") or game == "privacy"


def _with_originals(observations: Observations, game: Game, targets: IntArray) -> Observations:
    """References as classical LiRA has them: trained with the record or without it, never unlearned."""
    references = np.setdiff1d(np.arange(observations.models), targets)
    assignment = observations.assignment.copy()
    trained = assignment[references] != int(Cell.OUT)
    assignment[references] = np.where(trained, int(game.positive.cell), int(Cell.OUT))
    mixed = np.array(observations.get(game.positive.world))
    mixed[references] = observations.get("original")[references]
    worlds = {**observations.worlds, game.positive.world: {"phi": mixed}}
    return Observations(assignment, worlds, observations.ids)
