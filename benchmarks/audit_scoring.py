"""Scoring of fleets: seconds and memory for 256 models x 60,000 records, and what few reference models cost.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/audit_scoring.py [--models 256] [--records 60000] [--table-only]

First table: every model is a target, with the 255 others as references, on simulated phi (half of the cells out, half in). Seconds of wall
and of the processor, memory above that at the start, and how many times longer a plain loop over records takes (LiRA: means,
deviations and densities of each record and target with SciPy; RMIA: all pairs of each record with the population), measured on a few
records and multiplied up. Ratios within one run; machines differ.

Second table: LiRA on 800 digits of scikit-learn, a tenth of the labels drawn anew, perceptrons 64-32-10 trained on random halves; 64
targets, the first 8, 16 or 64 or all 192 of the other models as references. True positive rates at 1 % and 0.1 % false positives, on
records that have two references in each world, the same trials in each row. RMIA cannot tell rates below one over the size of its population
apart, here 400 records: at 0.1 % it says nothing.
"""

import argparse
import time

import numpy as np
from scipy import stats

from certify.attacks.observations import Cell, Observations, Trials
from certify.attacks.scores.games import GAMES
from certify.attacks.scores.leave_one_out import trials
from certify.attacks.scores.lira import Lira
from certify.attacks.scores.phi import phi
from certify.attacks.scores.population import Population
from certify.attacks.scores.references import Attack
from certify.attacks.scores.rmia import Rmia
from certify.core.memory import PeakMemory

GAME = GAMES["privacy"].control()  # members of the original model against others


def simulated(models: int, records: int) -> Observations:
    """Half in, half out; phi in float32, as fleets keep it."""
    generator = np.random.default_rng(0)
    assignment = np.where(generator.random((models, records), dtype=np.float32) < 0.5, Cell.OUT, Cell.FORGET)
    values = generator.standard_normal((models, records), dtype=np.float32)
    values += assignment.astype(np.float32)
    return Observations(assignment, {"original": {"phi": values}})


def lira_loop(seen: Observations, records: int) -> float:
    """Seconds a record: each target by itself."""
    values, given = seen.get("original"), seen.assignment == Cell.FORGET
    started = time.perf_counter()
    for n in range(records):
        for k in range(seen.models):
            others = np.arange(seen.models) != k
            inside, outside = values[others & given[:, n], n], values[others & ~given[:, n], n]
            stats.norm.logpdf(values[k, n], inside.mean(), inside.std() + 1e-30)
            stats.norm.logpdf(values[k, n], outside.mean(), outside.std() + 1e-30)
    return (time.perf_counter() - started) / records


def rmia_loop(seen: Observations, records: int) -> float:
    """Seconds a record: its pairs with the population of each target; the means over references are not counted."""
    p = 1 / (1 + np.exp(-seen.get("original").astype(np.float64)))
    ratio, out = p / p.mean(axis=0), seen.assignment == Cell.OUT
    populations = [row[mask] for row, mask in zip(ratio, out, strict=True)]
    started = time.perf_counter()
    for n in range(records):
        for k in range(seen.models):
            np.mean(ratio[k, n] / populations[k] >= 1)
    return (time.perf_counter() - started) / records


def speed(models: int, records: int) -> None:
    """The first table."""
    seen = simulated(models, records)
    print(f"{models} models x {records} records, every model a target: {models * records} trials")
    print(f"{'attack':28}{'seconds':>9}{'processor':>11}{'GB':>7}{'loop / ours':>13}")
    loops = {"lira": lira_loop(seen, 3), "rmia": rmia_loop(seen, 3)}
    attacks: list[Attack] = [
        Lira(),
        Lira(variance="record"),
        Lira(variance="pooled"),
        Lira("offline"),
        Rmia(),
        Rmia("offline"),
    ]
    for attack in attacks:
        with PeakMemory() as memory:
            started, processor = time.perf_counter(), time.process_time()
            trials(seen, GAME, attack)
            seconds, processor = time.perf_counter() - started, time.process_time() - processor
        peak = "-" if memory.above_start is None else f"{memory.above_start / 1e9:.2f}"
        ratio = loops[attack.name[:4]] * records / seconds
        name = f"{attack.name} {getattr(attack, 'variance', '')}"
        print(f"{name:28}{seconds:9.1f}{processor:11.1f}{peak:>7}{ratio:13.0f}", flush=True)


