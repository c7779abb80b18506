"""Sessions of a spec: where their files lie, what requests are read from, and the export that `certify check` takes."""

import math
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from certify.convex.objective import Objective
from certify.core.errors import ConfigurationError, InputError
from certify.core.files import check_writable, read_text, remove_quietly, write_files
from certify.data.readers import read_dataset, read_forget_set
from certify.data.writers import dump_dataset
from certify.gate.evidence import dump_evidence, evidence_path
from certify.gate.inputs import columns_of, objective_of, read_model
from certify.gate.load import LoadedSpec, load_spec
from certify.gate.measure import distance_limit
from certify.gate.release import sha256
from certify.gate.session.session import Session
from certify.gate.session.tables import Step
from certify.gate.unlearn import same_place
from certify.models.weights import dump_weights
from certify.unlearners import Claim, Evidence


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes:
        files: paths, the weights first.
        distance: certified distance of the weights.
        forgotten: ids in the forget file.
        warnings: what a reader should know.
    """

    files: tuple[Path, ...]
    distance: float
    forgotten: int
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Project:
    """A spec seen by its session."""

    loaded: LoadedSpec
    objective: Objective

    @classmethod
    def of(cls, spec: str | Path | None) -> "Project":
        """Read a spec.

        Raises:
            ConfigurationError, InputError: the spec makes no sense, or two of its files are one.
            AssumptionViolatedError: the model is not a linear one.
        """
        loaded = load_spec(spec)
        project = cls(loaded, objective_of(loaded))
        project._refuse_clashes()
        return project

    def place(self, name: str) -> Path:
        """Path of the session's ``path``, ``key`` or ``data``."""
        section = self.loaded.spec.session
        named = {"path": section.path, "key": section.key, "data": section.data or self.loaded.spec.data.path}
        return self.loaded.resolve(named[name])

    def _refuse_clashes(self) -> None:
        spec = self.loaded.spec
        names = {
            "release.model": spec.release.model,
            "release.original": spec.release.original,
            "data.path": spec.data.path,
            "data.forget": spec.data.forget,
            "data.test": spec.data.test,
            "ledger.path": spec.ledger.path,
            "ledger.key": spec.ledger.key,
            "session.path": spec.session.path,
            "session.key": spec.session.key,
            "session.data": spec.session.data,
            "the spec": self.loaded.path.name,
        }
        given = {name: self.loaded.resolve(path) for name, path in names.items() if path is not None}
        for (one, path), (other, second) in combinations(given.items(), 2):
            if same_place(path, second) and {one, other} != {"data.path", "session.data"}:
                raise ConfigurationError(
                    f"{one} and {other} are the same file", where=str(path), mend="give each a file of its own"
                )

    def start(self) -> Session:
        """Begin the session from the spec's original model; whom ``data.forget`` already names is deleted in it as its first request.

        Raises:
            ConfigurationError, InputError, AssumptionViolatedError: there is no session then, and nothing was written.
        """
        named = self._already_named()
        session = self._begun()
        if not named:
            return session
        try:
            session.delete(named)
        except BaseException:
            session.close()
            for place in (self.place("path"), self.place("key")):
                remove_quietly(place)
            raise
        return session

    def _already_named(self) -> list[str]:
        """Ids in the forget file, found to be in the session's data; none where there is no such file, or it is empty."""
        path = self.loaded.resolve(self.loaded.spec.data.forget)
        if not path.exists() or not read_ids(path):
            return []
        data, _ = read_dataset(self.place("data"), columns_of(self.loaded))
        try:
            positions, _ = read_forget_set(path, data)
        except InputError as error:
            mend = f"correct it, or move it away: `certify session start` deletes whom it names; {error.mend}"
            raise InputError(error.what, where=error.where, mend=mend) from None
        return [str(identifier) for identifier in data.ids[positions].tolist()]

    def _begun(self) -> Session:
        spec = self.loaded.spec
        if spec.release.original is None:
            raise ConfigurationError(
                "a session begins with a trained model", where="release.original", mend="name its weights"
            )
        data, _ = read_dataset(self.place("data"), columns_of(self.loaded))
        original = read_model(self.loaded, spec.release.original, self.objective, int(data.X.shape[1])).weights
        # half of what the policy lets pass: the check measures anew, in its own way
        limit = distance_limit(spec.policy)
        tolerance = spec.session.tolerance or (None if limit is None else limit / 2)
        if tolerance is None:
            raise ConfigurationError(
                "the policy sets no Euclidean distance when noise is shaped",
                where="session.tolerance",
                mend="give the certified distance that every request has to reach",
            )
        return Session.start(
            self.place("path"),
            self.place("key"),
            self.objective,
            data,
            original,
            tolerance,
            spec.session.max_steps,
        )

    def open(self) -> Session:
        """Open the session that was begun.

        Raises:
            ConfigurationError: the spec declares another objective than the session began with.
        """
        data, _ = read_dataset(self.place("data"), columns_of(self.loaded))
        session = Session.open(self.place("path"), self.place("key"), data)
        if session.objective != self.objective:
            session.close()
            raise ConfigurationError(
                "is not the objective that the session began with",
                where=f"{self.loaded.path}: objective",
                mend="declare that one, or begin another session",
            )
        return session

    def perform(self, kind: str, path: Path) -> Step:
        """Carry out the request in a file: ids one a line to delete, records as in the training data to correct or add."""
        if kind == "delete":
            ids = read_ids(path)
            with self.open() as session:
                return session.delete(ids)
        rows, _ = read_dataset(path, columns_of(self.loaded))
        if rows.numbered:
            raise InputError("its records have no ids", where=str(path), mend="give the ids of the records concerned")
        ids = [str(identifier) for identifier in rows.ids.tolist()]
        with self.open() as session:
            if kind == "correct":
                return session.correct(ids, rows.X, rows.y)
            return session.add(ids, rows.X, rows.y, rows.sample_weight)

    def export(self, *, force: bool = False) -> Exported:
        """Write the weights, the forget file and, where it is not the session's own, the data for `certify check`.

        Raises:
            InputError: a file is already there (without ``force``), or the records need a data file of their own.
        """
        with self.open() as session:
            self._refuse_forgetting(session)
            contents = self._contents(session)
            for path in contents:
                check_writable(path)
                if path.exists() and not force:
                    raise InputError("is already there", where=str(path), mend="use --force to overwrite it")
            write_files(contents)
            forgotten = len(session.forgotten)
            return Exported(tuple(contents), float(session.bound.distance), forgotten, _warnings(session, forgotten))

    def _refuse_forgetting(self, session: Session) -> None:
        """A forget file that names people whom the session still retains must not be overwritten."""
        path = self.loaded.resolve(self.loaded.spec.data.forget)
        if not path.exists():
            return
        missing = len(set(read_ids(path)) - {str(identifier) for identifier in session.forgotten})
        if missing:
            raise InputError(
                f"names {missing} records that the session has not deleted",
                where=str(path),
                mend=f"delete them first (`certify session delete {path.name}`), or move the file away",
            )

    def _moved(self, session: Session) -> float:
        """How far the weights are from the original's; not a number where the spec no longer names it."""
        name = self.loaded.spec.release.original
        if name is None:
            return math.nan
        original = read_model(self.loaded, name, self.objective, int(session.records.file.dataset.X.shape[1]))
        return float(np.linalg.norm(session.parameters - original.parameters))

    def _contents(self, session: Session) -> dict[Path, bytes]:
        spec, resolve = self.loaded.spec, self.loaded.resolve
        model, data = resolve(spec.release.model), resolve(spec.data.path)
        weights = dump_weights(model, session.weights)
        evidence = dump_evidence(_evidence(session, self._moved(session)), Claim.APPROXIMATE, sha256(weights))
        contents = {model: weights, evidence_path(model): evidence, resolve(spec.data.forget): _lines(session)}
        own = same_place(data, self.place("data"))
        if own and session.records.later.ids:
            raise InputError(
                f"{len(session.records.later.ids)} corrected or added records stand in no data file that the check reads",
                where=str(data),
                mend="name this file in [session] data and a new .npz in data.path: the export writes it",
            )
        if not own:
            contents[data] = dump_dataset(data, session.records.written(with_deleted=True))
        return contents


