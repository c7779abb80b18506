"""``certify check``: the gate."""

import click

from certify.cli.output import FORMATS, deliver, parse_outputs
from certify.core.progress import progress_shown


@click.command("check")
@click.argument("spec", required=False)
@click.option(
    "--format",
    "format_name",
    envvar="CERTIFY_CHECK_FORMAT",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    help="Format of standard output.",
)
@click.option(
    "--output",
    "outputs",
    envvar="CERTIFY_CHECK_OUTPUT",
    multiple=True,
    metavar="[FORMAT=]FILE",
    help="Also write FILE, the format given or taken from its suffix; repeatable.",
)
@click.option("--quiet", is_flag=True, help="Print nothing on standard output; the exit code says it.")
@click.option("--no-progress", is_flag=True, help="No progress bars.")
def command(spec: str | None, format_name: str, outputs: tuple[str, ...], quiet: bool, no_progress: bool) -> int:  # noqa: FBT001 - click's signature
    """Check the model of SPEC against its policy.

    SPEC defaults to certify.toml, or [tool.certify] in pyproject.toml. The exit code is the verdict: 0 pass, 1 fail,
    2 usage or input, 3 inconclusive, 4 refused.
    """
    files = parse_outputs(outputs)
    from certify.gate.check import check

    with progress_shown(enabled=not no_progress and not quiet):
        result = check(spec)
    deliver(result.report, format_name=format_name, outputs=files, quiet=quiet)
    return result.exit_code
