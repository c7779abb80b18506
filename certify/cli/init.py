"""``certify init``: a commented spec to start from."""

from importlib.resources import files
from pathlib import Path

import click

from certify.core.errors import InputError
from certify.core.files import make_folder, write_file


@click.command("init")
@click.argument("folder", required=False, default=".")
def command(folder: str) -> int:
    """Write a commented certify.toml into FOLDER (default: here). An existing one is never overwritten."""
    target = make_folder(Path(folder)) / "certify.toml"
    if target.exists():
        raise InputError("is already there", where=str(target), mend="edit it, or remove it first")
    write_file(target, files("certify.gate").joinpath("templates", "certify.toml").read_bytes())
    click.echo(f"wrote {target}: name your model and data in it, then run `certify check`", err=True)
    return 0
