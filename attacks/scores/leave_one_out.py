"""Trials of an attack in a game: each model is the target once, and never among its own references."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from certify.attacks.observations import Cell, Observations, Trials
from certify.attacks.scores.conformal import AttackR
from certify.attacks.scores.games import Game, Side
from certify.attacks.scores.lira import Lira
from certify.attacks.scores.references import Attack, Fitted, Target
from certify.core.arrays import AnyArray, FloatArray, IntArray
from certify.core.errors import InputError

Calibrate = Literal["conformal", "student"]
CALIBRATIONS: dict[str, Attack] = {"conformal": AttackR(name="calibrate"), "student": Lira("offline")}
"""How a score becomes ``-log p``, p its chance among the same record's scores of other models in the negative world."""


def trials(
    observations: Observations,
    game: Game,
    attack: Attack,
    *,
    targets: Sequence[int] | IntArray | None = None,
    calibrate: Calibrate | None = None,
    short: Literal["refuse", "drop"] = "refuse",
) -> Trials:
    """Score each model and record that the game is about.

    Leave-one-out (``targets`` not given): every model is a target, all others are its references, in both worlds of the game, since
    the unlearned and the retrained model of a row come from the same draw. Fits are updated, not made again, so that K targets cost
    about as much as one pass over (K, N). Scores of different models share references: treat models, not trials, as the
    unit, and see ``targets`` where exact independence is wanted.

    Fixed split (``targets`` given): those models are scored with the remaining ones as references, so that, given the references,
    scores of different models are independent.

    With ``calibrate``, scores are mapped to ``-log p`` record by record before they are pooled, so that ``-log alpha`` is a
    threshold fixed in advance, the same for all records. ``conformal``: p is the rank among the same record's scores of other models in the
    negative world. Leaving one out, the chance that it is at most alpha is at most alpha for each negative trial, whatever the
    attack, as models are exchangeable; no p is below 1 over the number of those models. ``student``: upper tail of a t distribution
    fitted to them, which goes further down and assumes bell-shaped scores. In a fixed split the other models are the references,
    each scored by the rest of them, one reference fewer than the target has: exact no longer, close with many.

    LiRA on the worlds of ``privacy`` or ``retrain`` is what the field calls U-LiRA.

    Args:
        observations: of the game's worlds, with the signal that the attack reads.
        game: one of :data:`certify.attacks.scores.games.GAMES`, its ``null()`` or its ``control()``.
        attack: such as :class:`certify.attacks.scores.lira.Lira`.
        targets: rows of models.
        calibrate: None leaves scores as they are.
        short: what happens where a record has too few references: ``refuse`` all, or ``drop`` its trials. Which are dropped depends on
            the assignment alone, never on what models say.

    Returns:
        Positive and negative trials; ``models`` and ``records`` are rows and columns of the observations.

    Raises:
        InputError: a world was not observed, a record has too few references (says how many are needed), no trial is
            left in one of the worlds, or ``targets`` make no sense.
    """
    chosen = _chosen(observations.models, targets)
    alone = targets is None
    references = chosen if alone else np.setdiff1d(np.arange(observations.models), chosen)
    stage = _Stage.of(observations, game, attack, references)
    stage.require(chosen, game, short, alone=alone)
    found = list(stage.scored(chosen, (0, 1), leave_out=alone))
    if calibrate is not None:
        others = np.full((len(references), observations.records), np.nan)
        for row, side, records, scores in found if alone else stage.scored(references, (1,), leave_out=True):
            if side == 1:
                others[np.searchsorted(references, row), records] = scores
        found = _calibrated(found, others, CALIBRATIONS[calibrate], alone=alone, short=short)
    return _joined(found)


_Found = tuple[int, int, IntArray, FloatArray]
"""A model, which world (0 positive, 1 negative), its records, their scores."""


