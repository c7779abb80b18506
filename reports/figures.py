"""Figures as inline SVG: the same numbers give the same bytes, ink takes the page's colours, light or dark."""

import io
import math
import re
from typing import TYPE_CHECKING, Any

from certify.core.rounding import format_plain, format_upper
from certify.reports.schema import Document

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours drawn with, and the page's variables put in their place.
_INK, _MUTED, _ACCENT, _LIMIT = "#010203", "#040506", "#070809", "#0a0b0c"
_VARIABLES = {_INK: "var(--ink)", _MUTED: "var(--line)", _ACCENT: "var(--accent)", _LIMIT: "var(--limit)"}

_STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": _INK,
    "axes.edgecolor": _MUTED,
    "axes.labelcolor": _INK,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "lines.linewidth": 2,
}


def privacy_curve(document: Document) -> str:
    """epsilon as a function of delta, with the policy's point. Empty when there is no curve."""
    if not document.curve:
        return ""
    return _draw(lambda axes: _curve(axes, document), name="curve", size=(7.2, 3.4))


def distance_bounds(document: Document) -> str:
    """The three bounds on a logarithmic axis, with the policy's limit. Empty when none was measured."""
    if document.bounds is None:
        return ""
    return _draw(lambda axes: _bounds(axes, document), name="bounds", size=(7.2, 2.6))


def _draw(paint: Any, *, name: str, size: tuple[float, float]) -> str:
    import matplotlib as mpl
    from matplotlib.figure import Figure as NewFigure

    with mpl.rc_context(_STYLE | {"svg.hashsalt": f"certify-{name}"}):
        figure = NewFigure(figsize=size, layout="constrained")
        paint(figure.add_subplot())
        return _inline(figure, name)


def _inline(figure: "Figure", name: str) -> str:
    """SVG text for a page: no prologue, no metadata, own ids, the page's colours and fonts."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = text.replace("xlink:href", "href")
    text = re.sub(r'(\sid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    text = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', "", text, count=1)
    for color, variable in _VARIABLES.items():
        text = text.replace(color, variable)
    return text.replace("<svg ", f'<svg role="img" aria-labelledby="{name}-title" ', 1)


def _curve(axes: "Axes", document: Document) -> None:
    policy, points = document.policy, document.curve
    axes.plot([p.delta for p in points], [p.epsilon for p in points], color=_ACCENT, label="this release, at most")
    axes.plot([policy.delta], [policy.epsilon], "D", color=_LIMIT, markersize=8, label="the policy's limit")
    axes.vlines(policy.delta, 0, policy.epsilon, color=_LIMIT, linestyle=(0, (2, 3)), linewidth=1.2)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.15 * max(policy.epsilon, *(p.epsilon for p in points), 1e-9))
    axes.set_xlabel("delta")
    axes.set_ylabel("epsilon")
    axes.legend(frameon=False, loc="upper right")


def _bounds(axes: "Axes", document: Document) -> None:
    bounds, limit = document.bounds, document.policy.distance_limit
    assert bounds is not None
    rows = [
        ("refined Newton", bounds.refined),
        ("self-concordance", bounds.self_concordant),
        ("strong convexity", bounds.strong_convexity),
    ]
    finite = [value for _, value in rows if math.isfinite(value) and value > 0]
    low = min([*finite, limit or math.inf, 1e-3]) / 10
    high = max([*finite, limit or 0.0, low * 100]) * 60
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    for height, (_, value) in enumerate(rows):
        _lollipop(axes, height, value, low)
    if limit is not None:
        axes.axvline(limit, color=_LIMIT, linestyle=(0, (4, 3)), linewidth=1.6)
        axes.text(limit, 2.55, f" policy's limit {format_plain(limit, 3)}", color=_LIMIT, va="bottom", ha="center")
    axes.set_yticks(range(len(rows)), [label for label, _ in rows])
    axes.set_ylim(-0.5, 2.5)
    axes.set_xlabel("distance to the retrained weights, at most")


def _lollipop(axes: "Axes", height: int, value: float, low: float) -> None:
    if not math.isfinite(value):
        axes.text(low * 1.3, height, "does not apply", va="center", style="italic")
        return
    axes.hlines(height, low, value, color=_ACCENT, linewidth=5, alpha=0.35)
    axes.plot([value], [height], "o", color=_ACCENT, markersize=8)
    axes.annotate(format_upper(value), (value, height), xytext=(9, 0), textcoords="offset points", va="center")
