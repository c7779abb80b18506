"""Where documents go: machine output alone on standard output, files written whole or not at all."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from certify.core.errors import ConfigurationError
from certify.core.files import check_writable, write_files
from certify.core.names import did_you_mean

if TYPE_CHECKING:
    from certify.reports.schema import Document

FORMATS = ("text", "json", "markdown", "html", "sarif", "junit", "pdf")
_BINARY = {"pdf"}
_SUFFIXES = {
    ".html": "html",
    ".htm": "html",
    ".md": "markdown",
    ".json": "json",
    ".sarif": "sarif",
    ".xml": "junit",
    ".txt": "text",
    ".pdf": "pdf",
}


def parse_outputs(values: tuple[str, ...]) -> dict[Path, str]:
    """``FORMAT=FILE`` or ``FILE`` (format by suffix), checked before any work is done.

    Raises:
        ConfigurationError: unknown format, the same file twice, or a PDF where nothing prints one.
        InputError: a path that cannot be written.
    """
    outputs: dict[Path, str] = {}
    for value in values:
        head, sign, tail = value.partition("=")
        format_name, name = (head, tail) if sign else (_by_suffix(value), value)
        if format_name not in FORMATS:
            raise ConfigurationError(
                f"unknown format {format_name!r}", where="--output", mend=did_you_mean(format_name, FORMATS)
            )
        path = Path(name)
        if not name:
            raise ConfigurationError(f"{value} names no file", where="--output", mend=f"write {format_name}=FILE")
        check_writable(path)
        if format_name == "pdf":  # said now, not after hours of work
            from certify.reports.pdf import printer

            printer()
        if path.resolve() in {other.resolve() for other in outputs}:
            raise ConfigurationError(f"{name} is given twice", where="--output", mend="give each format its own file")
        outputs[path] = format_name
    return outputs


def _by_suffix(name: str) -> str:
    suffix = Path(name).suffix.lower()
    if suffix not in _SUFFIXES:
        raise ConfigurationError(
            f"no format is known for {name!r}",
            where="--output",
            mend="write FORMAT=FILE, for example html=report.html",
        )
    return _SUFFIXES[suffix]


def use_color() -> bool:
    """Colour on a terminal, unless NO_COLOR says otherwise."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _refuse_overwriting(document: "Document", outputs: list[Path], keep: tuple[Path, ...]) -> None:
    """No report may take the place of what was checked."""
    read = [document.subject.model, document.subject.original, document.request.data, document.request.forget]
    read += [item.data for item in document.utility]
    read += [document.reproduction.spec, document.evidence.file if document.evidence else None]
    keep = (*keep, Path(f"{document.subject.model.path}.evidence.json"))
    protected = {Path(file.path).resolve() for file in read if file is not None} | {path.resolve() for path in keep}
    for path in outputs:
        if path.resolve() in protected:
            raise ConfigurationError(
                "would overwrite what is being checked", where=str(path), mend="write to another file"
            )


def rehearse(document: "Document", *, format_name: str, outputs: dict[Path, str], quiet: bool) -> None:
    """Do all that :func:`deliver` does but the writing, so that it cannot fail for a reason known beforehand."""
    from certify.reports.formats import render

    _refuse_overwriting(document, list(outputs), ())
    for name in {*outputs.values()} | (set() if quiet else {format_name}):
        render(document, name)


def deliver(
    document: "Document", *, format_name: str, outputs: dict[Path, str], quiet: bool, keep: tuple[Path, ...] = ()
) -> None:
    """Render everything first, write the files, then print."""
    from certify.reports.formats import render
    from certify.reports.text import render_text

    if format_name in _BINARY and not quiet and sys.stdout.isatty():
        raise ConfigurationError(
            "a PDF is not for a terminal",
            where="--format",
            mend="write it to a file: --output pdf=report.pdf",
        )
    _refuse_overwriting(document, list(outputs), keep)
    files = {path: render(document, name) for path, name in outputs.items()}
    text = b"" if quiet else render(document, format_name)
    write_files(files)
    if quiet:
        return
    if format_name == "text" and use_color():
        click.echo(render_text(document, color=True), nl=False, color=True)
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(text)
    sys.stdout.flush()