@dataclass(frozen=True, eq=False)
class _Stage:
    """A game's arrays, positive world first, and an attack that has seen its references."""

    values: list[AnyArray]
    masks: list[AnyArray]
    unseen: AnyArray
    references: IntArray
    counts: list[AnyArray]
    needed: tuple[int, int]
    fitted: Fitted
    shared: bool

    @classmethod
    def of(cls, observations: Observations, game: Game, attack: Attack, references: IntArray) -> "_Stage":
        sides = (game.positive, game.negative)
        values = [_values(observations, side, game.before, attack.signal) for side in sides]
        masks = [observations.assignment == int(side.cell) for side in sides]
        for side, mask in zip(sides, masks, strict=True):
            if not mask.any():
                raise InputError(
                    f"no model has a record as {side.cell.name.lower()}",
                    where=f"trials ({game.name})",
                    mend="look at the assignment: the game needs both of its cells",
                )
        needed = attack.least(values[0].shape[2] if values[0].ndim == 3 else 1)
        known = [_known(v, m, references, least) for v, m, least in zip(values, masks, needed, strict=True)]
        return cls(
            values,
            masks,
            observations.assignment == int(Cell.OUT),
            references,
            [mask[references].sum(axis=0) for mask in masks],
            needed,
            attack.fit(*known),
            sides[0].world == sides[1].world,
        )

    def scored(self, rows: IntArray, which: Sequence[int], *, leave_out: bool) -> Iterator[_Found]:
        """Scores of models in some of the worlds, where there is a trial and references enough."""
        for row in rows:
            own = int(np.searchsorted(self.references, row)) if leave_out else None
            enough, scores = self._enough(int(row), leave_out=leave_out), None
            for side in which:
                records = np.flatnonzero(self.masks[side][row] & enough)
                if not records.size:
                    continue
                if scores is None or not self.shared:
                    values = np.asarray(self.values[side][row], dtype=np.float64)
                    scores = self.fitted.score(Target(values, self.unseen[row], own))
                yield int(row), side, records, scores[records]

    def _enough(self, row: int, *, leave_out: bool) -> AnyArray:
        """Records with enough references in both worlds, apart from this model."""
        pairs = zip(self.counts, self.masks, self.needed, strict=True)
        left = [count - (mask[row] if leave_out else 0) >= least for count, mask, least in pairs]
        return left[0] & left[1]

    def require(self, chosen: IntArray, game: Game, short: str, *, alone: bool) -> None:
        """Each record that is tried has enough references."""
        if short == "drop":
            return
        tried = (self.masks[0][chosen] | self.masks[1][chosen]).any(axis=0)
        worlds = zip((game.positive, game.negative), self.counts, self.needed, strict=True)
        for side, count, least in worlds:
            # a target that is one of the references of a record leaves one fewer of them
            wanted = least + alone if least else 0
            few = tried & (count < wanted)
            if few.any():
                raise InputError(
                    f"{int(few.sum())} of {tried.size} records have too few reference models in {side.world}, "
                    f"{side.cell.name.lower()}: {int(count[few].min())} where {wanted} are needed",
                    where=f"trials ({game.name})",
                    mend="train more models, or leave those records out with short = drop",
                )


def _values(observations: Observations, side: Side, before: str | None, signal: str) -> AnyArray:
    """(K, N) of a world; (K, N, 2) with the world before it."""
    after = observations.get(side.world, signal)
    return after if before is None else np.stack([observations.get(before, signal), after], axis=-1)


def _known(values: AnyArray, mask: AnyArray, references: IntArray, least: int) -> FloatArray:
    """Values of the references, NaN where one is none; nothing but NaN for an attack that reads none of them."""
    if not least:
        return np.broadcast_to(np.nan, (len(references), *values.shape[1:]))
    there = mask[references] if values.ndim == 2 else mask[references][..., None]
    return np.where(there, values[references], np.float64(np.nan)).astype(np.float64, copy=False)


def _calibrated(
    found: Sequence[_Found], others: FloatArray, attack: Attack, *, alone: bool, short: str
) -> list[_Found]:
    """Scores as ``-log p`` among the negative ones of the same record."""
    fitted, count = attack.fit(others, others), (~np.isnan(others)).sum(axis=0)
    result = []
    for row, side, records, scores in found:
        left = count - ~np.isnan(others[row]) if alone else count
        enough = left[records] >= attack.least()[1]
        if short == "refuse" and not enough.all():
            raise InputError(
                f"{int((~enough).sum())} records of a model have no other model's score to be ranked among",
                where="trials",
                mend="train more models, or leave those records out with short = drop",
            )
        values = np.zeros(others.shape[1])
        values[records] = scores
        mapped = fitted.score(Target(values, None, row if alone else None))
        result.append((row, side, records[enough], mapped[records[enough]]))
    return result


def _chosen(models: int, targets: Sequence[int] | IntArray | None) -> IntArray:
    if targets is None:
        return np.arange(models)
    rows = np.unique(np.asarray(targets, dtype=np.int64))
    if not rows.size or rows.size != np.size(targets) or rows[0] < 0 or rows[-1] >= models or rows.size >= models:
        raise InputError(
            f"targets are not some of {models} models, each once, with others left as references",
            where="trials",
            mend="give rows from 0, and keep some models as references",
        )
    return rows


def _joined(found: Sequence[_Found]) -> Trials:
    """Positive trials first, models in order."""
    ordered = [part for side in (0, 1) for part in found if part[1] == side]
    for side, name in enumerate(("positive", "negative")):
        if not any(part[1] == side and part[2].size for part in found):
            raise InputError(
                f"no trial is left in the {name} world",
                where="trials",
                mend="train more models: with these, no record has references enough",
            )
    sizes = [part[2].size for part in ordered]
    return Trials(
        np.concatenate([part[3] for part in ordered]),
        np.repeat([part[1] == 0 for part in ordered], sizes),
        np.repeat(np.array([part[0] for part in ordered]), sizes),
        np.concatenate([part[2] for part in ordered]),
    )
