"""``certify ledger``: list, show, verify, export."""

import json

import click


@click.group("ledger")
def command() -> None:
    """What was released, and what it cost."""


_SPEC = click.argument("spec", required=False)


@command.command("list")
@_SPEC
def list_entries(spec: str | None) -> int:
    """One line an entry: sequence, time, what, charged mu."""
    from certify.gate.books import summary

    for line in summary(spec):
        click.echo(line)
    return 0


@command.command("show")
@click.argument("sequence", type=int)
@_SPEC
def show(sequence: int, spec: str | None) -> int:
    """One entry as JSON."""
    from certify.gate.books import entry_of

    click.echo(json.dumps(entry_of(spec, sequence), indent=2))
    return 0


@command.command("verify")
@_SPEC
def verify(spec: str | None) -> int:
    """Walk the chain, compare it with the key file, and the released files with their digests."""
    from certify.gate.books import verify_books

    for line in verify_books(spec):
        click.echo(line)
    return 0


@command.command("export")
@_SPEC
def export(spec: str | None) -> int:
    """All entries as JSON lines."""
    from certify.gate.books import exported

    for entry in exported(spec):
        click.echo(json.dumps(entry, sort_keys=True))
    return 0
