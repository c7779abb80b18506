"""Options that several commands share."""

from collections.abc import Callable
from typing import Any

import click

from certify.cli.output import FORMATS


def rendering(name: str, output_help: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``--format`` and ``--output`` for the command ``name``, each with its ``CERTIFY_NAME_...`` variable."""
    prefix = f"CERTIFY_{name.upper()}"

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        output = click.option(
            "--output", "outputs", envvar=f"{prefix}_OUTPUT", multiple=True, metavar="[FORMAT=]FILE", help=output_help
        )
        chosen = click.option(
            "--format",
            "format_name",
            envvar=f"{prefix}_FORMAT",
            type=click.Choice(FORMATS),
            default="text",
            show_default=True,
            help="Format of standard output.",
        )
        return chosen(output(function))

    return decorate
