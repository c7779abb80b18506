"""Sentences and numbers that several renderers share. Upper bounds are rounded up, always."""

import re
import unicodedata
from fractions import Fraction

from certify.core.rounding import format_plain, format_upper, up
from certify.core.verdict import Verdict
from certify.reports.schema import CheckEntry, Document, OneStepBound

WORDS = {
    Verdict.PASS: "PASS",
    Verdict.FAIL: "FAIL",
    Verdict.INCONCLUSIVE: "INCONCLUSIVE",
    Verdict.REFUSED: "REFUSED",
}

UNNOISED = "The file under review, without that noise, is not itself covered."
"""Said next to every guarantee."""

POWER = re.compile(r"\b(\d+(?:\.\d+)?)e(-?)0*(\d+)\b")
"""A number in exponent notation: factor, sign and exponent."""

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def clean(text: str) -> str:
    r"""One line without control, formatting or direction characters: text of users may end in a terminal or a page.

    >>> clean("a\x1b[31mb\nc")
    'a [31mb c'
    """
    safe = "".join(" " if unicodedata.category(letter) in _UNSAFE else letter for letter in text)
    return re.sub(r" {2,}", " ", safe).strip()


def superscripts(text: str) -> str:
    """Text with 1e-7 written as a power of ten, where no markup can be had.

    >>> superscripts("2.63e-6"), superscripts("1e-05"), superscripts("0.01")
    ('2.63 × 10⁻⁶', '10⁻⁵', '0.01')
    """

    def power(match: re.Match[str]) -> str:
        factor = "" if match[1] == "1" else f"{match[1]} × "
        return f"{factor}10{(match[2] + match[3]).translate(_RAISED)}"

    return POWER.sub(power, text)


