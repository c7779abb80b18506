"""``certify report``: render a certificate again."""

from pathlib import Path

import click

from certify.cli.options import rendering
from certify.cli.output import deliver, parse_outputs


@click.command("report")
@click.argument("certificate")
@rendering("report", "Write FILE instead of standard output; repeatable.")
def command(certificate: str, format_name: str, outputs: tuple[str, ...]) -> int:
    """Render CERTIFICATE, a document written by `certify check --output json=FILE`, in another format.

    Nothing is computed again and nothing is verified: the exit code is 0 when the page was made, whatever the verdict on
    it is.
    """
    files = parse_outputs(outputs)
    from certify.core.errors import InputError
    from certify.reports.schema import contradicts_itself, read_document

    document = read_document(Path(certificate))
    if contradicts_itself(document):
        raise InputError(
            "its verdict, exit code and checks contradict each other: it was edited",
            where=certificate,
            mend="`certify verify` tells what was changed",
        )
    deliver(document, format_name=format_name, outputs=files, quiet=bool(files), keep=(Path(certificate),))
    return 0