def read_ids(path: Path) -> list[str]:
    """Ids one a line; empty lines are skipped."""
    text, _ = read_text(path)
    return [line.strip() for line in text.splitlines() if line.strip()]


def _lines(session: Session) -> bytes:
    """The forget file."""
    for identifier in session.forgotten:
        if identifier.strip().splitlines() != [identifier]:
            raise InputError(
                "the id of a deleted record cannot stand in a line of its own (spaces around it, or a line end in it)",
                where=session.records.file.dataset.where,
                mend="give the records other ids",
            )
    return "".join(f"{identifier}\n" for identifier in session.forgotten).encode()


def _evidence(session: Session, moved: float) -> Evidence:
    done = session.log[1:]
    return Evidence(
        method="session",
        knobs={"tolerance": session.tolerance},
        counts={"requests": len(done), "iterations": sum(step.steps for step in session.log)},
        seconds=sum(step.seconds for step in session.log),
        residual_norms=(session.bound.residual_norm,),
        moved=moved,
        records_read=session.records.count,
    )


def _warnings(session: Session, forgotten: int) -> tuple[str, ...]:
    warnings = []
    if session.outside:
        warnings.append(
            f"{session.outside} deleted records came by `add` and stand in no data file: the forget file and the ledger of "
            "releases do not know them"
        )
    if not forgotten:
        warnings.append("no deleted record stands in the data: `certify check` has nothing to check")
    return tuple(warnings)
