"""The document itself."""

from certify.reports.schema import Document


def render_json(document: Document) -> str:
    """JSON, two spaces deep; infinities are strings."""
    return document.to_json()
