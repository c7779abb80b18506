"""PDF, from the HTML page, by weasyprint (the extra ``pdf``)."""

from certify.core.errors import ConfigurationError
from certify.reports.html import render_html
from certify.reports.schema import Document


def render_pdf(document: Document) -> bytes:
    """The printed page.

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
    content: bytes = HTML(string=render_html(document)).write_pdf()
    return content
