"""The state of a session in memory, and how one state follows from another."""

import math
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from certify.convex.anchor import KeptHessian
from certify.convex.certificate import DistanceBound
from certify.convex.chord import ChordRun, Goal, certified, factored, follow, settle
from certify.convex.enclosure import max_row_norm
from certify.convex.kept import KeptFactor, residual_of
from certify.convex.problem import Problem
from certify.convex.shadow import Shadow
from certify.core.arguments import as_number, as_whole, shown
from certify.core.arrays import FloatArray, IntArray
from certify.core.errors import ConfigurationError, InputError
from certify.core.rows import blocks
from certify.gate.session.marks import MODULUS, Marks
from certify.gate.session.records import DataFile, Records, all_of
from certify.gate.session.requests import Request
from certify.gate.session.tables import Step, Stored

_SHADOWED = 12
"""Requests after which a session copies its records in single precision."""


@dataclass(frozen=True, eq=False)
class State:
    """Certified weights, the records they are certified on, and what may not come back.

    Attributes:
        records: the records that count.
        tombstones: marks of deleted ids and contents.
        superseded: for the mark of an id, marks of contents it had before it was corrected.
        total: sum of the marks of the data file's records that count as they stand there.
        parameters: (K, p).
        bound: their certificate.
        factor: for the next chord step; untrusted.
        row_norm: an upper bound on the norms of the rows that count.
        served: requests since the session was begun or opened.
        shadow: the data file's records in single precision.
        copied: whether that was tried.
    """

    records: Records
    tombstones: frozenset[str]
    superseded: frozenset[tuple[str, str]]
    total: int
    parameters: FloatArray
    bound: DistanceBound
    factor: KeptFactor | None
    row_norm: float
    served: int = 0
    shadow: Shadow | None = None
    copied: bool = False

    def stored(self) -> Stored:
        """What has to be written of it."""
        return Stored(self.parameters, self.records.later, self.tombstones, self.superseded)


def total_of(marks: Marks, file: DataFile, positions: IntArray) -> int:
    """The sum of the marks of some of the data file's records, positions increasing; the file is read in blocks."""
    X, total = file.bound.X, 0
    for block in blocks(X):
        low, high = np.searchsorted(positions, [block.start, block.stop]).tolist()
        chosen = positions[low:high]
        if not len(chosen):
            continue
        rows = X[block][chosen - block.start] if 2 * len(chosen) > block.stop - block.start else X[chosen]
        ids = [file.ids[position] for position in chosen.tolist()]
        total += marks.total(ids, rows, file.dataset.y[chosen], file.bound.weights[chosen])
    return total % MODULUS


def recalled_records(marks: Marks, stored: Stored, file: DataFile, total: int) -> Records:
    """The records that count, from a data file and what was stored.

    Raises:
        InputError: the data file is not the session's, up to deleted records.
    """
    later = set(stored.later.ids)
    gone = [identifier in later or marks.of_id(identifier) in stored.tombstones for identifier in file.ids]
    records = Records(file, ~np.array(gone, dtype=bool), stored.later)
    if total_of(marks, file, np.flatnonzero(records.live)) != total:
        raise InputError(
            "does not hold the records of this session: some are missing, new or changed",
            where=file.dataset.where,
            mend="give the data file that the session began with; only deleted records may be gone from it",
        )
    return records


def recalled_factor(kept: tuple[FloatArray, int, int] | None) -> KeptFactor | None:
    """A factor as it was stored."""
    return None if kept is None else KeptFactor.plain(*kept)


def certify_again(
    problem: Problem, w: FloatArray, factor: KeptFactor | None, tolerance: float
) -> tuple[DistanceBound, KeptFactor | None, float]:
    """The certificate of stored weights, with the stored factor or, where that is not good enough, with a new one."""
    row_norm = max_row_norm(problem)
    if factor is not None:
        bound = certified(problem, w, factor, row_norm)
        if bound.distance <= tolerance:
            return bound, factor, row_norm
    factor = factored(problem, w)
    return certified(problem, w, factor, row_norm), factor, row_norm


def carried_out(old: State, request: Request, marks: Marks, goal: Goal, number: int) -> tuple[State, Step]:
    """The certified state after a request; nothing is written.

    Raises:
        InputError: no record would be left.
        AssumptionViolatedError: the tolerance was not reached.
    """
    began = time.perf_counter()
    records = old.records.without(request.leaving).joined(request.coming)
    if not np.any(records.problem.weights > 0):
        raise InputError("no record would be left to count", where=request.kind, mend="withdraw the model instead")
    old = _with_shadow(old)
    with np.errstate(over="ignore", invalid="ignore"):
        run, row_norm = _run(old, request, records, goal)
    in_file = np.sort(request.leaving[request.leaving < len(old.records.file.ids)])
    state = State(
        records=records,
        tombstones=old.tombstones | request.tombstones,
        superseded=request.superseded,
        total=(old.total - total_of(marks, old.records.file, in_file)) % MODULUS,
        parameters=run.parameters,
        bound=run.bound,
        factor=run.factor,
        row_norm=row_norm,
        served=old.served + 1,
        shadow=old.shadow,
        copied=old.copied,
    )
    return state, step_of(number, request.kind, request.count, records, run, time.perf_counter() - began)


