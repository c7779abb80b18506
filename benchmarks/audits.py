"""Every table of docs/audit_figures.md, docs/audit_statistics.md and docs/broken_metrics.md, by one command.

    .venv/bin/python benchmarks/audits.py FOLDER [--quick]

Runs the benchmarks of audits one after the other, each with one thread, and leaves what each printed in FOLDER, a Markdown file a benchmark; nothing in docs/ is
touched. One that fails is named at the end and the others run all the same. An hour or so on a quiet core; ``--quick`` draws so little that the figures are
worth nothing and shows in some minutes that everything still runs.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent

TABLES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "audit_counts": ((), ("--runs", "2", "--only", "counts,null")),
    "audit_one_model": ((), ("--runs", "2", "--only", "accuracy,stopping")),
    "audit_table": ((), ("--models", "32", "--only", "retrain,identity")),
    "audit_validity": ((), ("--audits", "20", "--only", "mechanisms")),
    "broken_metrics": ((), ("--models", "16")),
    "mutated_certifiers": ((), ("--seeds", "1")),
    "audit_scoring": ((), ("--models", "64", "--records", "2000")),
    "audit_fleets": ((), ("--models", "8", "--repeats", "1", "--epochs", "1")),
    "audit_speed": ((), ("--models", "16", "--repeats", "1", "--looped", "2")),
}
"""Name of a benchmark, and its arguments: in full, and quick."""


def run(name: str, arguments: tuple[str, ...], folder: Path) -> int:
    """Run one benchmark; its exit code."""
    page = ("--output", str(folder / "broken_metrics.page.md")) if name == "broken_metrics" else ()
    command = [sys.executable, str(HERE / f"{name}.py"), *arguments, *page]
    with (folder / f"{name}.md").open("w", encoding="utf-8") as output:
        return subprocess.run(
            command, stdout=output, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
        ).returncode


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    failed = []
    for name, arguments in TABLES.items():
        begun = time.monotonic()
        code = run(name, arguments[given.quick], given.folder)
        print(f"{name}: exit {code}, {time.monotonic() - begun:.0f} s", flush=True)
        failed += [name] if code else []
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
