"""Requests: what is asked, found to make sense or refused. Messages say which record of the request, never whose it is."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from certify.core.arrays import IntArray
from certify.core.errors import InputError
from certify.data.dataset import spaced_ids
from certify.gate.session.incoming import as_later, as_texts
from certify.gate.session.marks import Marks
from certify.gate.session.records import Later, Records


@dataclass(frozen=True, eq=False)
class Request:
    """A request that makes sense.

    Attributes:
        kind: ``delete``, ``correct``, ``add`` or ``refresh``.
        count: how many records it is about.
        leaving: positions of records that no longer count.
        coming: records that count from now on.
        tombstones: marks that may not come back.
        superseded: all pairs (mark of an id, mark of a content it had before) after the request.
        outside: how many of the deleted stand in no data file.
    """

    kind: str
    count: int
    leaving: IntArray
    coming: Later
    tombstones: frozenset[str]
    superseded: frozenset[tuple[str, str]]
    outside: int = 0


@dataclass(frozen=True, eq=False)
class Desk:
    """Where requests are looked at: the records, and what may not come back."""

    records: Records
    marks: Marks
    tombstones: frozenset[str]
    superseded: frozenset[tuple[str, str]]

    def delete(self, ids: object) -> Request:
        """Delete records.

        Raises:
            InputError: an id is unknown or already deleted.
        """
        texts = as_texts(ids, "delete")
        leaving = self._positions(texts, "delete")
        names = {self.marks.of_id(identifier) for identifier in texts}
        contents = set(self._contents(leaving))
        earlier = {content for name, content in self.superseded if name in names}
        rest = frozenset(pair for pair in self.superseded if pair[0] not in names)
        marks = frozenset(names | contents | earlier)
        outside = sum(identifier not in self.records.file.positions for identifier in texts)
        return Request("delete", len(texts), leaving, self._nothing(), marks, rest, outside)

    def correct(self, ids: object, X: Any, y: Any) -> Request:
        """Replace features and targets.

        Raises:
            InputError: an id is unknown or deleted, rows do not fit, or a content was deleted.
        """
        texts = as_texts(ids, "correct")
        leaving = self._positions(texts, "correct")
        weight = self.records.problem.weights[leaving]
        coming = as_later(texts, X, y, weight, self.records.file, "correct")
        self._refuse_deleted_content(coming, "correct")
        pairs = zip(map(self.marks.of_id, texts), self._contents(leaving), strict=True)
        return Request("correct", len(texts), leaving, coming, frozenset(), self.superseded | frozenset(pairs))

    def add(self, ids: object, X: Any, y: Any, sample_weight: Any) -> Request:
        """Add records.

        Raises:
            InputError: an id exists or was deleted, rows do not fit, or a content was deleted.
        """
        texts = as_texts(ids, "add")
        for number, identifier in enumerate(texts, 1):
            if self.marks.of_id(identifier) in self.tombstones:
                raise InputError(
                    f"record {number} of {len(texts)} was deleted in this session and cannot come back",
                    where="add",
                    mend="leave it out",
                )
            if self.records.position(identifier) is not None:
                raise InputError(
                    f"the id of record {number} of {len(texts)} exists already",
                    where="add",
                    mend="correct a record instead of adding it again",
                )
        weight = np.ones(len(texts)) if sample_weight is None else sample_weight
        coming = as_later(texts, X, y, weight, self.records.file, "add")
        self._refuse_deleted_content(coming, "add")
        return Request("add", len(texts), _nobody(), coming, frozenset(), self.superseded)

    def refresh(self) -> Request:
        """Change no record."""
        return Request("refresh", 0, _nobody(), self._nothing(), frozenset(), self.superseded)

    def _nothing(self) -> Later:
        return Later.none(int(self.records.later.X.shape[1]))

    def _contents(self, positions: IntArray) -> list[str]:
        return self.marks.of_contents(self.records.problem.X[positions], self.records.targets(positions))

    def _positions(self, texts: tuple[str, ...], kind: str) -> IntArray:
        found = [self.records.position(identifier) for identifier in texts]
        for number, (identifier, position) in enumerate(zip(texts, found, strict=True), 1):
            if position is None:
                deleted = self.marks.of_id(identifier) in self.tombstones
                spaced = not deleted and spaced_ids(self.records.file.dataset.ids, [identifier])
                words = "is unknown" + (", but for spaces around an id in the data" if spaced else "")
                raise InputError(
                    f"record {number} of {len(texts)} {'was deleted before' if deleted else words}",
                    where=kind,
                    mend="leave it out"
                    if deleted
                    else "take the spaces off the ids in the data"
                    if spaced
                    else "check its id",
                )
        return np.array(found, dtype=np.int64)

    def _refuse_deleted_content(self, coming: Later, kind: str) -> None:
        for number, mark in enumerate(self.marks.of_contents(coming.X, coming.y), 1):
            if mark in self.tombstones:
                raise InputError(
                    f"record {number} of {len(coming.ids)} equals a deleted record in every feature and in the target",
                    where=kind,
                    mend="leave it out: a deleted record cannot come back under another id",
                )


def _nobody() -> IntArray:
    return np.zeros(0, dtype=np.int64)
