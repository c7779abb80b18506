"""``certify release``: check, draw the noise, write the released weights and the certificate, book it."""

import click

from certify.cli.options import rendering
from certify.cli.output import deliver, parse_outputs, rehearse
from certify.core.errors import ConfigurationError
from certify.core.progress import progress_shown


@click.command("release")
@click.argument("spec", required=False)
@rendering("release", "Also write FILE; repeatable.")
@click.option("--quiet", is_flag=True, help="Print nothing on standard output.")
@click.option("--seed", hidden=True, default=None)
def command(spec: str | None, format_name: str, outputs: tuple[str, ...], quiet: bool, seed: str | None) -> int:  # noqa: FBT001
    """Check the model of SPEC and, when it passes, release it.

    Draws the policy's noise once, from the operating system's entropy, writes released-NNNN and certificate-NNNN.json beside the
    model, and books the release in the ledger: all of it or nothing.
    """
    if seed is not None:
        raise ConfigurationError(
            "noise that carries a guarantee cannot be seeded",
            where="--seed",
            mend="leave it out: whoever knows the seed can subtract the noise",
        )
    files = parse_outputs(outputs)
    from certify.gate.release import release

    with progress_shown(enabled=not quiet):
        done = release(spec, lambda report: rehearse(report, format_name=format_name, outputs=files, quiet=quiet))
    if done.weights is None:
        click.echo("certify: nothing was released", err=True)
    else:
        # said before anything else can fail: the release is booked, whatever becomes of the reports
        click.echo(f"released {done.weights}; certificate {done.certificate}", err=True)
    deliver(done.result.report, format_name=format_name, outputs=files, quiet=quiet)
    return done.result.exit_code
