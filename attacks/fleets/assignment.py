"""Who is given which record: one matrix of {out, retain, forget} for K models and N records, read by every attack."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from certify.attacks.observations import Cell
from certify.core.arguments import as_number, as_whole
from certify.core.arrays import AnyArray, IntArray
from certify.core.errors import ArgumentError, InputError
from certify.core.streams import stream

Assignment = NDArray[np.int8]
"""Entries of :class:`~certify.attacks.observations.Cell`, (K, N)."""

Balance = Literal["rows", "both"]


def random_assignment(
    models: int,
    records: int,
    *,
    seed: int,
    out: float = 0.5,
    forget: float = 0.125,
    candidates: IntArray | None = None,
    forget_sets: Sequence[IntArray] | None = None,
    balance: Balance = "rows",
) -> Assignment:
    """A random draw of records for each model.

    Every model has the same numbers of candidates out, retained and forgotten (shares ``out``, the rest, ``forget``, rounded), so
    that models differ in which records they saw, never in how many. Records that are no candidates are retained by all.

    With ``balance="rows"`` row k depends on (seed, k) alone: rows are independent draws, which is what statistics over models
    assume, and more models can be added to a fleet without changing those it has. With "both" the models are drawn in groups
    so that inside a group every record is out, retained and forgotten in the same number of models too: the same spread of
    samples over records with fewer models. Then a model's cell can be inferred from the rest of its group, so a score must
    not take its references from the group of the model it judges: split references from targets at a multiple of
    :func:`group_size`.

    Args:
        models: K.
        records: N.
        seed: root seed.
        out: share of the candidates that a model never sees.
        forget: share of the candidates that it is trained on and asked to forget.
        candidates: positions of the records whose cell is drawn; all by default.
        forget_sets: sets of records that are forgotten together (hard ones, one class, the request itself). Each model forgets
            exactly one of them, drawn for it; ``forget`` is not used, and the other candidates are out with probability share
            ``out``. For records of a set to be out of other models' training, give two sets or more.
        balance: see above.

    Returns:
        (K, N).

    Raises:
        ArgumentError: a share outside [0, 1], or shares that leave a model without a record to keep or without one to forget.
        InputError: positions outside the records or repeated, an empty set.

    >>> found = random_assignment(3, 8, seed=0, out=0.5, forget=0.25)
    >>> [(found == cell).sum(axis=1).tolist() for cell in Cell]
    [[4, 4, 4], [2, 2, 2], [2, 2, 2]]
    """
    models, records = _counts(models, records)
    out, forget = _share(out, "out"), _share(forget, "forget")
    pool = np.arange(records) if candidates is None else _positions(candidates, records, "candidates")
    if forget_sets is not None:
        _only_rows(balance, "forget_sets")
        sets = [_positions(rows, records, "forget_sets") for rows in forget_sets]
        return _with_sets(models, records, seed, out, pool, sets)
    if out + forget > 1:
        raise ArgumentError(
            f"out={out:g} and forget={forget:g} are more than the whole",
            where="assignment",
            mend="their sum is at most 1",
        )
    cells = _cells(len(pool), out, forget)
    if not (cells == Cell.FORGET).any() or (len(pool) == records and not (cells == Cell.RETAIN).any()):
        raise ArgumentError(
            f"out={out:g} and forget={forget:g} of {len(pool)} candidates leave a model without a record to keep or to forget",
            where="assignment",
            mend="give more candidates, or other shares",
        )
    found = np.full((models, records), int(Cell.RETAIN), dtype=np.int8)
    if balance == "rows":
        for model in range(models):
            found[model, pool] = stream(seed, f"assignment/{model}").permutation(cells)
        return found
    _in_groups(found, pool, seed, out, forget)
    return found


def coin_flip_assignment(
    models: int, records: int, *, canaries: IntArray, seed: int, probability: float = 0.5
) -> Assignment:
    """The auditor's coins: each model is trained on, and then asked to forget, each canary by an independent coin.

    A canary whose coin fell the other way is out; every other record is retained. Coins are independent, not balanced: exact
    p-values of the set-level audit rest on that.

    Args:
        models: K.
        records: N.
        canaries: positions of the canaries.
        seed: root seed; the coins of model k depend on (seed, k) alone.
        probability: of the coin that plants a canary.

    Returns:
        (K, N). ``assignment[:, canaries] == Cell.FORGET`` are the coins.

    Raises:
        ArgumentError, InputError: as for :func:`random_assignment`; no record besides the canaries.
    """
    models, records = _counts(models, records)
    probability = _share(probability, "probability")
    pool = _positions(canaries, records, "canaries")
    if len(pool) == records:
        raise InputError("every record is a canary", where="canaries", mend="leave records to train on")
    found = np.full((models, records), int(Cell.RETAIN), dtype=np.int8)
    for model in range(models):
        heads = stream(seed, f"coins/{model}").random(len(pool)) < probability
        found[model, pool] = np.where(heads, int(Cell.FORGET), int(Cell.OUT))
    return found


def fixed_assignment(models: int, records: int, *, forget: IntArray, out: IntArray | Sequence[int] = ()) -> Assignment:
    """The same row for all: the request as it was made, with models that differ in their seeds alone.

    Args:
        models: K.
        records: N.
        forget: positions of the records to forget.
        out: positions of records that no model sees (held-out ones).

    Returns:
        (K, N).

    Raises:
        InputError: positions outside the records or repeated, a record in both, none left to keep.
    """
    models, records = _counts(models, records)
    row = np.full(records, int(Cell.RETAIN), dtype=np.int8)
    row[_positions(forget, records, "forget")] = int(Cell.FORGET)
    held_out = np.asarray(out, dtype=np.int64)
    if held_out.size:
        held_out = _positions(held_out, records, "out")
        if (row[held_out] == Cell.FORGET).any():
            raise InputError("a record is both forgotten and out", where="out", mend="give it one of the two")
        row[held_out] = int(Cell.OUT)
    if not (row == Cell.RETAIN).any():
        raise InputError("no record is retained", where="assignment", mend="keep at least one")
    return np.tile(row, (models, 1))


def group_size(out: float, forget: float) -> int:
    """Models in a group of ``random_assignment(balance="both")``: the fewest, to 64, in which both shares are whole numbers of models.

    Raises:
        ArgumentError: there are none.

    >>> group_size(0.5, 0.125)
    8
    """
    for size in range(2, 65):
        if all(abs(share * size - round(share * size)) < 1e-9 for share in (out, forget)):
            return size
    raise ArgumentError(
        f"out={out:g} and forget={forget:g} are whole numbers of models in no group of up to 64",
        where="assignment.balance",
        mend="choose shares such as 1/2 and 1/8, or balance rows alone",
    )


def check_assignment(assignment: AnyArray, records: int, where: str = "assignment") -> Assignment:
    """A matrix somebody made, as (K, N) of cells.

    Raises:
        InputError: no such matrix, other cells, or a model with nothing to retain.
    """
    given = np.asarray(assignment)
    if given.ndim != 2 or given.shape[1] != records or not len(given):
        raise InputError(
            f"has shape {given.shape} for {records} records",
            where=where,
            mend="give one row a model, one column a record",
        )
    if not np.isin(given, [int(cell) for cell in Cell]).all():
        raise InputError(
            "holds other values than 0, 1 and 2", where=where, mend="use 0 for out, 1 for retain, 2 for forget"
        )
    bare = np.flatnonzero(~(given == Cell.RETAIN).any(axis=1))
    if bare.size:
        raise InputError(f"model {bare[0]} retains no record", where=where, mend="leave it at least one")
    return given.astype(np.int8)


def _cells(count: int, out: float, forget: float) -> NDArray[np.int8]:
    """One model's cells in no order: the shares of ``count``, rounded."""
    forgotten = round(forget * count)
    without = min(round(out * count), count - forgotten)
    cells = np.full(count, int(Cell.RETAIN), dtype=np.int8)
    cells[:without] = int(Cell.OUT)
    cells[without : without + forgotten] = int(Cell.FORGET)
    return cells


