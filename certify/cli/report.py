"""``certify report``: render a certificate again."""

from pathlib import Path

import click

from certify.cli.output import FORMATS, deliver, parse_outputs


@click.command("report")
@click.argument("certificate")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    help="Format of standard output.",
)
@click.option(
    "--output",
    "outputs",
    multiple=True,
    metavar="[FORMAT=]FILE",
    help="Write FILE instead of standard output; repeatable.",
)
def command(certificate: str, format_name: str, outputs: tuple[str, ...]) -> int:
    """Render CERTIFICATE, a document written by `certify check --output json=FILE`, in another format.

    Nothing is computed again and nothing is verified: the exit code is 0 when the page was made, whatever the verdict on
    it is.
    """
    files = parse_outputs(outputs)
    from certify.reports.schema import read_document

    document = read_document(Path(certificate))
    deliver(document, format_name=format_name, outputs=files, quiet=bool(files), keep=(Path(certificate),))
    return 0
