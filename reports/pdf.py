"""PDF, from the HTML page, by weasyprint (the extra ``pdf``)."""

import re
from typing import Any

from certify.core.errors import ConfigurationError
from certify.reports.html import render_html
from certify.reports.schema import Document


def render_pdf(document: Document) -> bytes:
    """The printed page.

    Raises:
        ConfigurationError: weasyprint, or the system library it draws with, is missing.
    """
    content: bytes = printer()(string=_literal_colors(render_html(document))).write_pdf()
    return content


def printer() -> Any:
    """What prints a page.

    Raises:
        ConfigurationError: weasyprint, or the system library it draws with, is missing.
    """
    try:
        from weasyprint import HTML
    except ImportError:
        raise ConfigurationError(
            "a PDF needs weasyprint",
            where="--format pdf",
            mend="install certify-unlearning[pdf], or print the HTML page",
        ) from None
    except OSError:
        raise ConfigurationError(
            "weasyprint does not find the Pango library",
            where="--format pdf",
            mend="install Pango, or print the HTML page",
        ) from None
    return HTML


def _literal_colors(page: str) -> str:
    """The page with the light colours written out in its figures: weasyprint draws SVG without CSS variables, in black."""
    colors = dict(re.findall(r"--(\w+): (#\w{6})", page.partition("}")[0]))
    return re.sub(
        r"<svg .*?</svg>",
        lambda figure: re.sub(r"var\(--(\w+)\)", lambda name: colors[name[1]], figure[0]),
        page,
        flags=re.DOTALL,
    )