def _in_groups(found: Assignment, pool: IntArray, seed: int, out: float, forget: float) -> None:
    """Latin squares: in a group of G models the candidates fall into G parts, and model j gives part c the cell j + c of one pattern."""
    size = group_size(out, forget)
    if len(found) % size:
        raise ArgumentError(
            f"{len(found)} models are no multiple of the group of {size}",
            where="assignment.balance",
            mend=f"take {-(-len(found) // size) * size} models, or balance rows alone",
        )
    for group in range(0, len(found), size):
        generator = stream(seed, f"assignment/group/{group // size}")
        pattern = generator.permutation(_cells(size, out, forget))
        part = generator.permutation(np.arange(len(pool)) % size)
        for place in range(size):
            found[group + place, pool] = pattern[(part + place) % size]


def _with_sets(
    models: int, records: int, seed: int, out: float, pool: IntArray, sets: Sequence[IntArray]
) -> Assignment:
    if not sets:
        raise InputError("there are none", where="forget_sets", mend="give at least one set of records")
    found = np.full((models, records), int(Cell.RETAIN), dtype=np.int8)
    for model in range(models):
        generator = stream(seed, f"assignment/{model}")
        chosen = sets[int(generator.integers(len(sets)))]
        others = np.setdiff1d(pool, chosen)
        found[model, others] = generator.permutation(_cells(len(others), out, 0.0))
        found[model, chosen] = int(Cell.FORGET)
    return check_assignment(found, records, "forget_sets")


def _counts(models: int, records: int) -> tuple[int, int]:
    models, records = as_whole(models, "models"), as_whole(records, "records")
    if models < 1 or records < 2:
        raise ArgumentError(
            f"{models} models and {records} records make no fleet", where="assignment", mend="give 1 and 2 at least"
        )
    return models, records


def _share(value: float, name: str) -> float:
    number = as_number(value, name)
    if not 0 <= number <= 1:
        raise ArgumentError(f"is {number:g}", where=name, mend="give a share between 0 and 1")
    return number


def _only_rows(balance: Balance, what: str) -> None:
    if balance != "rows":
        raise ArgumentError(
            f"cannot balance over records with {what}", where="assignment.balance", mend="balance rows alone"
        )


def _positions(rows: IntArray | Sequence[int], records: int, where: str) -> IntArray:
    found = np.asarray(rows)
    if found.ndim != 1 or not found.size or found.dtype.kind not in "iu":
        raise InputError("are no positions of records", where=where, mend="give whole numbers, at least one")
    if found.min() < 0 or found.max() >= records:
        raise InputError(
            f"run from {found.min()} to {found.max()} for {records} records", where=where, mend="count records from 0"
        )
    if len(np.unique(found)) != len(found):
        raise InputError("a position repeats", where=where, mend="name each record once")
    return found.astype(np.int64)
