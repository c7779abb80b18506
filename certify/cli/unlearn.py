"""``certify unlearn``: run an unlearner on the spec's model, write the weights and the evidence."""

import click

from certify.core.errors import ConfigurationError
from certify.core.progress import progress_shown


@click.command("unlearn")
@click.argument("spec", required=False)
@click.option("--method", required=True, metavar="NAME", help="One of `certify list unlearners`.")
@click.option(
    "--set",
    "settings",
    envvar="CERTIFY_UNLEARN_SET",
    multiple=True,
    metavar="KNOB=VALUE",
    help="A setting of the method; repeatable.",
)
@click.option("--force", is_flag=True, help="Overwrite weights that are already there.")
@click.option("--no-progress", is_flag=True, help="No progress bars.")
def command(spec: str | None, method: str, settings: tuple[str, ...], force: bool, no_progress: bool) -> int:  # noqa: FBT001 - click's signature
    """Unlearn the forget set of SPEC with a method, and write the weights named by release.model and their evidence.

    Starts from release.original. Nothing is claimed about the result: `certify check` measures it.
    """
    knobs = _parse(settings)
    from certify.gate.unlearn import unlearn

    with progress_shown(enabled=not no_progress):
        result, path = unlearn(spec, method, knobs, force=force)
    evidence = result.evidence
    counts = ", ".join(f"{count} {kind}" for kind, count in evidence.counts.items())
    click.echo(f"{method}: {counts}; weights moved by {evidence.moved:.3g}; wrote {path}", err=True)
    for warning in evidence.warnings:
        click.echo(f"certify: warning: {warning}", err=True)
    click.echo("now measure it: `certify check`", err=True)
    return 0


def _parse(settings: tuple[str, ...]) -> dict[str, str]:
    knobs: dict[str, str] = {}
    for setting in settings:
        knob, sign, value = setting.partition("=")
        if not sign or not knob:
            raise ConfigurationError(f"{setting!r} is not KNOB=VALUE", where="--set", mend="for example --set steps=2")
        knobs[knob.strip()] = value.strip()
    return knobs
