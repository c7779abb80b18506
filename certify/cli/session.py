"""``certify session``: a stream of requests on one linear model, each certified."""

import json
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from certify.gate.session import Session, Step


@click.group("session")
def command() -> None:
    """Delete, correct and add records, one request after the other; each ends in a certified state or changes nothing."""


_SPEC = click.argument("spec", required=False)
_FILE = click.argument("file", type=click.Path(path_type=Path))
_FORMAT = click.option(
    "--format",
    "format_name",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="Format of standard output.",
)


@command.command("start")
@_SPEC
@_FORMAT
def start(spec: str | None, format_name: str) -> int:
    """Begin a session from the original model of SPEC and all of its records.

    Whom data.forget already names is deleted at once, as the session's first request.
    """
    from certify.gate.session.project import Project

    with Project.of(spec).start() as session:
        begun, *requests = session.log
    if format_name == "json":
        click.echo(json.dumps(_plain(begun) | {"requests": list(map(_plain, requests))}, indent=2))
        return 0
    for step in (begun, *requests):
        click.echo(_line(step))
    return 0


def _request(kind: str, spec: str | None, file: Path, format_name: str) -> int:
    from certify.gate.session.project import Project

    _show_step(Project.of(spec).perform(kind, file), format_name)
    return 0


@command.command("delete")
@_FILE
@_SPEC
@_FORMAT
def delete(file: Path, spec: str | None, format_name: str) -> int:
    """Delete the records whose ids stand in FILE, one a line. They can never come back."""
    return _request("delete", spec, file, format_name)


@command.command("correct")
@_FILE
@_SPEC
@_FORMAT
def correct(file: Path, spec: str | None, format_name: str) -> int:
    """Replace features and targets of the records in FILE, a data file (X, y, ids) like the training data."""
    return _request("correct", spec, file, format_name)


@command.command("add")
@_FILE
@_SPEC
@_FORMAT
def add(file: Path, spec: str | None, format_name: str) -> int:
    """Add the records in FILE, a data file (X, y, ids) like the training data."""
    return _request("add", spec, file, format_name)


@command.command("refresh")
@_SPEC
@_FORMAT
def refresh(spec: str | None, format_name: str) -> int:
    """Make the session's factor anew from the retained records: nothing of deleted ones is left in it."""
    from certify.gate.session.project import Project

    with Project.of(spec).open() as session:
        _show_step(session.refresh(), format_name)
    return 0


@command.command("status")
@_SPEC
@_FORMAT
def status(spec: str | None, format_name: str) -> int:
    """Verify the state, certify its weights again, and list every request."""
    from certify.gate.session.project import Project

    with Project.of(spec).open() as session:
        shown = _status(session)
        lines = [_line(step) for step in session.log]
    if format_name == "json":
        click.echo(json.dumps(shown, indent=2))
        return 0
    for line in lines:
        click.echo(line)
    click.echo(_summary(shown))
    return 0


@command.command("export")
@_SPEC
@click.option("--force", is_flag=True, help="Overwrite files that are already there.")
@_FORMAT
def export(spec: str | None, force: bool, format_name: str) -> int:  # noqa: FBT001 - click's signature
    """Write release.model, data.forget and, where [session] data names another file, data.path: what `certify check` reads."""
    from certify.core.rounding import format_upper
    from certify.gate.session.project import Project

    done = Project.of(spec).export(force=force)
    for warning in done.warnings:
        click.echo(f"certify: warning: {warning}", err=True)
    if format_name == "json":
        shown = {"files": list(map(str, done.files)), "distance": done.distance, "forgotten": done.forgotten}
        click.echo(json.dumps(shown, indent=2))
        return 0
    click.echo(f"wrote {', '.join(map(str, done.files))}")
    click.echo(
        f"certified distance {format_upper(done.distance)}, {done.forgotten:,} forgotten; now measure it: `certify check`"
    )
    return 0


def _plain(step: "Step") -> dict[str, Any]:
    """A step as JSON knows it."""
    return asdict(step) | {"contraction": step.contraction if isfinite(step.contraction) else None}


def _show_step(step: "Step", format_name: str) -> None:
    click.echo(json.dumps(_plain(step), indent=2) if format_name == "json" else _line(step))


def _line(step: "Step") -> str:
    from certify.core.rounding import format_upper

    what = {"start": "begun with", "refresh": "refreshed", "delete": "deleted", "correct": "corrected", "add": "added"}
    count = "" if step.kind == "refresh" else f" {step.records:,}"
    work = f"{step.steps} steps" + (", refactored" if step.refactored else "")
    return (
        f"{step.number:>4}  {what[step.kind]}{count}; {step.retained:,} retained; {work}; "
        f"certified distance {format_upper(step.distance)}"
    )


def _status(session: "Session") -> dict[str, Any]:
    return {
        "requests": [_plain(step) for step in session.log],
        "retained": session.records.count,
        "distance": float(session.bound.distance),
        "tolerance": session.tolerance,
        "deleted": sum(step.records for step in session.log if step.kind == "delete"),
        "traces": session.traces,
    }


def _summary(shown: dict[str, Any]) -> str:
    from certify.core.rounding import format_plain, format_upper

    line = (
        f"      certified again: ||w - w*|| <= {format_upper(shown['distance'])}, "
        f"tolerance {format_plain(shown['tolerance'], 3)}; {shown['deleted']:,} deleted in all"
    )
    if shown["traces"]:
        line += f"\n      the state still holds traces of {shown['traces']:,} of them in its factor: `certify session refresh` removes them"
    return line
