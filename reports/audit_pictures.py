"""The parts of an audit that are drawn: curves, histograms, the ranking of records, distances, relearning. New in schema 1.2.

Columns of one part have one length: a figure is drawn from them without looking again.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, model_validator

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
    slice: str = "all"
    """ "all", or the worst-case set that these models forgot."""


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
