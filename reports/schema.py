"""The document: everything a check found, as data. Every format is rendered from it and from nothing else.

Charter. A field is never removed and never changes its meaning; new fields are optional; a reader that meets a
newer major version refuses it. Upper bounds are stored unrounded and are rounded up when they are shown.
"""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from certify.core.errors import InputError
from certify.core.verdict import Verdict, worst

SCHEMA_VERSION = "1.1"

ADDED = {"one_step": 1}
"""Fields of the document by the minor version they came with; the others are as old as 1.0."""

CheckVerdict = Verdict


class _Part(BaseModel):
    # Infinity is written as a string: JSON has no infinity, and null would read as "nothing was measured".
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class FileDigest(_Part):
    """A file by what it contained when it was read."""

    path: str
    sha256: str
    bytes: int


class Tool(_Part):
    """The software that made the document."""

    name: str
    version: str
    python: str
    libraries: dict[str, str]


class Subject(_Part):
    """The model under review."""

    kind: Literal["glm", "torch"]
    model: FileDigest
    original: FileDigest | None = None
    parameters: int | None = None
    stored_as: str | None = None


class Request(_Part):
    """The request: who asks to be forgotten, counted, never named."""

    forgotten: int
    retained: int
    total: int
    data: FileDigest
    forget: FileDigest
    retained_digest: str
    copies_retained: int
    """Retained rows that equal a forgotten row in every feature and in the target."""


class ObjectiveSummary(_Part):
    """The declared objective, sum convention: sum_i weight_i loss_i + l1 ||w||_1 + (l2/2) ||w||^2."""

    loss: str
    formula: str
    l2: float
    fit_intercept: bool
    penalize_intercept: bool
    sample_weights: bool
    features: int
    outputs: int
    smoothing: float | None = None
    """Width or temperature of the losses that have one."""
    one_vs_rest: bool = False
    """K two-class problems, certified jointly; ``outputs`` is K."""
    l1: float = 0.0


class PolicySummary(_Part):
    """The limits, fixed before the run."""

    epsilon: float
    delta: float
    noise_std: float
    noise_shape: Literal["isotropic", "curvature"] = "isotropic"
    """Covariance noise_std^2 I, or noise_std^2 M^-1 with M the Hessian at w = 0 on the retained records."""
    tolerance: float | None = None
    max_total_mu: float | None = None
    distance_limit: float | None = None
    """Largest certified Euclidean distance that the policy lets pass, rounded down."""


class CheckEntry(_Part):
    """One check: what was measured, against which limit, and what to do when it is not met."""

    id: str
    title: str
    verdict: CheckVerdict
    summary: str
    measured: float | None = None
    limit: float | None = None
    quantity: str | None = None
    remedy: str | None = None


class Guarantee(_Part):
    """What is guaranteed about the release: weights plus fresh noise of the policy's std and shape."""

    kind: Literal["exact", "certified", "empirical", "none"]
    reason: str
    epsilon: float | None = None
    """Upper bound at the policy's delta."""
    delta: float | None = None
    mu: float | None = None
    distance: float | None = None


class Bounds(_Part):
    """Upper bounds on ||w - w*||, each alone (infinite where it does not apply), and what they are made of."""

    distance: float
    strong_convexity: float
    self_concordant: float
    refined: float
    residual_norm: float
    """Computed norm of the gradient on the retained records."""
    rounding: float
    """Proven bound on the rounding error of that gradient."""
    newton_decrement: float
    """Upper bound on sqrt(r' H^-1 r)."""
    radius: float
    """R nu / sqrt(s); the self-concordant bounds need it below 1."""
    modulus: float
    """Lower bound on the smallest eigenvalue of the Hessian at w, or on the modulus of strong convexity."""
    max_row_norm: float
    duality_gap: float | None = None
    """From the duality gap and a reference point; computed for losses with kinks and objectives with an L1 term alone."""


class ShapedNoise(_Part):
    """Upper bounds on the distance in the norm of anisotropic noise, ||w - w*||_M: without unit, a multiple of noise_std."""

    distance: float
    """The smallest of the three."""
    limit: float
    """Largest one that the policy lets pass, rounding included, rounded down."""
    plain: float
    self_concordant: float
    refined: float
    rounding: float
    """Proven bound on the rounding error of the coordinates in which the noise is drawn; added to the distance."""
    ratio: float
    """kappa, proven: the Hessian at w is at least kappa M."""


class Assumption(_Part):
    """A condition of the theorem, and how it is known to hold."""

    id: str
    statement: str
    status: Literal["verified", "declared", "violated"]
    evidence: str


class CurvePoint(_Part):
    """One point of the privacy curve: epsilon is an upper bound at this delta."""

    delta: float
    epsilon: float


class AttackLimit(_Part):
    """No attack has a true-positive rate above ``tpr`` at false-positive rate ``fpr``."""

    fpr: float
    tpr: float


class Attacker(_Part):
    """What the guarantee means against the best possible attacker."""

    accuracy: float
    """Upper bound on the chance of guessing right, when both worlds are equally likely beforehand."""
    limits: tuple[AttackLimit, ...]


class Comparison(_Part):
    """The model under review beside the model before the deletion."""

    moved: float
    original_distance: float
    original_mu: float
    original_epsilon: float
    identical: bool
    published_noise_std: float | None = None
    """Noise the original was published with; None when nobody said."""
    published_mu: float | None = None
    """What the published original reveals about the forgotten records: infinite without noise."""


