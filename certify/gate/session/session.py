"""A stream of requests to delete, correct and add records, handled by chord steps on one linear model.

Every request ends in a new certified state or leaves the old one untouched: the certified distance to the exact minimiser on the records
that then count is within the session's tolerance, a public number fixed at the start. The certificate is measured anew after every
request and on every opening; it neither adds up over requests nor depends on the order they came in.
"""

import secrets
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from certify.convex.certificate import DistanceBound
from certify.convex.chord import Goal
from certify.convex.objective import Objective
from certify.convex.parameters import as_parameters
from certify.core.arrays import FloatArray
from certify.core.errors import InputError, TamperedError
from certify.data.dataset import Dataset
from certify.gate.session.marks import Marks
from certify.gate.session.records import DataFile, Records
from certify.gate.session.requests import Desk, Request
from certify.gate.session.state import (
    State,
    begun,
    carried_out,
    certify_again,
    check_features,
    check_goal,
    log_body,
    logged,
    recalled_factor,
    recalled_records,
)
from certify.gate.session.store import Store, create, refuse_existing
from certify.gate.session.tables import GENESIS, SessionKey, Step
from certify.models.weights import LinearWeights

MAX_STEPS = 25
"""Chord steps a request may take, unless the session says otherwise."""


class Session:
    """An open session, locked against every other process until it is closed.

    Example:
        ``with Session.open(path, key, dataset) as session: session.delete(["person-7"]).distance`` is a proven upper bound on
        ``||w - w*||``, w* the exact minimiser on all other records.
    """

    def __init__(self, store: Store, objective: Objective, goal: Goal, state: State, log: list[Step]) -> None:
        self._store, self.objective, self._goal, self._state, self._log = store, objective, goal, state, log
        self._unsaved = self._in_doubt = False

    @classmethod
    def start(
        cls,
        path: Path,
        key_path: Path,
        objective: Objective,
        dataset: Dataset,
        original: Any,
        tolerance: float,
        max_steps: int = MAX_STEPS,
    ) -> "Session":
        """Begin a session from a trained model.

        Args:
            path: the state, a new file.
            key_path: its secret key, another new file.
            objective: what the model minimises.
            dataset: all records it was trained on, with ids.
            original: its weights, in any form that :func:`certify.bound_distance` takes, or :class:`LinearWeights`.
            tolerance: largest certified distance after any request; public, fixed for the whole session.
            max_steps: chord steps after which a request is refused.

        Raises:
            ConfigurationError, InputError: nothing was written.
            AssumptionViolatedError: no certificate exists, or the original cannot be brought within the tolerance.
        """
        check_goal(tolerance, max_steps)
        refuse_existing(path, key_path)
        parts = original.parts if isinstance(original, LinearWeights) else original
        w, goal = as_parameters(objective, parts, int(dataset.X.shape[1])), Goal(tolerance, max_steps)
        key = SessionKey(secrets.token_hex(16), secrets.token_hex(32), 0, GENESIS)
        state, step = begun(DataFile.of(objective, dataset, len(w)), w, goal, Marks(key.key))
        fixed = {"objective": asdict(objective), "tolerance": tolerance, "max_steps": max_steps}
        body = log_body(step, state.total) | fixed | {"shape": list(w.shape), "features": int(dataset.X.shape[1])}
        create(path, key_path, key, state.stored(), body)
        session = cls(Store.open(path, key_path), objective, goal, state, [step])
        session._unsaved = True
        return session

    @classmethod
    def open(cls, path: Path, key_path: Path, dataset: Dataset) -> "Session":
        """Open a session: its log is verified, its data compared, and its weights certified again.

        Args:
            path: the state.
            key_path: its key.
            dataset: the records of the start. Deleted ones may be gone from it; everything else must be as it was.

        Raises:
            InputError: no session, another process holds it, or other data.
            TamperedError: the state was changed or is an older copy.
        """
        store = Store.open(path, key_path)
        try:
            return cls._opened(store, dataset)
        except BaseException:
            store.close()
            raise

    @classmethod
    def _opened(cls, store: Store, dataset: Dataset) -> "Session":
        bodies, stored = store.bodies(), store.read()
        first, total = bodies[0], int(bodies[-1]["total"], 16)
        objective, goal = Objective(**first["objective"]), Goal(first["tolerance"], first["max_steps"])
        file, w = DataFile.of(objective, dataset, first["shape"][0]), stored.parameters
        check_features(file, first["features"])
        records = recalled_records(store.marks, stored, file, total)
        kept = recalled_factor(store.factor(w.size))
        bound, factor, row_norm = certify_again(records.problem, w, kept, goal.tolerance)
        if bound.distance > goal.tolerance:
            raise TamperedError(
                f"its weights are certified to {bound.distance} only, the session promises {goal.tolerance:.3g}",
                where=str(store.path),
                mend="restore the newest state together with its key",
            )
        state = State(records, stored.tombstones, stored.superseded, total, w, bound, factor, row_norm)
        session = cls(store, objective, goal, state, [logged(body) for body in bodies])
        session._unsaved = factor is not kept
        return session

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Keep the factor for the next opening, and let go of the file."""
        idle = self._state.factor is None or not self._unsaved or self._in_doubt
        whole = None if idle or self._state.factor is None else self._state.factor.absorbed()
        try:
            if whole is not None:
                self._store.save_factor((whole.root, whole.records, whole.changed))
        finally:
            self._unsaved = False
            self._store.close()

    @property
    def parameters(self) -> FloatArray:
        """The weights as (K, p), the intercept's column last."""
        return self._state.parameters.copy()

    @property
    def weights(self) -> LinearWeights:
        """The weights as coef and intercept."""
        return LinearWeights.from_parameters(self._state.parameters, intercept=self.objective.fit_intercept)

    @property
    def bound(self) -> DistanceBound:
        """The certificate of the weights on the records that count; without its trail, which is as large as the records."""
        return replace(self._state.bound, trail=None)

    @property
    def tolerance(self) -> float:
        """What every state is certified to."""
        return self._goal.tolerance

    @property
    def log(self) -> tuple[Step, ...]:
        """Every request, the start first."""
        return tuple(self._log)

    @property
    def records(self) -> Records:
        """The records that count."""
        return self._state.records

    @property
    def traces(self) -> int:
        """Records deleted or replaced since the factor was last made of the others alone: while above 0, the state is to be kept secret."""
        if self._state.factor is None:
            return 0
        clean = max(step.number for step in self._log if step.refactored or step.kind == "start")
        return sum(step.records for step in self._log if step.number > clean and step.kind in ("delete", "correct"))

    @property
    def forgotten(self) -> tuple[str, ...]:
        """Ids of the data file's records that were deleted."""
        marks, tombstones = self._store.marks, self._state.tombstones
        return tuple(identifier for identifier in self.records.file.ids if marks.of_id(identifier) in tombstones)

    @property
    def outside(self) -> int:
        """Deleted records that came by :meth:`add` and stand in no data file: a ledger of releases never hears of them."""
        return sum(body["outside"] for body in self._store.bodies())

    def delete(self, ids: object) -> Step:
        """Delete records for good: neither their ids nor their contents can come back.

        Args:
            ids: one id or several.

        Raises:
            InputError: an id is unknown or already deleted, or no record would be left. Nothing was changed.
            AssumptionViolatedError: the tolerance was not reached. Nothing was changed.
        """
        return self._perform(self._desk.delete(ids))

    def correct(self, ids: object, X: Any, y: Any) -> Step:
        """Replace features, (d,) or (m, d), and targets, one or (m,), of records; their sample weights stay.

        Raises:
            InputError: an id is unknown or deleted, or a content was deleted. Nothing was changed.
            AssumptionViolatedError: the tolerance was not reached. Nothing was changed.
        """
        return self._perform(self._desk.correct(ids, X, y))

    def add(self, ids: object, X: Any, y: Any, sample_weight: Any = None) -> Step:
        """Add records: features (d,) or (m, d), targets and sample weights one or (m,), weight 1 when absent.

        Raises:
            InputError: an id exists or was deleted, or a content was deleted. Nothing was changed.
            AssumptionViolatedError: the tolerance was not reached. Nothing was changed.
        """
        return self._perform(self._desk.add(ids, X, y, sample_weight))

    def refresh(self) -> Step:
        """Make the factor anew from the records that count, so that nothing of deleted ones is left in it, and take a step with it.

        Raises:
            AssumptionViolatedError: the tolerance was not reached. Nothing was changed.
        """
        return self._perform(self._desk.refresh())

    @property
    def _desk(self) -> Desk:
        state = self._state
        return Desk(state.records, self._store.marks, state.tombstones, state.superseded)

    def _perform(self, request: Request) -> Step:
        """Compute first, then write, then believe: an error on the way leaves file and session as they were."""
        if self._in_doubt:
            raise InputError(
                "a request before this one was interrupted while it was being written",
                where=str(self._store.path),
                mend="open the session again: it is whole, with or without that request",
            )
        old = self._state
        state, step = carried_out(old, request, self._store.marks, self._goal, len(self._log) + 1)
        new = state.factor
        root = None if new is None or (old.factor is not None and new.root is old.factor.root) else new
        kept = None if root is None else (root.root, root.records, root.changed)
        self._in_doubt = True  # until the writing is over, the file alone knows which state counts
        self._store.write(state.stored(), log_body(step, state.total, request.outside), kept)
        self._in_doubt = False
        self._state, self._unsaved = state, new is not None and (kept is None or new.changes > 0)
        self._log.append(step)
        return step
