"""The field's methods side by side: mislabelled records are forgotten by a small convolutional network, three training seeds.

    .venv/bin/python benchmarks/ranking.py [--seeds 3] [--records 4000] [--methods msg,scrub] [--json FILE]

Of the training records 300 carry a wrong label, which the original learns; they are to be forgotten. FA is the accuracy on the
*wrong* labels (a retrained model has about 2 %), RA and TA those on retained and test records, JS the divergence of the predictions
on the forgotten records from a retrained model's, relearn FA after two more passes over the retained records, AUC the loss attack
(forgotten against test), gap the mean absolute difference of FA, RA and TA to the retrained model; GE are gradients of records. The
do-nothing row and a second retrained model (the floor) stand beside the methods. Knobs are fixed below; they were picked from a few
settings on the first seed with the retrained model at hand, which no user has.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import torch
from measures import Parts, Scores, attack_auc, average_gap, jensen_shannon, score
from pictures import Pictures, convolutional, pictures, seeded
from torch import nn

from certify import unlearners
from certify.core.errors import CertifyError
from certify.models.networks import Bench, Network, Recipe, State
from certify.unlearners import NetworkTask, Request

KNOBS: dict[str, dict[str, object]] = {
    "fine-tune": {"optimiser": "adam", "lr": 1e-3, "momentum": 0.0},
    "gradient-ascent": {"optimiser": "adam", "lr": 1e-4, "epochs": 3},
}
RECIPE = Recipe("adam", lr=2e-3, epochs=30, batch_size=64)


@dataclass(frozen=True)
class Row:
    """One method on one training seed."""

    method: str
    seed: int
    forget: float
    retain: float
    test: float
    js: float
    relearn: float
    auc: float
    gap: float
    seconds: float
    gradients: int


def mislabelled(data: Pictures, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of which ``count`` are wrong, and the positions of these."""
    generator = np.random.default_rng(seed)
    wrong = generator.choice(len(data.y), count, replace=False)
    labels = data.y.copy()
    labels[wrong] = (labels[wrong] + generator.integers(1, 10, count)) % 10
    return labels, np.sort(wrong)


def prepare(data: Pictures, seed: int, wrong: int) -> tuple[NetworkTask, Request, Parts]:
    """Train an original on some wrong labels; the request is to forget them."""
    labels, positions = mislabelled(data, wrong, seed)
    build = partial(convolutional, data.side, 16, 96)
    initial, model = seeded(build, seed), seeded(build, seed)
    bench = Bench(Network.of(model), torch.as_tensor(data.X), torch.as_tensor(labels), seeds=(seed,))
    bench.train(State.of(initial), [np.arange(len(labels))], RECIPE).write_into(model)
    half = len(data.held_X) // 2
    task = NetworkTask(
        model,
        data.X,
        labels,
        held_out=(data.held_X[:half], data.held_y[:half]),
        recipe=RECIPE,
        architecture=build,
        initial=initial,
    )
    kept = np.setdiff1d(np.arange(len(labels)), positions)
    parts = Parts(
        (data.X[positions], labels[positions]), (data.X[kept], labels[kept]), (data.held_X[half:], data.held_y[half:])
    )
    return task, Request.at(task, positions), parts


def relearned(task: NetworkTask, request: Request, model: nn.Module, parts: Parts) -> float:
    """Accuracy on the wrong labels after two more passes over the retained records."""
    again = NetworkTask(model, task.X, task.y)
    method = unlearners.get("fine-tune")(optimiser="adam", lr=1e-3, epochs=2, momentum=0.0)
    return score(method.forget(again, request, seed=7).model, parts).forget


def measure(name: str, seed: int, model: nn.Module, oracle: Scores, parts: Parts, task: NetworkTask, request: Request,
            seconds: float, gradients: int) -> Row:  # fmt: skip
    """A line of the table."""
    found = score(model, parts)
    return Row(
        name, seed, found.forget, found.retain, found.test, jensen_shannon(found, oracle),
        relearned(task, request, model, parts), attack_auc(found), average_gap(found, oracle), seconds, gradients,
    )  # fmt: skip


def rows_of(seed: int, data: Pictures, wrong: int, methods: list[str]) -> list[Row]:
    """All methods on one training seed."""
    task, request, parts = prepare(data, seed, wrong)
    retrain = unlearners.get("retrain")()
    oracle, second = (retrain.forget(task, request, seed=100 + 10 * seed + k) for k in (1, 2))
    reference = score(oracle.model, parts)
    line = partial(measure, seed=seed, oracle=reference, parts=parts, task=task, request=request)
    rows = [line("original (do nothing)", model=task.model, seconds=0.0, gradients=0)]
    cost = second.evidence
    rows.append(
        line("second retrain (floor)", model=second.model, seconds=cost.seconds, gradients=cost.counts["gradients"])
    )
    for name in methods:
        try:
            result = unlearners.get(name)(**KNOBS.get(name, {})).forget(task, request, seed=seed)
        except CertifyError as error:
            print(f"{name}: {error}")
            continue
        cost = result.evidence
        rows.append(line(name, model=result.model, seconds=cost.seconds, gradients=cost.counts["gradients"]))
        print(
            f"seed {seed} {name}: FA {rows[-1].forget:.1f} RA {rows[-1].retain:.1f} TA {rows[-1].test:.1f}", flush=True
        )
    return rows


def table(rows: list[Row]) -> str:
    """Means over the seeds, and the spread of FA, best gap first."""
    names = list(dict.fromkeys(row.method for row in rows))
    mean = {
        name: {
            key: np.mean([getattr(row, key) for row in rows if row.method == name])
            for key in asdict(rows[0])
            if key != "method"
        }
        for name in names
    }
    spread = {name: np.std([row.forget for row in rows if row.method == name]) for name in names}
    head = "| method | FA | RA | TA | JS | relearn | AUC | gap | s | GE |\n|---|---|---|---|---|---|---|---|---|---|"
    lines = [
        f"| {name} | {m['forget']:.1f} ± {spread[name]:.1f} | {m['retain']:.1f} | {m['test']:.1f} | {m['js']:.3f} | {m['relearn']:.1f} "
        f"| {m['auc']:.3f} | {m['gap']:.2f} | {m['seconds']:.1f} | {m['gradients']:,.0f} |"
        for name, m in sorted(mean.items(), key=lambda item: item[1]["gap"])
    ]
    return "\n".join([head, *lines])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--records", type=int, default=4000)
    parser.add_argument("--methods", default="")
    parser.add_argument("--json", default="")
    arguments = parser.parse_args()
    data = pictures(arguments.records, 4000)
    wrong = 300 * len(data.y) // 4000
    methods = arguments.methods.split(",") if arguments.methods else list(KNOBS)
    rows = [row for seed in range(arguments.seeds) for row in rows_of(seed, data, wrong, methods)]
    print(f"{data.name}, {len(data.y)} records, {wrong} mislabelled, {arguments.seeds} training seeds\n")
    print(table(rows))
    if arguments.json:
        from pathlib import Path

        Path(arguments.json).write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
