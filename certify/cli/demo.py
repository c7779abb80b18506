"""``certify demo``: the whole story on real data."""

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from certify.gate.check import CheckResult
    from certify.reports.schema import CheckEntry


@click.command("demo")
@click.option(
    "--out",
    default="certify-demo",
    show_default=True,
    metavar="DIR",
    help="Folder for data, specs and reports.",
)
def command(out: str) -> int:
    """The whole story on real data: train, receive a request, unlearn, check, report.

    Uses health insurance records that ship with statsmodels. Leaves specs that `certify check` accepts as they are.
    """
    click.echo("certify demo: the release gate for machine unlearning, on real people's data\n")
    from certify.core.files import make_folder
    from certify.gate.showcase import FORGOTTEN, STORIES, load_records, write_story

    folder = make_folder(Path(out))
    records = load_records()
    click.echo(
        f"1. Data      {len(records):,} health insurance records (RAND experiment, public domain, ships with statsmodels);"
    )
    click.echo(f"             {len(records.train):,} to train on, {len(records.test):,} to test on.")
    homes = {story: write_story(folder, records, story) for story in STORIES}
    click.echo("2. Models    " + "; ".join(f"{story.title} ({story.loss})" for story in STORIES) + ".")
    click.echo(f"3. Request   {FORGOTTEN} people ask to be erased.")
    for story in STORIES:
        _unlearn(story.folder, homes[story][0])
    good = [_check(story.folder, homes[story][0], "certify.toml", "report") for story in STORIES]
    click.echo("\n6. Control   the same check on the unchanged models, which must fail:")
    bad = [_check(story.folder, homes[story][0], "unchanged.toml", "unchanged-report") for story in STORIES]
    _next_steps(folder, homes[STORIES[0]][0], [kept for _, kept in homes.values() if kept is not None])
    return 0 if all(result.exit_code == 0 for result in good) and all(result.exit_code == 1 for result in bad) else 1


def _unlearn(name: str, home: Path) -> None:
    from certify.gate.unlearn import unlearn

    result, _ = unlearn(home / "certify.toml", "newton", {}, force=True)
    number = "4. Unlearn  " if name == "any-visit" else "            "
    click.echo(f"{number} {name:<12} one Newton step on the retained records: {result.evidence.seconds * 1000:.0f} ms")
    if name != "any-visit":
        click.echo("\n5. Check     certify check, before the release:")


def _check(name: str, home: Path, spec: str, report: str) -> "CheckResult":
    from certify.core.files import write_files
    from certify.gate.check import check
    from certify.reports.formats import render

    result = check(home / spec)
    write_files(
        {
            home / f"{report}.html": render(result.report, "html"),
            home / f"{report.replace('report', 'certificate')}.json": render(result.report, "json"),
        }
    )
    click.echo(f"             {name:<12} {result.verdict.value.upper()} (exit {result.exit_code})  {_headline(result)}")
    failed = [entry for entry in result.report.checks if entry.remedy]
    if failed:
        click.echo(_indented(f"why: {failed[-1].remedy}"))
    return result


def _indented(text: str) -> str:
    indent = " " * 26
    return textwrap.fill(
        text, width=100, initial_indent=indent, subsequent_indent=indent + " " * 5, break_on_hyphens=False
    )


def _headline(result: "CheckResult") -> str:
    privacy: CheckEntry = next(entry for entry in result.report.checks if entry.id == "privacy")
    return privacy.summary


def _next_steps(folder: Path, home: Path, kept: list[Path]) -> None:
    for path in kept:
        click.echo(f"\nYour edited spec of an earlier run was kept as {path}.")
    click.echo(f"\nReports      {home / 'report.html'}   (open it in a browser; it needs no network)")
    click.echo(f"Your turn    cd {home} && certify check     then edit certify.toml and check again;")
    click.echo(f"             certify release draws the noise. All files are under {folder}")
