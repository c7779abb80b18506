"""What the page's templates read about an audit: sentences, rows and figures, made once."""

from typing import Any

from certify.reports import audit_figures as figures
from certify.reports import audit_games as games
from certify.reports import audit_tables as tables
from certify.reports import audit_wording as wording
from certify.reports.audits import Audit
from certify.reports.schema import Document
from certify.reports.wording import plural


def audit_view(document: Document) -> dict[str, Any] | None:
    """Everything that ``audit.html.j2`` and ``officer_audit.html.j2`` call ``a``; None without an audit."""
    audit = document.audit
    return None if audit is None else _words(audit) | _figures(audit)


def _words(audit: Audit) -> dict[str, Any]:
    return {
        "verdict": wording.audit_verdict(audit),
        "sentence": wording.sentence(audit),
        "scope": wording.scope_words(audit),
        "honest": wording.HONEST,
        "absence": wording.ABSENCE,
        "alarm": wording.alarm_words(audit.design),
        "controls": wording.control_line(audit),
        "answers": wording.answers(audit),
        "games": games.by_game(audit),
        "label": games.game_label,
        "misbehaved": wording.misbehaved(audit),
        "strongest": tables.strongest_rows(audit),
        "distance_rows": tables.distance_rows(audit),
        "design": tables.design_rows(audit),
        "measured": wording.measured,
        "interval": wording.interval,
        "limit": wording.limit_words,
        "null": wording.null_words,
        "p": lambda part: wording.p_words(part.p_value, getattr(part, "adjusted_p", None)),
        "detectable": tables.detectable_words,
        "method": tables.method_words,
        "percent": wording.percent,
        "slice": games.slice_label,
        "rates": figures.at_rates,
    }


def _figures(audit: Audit) -> dict[str, Any]:
    histograms = [
        pair
        for pair in zip(audit.histograms[: figures.CURVES], figures.histogram_figures(audit), strict=True)
        if pair[1]
    ]
    relearning = zip(audit.relearning, figures.relearning_figures(audit), strict=True)
    return {
        "roc": list(zip(audit.roc, figures.roc_figures(audit), strict=True)),
        "histograms": histograms,
        "undrawn": _undrawn(len(histograms), audit),
        "relearning": [pair for pair in relearning if pair[1]],
        "distances": figures.distance_figure(audit),
        "rows": figures.ROWS,
        "curves": figures.CURVES,
        "thinned": any(len(item.null_values) > figures.DOTS for item in audit.distances[: figures.ROWS]),
        "rankings": list(zip(audit.rankings, figures.ranking_figures(audit), strict=True)),
    }


def _undrawn(drawn: int, audit: Audit) -> str:
    """How many histograms are left out, and why; empty where all are drawn."""
    beyond, open_ = max(0, len(audit.histograms) - figures.CURVES), min(len(audit.histograms), figures.CURVES) - drawn
    parts = [
        f"the first {figures.CURVES} are drawn" if beyond else "",
        f"{open_} {'has' if open_ == 1 else 'have'} no finite scale to draw on" if open_ else "",
    ]
    why = "; ".join(part for part in parts if part)
    return f"Of {plural(len(audit.histograms), 'histogram')} {why}: the JSON document has all of them." if why else ""
