"""``certify audit``: the empirical attacks alone."""

import sys
from contextlib import redirect_stdout

import click

from certify.cli.options import rendering
from certify.cli.output import deliver, parse_outputs
from certify.core.progress import progress_shown


@click.command("audit")
@click.argument("spec", required=False)
@rendering("audit", "Also write FILE, the format given or taken from its suffix; repeatable.")
@click.option("--forecast", is_flag=True, help="Say what the audit will cost, and train nothing.")
@click.option("--models", type=click.IntRange(min=2), help="Shadow models, instead of [audit] models.")
@click.option("--device", metavar="NAME", help="Instead of [compute] device: cpu, cuda, cuda:1, auto.")
@click.option("--restart", is_flag=True, help="Train all shadow models anew instead of taking those of an earlier run.")
@click.option("--quiet", is_flag=True, help="Print nothing on standard output; the exit code says it.")
@click.option("--no-progress", is_flag=True, help="No progress bars.")
def command(
    spec: str | None,
    format_name: str,
    outputs: tuple[str, ...],
    forecast: bool,  # noqa: FBT001 - click's signature
    models: int | None,
    device: str | None,
    restart: bool,  # noqa: FBT001
    quiet: bool,  # noqa: FBT001
    no_progress: bool,  # noqa: FBT001
) -> int:
    """Run the attacks that [audit] in SPEC names, and judge what they find by its limits.

    Models are trained, unlearned and retrained for it (shadow models); each attack is also tried on retrained models, where it must
    find nothing, and on the original, which it must catch. Finished models are kept (`[audit] cache`): an audit that was stopped goes on.
    `--forecast` says beforehand what it costs. The exit code is the verdict: 0 pass, 1 fail, 3 inconclusive, 4 refused.
    """
    files = parse_outputs(outputs)
    from certify.gate.audits.run import audit, forecast_audit

    # what the user's own functions print must not stand where results do
    with progress_shown(enabled=not no_progress and not quiet), redirect_stdout(sys.stderr):
        if forecast:
            told = forecast_audit(spec, models=models, device=device)
        else:
            result = audit(
                spec, models=models, device=device, restart=restart, tell=lambda line: click.echo(line, err=True)
            )
    if forecast:
        click.echo(told)
        return 0
    deliver(result.report, format_name=format_name, outputs=files, quiet=quiet)
    return result.exit_code
