"""A whole U-LiRA audit of one method on digits, from nothing to the verdict, against a loop of torch training of the same models.

    .venv/bin/python benchmarks/audit_speed.py [--models 64] [--method fine-tune] [--repeats 3] [--looped 8]

800 digits, perceptrons 64-32-10: originals, unlearned, retrained and twice retrained models, U-LiRA in both games with its controls, interval and exact
p-values. The loop trains the three trained worlds as people write it (one nn.Module and one torch.optim.Adam a model), and nothing else: it neither unlearns nor
audits. Of each world it trains as many models as --looped says, and its seconds are scaled up to all: one model takes as long as another. A ratio above 1 is an audit that is done before the loop has trained its models.
"""

import argparse
import os
import time

import numpy as np
import torch
from audit_fleets import plain_loop
from digits_audit import METHODS, RECIPE, Digits, coins, gate

from certify import unlearners
from certify.attacks.fleets.fleet import FleetPlan, run_fleet
from certify.attacks.observations import Cell
from certify.gate.audits.method import Method


def main() -> None:
    """Print the seconds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=64)
    parser.add_argument("--method", default="fine-tune", choices=sorted(METHODS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--looped", type=int, default=8)
    given = parser.parse_args()
    some = min(given.looped, given.models)
    digits = Digits.some()
    assignment = coins(given.models, len(digits.X))
    method = Method(unlearners.get(given.method.partition(",")[0])(**METHODS[given.method]), digits.task)
    rows = [np.flatnonzero(row != Cell.OUT) for row in assignment]
    kept = [np.flatnonzero(row == Cell.RETAIN) for row in assignment]
    print(
        f"{given.models} models, {given.method}, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}"
    )
    for _ in range(given.repeats):
        start = time.perf_counter()
        seen = run_fleet(digits.fleet, FleetPlan(RECIPE, signals=("phi",)), assignment, method)
        trained = time.perf_counter()
        said = gate(seen, ("u-lira",))
        judged = time.perf_counter()
        for world in (rows, kept, kept):
            plain_loop(digits.fleet, RECIPE, world[:some], torch.device("cpu"))
        looped = (time.perf_counter() - judged) * given.models / some
        print(
            f"audit {judged - start:6.1f} s (fleet {trained - start:.1f}, scores and tests {judged - trained:.1f}): {said.verdict.value}"
            f"  loop {looped:6.1f} s (of {some} models, scaled)  loop / fleet {looped / (trained - start):.1f}  loop / audit {looped / (judged - start):.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