class OneStepBound(_Part):
    """One bound on the distance to the retrained weights after one step from the original. Informative."""

    name: str
    step: Literal["newton", "jackknife"]
    source: str
    quantity: str
    value: float | None
    """None where it does not apply; the reason says why."""
    proven: bool
    """Whether the value is an upper bound for this data. A formula whose assumptions were not met is not."""
    reason: str


class OneStep(_Part):
    """One step from the original: bounds computed before it is taken, beside what is measured after it. Decides nothing.

    New in schema 1.1.
    """

    training_residual: float | None
    """Norm of the gradient of the original on all records; 0 only for one trained to the exact minimum."""
    bounds: tuple[OneStepBound, ...]
    skipped: str
    """Why nothing was computed; empty otherwise."""


class Utility(_Part):
    """A measurement on test records; no guarantee, no limit."""

    metric: str
    records: int
    unlearned: float
    original: float | None = None
    data: FileDigest | None = None


class Predictions(_Part):
    """Predictions on the test records beside the retrained model's: bounds that need no noise."""

    records: int
    same_label: int | None
    score_change: float
    probability_change: float | None


class NextStep(_Part):
    """What was measured after so many Newton steps from the model under review."""

    steps: int
    distance: float
    mu: float
    epsilon: float


class Evidence(_Part):
    """What the unlearner's run recorded about itself. Declared, never used for the verdict."""

    file: FileDigest
    method: str
    model_matches: bool
    counts: dict[str, int]
    seconds: float | None = None


class Release(_Part):
    """The release itself: weights with the noise added, booked in the ledger. No measured value of the forgotten."""

    number: int
    file: FileDigest
    noise_std: float
    noise_shape: Literal["isotropic", "curvature"] = "isotropic"
    grid_bits: int
    charged_mu: float
    total_mu: float
    """Largest total over all records ever forgotten, this release included."""
    ledger: str
    ledger_sequence: int
    ledger_previous: str


class Reproduction(_Part):
    """How to get this document again."""

    command: str
    spec: FileDigest


class Document(_Part):
    """The whole result of one check."""

    schema_version: str
    created: str
    tool: Tool
    verdict: Verdict
    exit_code: int
    subject: Subject
    request: Request
    policy: PolicySummary
    checks: tuple[CheckEntry, ...]
    guarantee: Guarantee
    assumptions: tuple[Assumption, ...]
    not_covered: tuple[str, ...]
    reproduction: Reproduction
    objective: ObjectiveSummary | None = None
    bounds: Bounds | None = None
    curve: tuple[CurvePoint, ...] = ()
    attacker: Attacker | None = None
    comparison: Comparison | None = None
    utility: tuple[Utility, ...] = ()
    next_steps: tuple[NextStep, ...] = ()
    evidence: Evidence | None = None
    release: Release | None = None
    predictions: Predictions | None = None
    shaped_noise: ShapedNoise | None = None
    one_step: OneStep | None = None
    """Since schema 1.1."""

    def to_json(self) -> str:
        """The document as JSON text, two spaces deep, ending in a newline."""
        return self.model_dump_json(indent=2) + "\n"

    def to_dict(self) -> dict[str, Any]:
        """The document as plain values that ``json`` can write."""
        value: dict[str, Any] = json.loads(self.to_json())
        return value


def parse_document(text: str, *, where: str) -> Document:
    """Read a document back.

    Raises:
        InputError: the text is not a document, is damaged, or comes from a newer major version.
    """
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):  # not JSON, or a number of thousands of digits
        raise InputError(
            "is not JSON", where=where, mend="give the file written by `certify check --output json=FILE`"
        ) from None
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if not isinstance(version, str):
        raise InputError(
            "is not a certificate (it has no schema_version)",
            where=where,
            mend="give the file written by `certify check --output json=FILE`",
        )
    if version.partition(".")[0] != SCHEMA_VERSION.partition(".")[0]:
        raise InputError(
            f"has schema version {version[:20]!r}, this certify reads {SCHEMA_VERSION}",
            where=where,
            mend="use the certify that wrote it",
        )
    try:
        return Document.model_validate(raw)
    except ValidationError as error:
        if _minor(version) > _minor(SCHEMA_VERSION):
            raise InputError(
                f"has schema version {version[:20]!r} with fields that this certify ({SCHEMA_VERSION}) does not know",
                where=where,
                mend="use a newer certify",
            ) from None
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"the certificate's {key} is damaged ({first['msg'].lower()})", where=where, mend="run the check again"
        ) from None


def fields_of(version: str) -> set[str]:
    """Fields that a document of this schema version may have.

    >>> "one_step" in fields_of("1.0"), "one_step" in fields_of("1.1"), "bounds" in fields_of("1.0")
    (False, True, True)
    """
    return {name for name in Document.model_fields if ADDED.get(name, 0) <= _minor(version)}


def _minor(version: str) -> int:
    text = version.partition(".")[2]
    return int(text) if text.isdecimal() and len(text) < 9 else 0


def contradicts_itself(document: Document) -> bool:
    """Whether no check could have written this. A violated assumption may turn a pass of all checks into a refusal."""
    found = worst(check.verdict for check in document.checks)
    possible = {found, Verdict.REFUSED} if found is Verdict.PASS else {found}
    return document.verdict not in possible or document.exit_code != document.verdict.exit_code


def read_document(path: Path) -> Document:
    """Read a document from a JSON file."""
    from certify.core.files import read_text

    return parse_document(read_text(path)[0], where=str(path))
