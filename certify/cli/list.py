"""``certify list``: what is built in, what it needs and what it guarantees."""

from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click

_INDENT = " " * 25
_TOPICS = ("unlearners", "losses", "formats")


@click.command("list")
@click.argument("topic", required=False, type=click.Choice(_TOPICS), metavar="[TOPIC]")
def command(topic: str | None) -> int:
    """List unlearners, losses and report formats: what each needs, supports and guarantees."""
    shown = (topic,) if topic else _TOPICS
    blocks = [{"unlearners": _unlearners, "losses": _losses, "formats": _formats}[name]() for name in shown]
    click.echo("\n\n".join(blocks))
    return 0


def _unlearners() -> str:
    from certify import unlearners

    lines = ["Unlearners (`certify unlearn --method NAME`)"]
    for name in unlearners.names():
        method = unlearners.get(name)
        kinds = " and ".join({"convex": "linear models", "network": "torch models"}[kind] for kind in method.kinds)
        knobs = ", ".join(f"{knob.name}={knob.default}{_range(method, knob.name)}" for knob in fields(method)) or "none"
        lines += [
            f"  {name:<22} {method.summary}",
            f"{_INDENT}for {kinds}; needs {method.needs}; claims: {method.claim}",
            f"{_INDENT}knobs: {knobs}",
            f"{_INDENT}{method.reference}",
        ]
    return "\n".join(lines)


def _range(method: type[Any], name: str) -> str:
    """What a knob's annotation allows, in brackets."""
    hint = get_type_hints(method, include_extras=True)[name]
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    parts: list[str] = []
    for part in (hint, *get_args(hint)):
        if get_origin(part) is Literal:
            parts += [" | ".join(str(value) for value in get_args(part))]
        for item in getattr(part, "__metadata__", ()):
            parts += [
                f"{signs[type(rule).__name__.lower()]} {getattr(rule, type(rule).__name__.lower())}"
                for rule in getattr(item, "metadata", ())
                if type(rule).__name__.lower() in signs
            ]
    return f" ({', '.join(dict.fromkeys(parts))})" if parts else ""


def _losses() -> str:
    from certify.convex.losses import LOSSES, TwoClassLoss

    lines = ["Losses (`[objective] loss`); constants: sup |l'|, sup l'', sup |l'''|, R with |l'''| <= R l''"]
    for loss in LOSSES.values():
        c = loss.constants
        numbers = ", ".join(
            f"{value:.4g}" for value in (c.lipschitz, c.smoothness, c.hessian_lipschitz, c.self_concordance)
        )
        lines += [
            f"  {loss.name:<15} {loss.formula}",
            f"                  targets: {loss.targets}; constants: {numbers}; guarantee: certified",
        ]
        if loss.smoothing_is is not None:
            lines.append(f"                  needs smoothing: {loss.smoothing_is}; shown for 1")
    heads = ", ".join(loss.name for loss in LOSSES.values() if isinstance(loss, TwoClassLoss))
    lines.append(f"  one_vs_rest = true: K classes, one problem each, certified jointly ({heads})")
    return "\n".join(lines)


def _formats() -> str:
    from certify.cli.output import FORMATS

    return "Report formats (`--format`, `--output FORMAT=FILE`)\n  " + ", ".join(FORMATS)
