"""``certify list``: what is built in, what it needs and what it guarantees."""

import json
from typing import Any

import click

from certify.core.errors import ConfigurationError

_KINDS = {"convex": "linear models", "network": "networks"}
_TOPICS = ("unlearners", "attacks", "losses", "formats")


@click.command("list")
@click.argument("topic", required=False, type=click.Choice(_TOPICS), metavar="[TOPIC]")
@click.argument("name", required=False)
@click.option(
    "--format", "form", type=click.Choice(("text", "json")), default="text", show_default=True, help="How to print it."
)
def command(topic: str | None, name: str | None, form: str) -> int:
    """List unlearners, attacks, losses and report formats: what each needs, supports and guarantees.

    `certify list unlearners NAME` tells all about one method: every knob with its default, range and meaning.
    """
    if name is not None and topic != "unlearners":
        raise ConfigurationError(
            f"{topic} have no pages of their own", where="NAME", mend=f"use `certify list {topic}` alone"
        )
    shown = (topic,) if topic else _TOPICS
    if form == "json":
        makers = {
            "unlearners": lambda: _facts(name),
            "attacks": _attacks_facts,
            "losses": _losses_facts,
            "formats": _formats_facts,
        }
        click.echo(json.dumps({one: makers[one]() for one in shown}, indent=2, ensure_ascii=True))
        return 0
    texts = {"unlearners": lambda: _unlearners(name), "attacks": _attacks, "losses": _losses, "formats": _formats}
    blocks = [texts[one]() for one in shown]
    click.echo("\n\n".join(blocks))
    return 0


def _chosen(name: str | None) -> list[Any]:
    """The method of that name, or all."""
    from certify import unlearners

    if name is None:
        return [method for one in unlearners.names() if (method := _loaded(one)) is not None]
    try:
        return [unlearners.get(name)]
    except ConfigurationError as error:
        where = "NAME" if error.where == "--method" else error.where
        raise ConfigurationError(error.what, where=where, mend=error.mend) from None


def _loaded(name: str) -> Any:
    """The method, or None and a warning: a stranger's broken package must not hide all the others."""
    from certify import unlearners

    try:
        return unlearners.get(name)
    except ConfigurationError as error:
        click.echo(f"certify: warning: {error}", err=True)
        return None


def _unlearners(name: str | None) -> str:
    from certify.cli.described import full, short

    if name is not None:
        return full(_chosen(name)[0])
    lines = ["Unlearners (`certify unlearn --method NAME`); `certify list unlearners NAME` explains one's knobs"]
    for method in _chosen(None):
        lines += short(method)
    return "\n".join(lines)


def _facts(name: str | None) -> list[dict[str, Any]]:
    from certify.cli.described import facts

    return [facts(method) for method in _chosen(name)]


def _attacks() -> str:
    from certify.attacks.registry import ATTACKS

    lines = ["Attacks (`[audit] attacks`); all are empirical: they find leaks, and never show that there is none"]
    for attack in ATTACKS.values():
        lines += [
            f"  {attack.name:<18} {attack.summary}",
            f"  {'':<18} for: {' and '.join(_KINDS[kind] for kind in attack.kinds)}; needs: {attack.needs}; source: {attack.reference}",
        ]
    return "\n".join(lines)


def _attacks_facts() -> list[dict[str, Any]]:
    from dataclasses import asdict

    from certify.attacks.registry import ATTACKS

    return [asdict(attack) for attack in ATTACKS.values()]


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


def _losses_facts() -> list[dict[str, Any]]:
    from certify.convex.losses import LOSSES

    return [
        {"name": loss.name, "formula": loss.formula, "targets": loss.targets, "smoothing": loss.smoothing_is}
        for loss in LOSSES.values()
    ]


def _formats_facts() -> list[str]:
    from certify.cli.output import FORMATS

    return list(FORMATS)


def _formats() -> str:
    from certify.cli.output import FORMATS

    return "Report formats (`--format`, `--output FORMAT=FILE`)\n  " + ", ".join(FORMATS)
