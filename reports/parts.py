"""The parts of the document that say what was asked, judged and done. The charter in :mod:`certify.reports.schema` is theirs too."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from certify.core.verdict import Verdict

CheckVerdict = Verdict


class Part(BaseModel):
    """Base of all parts: frozen, nothing in it that is not named."""

    # Infinity is written as a string: JSON has no infinity, and null would read as "nothing was measured".
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class FileDigest(Part):
    """A file by what it contained when it was read."""

    path: str
    sha256: str
    bytes: int


class Tool(Part):
    """The software that made the document."""

    name: str
    version: str
    python: str
    libraries: dict[str, str]


class Subject(Part):
    """The model under review."""

    kind: Literal["glm", "torch"]
    model: FileDigest
    original: FileDigest | None = None
    parameters: int | None = None
    stored_as: str | None = None


class Request(Part):
    """The request: who asks to be forgotten, counted, never named."""

    forgotten: int
    retained: int
    total: int
    data: FileDigest
    forget: FileDigest
    retained_digest: str
    copies_retained: int
    """Retained rows that equal a forgotten row in every feature and in the target."""


class ObjectiveSummary(Part):
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


class PolicySummary(Part):
    """The limits, fixed before the run."""

    epsilon: float
    delta: float
    noise_std: float
    """0 where no noise is added: an audited network that carries no certificate."""
    noise_shape: Literal["isotropic", "curvature"] = "isotropic"
    """Covariance noise_std^2 I, or noise_std^2 M^-1 with M the Hessian at w = 0 on the retained records."""
    tolerance: float | None = None
    max_total_mu: float | None = None
    distance_limit: float | None = None
    """Largest certified Euclidean distance that the policy lets pass, rounded down."""


class CheckEntry(Part):
    """One check: what was measured, against which limit, and what to do when it is not met."""

    id: str
    title: str
    verdict: CheckVerdict
    summary: str
    measured: float | None = None
    limit: float | None = None
    quantity: str | None = None
    remedy: str | None = None


class Assumption(Part):
    """A condition of the theorem, and how it is known to hold."""

    id: str
    statement: str
    status: Literal["verified", "declared", "violated"]
    evidence: str


class Evidence(Part):
    """What the unlearner's run recorded about itself. Declared, never used for the verdict."""

    file: FileDigest
    method: str
    model_matches: bool
    counts: dict[str, int]
    seconds: float | None = None


class Release(Part):
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


class Reproduction(Part):
    """How to get this document again."""

    command: str
    spec: FileDigest
