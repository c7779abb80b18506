"""A number with its interval."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A measured quantity.

    Attributes:
        value: the estimate.
        lower: lower end of the interval.
        upper: upper end.
        confidence: of the interval, two-sided.
        method: how the interval was made, and over what it holds.
        units: independent units behind it: models, or trials.
    """

    value: float
    lower: float
    upper: float
    confidence: float
    method: str
    units: int
