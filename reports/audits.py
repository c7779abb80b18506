"""The parts of the document that say what an audit looked at and what it saw. New in schema 1.2.

The charter in :mod:`certify.reports.schema` is theirs too. A check decides; a finding or a control that decided has the id of its
check, one that did not is there for information. No part holds an id, a feature or a target of a record.
"""

from typing import Literal, Self

from pydantic import model_validator

from certify.core.verdict import Verdict
from certify.reports.audit_pictures import (
    Band,
    Ceiling,
    Counts,
    Direction,
    DistanceFinding,
    Histogram,
    Number,
    Probability,
    Ranking,
    RelearningCurve,
    RocCurve,
    Vulnerable,
)
from certify.reports.parts import Part

__all__ = [
    "Audit",
    "AuditDesign",
    "Band",
    "Ceiling",
    "Control",
    "Counts",
    "Direction",
    "DistanceFinding",
    "Finding",
    "Histogram",
    "Ranking",
    "RelearningCurve",
    "RocCurve",
    "Vulnerable",
]


class AuditDesign(Part):
    """How the audit was made, fixed before the first score was looked at."""

    source: Literal["fleet", "scores", "checkpoints"]
    """Models trained and unlearned here, scores made elsewhere, or weights made elsewhere."""
    method: str
    """The unlearning method under audit, its knobs as text."""
    reference: str
    """What the unlearned models are compared with, as the claim names it: "retrain"."""
    models: int
    """Independent models of each world. They, not the records, are the units of every interval."""
    records: int
    """Records that were scored."""
    forget_share: Probability
    """Share of a model's training records that it was asked to forget."""
    confidence: Probability
    """Of every interval, two-sided, unless a finding names its own."""
    alpha: Probability
    """Chance, at most, that a method that equals the reference fails: over all deciding findings together."""
    two_sided: bool
    """Whether over-forgetting was looked for as well as under-forgetting."""
    seed: int
    device: str
    seconds: Number
    models_trained: int
    from_cache: int
    """Models that an earlier run had trained already."""
    architecture_digest: str | None = None
    parameters: int | None = None
    forecast_seconds: Number | None = None
    """What the run was forecast to take before the first training."""
    notes: tuple[str, ...] = ()


class Control(Part):
    """A world whose answer is known, put in the unlearned models' place."""

    name: str
    expectation: Literal["must not be caught", "must be caught"]
    p_value: Probability | None
    value: Number | None
    ok: bool
    summary: str
    id: str = ""


class Finding(Part):
    """One statistic of one attack in one game.

    ``lower`` and ``upper`` end the interval; one that has no such end is infinite. A limit is on the statistic itself: it must not be
    above ``limit``, nor below ``limit_lower`` where there is one.
    """

    id: str
    attack: str
    title: str
    game: str
    slice: str
    """ "all", or the name of a worst-case set of records."""
    statistic: str
    """What ``value`` is: "TPR at FPR 0.01", "epsilon lower bound", "distance ratio"."""
    value: Number
    lower: Number
    upper: Number
    confidence: Probability
    verdict: Verdict | None = None
    """None: for information, decides nothing."""
    limit: Number | None = None
    limit_lower: Number | None = None
    p_value: Probability | None = None
    """Against the retrain-vs-retrain null, two-sided where over-forgetting is looked for too."""
    adjusted_p: Probability | None = None
    """After Holm, over the findings that decide."""
    null_mean: Number | None = None
    """What the same statistic is when a retrained model stands in the unlearned one's place."""
    null_lower: Number | None = None
    null_upper: Number | None = None
    corrected: Number | None = None
    """The value after what the null gives was taken away."""
    minimum_detectable: Number | None = None
    """Smallest true value that this audit would have seen with probability ``power``."""
    power: Probability | None = None
    ceiling: Number | None = None
    """Largest lower bound that this many models could ever give."""
    needed_models: int | None = None
    """Models of each world with which an inconclusive finding is expected to be settled."""
    units: int = 0
    """Independent units behind the interval."""
    method: str = ""
    """How the interval was made, over what it holds, under which assumption."""
    note: str = ""
    direction: Direction | None = None
    """Under-forgetting: the record is still felt. Over-forgetting: the model avoids it, which gives it away as well."""
    source: str = ""
    """Where attack and statistic were published."""


class Audit(Part):
    """Everything an audit saw."""

    claim: str
    """What is said of the method, in one sentence: what the audit tried to refute."""
    design: AuditDesign
    controls: tuple[Control, ...]
    findings: tuple[Finding, ...]
    """In the order to be shown."""
    strongest: str | None = None
    """Id of the finding with the strongest evidence."""
    not_tested: tuple[str, ...] = ()
    """Attacks, games, slices and adversaries that were left out, with the reason."""
    roc: tuple[RocCurve, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    ranking: Ranking | None = None
    """Of the first fleet."""
    further_rankings: tuple[Ranking, ...] = ()
    """Of the other fleets, one for each further kind of forget sets."""
    distances: tuple[DistanceFinding, ...] = ()
    relearning: tuple[RelearningCurve, ...] = ()
    ceilings: tuple[Ceiling, ...] = ()

    @model_validator(mode="after")
    def _named(self) -> Self:
        ids = [finding.id for finding in self.findings]
        if len(set(ids)) != len(ids):
            raise ValueError("two findings have one id")
        if self.strongest is not None and self.strongest not in ids:
            raise ValueError("the strongest finding is not among them")
        return self

    @property
    def rankings(self) -> tuple[Ranking, ...]:
        """Of all fleets."""
        return ((self.ranking,) if self.ranking else ()) + self.further_rankings

    @property
    def evidence(self) -> Finding | None:
        """The finding that ``strongest`` names."""
        return next((finding for finding in self.findings if finding.id == self.strongest), None)
