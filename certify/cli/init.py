"""``certify init``: a commented spec to start from."""

from importlib.resources import files
from pathlib import Path

import click

from certify.core.errors import InputError
from certify.core.files import make_folder, write_file

_TEMPLATES = {"glm": ("certify.toml", "check"), "torch": ("network.toml", "audit")}


@click.command("init")
@click.argument("folder", required=False, default=".")
@click.option(
    "--kind",
    type=click.Choice(tuple(_TEMPLATES)),
    default="glm",
    show_default=True,
    help="glm: a linear model, certified; torch: a network, audited.",
)
def command(folder: str, kind: str) -> int:
    """Write a commented certify.toml into FOLDER (default: here). An existing one is never overwritten."""
    template, then = _TEMPLATES[kind]
    target = make_folder(Path(folder)) / "certify.toml"
    if target.exists():
        raise InputError("is already there", where=str(target), mend="edit it, or remove it first")
    write_file(target, files("certify.gate").joinpath("templates", template).read_bytes())
    click.echo(f"wrote {target}: name your model and data in it, then run `certify {then}`", err=True)
    return 0