def digits(models: int, size: int = 800) -> Observations:
    """What perceptrons trained on random halves of the digits say of all of them."""
    from sklearn.datasets import load_digits

    generator = np.random.default_rng(1)
    X, y = load_digits(return_X_y=True)
    chosen = generator.permutation(len(y))[:size]
    X, y = (X[chosen] / 16).astype(np.float32), y[chosen].copy()
    noisy = generator.random(size) < 0.1
    y[noisy] = generator.integers(0, 10, int(noisy.sum()))
    given = generator.random((models, size)) < 0.5
    # sixteen at once: what they hold stays in the processor's cache
    seen = np.concatenate([_trained(X, y, part, generator) for part in np.array_split(given, -(-models // 16))])
    return Observations(np.where(given, Cell.FORGET, Cell.OUT), {"original": {"phi": seen}})


def _trained(X: np.ndarray, y: np.ndarray, given: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Phi of perceptrons trained together: full batches, 300 steps of Adam."""
    models, truth = len(given), np.eye(10, dtype=np.float32)[y]
    parts = [
        generator.normal(scale=(2 / 64) ** 0.5, size=(models, 64, 32)).astype(np.float32),
        np.zeros((models, 1, 32), np.float32),
        generator.normal(scale=(2 / 32) ** 0.5, size=(models, 32, 10)).astype(np.float32),
        np.zeros((models, 1, 10), np.float32),
    ]
    first, second = [np.zeros_like(part) for part in parts], [np.zeros_like(part) for part in parts]
    weight = (given / given.sum(axis=1, keepdims=True)).astype(np.float32)[..., None]
    for step in range(1, 301):
        hidden, logits = _forward(X, parts)
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        slope = (powers / powers.sum(axis=-1, keepdims=True) - truth) * weight
        back = (slope @ parts[2].transpose(0, 2, 1)) * (hidden > 0)
        gradients = [
            X.T @ back,
            back.sum(1, keepdims=True),
            hidden.transpose(0, 2, 1) @ slope,
            slope.sum(1, keepdims=True),
        ]
        for at, gradient in enumerate(gradients):
            first[at] += 0.1 * (gradient - first[at])
            second[at] += 0.001 * (gradient**2 - second[at])
            parts[at] -= 0.01 * (first[at] / (1 - 0.9**step)) / (np.sqrt(second[at] / (1 - 0.999**step)) + 1e-8)
    return phi(_forward(X, parts)[1], y)


def _forward(X: np.ndarray, parts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    hidden = np.maximum(X @ parts[0] + parts[1], 0)
    return hidden, hidden @ parts[2] + parts[3]


def at_low_rate(found: Trials, fpr: float) -> float:
    """True positive rate above the threshold that a share ``fpr`` of the negatives exceeds."""
    threshold = np.quantile(found.scores[~found.positive], 1 - fpr, method="higher")
    return float(np.mean(found.scores[found.positive] > threshold))


def few_shadows(counts: tuple[int, ...] = (8, 16, 64, 192), targets: int = 64) -> None:
    """The second table."""
    fleet = digits(max(counts) + targets)
    plain = trials(fleet, GAME, Population(), targets=range(targets))
    print(
        "800 digits, true positive rate in percent at 1 % and 0.1 % false positives; population attack: "
        + _rates(plain)
    )
    print(f"{'references':>10}{'trials':>9}{'record':>14}{'pooled':>14}{'student':>14}{'rmia':>14}")
    for count in counts:
        some = fleet.pick(np.r_[:targets, targets : targets + count])
        rest = some.assignment[targets:] == Cell.FORGET
        enough = (rest.sum(axis=0) >= 2) & ((~rest).sum(axis=0) >= 2)
        kept = Observations(some.assignment[:, enough], {"original": {"phi": some.get("original")[:, enough]}})
        attacks: list[Attack] = [Lira(variance="record"), Lira(variance="pooled"), Lira(), Rmia()]
        found = [trials(kept, GAME, attack, targets=range(targets)) for attack in attacks]
        print(f"{count:>10}{len(found[0]):>9}" + "".join(f"{_rates(one):>14}" for one in found), flush=True)


def _rates(found: Trials) -> str:
    return " ".join(f"{100 * at_low_rate(found, fpr):.2f}" for fpr in (0.01, 0.001))


def main() -> None:
    """Both tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=int, default=256)
    parser.add_argument("--records", type=int, default=60_000)
    parser.add_argument("--table-only", action="store_true")
    arguments = parser.parse_args()
    if not arguments.table_only:
        speed(arguments.models, arguments.records)
    few_shadows()


if __name__ == "__main__":
    main()
