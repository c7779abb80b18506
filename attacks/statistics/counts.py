"""Counts of a test's right and wrong answers, and the exact limits of one rate."""

from dataclasses import dataclass

from certify.core.arguments import as_whole, at_least, shown
from certify.core.errors import ArgumentError


@dataclass(frozen=True)
class Counts:
    """How often a test that was fixed beforehand called "first world", in independent trials of both worlds.

    Attributes:
        true_positives: trials of the first world that were called so.
        positives: trials of the first world.
        false_positives: trials of the second world that were called first.
        negatives: trials of the second world.

    Raises:
        ArgumentError: one is no whole number, or they do not fit together.
    """

    true_positives: int
    positives: int
    false_positives: int
    negatives: int

    def __post_init__(self) -> None:
        for name in ("true_positives", "positives", "false_positives", "negatives"):
            object.__setattr__(self, name, as_whole(getattr(self, name), name))
        if not (
            0 <= self.true_positives <= self.positives
            and 0 <= self.false_positives <= self.negatives
            and self.positives > 0
            and self.negatives > 0
        ):
            raise ArgumentError(
                "counts must satisfy 0 <= true_positives <= positives and 0 <= false_positives <= negatives, totals above 0",
                where="counts",
                mend="count the trials again",
            )

    @property
    def false_negatives(self) -> int:
        """Trials of the first world that were called second."""
        return self.positives - self.true_positives

    @property
    def true_negatives(self) -> int:
        """Trials of the second world that were called so."""
        return self.negatives - self.false_positives


def as_delta(value: object) -> float:
    """A delta in [0, 1), rounded up: a larger delta refutes less.

    Raises:
        ArgumentError: anything else.
    """
    delta = at_least(value, "delta")
    if not 0 <= delta < 1:
        raise ArgumentError(
            f"delta must be at least 0 and below 1, not {shown(delta)}", where="delta", mend="correct the value"
        )
    return delta


def as_confidence(value: object) -> float:
    """A confidence strictly between 0 and 1.

    Raises:
        ArgumentError: anything else.
    """
    confidence = at_least(value, "confidence")
    if not 0 < confidence < 1:
        raise ArgumentError(
            f"confidence must lie strictly between 0 and 1, not {shown(confidence)}",
            where="confidence",
            mend="correct the value",
        )
    return confidence


def as_rate(value: object, name: str) -> float:
    """A rate strictly between 0 and 1.

    Raises:
        ArgumentError: anything else.
    """
    rate = at_least(value, name)
    if not 0 < rate < 1:
        raise ArgumentError(
            f"{name} must lie strictly between 0 and 1, not {shown(rate)}", where=name, mend="correct the value"
        )
    return rate


def lowest_rate(successes: int, trials: int, error: float) -> float:
    """Clopper-Pearson lower limit of a rate: above the truth with probability at most ``error``, one-sided."""
    from scipy.stats import beta

    return 0.0 if successes == 0 else float(beta.ppf(error, successes, trials - successes + 1))


def highest_rate(successes: int, trials: int, error: float) -> float:
    """Clopper-Pearson upper limit of a rate: below the truth with probability at most ``error``, one-sided."""
    from scipy.stats import beta

    return 1.0 if successes == trials else float(beta.isf(error, successes + 1, trials - successes))
