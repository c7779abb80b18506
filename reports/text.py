"""Plain text for a terminal: one line a check, then what would mend a failure, like a test run."""

import textwrap

from certify.core.rounding import format_upper
from certify.core.verdict import Verdict
from certify.reports.audit_wording import HONEST, alarm_words, control_line, sentence
from certify.reports.schema import CheckEntry, Document
from certify.reports.wording import (
    UNNOISED,
    WORDS,
    claims_guarantee,
    clean,
    guarantee_sentence,
    model_line,
    plural,
    release_sentence,
    remedies,
    tally,
)

_WIDTH = 100
_TITLE = 32
_DEEPEST = 50  # a hanging indent goes no deeper, however long a title is
_COLORS = {Verdict.PASS: "32", Verdict.FAIL: "31", Verdict.INCONCLUSIVE: "33", Verdict.REFUSED: "35"}


def render_text(document: Document, *, color: bool = False) -> str:
    """The document as text, 100 columns wide, ASCII but for what file names contain.

    Args:
        document: what to render.
        color: whether to colour the verdicts; the words stand there in any case.
    """
    parts = [_header(document), "", *(_check(entry, color=color) for entry in document.checks), ""]
    parts += [_wrap(" ".join(_statement(document)))]
    for entry in remedies(document):
        parts += ["", _wrap(f"{clean(entry.title)}: {clean(entry.remedy or '')}.")]
    return "\n".join([*parts, *_audit(document), *_one_step(document), "", _closing(document, color=color), ""])


def _audit(document: Document) -> list[str]:
    """What the audit saw, its controls and what it left out, in a few lines; the other formats have the tables."""
    audit = document.audit
    if audit is None:
        return []
    design = audit.design
    worlds = f"{plural(design.models, 'model')} of each world, {plural(design.records, 'record')}"
    lines = [
        f"Audit of {clean(design.method)} against {clean(design.reference)}; {worlds}. {sentence(audit)}",
        f"Controls: {control_line(audit)}. {alarm_words(design)}",
        f"Not tested: {'; '.join(clean(item) for item in audit.not_tested)}." if audit.not_tested else "",
        HONEST,
    ]
    return ["", *(_wrap(line) for line in lines if line)]


def _one_step(document: Document) -> list[str]:
    """The proven one-step bounds in a few lines: what was promised before the step, and what it measures."""
    part = document.one_step
    if part is None:
        return []
    if part.skipped:
        return ["", _wrap(f"One-step bounds before the step: not computed: {clean(part.skipped)}.")]
    lines = [
        f"  {'Newton' if step == 'newton' else 'jackknife'} step: "
        + (
            "; ".join(
                f"{clean(b.name)} {format_upper(b.value)}"
                for b in part.bounds
                if b.step == step and b.proven and b.value is not None
            )
            or "none applies (the HTML report says why)"
        )
        for step in ("newton", "jackknife")
    ]
    title = "One step from the original, bounds computed before it (proven ones; for information, none decides):"
    return ["", title, *(_wrap(line, hanging="    ") for line in lines)]


def _statement(document: Document) -> list[str]:
    """The guarantee, what it is not about, and what was released."""
    unnoised = [UNNOISED] if claims_guarantee(document) else []
    return [part for part in (guarantee_sentence(document), *unnoised, release_sentence(document)) if part]


def _header(document: Document) -> str:
    request = document.request
    line = f"{plural(request.retained, 'record')} retained, {request.forgotten:,} forgotten"
    return f"certify {clean(document.tool.version)}  {model_line(document)}\n{line}"


def _paint(word: str, verdict: Verdict, *, color: bool) -> str:
    return f"\x1b[1;{_COLORS[verdict]}m{word}\x1b[0m" if color else word


def _check(entry: CheckEntry, *, color: bool) -> str:
    title = f"{clean(entry.title)} ".ljust(_TITLE, ".")
    word = WORDS[entry.verdict]
    indent = min(len(title) + 1 + max(len(word), 7) + 1, _DEEPEST)
    lines = textwrap.wrap(clean(entry.summary), width=max(_WIDTH - indent, 30), break_long_words=False) or [""]
    painted = _paint(word, entry.verdict, color=color) + " " * (max(len(word), 7) - len(word))
    first = [f"{title} {painted} {lines[0]}"] if indent < _DEEPEST else [f"{title} {painted}", " " * indent + lines[0]]
    return "\n".join([*first, *(" " * indent + line for line in lines[1:])])


def _wrap(text: str, hanging: str = "") -> str:
    lines = textwrap.wrap(text, width=_WIDTH, break_long_words=False, break_on_hyphens=False, subsequent_indent=hanging)
    return "\n".join(lines)


def _closing(document: Document, *, color: bool) -> str:
    words = f" {WORDS[document.verdict]}: {tally(document)} (exit {document.exit_code}) "
    return _paint(words.center(_WIDTH, "="), document.verdict, color=color)
