"""Trials of an attack in a game: each model is the target once, and never among its own references."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from certify.attacks.observations import Cell, Observations, Trials
from certify.attacks.scores.conformal import AttackR
from certify.attacks.scores.games import Game, Side
from certify.attacks.scores.lira import Lira
from certify.attacks.scores.references import Attack, Target
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
    references = np.setdiff1d(np.arange(observations.models), chosen) if targets is not None else chosen
    alone = targets is None
    sides = (game.positive, game.negative)
    values = [_values(observations, side, game.before, attack.signal) for side in sides]
    masks = [observations.assignment == int(side.cell) for side in sides]
    needed = attack.least(values[0].shape[2] if values[0].ndim == 3 else 1)
    known = [_known(v, m, references, least) for v, m, least in zip(values, masks, needed, strict=True)]
    fitted = attack.fit(*known)
    shared = sides[0].world == sides[1].world

    def scored(rows: IntArray, which: Sequence[int], *, leave_out: bool) -> list[FloatArray]:
        """Scores of models (rows, N) in some of the worlds; NaN where there is no trial, or too few references."""
        found = [np.full((len(rows), observations.records), np.nan) for _ in which]
        for place, row in enumerate(rows):
            own = int(np.searchsorted(references, row)) if leave_out else None
            enough = _enough(counts, masks, row, needed, leave_out=leave_out)
            population, scores = observations.assignment[row] == int(Cell.OUT), None
            for result, side in zip(found, which, strict=True):
                mask = masks[side][row] & enough
                if not mask.any():
                    continue
                if scores is None or not shared:
                    target = Target(np.asarray(values[side][row], dtype=np.float64), population, own)
                    scores = fitted.score(target)
                result[place, mask] = scores[mask]
        return found

    counts = [mask[references].sum(axis=0) for mask in masks]
    if short == "refuse":
        _refuse_short(counts, masks, chosen, needed, game, alone=alone)
    pair = scored(chosen, (0, 1), leave_out=alone)
    if calibrate is not None:
        others = pair[1] if alone else scored(references, (1,), leave_out=True)[0]
        pair = _calibrated(pair, others, CALIBRATIONS[calibrate], alone=alone, short=short)
    return _flat(pair, chosen)


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


def _enough(
    counts: Sequence[AnyArray], masks: Sequence[AnyArray], row: int, needed: tuple[int, int], *, leave_out: bool
) -> AnyArray:
    """Records with enough references of both worlds, apart from this model."""
    left = [count - (mask[row] if leave_out else 0) for count, mask in zip(counts, masks, strict=True)]
    return (left[0] >= needed[0]) & (left[1] >= needed[1])


def _refuse_short(
    counts: Sequence[AnyArray],
    masks: Sequence[AnyArray],
    chosen: IntArray,
    needed: tuple[int, int],
    game: Game,
    *,
    alone: bool,
) -> None:
    tried = (masks[0][chosen] | masks[1][chosen]).any(axis=0)
    for side, count, mask, least in zip((game.positive, game.negative), counts, masks, needed, strict=True):
        # a target that is one of the references of a record leaves one fewer of them
        wanted = least + (alone & mask.any(axis=0)) if least else 0
        few = tried & (count < wanted)
        if few.any():
            raise InputError(
                f"{int(few.sum())} of {tried.size} records have too few reference models in {side.world}, "
                f"{side.cell.name.lower()}: {int(count[few].min())} where {least + alone} are needed",
                where=f"trials ({game.name})",
                mend="train more models, or leave those records out with short = drop",
            )


def _calibrated(
    pair: list[FloatArray], others: FloatArray, attack: Attack, *, alone: bool, short: str
) -> list[FloatArray]:
    """Scores as ``-log p`` among the negative ones of the same record."""
    fitted, count = attack.fit(others, others), (~np.isnan(others)).sum(axis=0)
    result = []
    for scores in pair:
        mapped = np.full_like(scores, np.nan)
        for row, found in enumerate(scores):
            there = ~np.isnan(found)
            enough = count - (~np.isnan(others[row]) if alone else 0) >= attack.least()[1]
            if short == "refuse" and (there & ~enough).any():
                raise InputError(
                    f"{int((there & ~enough).sum())} records of a model have no other model's score to be ranked among",
                    where="trials",
                    mend="train more models, or leave those records out with short = drop",
                )
            keep = there & enough
            target = Target(np.where(there, found, 0.0), None, row if alone else None)
            mapped[row, keep] = fitted.score(target)[keep]
        result.append(mapped)
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


def _flat(pair: list[FloatArray], chosen: IntArray) -> Trials:
    scores, positive, models, records = [], [], [], []
    for found, truth in zip(pair, (True, False), strict=True):
        row, column = np.nonzero(~np.isnan(found))
        if not row.size:
            raise InputError(
                f"no trial is left in the {'positive' if truth else 'negative'} world",
                where="trials",
                mend="train more models, or look at the assignment: the game needs its cells",
            )
        scores.append(found[row, column])
        positive.append(np.full(row.size, truth))
        models.append(chosen[row])
        records.append(column)
    joined = [np.concatenate(part) for part in (scores, positive, models, records)]
    return Trials(joined[0], joined[1], joined[2], joined[3])
