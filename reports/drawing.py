"""Figures as inline SVG: the same numbers give the same bytes, ink takes the page's colours, light or dark."""

import io
import math
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from certify.reports.wording import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours drawn with, and the page's variables put in their place.
INK, MUTED, ACCENT, LIMIT, SOFT, OTHER = "#010203", "#040506", "#070809", "#0a0b0c", "#0d0e0f", "#101112"
_VARIABLES = {INK: "ink", MUTED: "line", ACCENT: "accent", LIMIT: "limit", SOFT: "soft", OTHER: "other"}

_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10.5,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.minor.visible": False,
    "ytick.minor.visible": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "lines.linewidth": 2,
}
LARGEST = 290.0  # decades an axis reaches: beyond, its arithmetic leaves the floats


def drawable(value: float) -> bool:
    """Whether a logarithmic axis has a place for the value."""
    return math.isfinite(value) and value > 0 and abs(math.log10(value)) < LARGEST


def draw(paint: Callable[["Axes"], None], *, name: str, size: tuple[float, float], words: tuple[str, str]) -> str:
    """One figure.

    Args:
        paint: draws on the axes.
        name: what its ids begin with; one figure of a page has it.
        size: width and height in inches.
        words: title and description for who cannot see it; they are escaped here.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure as NewFigure

    style: Any = _STYLE | {"svg.hashsalt": f"certify-{name}"}
    with mpl.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # the page's own fonts draw it
        warnings.filterwarnings("ignore", "constrained_layout not applied", UserWarning)  # drawn narrow, not refused
        figure = NewFigure(figsize=size, layout="constrained")
        paint(figure.add_subplot())
        return _inline(figure, name, words)


def label(text: str, longest: int = 40) -> str:
    r"""Text of users for a figure: one line, not longer, and no formula.

    >>> label("layer $1$"), label("a" * 50, 10)
    ('layer \\$1\\$', 'aaaaaaaaa…')
    """
    short = clean(text)
    short = short if len(short) <= longest else short[: longest - 1] + "…"
    return short.replace("$", r"\$")


def _inline(figure: "Figure", name: str, words: tuple[str, str]) -> str:
    """SVG text for a page: no prologue, no metadata, own ids, the page's colours and fonts, a text alternative."""
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
        text = text.replace(color, f"var(--{variable})")
    opening = f'<svg role="img" aria-labelledby="{name}-title" aria-describedby="{name}-desc" '
    spoken = f'<title id="{name}-title">{escape(words[0])}</title>\n<desc id="{name}-desc">{escape(words[1])}</desc>\n'
    head, _, body = text.replace("<svg ", opening, 1).partition(">")
    return f"{head}>\n{spoken}{body.lstrip()}"


def decades(axis: Any) -> None:
    """Ticks at powers of ten, few enough to be read on a phone."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(numticks=7))
    axis.set_minor_locator(NullLocator())
