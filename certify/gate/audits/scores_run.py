"""The audit of scores made elsewhere: nothing is trained or loaded."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from certify.attacks.audits.findings import RequestAudit
from certify.attacks.audits.membership import ENOUGH_MODELS
from certify.attacks.audits.request import audit_release
from certify.attacks.observations import Cell, Observations
from certify.core.errors import TooLittlePowerError
from certify.gate.audits.coins import audit_given_coins
from certify.gate.audits.fleets_run import play
from certify.gate.audits.scores import Scores, read_scores
from certify.gate.audits.seen import Seen
from certify.gate.spec import AuditSpec


def look_at_scores(seen: Seen, given: AuditSpec) -> None:
    """Attack the models whose scores the spec names.

    Args:
        seen: filled with what was found.
        given: the spec's audit, with its scores.

    Raises:
        InputError: the scores cannot be read, or do not fit the request.
        TooLittlePowerError: they are of too few models.
    """
    assert given.scores is not None
    scores = read_scores(seen.loaded.resolve(given.scores), given.scale)
    seen.source, seen.scores = "scores", scores
    if scores.cut is not None:
        seen.notes.append(f"scores: {scores.cut}")
    release = seen.loaded.spec.release
    seen.method = release.unlearner or "a method that is not named"
    if seen.plan.membership:
        reasons = {game: _cannot_be_played(scores.fleet, game) for game in seen.plan.games}
        games = tuple(game for game, reason in reasons.items() if reason is None)
        seen.left_out += [f"the game {game}: {reason}" for game, reason in reasons.items() if reason is not None]
        if games:
            seen.plan = replace(seen.plan, games=games)
            with _naming(scores):
                play(seen, "all", scores.fleet)
    for name in seen.plan.request:
        if name == "release-lira" and scores.release is not None and scores.retrained is not None:
            with _naming(scores):
                seen.request.append(_release(seen, scores.release, scores.retrained, scores.original))
        else:
            seen.left_out.append(f"{name}: the scores do not hold what it needs")
    if seen.plan.coins:
        seen.request.append(audit_given_coins(seen.loaded, scores, seen.plan))


@contextmanager
def _naming(scores: Scores) -> Iterator[None]:
    """Too few models are said of the scores file, with the array that is to blame."""
    try:
        yield
    except TooLittlePowerError as error:
        mend = f"score {ENOUGH_MODELS} models of each world or more"
        what = error.what if scores.cut is None else f"{error.what} ({scores.cut})"
        if scores.cut is not None and scores.cut.startswith("'original' has 1 row "):
            mend += "; the one model before the deletion is release_original"
        raise TooLittlePowerError(what, where=scores.record.path, mend=mend) from None


def _cannot_be_played(fleet: Observations, game: str) -> str | None:
    """Why the assignment has no trials for a game; None where it has."""
    cells = {"retrain": (Cell.FORGET,), "privacy": (Cell.FORGET, Cell.OUT), "retain-side": (Cell.RETAIN, Cell.OUT)}
    masks = [fleet.assignment == int(cell) for cell in cells[game]]
    if not all(mask.any() for mask in masks):
        return "the scores hold no records for it"
    if game == "privacy" and not fleet.has("retrained"):
        # whole classes forgotten together, say, look unlike records never seen to honest retraining as well
        return "without retrained models nothing shows that records were given to forget by chance, one by one"
    if game != "retrain" and 2 * np.count_nonzero(masks[0].any(axis=1) & masks[-1].any(axis=1)) < fleet.models:
        return "most models have no records on both sides of it, so that nothing can be compared within them; score more records"
    tried, both = masks[0].any(axis=0), masks[0].any(axis=0) & masks[-1].any(axis=0)
    if 2 * np.count_nonzero(both) < np.count_nonzero(tried):
        return "most records are on one side of it in all models, so that hard records could not be told from remembered ones"
    return None


def _release(seen: Seen, released: object, retrained: object, original: object) -> RequestAudit:
    return audit_release(
        np.asarray(released, dtype=np.float64),
        np.asarray(retrained, dtype=np.float64),
        None if original is None else np.asarray(original, dtype=np.float64),
        fpr=seen.plan.fpr,
        limit=seen.plan.rates["retrain"],
        confidence=1 - seen.plan.alpha,
    )