def plural(count: int, noun: str) -> str:
    """A count with its noun.

    >>> plural(1, "record"), plural(20140, "record")
    ('1 record', '20,140 records')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def times_in_100(probability: float) -> str:
    """A probability, rounded up, as so many times in 100; never the round number it only almost is.

    >>> times_in_100(0.50003), times_in_100(1.0)
    ('50.1', '100')
    """
    if probability >= 1:
        return "100"
    times = 100 * probability
    # the product is rounded to nearest, and 0.501 and a bit must not become 50.1
    return format_upper(min(100.0, up(times) if Fraction(times) < 100 * Fraction(probability) else times))


def model_line(document: Document) -> str:
    """The model and its objective in a few words."""
    objective = document.objective
    name = clean(document.subject.model.path)
    if objective is None:
        return name
    sparse = "" if objective.l1 == 0 else f", l1 = {format_plain(objective.l1)}"
    return f"{name}: {clean(objective.loss)}, l2 = {format_plain(objective.l2)}{sparse}"


def tally(document: Document) -> str:
    """How many checks came out how.

    ``4 checks passed``, or ``1 of 4 checks failed``.
    """
    total = len(document.checks)
    if document.verdict is Verdict.PASS:
        return f"{plural(total, 'check')} passed"
    word = {Verdict.FAIL: "failed", Verdict.REFUSED: "refused", Verdict.INCONCLUSIVE: "inconclusive"}
    seen = [entry.verdict for entry in document.checks]
    counts = [(seen.count(verdict), words) for verdict, words in word.items() if verdict in seen]
    if len(counts) == 1:
        return f"{counts[0][0]} of {plural(total, 'check')} {counts[0][1]}"
    return f"{', '.join(f'{count} {words}' for count, words in counts) or 'refused'} of {plural(total, 'check')}"


def noise_words(noise_std: float, noise_shape: str) -> str:
    """The law of the noise in words.

    >>> noise_words(0.01, "isotropic")
    'noise of standard deviation 0.01'
    >>> noise_words(0.5, "curvature")
    'noise of covariance s^2 M^-1 (s = 0.5, M the curvature at w = 0 on the retained records)'
    """
    if noise_shape == "isotropic":
        return f"noise of standard deviation {format_plain(noise_std)}"
    return f"noise of covariance s^2 M^-1 (s = {format_plain(noise_std)}, M the curvature at w = 0 on the retained records)"


def release_sentence(document: Document) -> str:
    """What was released and what it cost; empty when nothing was."""
    part = document.release
    if part is None:
        return ""
    return (
        f"Released as {clean(part.file.path)}, with {noise_words(part.noise_std, part.noise_shape)}: release "
        f"{part.number}, charged mu {format_upper(part.charged_mu)}, total mu {format_upper(part.total_mu)} "
        f"(ledger entry {part.ledger_sequence})."
    )


def claims_guarantee(document: Document) -> bool:
    """Whether there is a guarantee to show: a certified one, under a pass."""
    return document.verdict is Verdict.PASS and document.guarantee.kind == "certified"


def guarantee_sentence(document: Document) -> str:
    """The guarantee in one sentence, or that there is none: whatever the document says, only a pass carries one."""
    given, records = document.guarantee, plural(document.request.forgotten, "forgotten record")
    if document.verdict is Verdict.PASS and given.kind == "empirical":
        return f"Evidence, not proof: {clean(given.reason)}."
    if not claims_guarantee(document) or given.epsilon is None or given.mu is None:
        reason = given.reason if given.kind == "none" else document.verdict.meaning
        return f"No guarantee: {clean(reason)}."
    place = "every weight" if document.policy.noise_shape == "isotropic" else "the weights"
    return (
        f"Once fresh Gaussian {noise_words(document.policy.noise_std, document.policy.noise_shape)} is added to {place}, "
        f"nobody can tell the release from a model retrained without the {records} (plus the same noise) better than "
        f"epsilon = {format_upper(given.epsilon)} at delta = {format_plain(document.policy.delta)} allows "
        f"(mu-GDP with mu = {format_upper(given.mu)})."
    )


GRAVEST = (Verdict.FAIL, Verdict.REFUSED, Verdict.INCONCLUSIVE, Verdict.PASS)
"""The order in which verdicts outweigh each other."""

ONE_STEP_CAPTION = (
    "Published methods bound the error of one unlearning step before it is taken. Here such bounds, for one step from the "
    "original model, stand beside what is measured. They are for information: no verdict reads them. The gate "
    "goes by what is certified of the model under review, the first line."
)
"""What the one-step bounds are, for whoever signs."""

_STEPS = {"newton": "Newton step", "jackknife": "Jackknife step"}


def one_step_rows(document: Document) -> list[tuple[str, str, str]]:
    """The one-step bounds as (which bound, distance at most, what it is worth), the certified distance first."""
    part, bounds = document.one_step, document.bounds
    if part is None or bounds is None:
        return []
    first = ("Model under review, certified distance", format_upper(bounds.distance), "the gate's number")
    return [first, *(_one_step_row(bound) for bound in part.bounds)]


def _one_step_row(bound: OneStepBound) -> tuple[str, str, str]:
    name = f"{_STEPS[bound.step]}: {clean(bound.name)}"
    if bound.value is None:
        return name, "none", f"not applicable: {clean(bound.reason)}"
    return name, format_upper(bound.value), "proven" if bound.proven else f"not a proof: {clean(bound.reason)}"


def remedies(document: Document) -> tuple[CheckEntry, ...]:
    """Checks that did not pass and say what would mend them, each remedy once, the gravest first.

    Several that more shadow models would settle, each with a number of its own, are one.
    """
    needed = _needed(document)
    many = [entry for entry in document.checks if entry.id in needed]
    apart = {entry.id for entry in many} if len(many) > _FEW else set()
    seen: dict[str, CheckEntry] = {}
    for entry in document.checks:
        if entry.verdict is not Verdict.PASS and entry.remedy and entry.id not in apart:
            seen.setdefault(entry.remedy, entry)
    found = [*seen.values(), *([_more_models(many, needed, document)] if apart else [])]
    return tuple(sorted(found, key=lambda entry: GRAVEST.index(entry.verdict)))


_FEW = 2
"""Checks whose own numbers of models are still read one by one."""


def _needed(document: Document) -> dict[str, int]:
    """Models that would settle each inconclusive finding, by its id."""
    found = () if document.audit is None else document.audit.findings
    return {one.id: one.needed_models for one in found if one.verdict is Verdict.INCONCLUSIVE and one.needed_models}


def _more_models(many: list[CheckEntry], needed: dict[str, int], document: Document) -> CheckEntry:
    numbers = sorted(needed[entry.id] for entry in many)
    half, all_ = numbers[(len(numbers) - 1) // 2], numbers[-1]
    most = f"about {half:,} shadow models would settle"
    count = f"{most} all" if half == all_ else f"{most} half, {all_:,} all"
    elsewhere = document.audit is not None and document.audit.design.source == "scores"
    how = f"score {half:,} models of each world" if elsewhere else f"`certify audit --models {half}`"
    return many[0].model_copy(
        update={"title": f"{len(many)} inconclusive checks of shadow models", "remedy": f"{count}: {how}"}
    )
