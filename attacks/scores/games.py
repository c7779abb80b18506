"""Games: what an attacker has to tell apart, and what an honest retraining and no unlearning at all look like in the same one."""

from dataclasses import dataclass, replace

from certify.attacks.observations import Cell


@dataclass(frozen=True)
class Side:
    """One of the two worlds of a game.

    Attributes:
        world: whose models are looked at, one of :data:`certify.attacks.observations.WORLDS`.
        cell: what those models were given of the record.
    """

    world: str
    cell: Cell


@dataclass(frozen=True)
class Game:
    """A positive and a negative world; each model and record in one of the two is a trial.

    Attributes:
        name: as reports call it.
        question: what success in it means.
        positive: the world in which there is something to find.
        negative: the other.
        before: a world whose model is seen as well, before the unlearned one; None where one release is seen.
        variant: ``unlearned``, or whose place it takes: ``null`` or ``control``.
    """

    name: str
    question: str
    positive: Side
    negative: Side
    before: str | None = None
    variant: str = "unlearned"

    def null(self) -> "Game":
        """The retrained model in the unlearned one's place, and a second retrained one (``again``) in the retrained one's.

        What success remains is not the method's: none in ``retrain``, ``privacy`` and ``coin-flip``; in ``two-version`` what the
        original model gives away; in ``retain-side`` what any trained model does of the records it was trained on.
        """
        return self._with({"unlearned": "retrained", "retrained": "again"}, "null")

    def control(self) -> "Game":
        """The original model in the unlearned one's place: nothing was forgotten, and an audit worth its name says so."""
        return self._with({"unlearned": "original"}, "control")

    def _with(self, places: dict[str, str], variant: str) -> "Game":
        sides = [Side(places.get(side.world, side.world), side.cell) for side in (self.positive, self.negative)]
        return replace(self, positive=sides[0], negative=sides[1], variant=variant)

    @property
    def worlds(self) -> tuple[str, ...]:
        """Worlds it looks at, each once."""
        names = (self.before, self.positive.world, self.negative.world)
        return tuple(dict.fromkeys(name for name in names if name is not None))


GAMES = {
    game.name: game
    for game in (
        Game(
            "retrain",
            "can an unlearned model be told from one retrained without the forgotten records",
            Side("unlearned", Cell.FORGET),
            Side("retrained", Cell.FORGET),
        ),
        Game(
            "privacy",
            "can a forgotten record be told from one that was never there",
            Side("unlearned", Cell.FORGET),
            Side("unlearned", Cell.OUT),
        ),
        Game(
            "two-version",
            "can it, by who saw the model before the deletion too",
            Side("unlearned", Cell.FORGET),
            Side("unlearned", Cell.OUT),
            before="original",
        ),
        Game(
            "retain-side",
            "can a retained record be told from one that was never there, more than before the deletion",
            Side("unlearned", Cell.RETAIN),
            Side("unlearned", Cell.OUT),
        ),
        Game(
            "coin-flip",
            "can the auditor's own coins, planted and deleted or never planted, be read from one model",
            Side("unlearned", Cell.FORGET),
            Side("unlearned", Cell.OUT),
        ),
    )
}
"""By name. The relearning game is ``retrain`` on observations of models that were trained on a little further."""
