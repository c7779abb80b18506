"""The unlearner's own record of its run: shown in the report as declared, never used for the verdict."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from certify.core.errors import InputError
from certify.core.files import FileRecord, is_file, read_text
from certify.gate.inputs import Inputs
from certify.reports.schema import Evidence as EvidencePart
from certify.reports.schema import FileDigest
from certify.unlearners import Evidence
from certify.unlearners.evidence import Reading, TensorChange

Knob = bool | int | float | str | None


class EvidenceFile(BaseModel):
    """What `certify unlearn` writes beside the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    evidence_version: Literal["1.0", "1.1"]
    model_sha256: str
    method: str
    knobs: dict[str, Knob | tuple[Knob, ...]]
    claim: str
    counts: dict[str, int]
    seconds: float
    residual_norms: tuple[float, ...]
    moved: float
    records_read: int
    warnings: tuple[str, ...]
    reason: str = ""
    reads: dict[str, Reading] = {}
    tensors: tuple[TensorChange, ...] = ()
    traces: dict[str, tuple[float, ...]] = {}
    solver: dict[str, float] = {}
    seed: int | None = None
    peak_memory: int | None = None
    environment: dict[str, str] = {}


def evidence_path(model: Path) -> Path:
    """Where the evidence of a model lies: beside it."""
    return model.with_name(model.name + ".evidence.json")


def dump_evidence(evidence: Evidence, claim: str, model_sha256: str, reason: str = "") -> bytes:
    """The evidence file's bytes."""
    content = EvidenceFile(
        evidence_version="1.1",
        model_sha256=model_sha256,
        claim=claim,
        reason=reason,
        **asdict(evidence),
    )
    return (content.model_dump_json(indent=2) + "\n").encode()


def read_evidence(inputs: Inputs) -> EvidencePart | None:
    """The evidence named in the spec, or the one beside the model; None when there is none.

    Raises:
        InputError: the file named in the spec is missing, or an evidence file is damaged.
    """
    named = inputs.loaded.spec.release.evidence
    path = inputs.loaded.resolve(named) if named is not None else evidence_path(Path(inputs.model.record.path))
    if named is None and not is_file(path):
        return None
    content, record = read_evidence_file(path)
    return EvidencePart(
        file=FileDigest(path=record.path, sha256=record.sha256, bytes=record.size),
        method=content.method,
        model_matches=content.model_sha256 == inputs.model.record.sha256,
        counts=dict(content.counts),
        seconds=content.seconds,
    )


def read_evidence_file(path: Path) -> tuple[EvidenceFile, FileRecord]:
    """An evidence file, and its digest.

    Raises:
        InputError: it is missing or damaged.
    """
    text, record = read_text(path)
    try:
        content = EvidenceFile.model_validate(json.loads(text))
    except (ValueError, RecursionError):  # not JSON, or not the evidence's fields
        raise InputError(
            "is not an evidence file, or a damaged one",
            where=str(path),
            mend="run `certify unlearn` again, or remove it",
        ) from None
    return content, record
