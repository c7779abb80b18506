"""What the page's templates read about an audit: sentences, rows and figures, made once."""

from typing import Any

from certify.reports import audit_figures as figures
from certify.reports import audit_games as games
from certify.reports import audit_tables as tables
from certify.reports import audit_wording as wording
from certify.reports.audits import Audit
from certify.reports.schema import Document


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
        "rates": figures.at_rates,
    }


def _figures(audit: Audit) -> dict[str, Any]:
    histograms = zip(audit.histograms[: figures.CURVES], figures.histogram_figures(audit), strict=True)
    relearning = zip(audit.relearning, figures.relearning_figures(audit), strict=True)
    return {
        "roc": list(zip(audit.roc, figures.roc_figures(audit), strict=True)),
        "histograms": [pair for pair in histograms if pair[1]],
        "relearning": [pair for pair in relearning if pair[1]],
        "distances": figures.distance_figure(audit),
        "rows": figures.ROWS,
        "curves": figures.CURVES,
        "thinned": any(len(item.null_values) > figures.DOTS for item in audit.distances[: figures.ROWS]),
        "ranking": figures.ranking_figure(audit.ranking) if audit.ranking else "",
    }
