"""What an audit found, as values that reports show and gates judge."""

from dataclasses import dataclass

from certify.attacks.distances.null import Distance
from certify.core.arrays import FloatArray
from certify.core.verdict import Verdict


@dataclass(frozen=True)
class Finding:
    """One statistic of one attack in one game. Numbers that do not apply are None.

    Attributes:
        id: unique within an audit, and the name of the check that it decides.
        attack: name of the attack.
        title: for readers.
        game: what is told apart from what.
        slice: "all", or a worst-case set of records.
        statistic: what ``value`` is.
        value: the estimate.
        lower: lower end of its interval.
        upper: upper end.
        confidence: of the interval, two-sided.
        verdict: pass, fail or inconclusive against ``limit``; None for what decides nothing.
        limit: largest value that is allowed.
        p_value: that retrained models in the place of the unlearned ones would give a statistic as extreme.
        adjusted_p: after Holm's correction over the findings of the audit.
        null_mean: the statistic with retrained models in the place.
        null_lower: lower end of its interval.
        null_upper: upper end.
        corrected: ``value - null_mean``.
        minimum_detectable: smallest value that would have been called above the limit with probability ``power``.
        power: that probability.
        ceiling: largest lower bound that so many units could give.
        needed_models: shadow models, or retrained models of one request, that would settle an inconclusive finding.
        units: independent units behind the interval.
        method: how the interval was made and what it holds over.
        note: what a reader has to know besides.
        direction: "under-forgetting" or "over-forgetting".
        source: where the attack comes from.
    """

    id: str
    attack: str
    title: str
    game: str
    slice: str
    statistic: str
    value: float
    lower: float
    upper: float
    confidence: float
    verdict: Verdict | None = None
    limit: float | None = None
    p_value: float | None = None
    adjusted_p: float | None = None
    null_mean: float | None = None
    null_lower: float | None = None
    null_upper: float | None = None
    corrected: float | None = None
    minimum_detectable: float | None = None
    power: float | None = None
    ceiling: float | None = None
    needed_models: int | None = None
    units: int = 0
    method: str = ""
    note: str = ""
    direction: str | None = None
    source: str = ""


@dataclass(frozen=True)
class Control:
    """A world whose answer is known, put in the unlearned models' place.

    Attributes:
        id: unique within an audit.
        attack: name of the attack that it controls.
        game: the game that it controls it in.
        name: for readers.
        must_be_caught: whether the attack has to tell it apart from the reference (the original), or must not (retrained ones).
        p_value: of being told apart.
        value: the attack's statistic.
        ok: whether it behaved.
        summary: one line.
        slice: "all", or a worst-case set of records, as of :class:`Finding`.
        able: whether the attack saw what it had to; where it did not and nothing is refused for it, it passes nothing.
    """

    id: str
    attack: str
    game: str
    name: str
    must_be_caught: bool
    p_value: float | None
    value: float | None
    ok: bool
    summary: str
    slice: str = "all"
    able: bool = True


@dataclass(frozen=True, eq=False)
class Curve:
    """True-positive against false-positive rates, pointwise intervals over models; and with retrained models in the place."""

    attack: str
    game: str
    slice: str
    fpr: FloatArray
    tpr: FloatArray
    lower: FloatArray
    upper: FloatArray
    null_fpr: FloatArray
    null_tpr: FloatArray
    confidence: float
    band: str


@dataclass(frozen=True, eq=False)
class RequestAudit:
    """What was found of the model under review.

    Attributes:
        findings: with verdicts.
        controls: the original in its place.
        distances: by attack, for the report.
        pool: how unusual the model under review and each of the J retrained ones is among all of them, (J + 1,), itself first; None where
            nothing is compared with retrained models.
        second: exact p-value that it is one more of the retrained models that share the original's start; None where that is not asked.
        odd_one_out: whether the p-value is the smallest that J models can give.
    """

    findings: tuple[Finding, ...]
    controls: tuple[Control, ...]
    distances: tuple[Distance, ...] = ()
    pool: FloatArray | None = None
    second: float | None = None
    odd_one_out: bool = False


def joined(*notes: str) -> str:
    """Notes as one, those that say nothing left out."""
    return "; ".join(note for note in notes if note)
