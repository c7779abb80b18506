"""Formats by name; each renderer is imported when it is asked for."""

from importlib import import_module

from certify.core.errors import ConfigurationError
from certify.core.names import did_you_mean
from certify.reports.schema import Document

_RENDERERS = {
    "text": "certify.reports.text:render_text",
    "json": "certify.reports.as_json:render_json",
    "markdown": "certify.reports.markdown:render_markdown",
    "html": "certify.reports.html:render_html",
    "sarif": "certify.reports.sarif:render_sarif",
    "junit": "certify.reports.junit:render_junit",
    "pdf": "certify.reports.pdf:render_pdf",
}
FORMATS = tuple(_RENDERERS)


def render(document: Document, format_name: str) -> bytes:
    """The document in a format, as bytes: the same document gives the same bytes.

    Raises:
        ConfigurationError: unknown format, or the extra it needs is not installed.
    """
    if format_name not in _RENDERERS:
        raise ConfigurationError(
            f"unknown format {format_name!r}", where="--format", mend=did_you_mean(format_name, _RENDERERS)
        )
    module, _, function = _RENDERERS[format_name].partition(":")
    rendered = getattr(import_module(module), function)(document)
    return rendered if isinstance(rendered, bytes) else rendered.encode()
