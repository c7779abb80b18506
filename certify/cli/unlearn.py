"""``certify unlearn``: run an unlearner on the spec's model, write the weights and the evidence."""

import sys
import warnings
from contextlib import redirect_stdout

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
@click.option(
    "--seed",
    type=click.IntRange(min=0, max=2**53),
    default=0,
    show_default=True,
    help="Root of the random streams.",
)
@click.option(
    "--device", metavar="NAME", help="For torch models, instead of [compute] device: cpu, cuda, cuda:1, auto."
)
@click.option(
    "--prepare",
    "prepares",
    is_flag=True,
    help="Forget nothing yet: train on all records what the method goes on from (sisa), and write release.original.",
)
@click.option("--restart", is_flag=True, help="Throw away what a run that was killed has left, instead of going on.")
@click.option("--force", is_flag=True, help="Overwrite weights that are already there.")
@click.option("--no-progress", is_flag=True, help="No progress bars.")
def command(
    spec: str | None,
    method: str,
    settings: tuple[str, ...],
    seed: int,
    device: str | None,
    prepares: bool,  # noqa: FBT001
    restart: bool,  # noqa: FBT001 - click's signature
    force: bool,  # noqa: FBT001
    no_progress: bool,  # noqa: FBT001
) -> int:
    """Unlearn the forget set of SPEC with a method, and write the weights named by release.model and their evidence.

    Starts from release.original. `--method sisa` goes on from an ensemble of its own there, which `--prepare` trains. Nothing is claimed about the result: `certify check` measures it. A run on a torch model
    that was killed goes on where it was when the same command is given again.
    """
    knobs = _parse(settings)
    from certify.gate.unlearn import prepare, unlearn

    # what the user's own functions print must not stand where results do
    with warnings.catch_warnings(), redirect_stdout(sys.stderr), progress_shown(enabled=not no_progress):
        warnings.filterwarnings("ignore", "There is a performance drop")  # torch's wish for issues of its own
        if prepares:
            ready, path = prepare(spec, method, knobs, force=force, seed=seed, device=device, restart=restart)
            click.echo(
                f"{method}: {ready.shards} members in {ready.slices} stages on {len(ready)} records,"
                f" {ready.prepared} gradients; wrote {path}",
                err=True,
            )
            if seed == 0:
                click.echo("certify: warning: its seed is 0, and should be a secret: give --seed", err=True)
            click.echo(f"it is secret; a request goes on from it: `certify unlearn --method {method}`", err=True)
            return 0
        result, path = unlearn(spec, method, knobs, force=force, seed=seed, device=device, restart=restart)
    evidence = result.evidence
    counts = ", ".join(f"{count} {kind}" for kind, count in evidence.counts.items() if count) or "no evaluations"
    click.echo(f"{method}: {counts}; weights moved by {evidence.moved:.3g}; wrote {path}", err=True)
    if evidence.reads:
        reads = ", ".join(f"{part.records} {which}" for which, part in evidence.reads.items())
        tensors = sum(change.changed > 0 for change in evidence.tensors)
        click.echo(f"records read: {reads}; {tensors} of {len(evidence.tensors)} tensors changed", err=True)
    if result.reason:
        click.echo(f"claims {result.claim}: {result.reason}", err=True)
    for warning in evidence.warnings:
        click.echo(f"certify: warning: {warning}", err=True)
    if evidence.tensors:
        click.echo("now audit it: `certify check`, with [audit] in the spec", err=True)
    else:
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
