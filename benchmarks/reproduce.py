"""The tables of the field on small data beside the published ones: writes docs/reproduction.md.

    .venv/bin/python benchmarks/reproduce.py [--seeds 3] [--keep FOLDER] [--output docs/reproduction.md]

Half an hour to an hour on two cores. With --keep, measured rows are kept in the folder and not measured again. Without Fashion-MNIST
(Debian's dataset-fashion-mnist) the digits of scikit-learn stand in for it, and the page says so. On a machine with a GPU the fleets
can be run there: benchmarks/fleets.py.
"""

import argparse
import json
import platform
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from string import Template
from typing import Any

import torch

HERE = Path(__file__).resolve().parent
TEMPLATE = HERE / "reproduction.md.template"


def kept(folder: Path | None, name: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was measured before under this name, or what is measured now."""
    path = None if folder is None else folder / f"{name}.json"
    if path is not None and path.exists():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    found = measure()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def ranking_part(seeds: int, records: int) -> dict[str, Any]:
    """The ranking on mislabelled records."""
    import ranking

    title, rows, fixed = ranking.ranking(seeds, records)
    return {"title": title, "rows": [asdict(row) for row in rows], "fixed": fixed}


def cubic_part(seeds: int, records: int) -> dict[str, Any]:
    """Newton, damped and cubic steps."""
    import cubic

    title, rows = cubic.cubic(seeds, records)
    return {"title": title, "rows": [asdict(row) for row in rows]}


def minmax_part(seeds: int) -> dict[str, Any]:
    """Natural against plain gradients in min/max."""
    import minmax

    return {"table": minmax.table(seeds)}


def muso_part() -> dict[str, Any]:
    """Relabelling of a linear model."""
    from muso_linear import muso_linear_table

    rows = [asdict(row) for row in muso_linear_table()]
    names = list(dict.fromkeys(row["method"] for row in rows))
    requests = list(dict.fromkeys(row["request"] for row in rows))
    lines = [
        f"| method | {' | '.join(f'{request}: TA, FA, delta' for request in requests)} |",
        "|---|" + "---|" * len(requests),
    ]
    for name in names:
        cells = [
            next(row for row in rows if (row["method"], row["request"]) == (name, request)) for request in requests
        ]
        lines.append(
            f"| {name} | "
            + " | ".join(f"{c['test_accuracy']:.1f}, {c['forget_accuracy']:.1f}, {c['delta']:.1e}" for c in cells)
            + " |"
        )
    return {"table": "\n".join(lines)}


def settings_of(fixed: dict[str, dict[str, Any]]) -> str:
    """The settings as a list."""
    return "; ".join(
        f"{name}: {', '.join(f'{knob} {value}' for knob, value in knobs.items()) or 'defaults'}"
        for name, knobs in fixed.items()
    )


def page(seeds: int, records: int, folder: Path | None) -> str:
    """The page."""
    import cubic
    import ranking

    first = kept(folder, "ranking", lambda: ranking_part(seeds, records))
    second = kept(folder, "cubic", lambda: cubic_part(seeds, min(records, 1200)))
    third = kept(folder, "minmax", lambda: minmax_part(seeds))
    fourth = kept(folder, "muso", muso_part)
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        machine=f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        ranking_title=first["title"],
        ranking=ranking.table([ranking.Row(**row) for row in first["rows"]]),
        settings=settings_of(first["fixed"]),
        cubic_title=second["title"],
        cubic=cubic.table([cubic.Row(**row) for row in second["rows"]]),
        minmax=third["table"],
        muso=fourth["table"],
    )


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--records", type=int, default=4000)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--output", type=Path, default=HERE.parent / "docs" / "reproduction.md")
    arguments = parser.parse_args()
    arguments.output.write_text(page(arguments.seeds, arguments.records, arguments.keep), encoding="utf-8")
    print(f"wrote {arguments.output}")


if __name__ == "__main__":
    main()
