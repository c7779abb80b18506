"""``certify check``: the gate."""

import sys
from contextlib import redirect_stdout

import click

from certify.cli.options import rendering
from certify.cli.output import deliver, parse_outputs
from certify.core.progress import progress_shown


@click.command("check")
@click.argument("spec", required=False)
@rendering("check", "Also write FILE, the format given or taken from its suffix; repeatable.")
@click.option("--quiet", is_flag=True, help="Print nothing on standard output; the exit code says it.")
@click.option("--no-progress", is_flag=True, help="No progress bars.")
def command(spec: str | None, format_name: str, outputs: tuple[str, ...], quiet: bool, no_progress: bool) -> int:  # noqa: FBT001 - click's signature
    """Check the model of SPEC against its policy: linear models by a certificate, networks by the attacks of [audit].

    SPEC defaults to certify.toml, or [tool.certify] in pyproject.toml. The exit code is the verdict: 0 pass, 1 fail,
    2 usage or input, 3 inconclusive, 4 refused.
    """
    files = parse_outputs(outputs)
    from certify.gate.check import check_loaded
    from certify.gate.load import load_spec

    # what the user's own functions print, where a network is audited, must not stand where results do
    with progress_shown(enabled=not no_progress and not quiet), redirect_stdout(sys.stderr):
        result = check_loaded(load_spec(spec), tell=lambda line: click.echo(line, err=True))
    deliver(result.report, format_name=format_name, outputs=files, quiet=quiet)
    return result.exit_code
