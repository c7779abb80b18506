"""Scores made elsewhere: what a team's own cluster observed of models that are never loaded here."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from certify.attacks.observations import SIGNALS, WORLDS, Cell, Observations
from certify.attacks.scores.phi import phi_from_probability
from certify.core.arrayfiles import read_arrays
from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import InputError
from certify.core.files import FileRecord

_LARGEST = 1e50
"""Log odds beyond are none, and their squares would leave the floats."""
_MEND = "docs/audits.md says which arrays a scores file holds"


_ACCIDENTS = 8
"""Records, at least, of which no two models say the same by accident."""


@dataclass(frozen=True, eq=False)
class Scores:
    """A scores file, read.

    Attributes:
        fleet: the shadow models.
        release: phi of the model under review on the same records, (N,); None where it was not given.
        original: phi of the model before the deletion, (N,), if given.
        record: the file by its digest.
        fixed: whether every model forgot the same records.
        cut: where one request's worlds have different numbers of models, which array the others are cut to; None where nothing is cut.
        retrained: of one request, phi of all retrained models that there are, (J, N), for the model under review.
    """

    fleet: Observations
    release: FloatArray | None
    original: FloatArray | None
    record: FileRecord
    fixed: bool
    cut: str | None = None
    retrained: FloatArray | None = None


def read_scores(path: Path, scale: str) -> Scores:
    """Read arrays of confidences.

    With ``assignment`` (K, N) of 0 (out), 1 (retain) and 2 (forget), the arrays ``original``, ``unlearned``, ``retrained`` and
    ``again`` are (K, N), a row a model; further signals are named ``unlearned:entropy``. Without it every record is one that
    ``unlearned`` models forgot and ``retrained`` ones never saw; the numbers of models may then differ, and what is left over of
    ``retrained`` serves as ``again``. ``ids`` (N,) names the records; ``release`` and ``release_original`` (N,) are the model under
    review and the one before the deletion.

    Args:
        path: an .npz file.
        scale: "logit" for ``log p - log(1 - p)`` of the true class, "probability" for ``p``.

    Raises:
        InputError: arrays that are missing, unknown, or do not fit.
    """
    arrays, record = read_arrays(path)
    try:
        return _assembled(arrays, record, scale)
    except InputError as error:
        raise InputError(error.what, where=str(path), mend=error.mend or _MEND) from None


def _assembled(arrays: dict[str, AnyArray], record: FileRecord, scale: str) -> Scores:
    known = {"ids", "assignment", "release", "release_original"}
    worlds: dict[str, dict[str, FloatArray]] = {}
    for name, array in arrays.items():
        world, _, signal = name.partition(":")
        if name in known:
            continue
        if world not in WORLDS or (signal and signal not in SIGNALS):
            raise InputError(f"has an array {name!r}, which is none of a scores file", mend=_MEND)
        worlds.setdefault(world, {})[signal or "phi"] = _numbers(name, array, scale if not signal else "logit")
    if "phi" not in worlds.get("unlearned", {}):
        raise InputError("has no array 'unlearned'", mend=_MEND)
    ids = arrays.get("ids", np.arange(0))
    fixed = "assignment" not in arrays
    retrained = worlds.get("retrained", {}).get("phi") if fixed else None
    if fixed:
        worlds, assignment, cut = _same_request(worlds)
    else:
        assignment, cut = _cells(arrays["assignment"]), None
    fleet = Observations(assignment, worlds, ids)
    for world in worlds:
        _require_distinct(world, fleet.get(world) if fleet.has(world) else np.zeros((0, 0)))
    if retrained is not None:
        _require_distinct("retrained", retrained)
    single = {
        name: None if name not in arrays else _one_model(name, _numbers(name, arrays[name], scale), fleet.records)
        for name in ("release", "release_original")
    }
    return Scores(fleet, single["release"], single["release_original"], record, fixed, cut, retrained)


def _require_distinct(world: str, rows: FloatArray) -> None:
    """Copies of a model are one model: counted as many they would make an interval as narrow as one likes.

    Raises:
        InputError: two rows say the same of every record (of eight or more, so that it is no accident).
    """
    distinct = len({row.tobytes() for row in rows})
    if rows.shape[1] >= _ACCIDENTS and distinct < len(rows):
        raise InputError(
            f"{world} has {len(rows)} rows, and {len(rows) - distinct} repeat another one",
            mend="give each model a training of its own: copies of one, and a deterministic method on one checkpoint, are one model",
        )


def _cells(array: AnyArray) -> AnyArray:
    if array.dtype.kind not in "iub":
        raise InputError(f"assignment has type {array.dtype}", mend="use whole numbers: 0 out, 1 retain, 2 forget")
    return array


def _numbers(name: str, array: AnyArray, scale: str) -> FloatArray:
    if array.dtype.kind not in "fiub" or not np.isfinite(array).all():
        raise InputError(f"{name} holds what is no finite number", mend="compute it from the logits in float64")
    values = np.asarray(array, dtype=np.float64)
    if values.size and max(-values.min(), values.max()) > _LARGEST:
        raise InputError(
            f"{name} holds numbers beyond {_LARGEST:g}", mend="give log p - log(1 - p) of the true class, or p"
        )
    return phi_from_probability(values) if scale == "probability" else values


def _one_model(name: str, values: FloatArray, records: int) -> FloatArray:
    if values.shape != (records,):
        raise InputError(f"{name} has shape {values.shape}, not ({records},)", mend="give one number a record")
    return values


def _same_request(
    worlds: dict[str, dict[str, FloatArray]],
) -> tuple[dict[str, dict[str, FloatArray]], AnyArray, str | None]:
    """Worlds of as many models each, all of which forgot every record; spare retrained models become ``again``."""
    for world, found in worlds.items():
        for name, array in found.items():
            if array.ndim != 2 or not array.size:
                raise InputError(f"{world} ({name}) has shape {array.shape}, not (models, records)", mend=_MEND)
    counts = {world: min(len(array) for array in found.values()) for world, found in worlds.items()}
    models = min(count for world, count in counts.items() if world != "again")
    retrained = worlds.get("retrained", {})
    if "again" not in worlds and counts.get("retrained", 0) >= 2 * models:
        worlds = {**worlds, "again": {name: array[models : 2 * models] for name, array in retrained.items()}}
        counts["again"] = models
    models = min(models, counts.get("again", models))
    shortest = min(counts, key=lambda world: counts[world])
    longest = max(counts, key=lambda world: counts[world])
    why = f"{_rows(shortest, counts)} and {_rows(longest, counts)}: the others are cut to {models}"
    cut = {world: {name: array[:models] for name, array in found.items()} for world, found in worlds.items()}
    records = worlds["unlearned"]["phi"].shape[1]
    all_forgotten = np.full((models, records), int(Cell.FORGET), dtype=np.int8)
    return cut, all_forgotten, why if counts[longest] > models else None


def _rows(world: str, counts: dict[str, int]) -> str:
    return f"{world!r} has {counts[world]:,} {'row' if counts[world] == 1 else 'rows'}"
