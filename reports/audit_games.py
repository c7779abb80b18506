"""What an attack tells apart, in words; and the checks of one attack in one game as one line, for whoever reads on one screen."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from certify.core.rounding import format_plain
from certify.core.verdict import Verdict, worst
from certify.reports.audits import Audit, Finding
from certify.reports.schema import CheckEntry, Document
from certify.reports.wording import GRAVEST, clean

_RATE = re.compile(r"TPR at FPR (\d[\d.e-]*)")
_SHARE = re.compile(r"share of forgotten records flagged at FPR (\d[\d.e-]*)")
_RATIO = "distance to retrained models over theirs to each other"

_LABELS = {
    "retrain": "against retrained models",
    "privacy": "forgotten or never seen",
    "two-version": "forgotten or never seen",
    "retain-side": "retained or never seen",
    "coin-flip": "planted or not",
    "relearning": "trained on",
}

_QUESTIONS = {
    "retrain": "Can an unlearned model be told from one retrained without the forgotten records?",
    "privacy": "Can a forgotten record be told from one that the model never saw?",
    "two-version": "Can a forgotten record be told from one that the model never saw, by who holds the earlier model too?",
    "retain-side": "Can a retained record be told from one that the model never saw?",
    "coin-flip": "Can it be read from the model which canaries were planted and deleted?",
    "relearning": "Does knowledge of the forgotten records come back sooner than in retrained models?",
}


def game_label(game: str) -> str:
    """What is told apart, in a few words; a game of another name is its own label.

    >>> game_label("retrain")
    'against retrained models'
    """
    return _LABELS.get(game, game)


def game_question(game: str) -> str:
    """The same as a question; a game of another name stays as it is."""
    return _QUESTIONS.get(game, game)


def in_words(finding: Finding) -> str:
    """A rate, a share of records or a ratio of distances in a sentence without terms; empty for other statistics and games."""
    share = _SHARE.fullmatch(finding.statistic)
    if share is not None:
        chance, found = format_plain(100 * float(share[1]), 3), format_plain(100 * finding.value, 3)
        familiar = "less" if finding.direction == "over-forgetting" else "more"
        return f"{found} in 100 of the forgotten records look {familiar} familiar to this model than to retrained ones, where chance explains {chance} in 100."
    if finding.statistic == _RATIO:
        return f"The model lies {format_plain(finding.value, 3)} times as far from retrained models as these lie from each other."
    rate = _RATE.fullmatch(finding.statistic)
    if rate is None or finding.game not in ("retrain", "privacy", "two-version"):
        return ""
    wrong, right = format_plain(100 * float(rate[1]), 3), format_plain(100 * finding.value, 3)
    if finding.game == "retrain":
        return f"Where it wrongly points at {wrong} in 100 records in retrained models, it points at {right} in 100 in unlearned ones."
    return f"Where it wrongly names {wrong} in 100 records that were never there, it rightly names {right} in 100 forgotten ones."


def slice_label(name: str) -> str:
    """Which records the models forgot, in a word or two.

    >>> slice_label("all"), slice_label("outliers"), slice_label("request")
    ('all records', 'outliers', 'this request')
    """
    words = {"all": "all records", "memorised": "memorised records", "cluster": "a cluster", "request": "this request"}
    return words.get(name, clean(name))


_DISTANCES = {
    "l2": "Euclidean",
    "js": "Jensen-Shannon",
    "activation-mean-of-norms": "probabilities",
    "churn": "classes changed",
}
_PARTS = {
    "whole": "whole model",
    "parameters": "all parameters",
    "buffers": "all buffers",
    "forget": "forgotten records",
    "retain": "retained records",
}


def distance_label(name: str) -> str:
    """What a distance is, in words where it has some.

    >>> distance_label("js"), distance_label("cosine")
    ('Jensen-Shannon', 'cosine')
    """
    return _DISTANCES.get(name, clean(name))


def part_label(part: str) -> str:
    """What it is a distance of.

    >>> part_label("forget"), part_label("parameters/0"), part_label("buffers/1")
    ('forgotten records', 'layer 0', 'layer 1, buffers')
    """
    kind, sign, layer = clean(part).partition("/")
    if sign and kind in ("parameters", "buffers"):
        return f"layer {layer}" + (", buffers" if kind == "buffers" else "")
    return _PARTS.get(part, clean(part))


def by_game(audit: Audit) -> list[tuple[str, tuple[Finding, ...]]]:
    """The findings under the question that they answer, in the order in which the questions first come up.

    Distances that decide nothing are left to the table of distances, which has them all.
    """
    found: dict[str, list[Finding]] = {}
    for finding in audit.findings:
        if audit.distances and finding.verdict is None and finding.attack.endswith("-distance"):
            continue
        found.setdefault(game_question(finding.game), []).append(finding)
    return [(question, tuple(findings)) for question, findings in found.items()]


@dataclass(frozen=True)
class Line:
    """A check, or the checks of one attack in one game together.

    Attributes:
        title: the attack and what it tells apart.
        verdict: the worst of them.
        summary: of the one that gave the verdict, and how many others there are.
        entries: the checks.
    """

    title: str
    verdict: Verdict
    summary: str
    entries: tuple[CheckEntry, ...]

    @property
    def remedies(self) -> tuple[str, ...]:
        """What would mend it, each remedy once."""
        return tuple(dict.fromkeys(entry.remedy for entry in self.entries if entry.remedy))


def check_lines(document: Document) -> tuple[Line, ...]:
    """The checks, those that one attack decides in one game as one line: directions and statistics are in the findings."""
    findings = {one.id: one for one in document.audit.findings} if document.audit else {}
    groups: dict[tuple[str, ...], list[CheckEntry]] = {}
    for place, entry in enumerate(document.checks):
        one = findings.get(entry.id)
        known = one is not None and one.game in _LABELS
        key = (one.attack, one.game, one.slice) if one is not None and known else ("", str(place))
        groups.setdefault(key, []).append(entry)
    return tuple(_line(entries, findings) for entries in groups.values())


def _line(entries: list[CheckEntry], findings: dict[str, Finding]) -> Line:
    verdict = worst([entry.verdict for entry in entries])
    telling = max((entry for entry in entries if entry.verdict is verdict), key=_beyond)
    if len(entries) == 1:
        return Line(telling.title, verdict, telling.summary, (telling,))
    finding = findings[telling.id]
    records = "" if finding.slice == "all" else f", {slice_label(finding.slice)}"
    direction = f"{finding.direction}: " if finding.direction and verdict is not Verdict.PASS else ""
    return Line(
        f"{finding.title}, {game_label(finding.game)}{records}",
        verdict,
        f"{direction}{telling.summary}{_others(entries, verdict)}",
        tuple(entries),
    )


def _beyond(entry: CheckEntry) -> float:
    """How far beyond its limit a check lies, or how near to it."""
    return 0.0 if entry.measured is None or not entry.limit else entry.measured / entry.limit


def _others(entries: Iterable[CheckEntry], verdict: Verdict) -> str:
    verdicts = [entry.verdict for entry in entries]
    if verdict is Verdict.PASS:
        return f"; all {len(verdicts)} checks pass"
    same = verdicts.count(verdict)
    return f"; {same} of {len(verdicts)} checks {_VERBS[verdict]}"


_VERBS = {Verdict.FAIL: "fail", Verdict.INCONCLUSIVE: "inconclusive", Verdict.REFUSED: "refused"}


def lines_not_passed(document: Document) -> tuple[Line, ...]:
    """Lines whose verdict is not a pass, the gravest first."""
    found = [line for line in check_lines(document) if line.verdict is not Verdict.PASS]
    return tuple(sorted(found, key=lambda line: GRAVEST.index(line.verdict)))


def plain_title(finding: Finding) -> str:
    """An attack by title and name; not twice where both are one word."""
    name, title = clean(finding.attack), clean(finding.title)
    return title if name.lower() == title.lower() else f"{title} ({name})"
