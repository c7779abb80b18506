"""Newton steps that explode and cubic steps that cannot: a small convolutional network on Fashion-MNIST, batch and 5 sequential rounds.

    .venv/bin/python benchmarks/cubic.py [--records 1200] [--seeds 3] [--json FILE]

Images are halved (14 x 14) so that the Hessian of the network, some 450 parameters, can be formed and decomposed exactly. A tenth
of the records ("sample") or one class ("class") is forgotten at once; then a tenth in five rounds, each from the result of the one
before, judged against a model retrained on what is then retained. Norm is that of the whole change of the weights.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from measures import Parts, jensen_shannon, score, tow
from pictures import Pictures, convolutional, pictures, seeded

from certify import unlearners
from certify.models.networks import Bench, Network, Recipe, State
from certify.unlearners import NetworkTask, Request, Result

RECIPE = Recipe("adam", lr=5e-3, epochs=40, batch_size=64)
CLASS = 3
BATCH = {
    "original": ("identity", {}),
    "PINV-Newton": ("pinv-newton", {}),
    "damped Newton 1e-6": ("damped-newton", {"damping": 1e-6}),
    "damped Newton 1e-3": ("damped-newton", {"damping": 1e-3}),
    "CuReNU, L = 5, 1 step": ("curenewton", {"L": 5.0, "steps": 1}),
    "CuReNU, L = 5, 5 steps": ("curenewton", {"L": 5.0, "steps": 5}),
    "CuReNU, L = 500, 5 steps": ("curenewton", {"L": 500.0, "steps": 5}),
    "CuReNUS, L = 5": ("curenewton-stochastic", {"L": 5.0, "steps": 200, "lr": 0.1, "sigma": 0.1}),
    "fine-tune (GD)": ("fine-tune", {"lr": 0.01, "epochs": 5}),
    "SCRUB": ("scrub", {"lr": 0.01}),
    "DELETE": ("delete", {}),
    "NPO": ("npo", {}),
}
SEQUENTIAL = ("fine-tune (GD)", "SCRUB", "NPO", "CuReNUS, L = 5")


@dataclass(frozen=True)
class Row:
    """One method in one setting."""

    setting: str
    method: str
    seed: int
    norm: float
    forget: float
    retain: float
    test: float
    tow: float
    js: float


def prepare(data: Pictures, seed: int) -> NetworkTask:
    """An original trained on all records."""
    build = partial(convolutional, data.side, 3, 0)
    initial, model = seeded(build, seed), seeded(build, seed)
    bench = Bench(Network.of(model), torch.as_tensor(data.X), torch.as_tensor(data.y), seeds=(seed,))
    bench.train(State.of(initial), [np.arange(len(data.y))], RECIPE).write_into(model)
    return NetworkTask(model, data.X, data.y, recipe=RECIPE, architecture=build, initial=initial)


def parts_of(data: Pictures, forgotten: np.ndarray, kept: np.ndarray) -> Parts:
    """What is measured on."""
    return Parts((data.X[forgotten], data.y[forgotten]), (data.X[kept], data.y[kept]), (data.held_X, data.held_y))


def retrained(task: NetworkTask, request: Request, seed: int) -> Result:
    """The oracle."""
    return unlearners.get("retrain")().forget(task, request, seed=1000 + seed)


def row(setting: str, name: str, seed: int, result: Result, oracle: Result, parts: Parts) -> Row:
    """One line."""
    found, reference = score(result.model, parts), score(oracle.model, parts)
    return Row(
        setting, name, seed, result.evidence.moved, found.forget, found.retain, found.test,
        tow(found, reference), jensen_shannon(found, reference),
    )  # fmt: skip


def batch(data: Pictures, seed: int) -> list[Row]:
    """All at once: a tenth of the records, and a class."""
    task, rows = prepare(data, seed), []
    tenth = np.random.default_rng(seed).choice(len(data.y), len(data.y) // 10, replace=False)
    for setting, request in (("sample", Request.at(task, np.sort(tenth))), ("class", task.request_class(CLASS))):
        kept = np.setdiff1d(np.arange(len(data.y)), request.forgotten)
        parts, oracle = parts_of(data, request.forgotten, kept), retrained(task, request, seed)
        rows.append(row(setting, "retrain", seed, oracle, oracle, parts))
        for name, (method, knobs) in BATCH.items():
            result = unlearners.get(method)(**knobs).forget(task, request, seed=seed)
            rows.append(row(setting, name, seed, result, oracle, parts))
            print(rows[-1], flush=True)
    return rows


def sequential(data: Pictures, seed: int, rounds: int = 5) -> list[Row]:
    """Five rounds of a fiftieth each; every method goes on from its own last result."""
    task, rows = prepare(data, seed), []
    order = np.random.default_rng(seed).permutation(len(data.y))[: len(data.y) // 10]
    pieces = [np.sort(piece) for piece in np.array_split(order, rounds)]
    current = dict.fromkeys(SEQUENTIAL, task)
    request: Request | None = None
    for place, piece in enumerate(pieces, start=1):
        request = Request.at(task, piece) if request is None else request.then(task, piece)
        gone = np.sort(np.concatenate(pieces[:place]))
        kept = np.setdiff1d(np.arange(len(data.y)), gone)
        parts, oracle = parts_of(data, gone, kept), retrained(task, request, seed)
        for name in SEQUENTIAL:
            method, knobs = BATCH[name]
            result = unlearners.get(method)(**knobs).forget(current[name], request, seed=seed + place)
            current[name] = NetworkTask(result.model, data.X, data.y, recipe=RECIPE, initial=task.initial)
            rows.append(row(f"round {place}", name, seed, result, oracle, parts))
            print(rows[-1], flush=True)
    return rows


def table(rows: list[Row]) -> str:
    """Means over the seeds."""
    lines = ["| setting | method | norm | forget | retain | test | ToW | JS |", "|---|---|---|---|---|---|---|---|"]
    for setting, name in dict.fromkeys((entry.setting, entry.method) for entry in rows):
        mine = [entry for entry in rows if (entry.setting, entry.method) == (setting, name)]
        mean = {
            key: float(np.mean([getattr(entry, key) for entry in mine]))
            for key in ("norm", "forget", "retain", "test", "tow", "js")
        }
        lines.append(
            f"| {setting} | {name} | {mean['norm']:.3g} | {mean['forget']:.1f} | {mean['retain']:.1f} | {mean['test']:.1f} "
            f"| {mean['tow']:.2f} | {mean['js']:.3f} |"
        )
    return "\n".join(lines)


def cubic(seeds: int, records: int) -> tuple[str, list[Row]]:
    """What was measured on, and the rows."""
    data = pictures(records, 4000, halved=True)
    rows = [entry for seed in range(seeds) for entry in (*batch(data, seed), *sequential(data, seed))]
    return f"{data.name}, halved, {len(data.y)} records, {seeds} training seeds", rows


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=1200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", default="")
    arguments = parser.parse_args()
    title, rows = cubic(arguments.seeds, arguments.records)
    print(f"{title}\n\n{table(rows)}")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps([asdict(entry) for entry in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
