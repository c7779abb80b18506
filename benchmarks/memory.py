"""A certificate of many records from a memory-mapped file: peak memory, cost against the number of records, cores used.

    .venv/bin/python benchmarks/memory.py [--records 1000000] [--features 100]

Writes a file of float64 (800 MB as it stands; into TMPDIR), and certifies weights on its first quarter, half and whole, each in a process of its own whose
peak memory is compared with that of a process that imports the same modules and stops. Pages of the map are given back, so that
what is counted is what the certificate needs.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from certify.convex.certificate import certify_parameters
from certify.convex.objective import Objective
from certify.convex.problem import bind

REPEATS = 3


def write(folder: Path, records: int, features: int) -> None:
    """Features and labels, drawn in blocks."""
    generator = np.random.default_rng(0)
    X = np.lib.format.open_memmap(folder / "X.npy", mode="w+", dtype=np.float64, shape=(records, features))
    y = np.empty(records)
    direction = generator.normal(size=features) / np.sqrt(features)
    for start in range(0, records, 50_000):
        block = generator.normal(size=(min(50_000, records - start), features))
        X[start : start + len(block)] = block
        y[start : start + len(block)] = generator.uniform(size=len(block)) < 1 / (1 + np.exp(-block @ direction))
    X.flush()
    np.save(folder / "y.npy", y)


def peak() -> int:
    """Peak resident memory of this process, bytes (getrusage would report its parent's, which wrote the file)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def certify(folder: Path, records: int) -> dict[str, float]:
    """What a user does: map the features, bind, certify. Runs in a process of its own."""
    whole = np.load(folder / "X.npy", mmap_mode="r")
    X = np.memmap(folder / "X.npy", np.float64, "r", whole.offset, (records, whole.shape[1]))
    del whole
    problem = bind(Objective("logistic", l2=1e-3 * records), X, np.load(folder / "y.npy")[:records])
    w = np.zeros(problem.shape)
    w = w - certify_parameters(problem, w).newton_step
    seconds, used = [], []
    for _ in range(REPEATS):
        started, cpu = time.perf_counter(), time.process_time()
        bound = certify_parameters(problem, w, propose=lambda gradient: gradient / problem.objective.l2)
        seconds.append(time.perf_counter() - started)
        used.append((time.process_time() - cpu) / seconds[-1])
    return {
        "peak": peak(),
        "seconds": statistics.median(seconds),
        "cores": statistics.median(used),
        "distance": float(bound.distance),
    }


def apart(*arguments: str) -> dict[str, float]:
    """This file in a process of its own."""
    command = [sys.executable, __file__, *arguments]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def main() -> None:
    """Write the file, certify its parts, print one table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--features", type=int, default=100)
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child is not None:
        print(json.dumps(certify(given.folder, given.child) if given.child else {"peak": peak()}))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, given.records, given.features)
        bare = apart("--child", "0", "--folder", name)["peak"]
        print(f"{given.records:,} x {given.features}, {(folder / 'X.npy').stat().st_size / 1e6:,.0f} MB")
        print(
            f"  {'records':>12} {'peak above the interpreter':>28} {'time / whole':>14} {'time a record / whole':>22} {'cores':>6}"
        )
        parts = [given.records // 4, given.records // 2, given.records]
        found = {part: apart("--child", str(part), "--folder", name) for part in parts}
        whole = found[given.records]["seconds"]
        for part, result in found.items():
            share = result["seconds"] / whole
            print(
                f"  {part:>12,} {(result['peak'] - bare) / 1e6:>25,.0f} MB {share:>14.3f} {share * given.records / part:>22.3f} {result['cores']:>6.2f}"
            )


if __name__ == "__main__":
    main()
