"""The auditor's canaries: planted and deleted, or never there, by coins that the model must not betray."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from certify.attacks.audits.findings import Finding, RequestAudit
from certify.attacks.observations import Cell
from certify.attacks.registry import ATTACKS
from certify.attacks.scores.phi import phi
from certify.attacks.statistics.coin_betting import by_betting
from certify.attacks.statistics.coin_flip import SetLevel, as_coins, as_scores, detectable_accuracy
from certify.core.arrayfiles import read_arrays
from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import InputError
from certify.core.files import FileRecord
from certify.core.verdict import Verdict
from certify.gate.audits.plan import Plan
from certify.gate.audits.scores import Scores
from certify.gate.load import LoadedSpec

if TYPE_CHECKING:
    from certify.gate.audits.review import Review
    from certify.models.networks import State

_HOW = (
    "save it with numpy.savez(path, planted=..., probability=0.5, X=..., y=...), or ids=... for scores made elsewhere"
)


@dataclass(frozen=True, eq=False)
class Canaries:
    """What the auditor kept.

    Attributes:
        planted: the coins: 1 was trained on and then deleted, 0 never was, (m,).
        probability: of a 1, once or (m,).
        arrays: X and y of the canaries, or their ids.
        record: the file by its digest.
    """

    planted: AnyArray
    probability: FloatArray
    arrays: dict[str, AnyArray]
    record: FileRecord


def read_canaries(loaded: LoadedSpec, needs: tuple[str, ...]) -> Canaries:
    """The file that [audit] canaries names.

    Raises:
        InputError: it lacks an array, or arrays do not fit.
    """
    assert loaded.spec.audit is not None
    assert loaded.spec.audit.canaries is not None
    path = Path(loaded.resolve(loaded.spec.audit.canaries))
    arrays, record = read_arrays(path)
    for name in ("planted", *needs):
        if name not in arrays:
            raise InputError(f"has no array {name!r}", where=str(path), mend=_HOW)
    planted = arrays["planted"]
    for name in needs:
        if len(arrays[name]) != len(planted):
            raise InputError(
                f"{name} has {len(arrays[name])} entries, planted {len(planted)}", where=str(path), mend=_HOW
            )
    probability = np.asarray(arrays.get("probability", np.array(0.5)), dtype=np.float64)
    return Canaries(planted, probability, arrays, record)


def audit_coins(loaded: LoadedSpec, review: "Review", plan: Plan) -> RequestAudit:
    """Scores of canaries by the model under review, in standard deviations from retrained models' mean; then the bets.

    Raises:
        InputError: canaries of another shape than the records, a file that does not fit, or canaries among the retained records.
    """
    canaries = read_canaries(loaded, ("X", "y"))
    X, y = canaries.arrays["X"], canaries.arrays["y"]
    shape = tuple(np.shape(review.inputs.task.X)[1:])
    if X.shape[1:] != shape:
        raise InputError(
            f"X has records of shape {X.shape[1:]}, the data {shape}",
            where=canaries.record.path,
            mend="prepare both alike",
        )
    _require_not_retained(canaries, review)
    mine, null = (_phi(review, state, X, y) for state in (review.released, review.retrained))
    return judged(canaries, _in_deviations(mine[0], null), plan)


def _in_deviations(mine: FloatArray, null: FloatArray) -> FloatArray:
    """phi (m,) in deviations from the mean of retrained models (J, m); of a single one, as it differs from that."""
    if len(null) < 2:
        return np.asarray(mine - null[0])
    spread = null.std(axis=0, ddof=1)
    return np.asarray((mine - null.mean(axis=0)) / np.maximum(spread, max(float(np.median(spread)), 1e-12) * 0.1))


def _require_not_retained(canaries: Canaries, review: "Review") -> None:
    """What is retained must not depend on the coins, or an honest retraining tells them: records that a coin lets stay are no canaries.

    Raises:
        InputError: records of the file are among those that are retained.
    """
    task = review.inputs.task
    records, labels = np.asarray(task.X), np.asarray(task.y)
    X, y = canaries.arrays["X"].astype(records.dtype), canaries.arrays["y"].astype(labels.dtype)
    retained = {records[row].tobytes() + labels[row].tobytes() for row in review.retained}
    found = sum(one.tobytes() + label.tobytes() in retained for one, label in zip(X, y, strict=True))
    if found:
        raise InputError(
            f"{found} of {len(X)} canaries are among the retained records, which then depend on the coins",
            where=canaries.record.path,
            mend="plant records that are deleted if their coin shows 1 and never used if it shows 0",
        )


def audit_given_coins(loaded: LoadedSpec, scores: Scores, plan: Plan) -> RequestAudit:
    """The same for scores made elsewhere: canaries are named by id, and ``release`` holds their phi."""
    canaries = read_canaries(loaded, ("ids",))
    if scores.release is None:
        raise InputError(
            "coin-flip needs the array 'release'", where=scores.record.path, mend="add phi of the model under review"
        )
    place = {key: position for position, key in enumerate(scores.fleet.ids.tolist())}
    rows = [place.get(key, -1) for key in canaries.arrays["ids"].tolist()]
    if len(set(rows)) < len(rows) and min(rows) >= 0:
        raise InputError("ids has an id twice", where=canaries.record.path, mend="name each canary once")
    if min(rows) < 0:
        raise InputError(
            f"{sum(row < 0 for row in rows)} canaries are not among the ids of the scores",
            where=canaries.record.path,
            mend="score every canary",
        )
    _require_deleted(loaded, scores, canaries, rows)
    mine = scores.release[rows]
    if scores.fleet.has("retrained"):
        # a model that was trained on a canary knows its coin: what it says must not enter a score
        free = ~(scores.fleet.assignment[:, rows] == int(Cell.RETAIN)).any(axis=1)
        if free.any():
            mine = _in_deviations(mine, scores.fleet.get("retrained")[free][:, rows])
    return judged(canaries, mine, plan)


def _require_deleted(loaded: LoadedSpec, scores: Scores, canaries: Canaries, rows: list[int]) -> None:
    """The coins are a test of this request where what they planted is deleted by it, and what they did not was never there.

    Raises:
        InputError: a planted canary that the request does not name, one that was not planted and is named, or is among the records.
    """
    from certify.gate.audits.request_part import forgotten_of

    if not np.isin(canaries.planted, (0, 1)).all():
        return  # no coins at all, which is said where they are read
    planted = np.asarray(canaries.planted).astype(bool)
    named = np.isin(np.asarray(rows), forgotten_of(loaded, scores)[0])
    known = set(_ids_of_data(loaded, scores).tolist())
    here = np.array([key in known for key in canaries.arrays["ids"].tolist()])
    found = (
        (planted & ~named, "planted canaries are not in the forget list", "delete every canary whose coin shows 1"),
        (~planted & named, "canaries that were not planted are in the forget list", "take those whose coin shows 0 off it"),
        (~planted & here, "canaries that were not planted are among the records", "train on none whose coin shows 0"),
    )  # fmt: skip
    for wrong, what, mend in found:
        if wrong.any():
            raise InputError(f"{np.count_nonzero(wrong)} of {len(rows)} {what}", where=canaries.record.path, mend=mend)


def _ids_of_data(loaded: LoadedSpec, scores: Scores) -> AnyArray:
    """The ids of the records, where the data is at hand; the scores file in its place has canaries that never were among them."""
    path = Path(loaded.resolve(loaded.spec.data.path))
    if path.suffix != ".npz" or not path.is_file():
        return np.zeros(0)
    arrays, record = read_arrays(path)
    return np.zeros(0) if record.sha256 == scores.record.sha256 else arrays.get("ids", np.zeros(0))


def judged(canaries: Canaries, scores: FloatArray, plan: Plan) -> RequestAudit:
    """The finding: which set-level epsilon the coins refute.

    Bets learn from the coins before, so that the order must know nothing of the coins. That of a file may: the planted ones first, say.
    A shuffle makes any order as good as the pool's; it is drawn from the file's digest, so that a second look sees the same.
    """
    try:
        coins, chance = as_coins(canaries.planted, canaries.probability)
        found = by_betting(coins, as_scores(scores, coins.size), chance, seed=int(canaries.record.sha256[:12], 16))
    except InputError as error:
        raise InputError(error.what, where=f"{canaries.record.path}: {error.where}", mend=error.mend) from None
    confidence = 1 - plan.alpha / plan.findings
    refuted = found.refutes(plan.epsilon, plan.delta, confidence)
    return RequestAudit((_finding(found, plan, confidence, refuted=refuted),), ())


def _finding(found: SetLevel, plan: Plan, confidence: float, *, refuted: bool) -> Finding:
    value = float(found.epsilon(plan.delta, confidence))
    accuracy = float(detectable_accuracy(found.canaries, plan.epsilon, plan.delta, confidence))
    blind = accuracy >= 1  # not even an attack that is always right could refute it
    return Finding(
        id="coin-flip",
        attack="coin-flip",
        title=ATTACKS["coin-flip"].title,
        game="coin-flip",
        slice="all",
        statistic="set-level epsilon lower bound",
        value=value,
        lower=value,
        upper=float("inf"),
        confidence=confidence,
        verdict=Verdict.FAIL if refuted else Verdict.INCONCLUSIVE if blind else None,
        limit=plan.epsilon,
        p_value=float(min(1.0, np.exp(found.log_p))),
        units=found.canaries,
        method=f"{found.method}; exact, one model, at delta {plan.delta:g}",
        note="too few canaries to refute it at all"
        if blind
        else f"guesses right {100 * accuracy:.3g} times in 100 would have refuted it with probability 0.8; it never confirms",
        source=ATTACKS["coin-flip"].reference,
    )


def _phi(review: "Review", state: "State", X: AnyArray, y: AnyArray) -> FloatArray:
    """phi of canaries, (K, m), by a bench of their own."""
    import torch

    from certify.models.networks import Bench, Network
    from certify.models.networks.losses import class_logits
    from certify.unlearners.networks.task import as_tensors

    task = review.inputs.task
    inputs, targets = as_tensors(torch.as_tensor(X), torch.as_tensor(y), task.model, task.place())
    bench = Bench(Network.of(task.model), inputs, targets, seeds=(0,) * state.models)
    rows = np.arange(len(X))
    return np.stack(
        [phi(class_logits(out).double().cpu().numpy(), y) for out in bench.outputs_of(state, [rows] * state.models)]
    )
