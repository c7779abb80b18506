"""What an audit's document says of the files and the request."""

import hashlib

import numpy as np

from certify.core.arrayfiles import record_of
from certify.core.arrays import AnyArray, IntArray
from certify.core.errors import InputError
from certify.core.files import FileRecord, is_file, open_input, read_text
from certify.data.dataset import Dataset, parse_ids
from certify.gate.audits.scores import Scores
from certify.gate.audits.seen import Seen
from certify.gate.load import LoadedSpec
from certify.reports.schema import FileDigest, Request


def model_record(seen: Seen) -> FileRecord:
    """The model under review by its digest; it need not be loaded for that.

    Raises:
        InputError: the file is missing.
    """
    if seen.review is not None:
        return seen.review.record
    path = seen.loaded.resolve(seen.loaded.spec.release.model)
    with open_input(path) as file:
        return record_of(path, file)


def request_part(seen: Seen) -> Request:
    """The request, counted.

    Raises:
        InputError: with scores made elsewhere, an id that they do not know.
    """
    if seen.inputs is None:
        return _of_scores(seen)
    task, request = seen.inputs.task, seen.inputs.request
    dataset = _dataset(task.X, task.y, task.ids, task.where)
    retained = dataset.without(request.forgotten)
    return Request(
        forgotten=len(request.forgotten),
        retained=len(task) - len(request.forgotten),
        total=len(task),
        data=_digest(seen.inputs.data),
        forget=_digest(seen.inputs.forget),
        retained_digest=retained.digest(),
        copies_retained=retained.copies_of(dataset.take(request.forgotten)),
    )


def _dataset(X: AnyArray, y: AnyArray, ids: AnyArray | None, where: str) -> Dataset:
    flat, targets = np.asarray(X).reshape(len(X), -1), np.asarray(y)
    columns = targets.reshape(len(targets), -1)
    if columns.shape[1] > 1:  # targets that are vectors belong to the record all the same
        flat, targets = np.concatenate([flat, columns], axis=1), np.zeros(len(flat))
    names = np.arange(len(flat)) if ids is None else np.asarray(ids)
    return Dataset(flat, targets.reshape(-1), names, where=where)


def _of_scores(seen: Seen) -> Request:
    """Scores made elsewhere name records by id; the data itself is not needed, and is digested where it is there."""
    assert seen.scores is not None
    fleet, given = seen.scores.fleet, seen.loaded.spec.data
    forgotten, record = forgotten_of(seen.loaded, seen.scores)
    data = seen.loaded.resolve(given.path)
    if not is_file(data):
        raise InputError(
            "is not there",
            where=str(data),
            mend="name the training data, or the scores file itself where the data stays elsewhere",
        )
    with open_input(data) as file:
        data_record = record_of(data, file)
    kept = np.delete(fleet.ids, forgotten)
    return Request(
        forgotten=len(forgotten),
        retained=fleet.records - len(forgotten),
        total=fleet.records,
        data=_digest(data_record),
        forget=_digest(record),
        retained_digest=hashlib.sha256("\n".join(sorted(map(str, kept.tolist()))).encode()).hexdigest(),
        copies_retained=0,
    )


def forgotten_of(loaded: LoadedSpec, scores: Scores) -> tuple[IntArray, FileRecord]:
    """Positions in a scores file of the records that the spec's request names, and the file of the request.

    Raises:
        InputError: an id that the scores do not know.
    """
    path = loaded.resolve(loaded.spec.data.forget)
    text, record = read_text(path)
    fleet = scores.fleet
    dataset = Dataset(np.zeros((fleet.records, 1)), np.zeros(fleet.records), fleet.ids, where=scores.record.path)
    # scores of one fixed request may be of the forgotten records alone
    return parse_ids(text.splitlines(), dataset, str(path), all_may_go=scores.fixed), record


def _digest(record: FileRecord) -> FileDigest:
    return FileDigest(path=record.path, sha256=record.sha256, bytes=record.size)
