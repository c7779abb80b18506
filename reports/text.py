"""Plain text for a terminal: one line a check, then what would mend a failure, like a test run."""

import textwrap

from certify.core.rounding import format_upper
from certify.core.verdict import Verdict
from certify.reports.audit_games import Line, check_lines
from certify.reports.audit_wording import HONEST, alarm_words, control_line, method_name, sentence
from certify.reports.schema import Document
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
_WIDEST = 46  # titles that are longer stand on a line of their own
_DEEPEST = 60  # a hanging indent goes no deeper
_COLORS = {Verdict.PASS: "32", Verdict.FAIL: "31", Verdict.INCONCLUSIVE: "33", Verdict.REFUSED: "35"}


def render_text(document: Document, *, color: bool = False) -> str:
    """The document as text, 100 columns wide, ASCII but for what file names contain.

    Args:
        document: what to render.
        color: whether to colour the verdicts; the words stand there in any case.
    """
    lines = check_lines(document)
    widths = _columns(lines)
    parts = [_header(document), "", *(_check(line, *widths, color=color) for line in lines), ""]
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
        f"Audit of {method_name(design)}; {worlds}. {sentence(audit)}",
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


def _columns(lines: tuple[Line, ...]) -> tuple[int, int]:
    """Widths of titles and verdicts, so that summaries stand below each other."""
    titles = [len(clean(line.title)) + 1 for line in lines]
    return (
        max([_TITLE, *(width for width in titles if width <= _WIDEST)]),
        max([7, *(len(WORDS[line.verdict]) for line in lines)]),
    )


def _check(line: Line, title_width: int, verdict_width: int, *, color: bool) -> str:
    title = f"{clean(line.title)} ".ljust(title_width, ".")
    word = WORDS[line.verdict]
    indent = min(title_width + 1 + verdict_width + 1, _DEEPEST)
    lines = textwrap.wrap(clean(line.summary), width=_WIDTH - indent, break_long_words=False) or [""]
    painted = _paint(word, line.verdict, color=color) + " " * (verdict_width - len(word))
    apart = len(title) > title_width
    first = [f"{title} {painted}".rstrip(), " " * indent + lines[0]] if apart else [f"{title} {painted} {lines[0]}"]
    return "\n".join([*first, *(" " * indent + line for line in lines[1:])])


def _wrap(text: str, hanging: str = "") -> str:
    lines = textwrap.wrap(text, width=_WIDTH, break_long_words=False, break_on_hyphens=False, subsequent_indent=hanging)
    return "\n".join(lines)


def _closing(document: Document, *, color: bool) -> str:
    words = f" {WORDS[document.verdict]}: {tally(document)} (exit {document.exit_code}) "
    return _paint(words.center(_WIDTH, "="), document.verdict, color=color)
