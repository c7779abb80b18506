"""Sections of a page that are made by a command: between two comments that carry the section's name."""

from collections.abc import Iterable
from pathlib import Path


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Markdown."""
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def put(page: Path, name: str, text: str) -> None:
    """Replace one section of a page.

    Raises:
        SystemExit: the page has no such section.
    """
    content = page.read_text(encoding="utf-8")
    first, last = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    if content.count(first) != 1 or content.count(last) != 1:
        raise SystemExit(f"{page} has no section {name}")
    before, _, rest = content.partition(first)
    page.write_text(f"{before}{first}{text.strip()}\n{last}{rest.partition(last)[2]}", encoding="utf-8")
