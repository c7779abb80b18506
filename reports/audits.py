"""The parts of the document that say what an audit looked at and what it saw. New in schema 1.2.

The charter in :mod:`certify.reports.schema` is theirs too. A check decides; a finding or a control that decided has the id of its
check, one that did not is there for information. No part holds an id, a feature or a target of a record.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, model_validator

from certify.core.verdict import Verdict
from certify.reports.parts import Part

Direction = Literal["under-forgetting", "over-forgetting"]


def _probability(value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError("is not between 0 and 1")
    return value


def _number(value: float) -> float:
    if value != value:  # noqa: PLR0124 - not a number is unequal to itself
        raise ValueError("is not a number")
    return value


Probability = Annotated[float, AfterValidator(_probability)]
Number = Annotated[float, AfterValidator(_number)]
"""Infinity is a number here, and a string in JSON."""


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


class _Aligned(Part):
    """Checks that columns have one length: a figure is drawn from them without looking again."""

    def _same_length(self, *names: str, optional: Sequence[str] = ()) -> None:
        lengths = {len(getattr(self, name)) for name in names}
        lengths |= {len(getattr(self, name)) for name in optional if getattr(self, name)}
        if len(lengths) > 1:
            raise ValueError(f"{', '.join([*names, *optional])} differ in length")


class RocCurve(_Aligned):
    """True-positive against false-positive rates of one attack, with a band, and the same with retrained models in the place."""

    attack: str
    game: str
    slice: str
    fpr: tuple[Probability, ...]
    tpr: tuple[Probability, ...]
    lower: tuple[Probability, ...]
    upper: tuple[Probability, ...]
    confidence: Probability
    band: str
    """How the band was made, and over what it holds."""
    null_fpr: tuple[Probability, ...] = ()
    null_tpr: tuple[Probability, ...] = ()
    null_lower: tuple[Probability, ...] = ()
    null_upper: tuple[Probability, ...] = ()

    @model_validator(mode="after")
    def _columns(self) -> Self:
        self._same_length("fpr", "tpr", "lower", "upper")
        self._same_length("null_fpr", "null_tpr", optional=("null_lower", "null_upper"))
        return self


class Counts(Part):
    """One world's counts in the bins of a histogram."""

    label: str
    counts: tuple[int, ...]


class Histogram(Part):
    """Scores of several worlds in the same bins."""

    title: str
    axis: str
    edges: tuple[Number, ...]
    """One more than there are bins, ascending."""
    series: tuple[Counts, ...]

    @model_validator(mode="after")
    def _bins(self) -> Self:
        if any(len(part.counts) != len(self.edges) - 1 for part in self.series):
            raise ValueError("counts and edges differ in length")
        if any(not low < high for low, high in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError("edges do not ascend")
        return self


class Vulnerable(Part):
    """One record that is told apart better than most, by its place in the data file, counted from 0."""

    rank: int
    row: int
    value: Number
    lower: Number
    upper: Number
    p_value: Probability | None = None
    adjusted_p: Probability | None = None
    """After the ranking's correction."""
    direction: Direction | None = None


class Ranking(Part):
    """The records that are easiest to tell apart. A ranking over data already looked at: it decides nothing."""

    attack: str
    statistic: str
    """What ``value`` of each record is: "AUC"."""
    tested: int
    rejected: int
    """Records found at ``level`` after the correction."""
    level: Probability
    correction: str
    """ "Benjamini-Hochberg"."""
    confidence: Probability
    records: tuple[Vulnerable, ...]
    """The first ones, best told apart first."""
    null_rejected: int | None = None
    """Records found in the same way with retrained models in the place."""
    note: str = ""


class DistanceFinding(Part):
    """A distance to the retrained models beside the distances of retrained models to each other."""

    name: str
    part: str
    """ "whole", a layer's name, or the records over which outputs were compared."""
    kind: Literal["parameters", "outputs", "representations"]
    value: Number
    null_values: tuple[Number, ...]
    """Retrained against retrained."""
    p_value: Probability | None
    ratio: Number | None
    """Value over the null's median."""
    adjusted_p: Probability | None = None
    note: str = ""


class Band(_Aligned):
    """Means over models with their intervals, one entry a point."""

    mean: tuple[Number, ...]
    lower: tuple[Number, ...]
    upper: tuple[Number, ...]

    @model_validator(mode="after")
    def _columns(self) -> Self:
        self._same_length("mean", "lower", "upper")
        return self


class RelearningCurve(Part):
    """What comes back when training goes on: the unlearned models beside the retrained ones."""

    kind: str
    """What training went on with: "retained records alone", "forgotten records"."""
    metric: str
    """What is followed: "accuracy on the forgotten records"."""
    passes: tuple[Number, ...]
    unlearned: Band
    retrained: Band
    confidence: Probability
    original: Band | None = None

    @model_validator(mode="after")
    def _columns(self) -> Self:
        bands = [band for band in (self.unlearned, self.retrained, self.original) if band is not None]
        if any(len(band.mean) != len(self.passes) for band in bands):
            raise ValueError("passes and bands differ in length")
        return self


class Ceiling(Part):
    """The most that so many units could ever show, however strong the leak."""

    statistic: str
    units: int
    value: Number
    confidence: Probability


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
    def evidence(self) -> Finding | None:
        """The finding that ``strongest`` names."""
        return next((finding for finding in self.findings if finding.id == self.strongest), None)