def _run(old: State, request: Request, records: Records, goal: Goal) -> tuple[ChordRun, float]:
    w, residual, row_norm = old.parameters, old.bound.residual, old.row_norm
    left = old.records.part(request.leaving) if len(request.leaving) else None
    came = records.part(records.tail(len(request.coming.ids))) if request.coming.ids else None
    # the gradient after the request is the one that was measured before, less and plus the changed records' own parts
    if left is not None:
        residual = residual - residual_of(left, w)
    if came is not None:
        residual = residual + residual_of(came, w)
        row_norm = max(row_norm, max_row_norm(came))  # rows that left still count: a bound stays a bound
    factor, known = None, old.bound.trail or old.shadow
    if request.kind == "refresh":
        row_norm = max_row_norm(records.problem)
    elif old.factor is not None and not _renewal_pays(old):
        stay = old.records.staying(request.leaving)
        factor = old.factor.changed_by(left, came, w, request.leaving, stay)
    if factor is not None:
        return follow(records.problem, w, residual, factor, goal, row_norm, known), row_norm
    fresh = factored(records.problem, w)
    run = follow(records.problem, w, residual, fresh, goal, row_norm, known)
    return replace(run, refactored=fresh is not None), row_norm


def _with_shadow(state: State) -> State:
    """After some requests with a Hessian that is kept, once: with a copy in single precision, which costs as much as a dozen certificates save by it."""
    if state.copied or state.served < _SHADOWED or state.factor is None or state.factor.hessian is None:
        return state
    return replace(state, shadow=Shadow.of(state.records.file.bound), copied=True)


def _renewal_pays(old: State) -> bool:
    """Whether an opened session has served so many requests that making its Hessian anew, once, will have been worth it.

    The file keeps a factor, which is not trusted, and no Hessian, which would have to be. A request without one costs another pass
    over the data; making one costs about as much as p/20 of these.
    """
    without = old.factor is not None and old.factor.hessian is None and KeptHessian.fits(old.records.problem)
    return without and old.served == max(8, old.parameters.size // 20)


def step_of(number: int, kind: str, count: int, records: Records, run: ChordRun, seconds: float) -> Step:
    """What the log says of a request."""
    return Step(
        number=number,
        kind=kind,
        records=count,
        retained=records.count,
        steps=run.steps,
        refactored=run.refactored,
        distance=float(run.bound.distance),
        contraction=float(run.contraction),
        seconds=seconds,
    )


def log_body(step: Step, total: int, outside: int = 0) -> dict[str, Any]:
    """A step as the log holds it; JSON knows no infinity."""
    body = asdict(step) | {"total": f"{total:064x}", "outside": outside}
    return body | {"contraction": step.contraction if np.isfinite(step.contraction) else None}


def logged(body: dict[str, Any]) -> Step:
    """A step as it was logged."""
    names = Step.__dataclass_fields__
    values = {name: body[name] for name in names}
    return Step(**values | {"contraction": float("inf") if body["contraction"] is None else body["contraction"]})


def begun(file: DataFile, w: FloatArray, goal: Goal, marks: Marks) -> tuple[State, Step]:
    """The first state: all records of a data file, and weights (K, p) that were trained on them.

    Raises:
        AssumptionViolatedError: no certificate exists, or the tolerance was not reached.
    """
    began, records = time.perf_counter(), all_of(file)
    row_norm = max_row_norm(records.problem)
    run = settle(records.problem, w, factored(records.problem, w), goal, row_norm)
    total = total_of(marks, file, np.arange(len(file.ids)))
    state = State(records, frozenset(), frozenset(), total, run.parameters, run.bound, run.factor, row_norm)
    return state, step_of(1, "start", records.count, records, run, time.perf_counter() - began)


def check_goal(tolerance: float, max_steps: int) -> None:
    """Refuse what no request could reach."""
    if not 0 < as_number(tolerance, "session.tolerance") < math.inf:
        raise ConfigurationError(
            f"tolerance must be above 0 and finite, not {shown(tolerance)}",
            where="session.tolerance",
            mend="give a distance",
        )
    if as_whole(max_steps, "session.max_steps") < 1:
        raise ConfigurationError(
            f"max_steps must be at least 1, not {shown(max_steps)}",
            where="session.max_steps",
            mend="give a positive number",
        )


def check_features(file: DataFile, features: int) -> None:
    """Refuse a data file of another width."""
    if file.dataset.X.shape[1] != features:
        raise InputError(
            f"has {file.dataset.X.shape[1]} features, the session {features}",
            where=file.dataset.where,
            mend="give the data file that the session began with",
        )
