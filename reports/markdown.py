"""Markdown, for pull requests and model cards."""

import re
from collections.abc import Iterable

from certify.core.rounding import format_plain
from certify.reports.audit_games import check_lines
from certify.reports.audit_tables import control_row, design_rows, distance_rows, finding_row
from certify.reports.audit_wording import HONEST, alarm_words, control_line, sentence
from certify.reports.schema import Document, FileDigest
from certify.reports.wording import (
    ONE_STEP_CAPTION,
    UNNOISED,
    WORDS,
    claims_guarantee,
    clean,
    guarantee_sentence,
    model_line,
    noise_words,
    one_step_rows,
    plural,
    release_sentence,
    remedies,
    tally,
)

_MARKUP = re.compile(r"([\\`*_{}\[\]<>|~&])")


def escape(text: str) -> str:
    r"""Text of users that must not become markup.

    >>> escape("a|b <i>")
    'a\\|b \\<i\\>'
    """
    return _MARKUP.sub(r"\\\1", clean(text))


def render_markdown(document: Document) -> str:
    """Verdict, checks, guarantee, what is not covered, and digests."""
    parts = [
        f"## certify: {WORDS[document.verdict]}",
        _headline(document),
        _checks(document),
        f"**Guarantee.** {escape(guarantee_sentence(document))}"
        + (f" {UNNOISED}" if claims_guarantee(document) else ""),
        escape(release_sentence(document)),
        *(f"**To mend “{escape(entry.title)}”.** {escape(entry.remedy or '')}." for entry in remedies(document)),
        *_audit(document),
        _assumptions(document),
        _one_step(document),
        "<details><summary>What this does not cover</summary>\n\n"
        + "\n".join(f"- {escape(item)}" for item in document.not_covered)
        + "\n\n</details>",
        _digests(document),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _headline(document: Document) -> str:
    request = document.request
    counts = f"{plural(request.forgotten, 'record')} to forget, {request.retained:,} retained."
    return f"{escape(model_line(document))}: {tally(document)} (exit code {document.exit_code}). {counts}"


def _code(text: str) -> str:
    """Text as code: inside backticks nothing is escaped, so none may be left in it."""
    return f"`{clean(text).replace('`', '')}`"


def _checks(document: Document) -> str:
    rows = [
        f"| {escape(line.title)} | **{WORDS[line.verdict]}** | {escape(line.summary)} |"
        for line in check_lines(document)
    ]
    return "\n".join(["| check | verdict | measured against limit |", "|---|---|---|", *rows])


def _audit(document: Document) -> list[str]:
    """What the audit saw, then its findings, controls, what it left out, and its design."""
    audit = document.audit
    if audit is None:
        return []
    untested = [f"Not tested: {item}" for item in audit.not_tested]
    return [
        f"**Audit.** The claim: {escape(audit.claim)} {escape(sentence(audit))} Controls: {control_line(audit)}. {escape(alarm_words(audit.design))}",
        _table(("finding", "verdict", "measured", "limit", "null", "p"), map(finding_row, audit.findings)),
        _table(("control", "expected", "came out", "seen"), map(control_row, audit.controls)),
        "\n".join(f"- {escape(item)}" for item in [HONEST, *untested]),
        _folded("Distances to retrained models", ("distance", "of", "value", "over the null's median", "against the null"), distance_rows(audit)),
        _folded("Design and cost of the audit", ("what", "value"), design_rows(audit)),
    ]  # fmt: skip


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(map(escape, row)) + " |" for row in rows]
    return "\n".join(["| " + " | ".join(head) + " |", "|---" * len(head) + "|", *lines]) if lines else ""


def _folded(title: str, head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    table = _table(head, rows)
    return f"<details><summary>{title}</summary>\n\n{table}\n\n</details>" if table else ""


def _assumptions(document: Document) -> str:
    rows = [f"- *{item.status}*: {escape(item.statement)} {escape(item.evidence)}" for item in document.assumptions]
    return "<details><summary>Assumptions</summary>\n\n" + "\n".join(rows) + "\n\n</details>" if rows else ""


def _one_step(document: Document) -> str:
    part, rows = document.one_step, one_step_rows(document)
    if part is None or not rows:
        return ""
    lines = [f"| {escape(name)} | {escape(value)} | {escape(worth)} |" for name, value, worth in rows]
    table = ["| bound | distance to the retrained weights, at most | worth |", "|---|---|---|", *lines]
    body = f"Not computed: {escape(part.skipped)}." if part.skipped else "\n".join(table)
    title = "One-step bounds computed before the step (they decide nothing)"
    return f"<details><summary>{title}</summary>\n\n{ONE_STEP_CAPTION}\n\n{body}\n\n</details>"


def _digests(document: Document) -> str:
    request = document.request
    files: list[FileDigest | None] = [document.subject.model, document.subject.original, request.data, request.forget]
    lines = [f"- {escape(file.path)}: {_code(file.sha256)}" for file in [*files, document.reproduction.spec] if file]
    policy = document.policy
    noise = f", {noise_words(policy.noise_std, policy.noise_shape)}" if policy.noise_std else ""
    limits = f"Policy: epsilon {format_plain(policy.epsilon)}, delta {format_plain(policy.delta)}{noise}."
    made = f"certify {escape(document.tool.version)}, schema {escape(document.schema_version)}, {escape(document.created)}."
    return "<details><summary>Digests (SHA-256)</summary>\n\n" + "\n".join(lines) + f"\n\n{limits} {made}\n\n</details>"
