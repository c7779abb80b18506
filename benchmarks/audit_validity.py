"""Are audits right as often as they say? Bounds on mechanisms of known epsilon, and the whole gate on honest retraining.

    .venv/bin/python benchmarks/audit_validity.py [--only mechanisms,gate] [--audits 1000] [--seeds 200] [--fleets 5] [--output docs/audit_figures.md]

``mechanisms`` audits Gaussian and Laplace mechanisms, randomised response, a release that forgets a set, and DP-SGD by opacus, over and over, and counts bounds
that exceed the truth. ``gate`` draws fleets of 16, 32 and 64 models like a real one on digits, with retrained models in the unlearned ones' place (every
failure is a false alarm) and with originals in it (every pass is a miss), and does the same on fleets that are really trained. Ten minutes each on two cores.
"""

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from digits_audit import ALPHA, Digits, Gate, Worlds, coins, gate
from mechanisms import CONFIDENCE, Case, Outcome, audits_of, cases
from pages import put, table
from scipy.stats import beta, binom
from simulated_fleets import PLACES, Likeness

from certify import unlearners
from certify.attacks.fleets.assignment import random_assignment
from certify.core.verdict import Verdict

SIZES = (16, 32, 64)
ATTACKS = ("u-lira", "loss")


def upper(count: int, runs: int) -> float:
    """Clopper and Pearson's upper limit of a share, one-sided 95 %."""
    return 1.0 if count == runs else float(beta.isf(0.05, count + 1, runs - count))


def bound_row(case: Case, found: Outcome) -> list[object]:
    """One line; a count that a bound at its stated confidence would exceed once in a thousand is marked."""
    much = found.above > binom.isf(1e-3, found.audits, 1 - CONFIDENCE)
    low = found.share < case.floor
    return [
        case.mechanism,
        case.bound,
        case.trials,
        f"{case.truth:.3f}",
        f"{found.above} of {found.audits}" + (" **too many**" if much else ""),
        f"{found.share:.3f}" + (f" **below {case.floor:g}**" if low else ""),
        f"{case.floor:g}" if case.floor else "",
    ]


BOUND_HEAD = ("mechanism", "bound", "trials a world", "epsilon", "bounds above it", "mean bound / epsilon", "promised")


def mechanisms(audits: int) -> str:
    """The table of bounds."""
    rows = []
    for case in cases():
        start = time.perf_counter()
        rows.append(bound_row(case, audits_of(case, audits)))
        print(f"{' | '.join(map(str, rows[-1]))} ({time.perf_counter() - start:.0f} s)", flush=True)
    return table(BOUND_HEAD, rows)


def gate_row(title: str, found: list[Gate]) -> list[object]:
    """Verdicts of many fleets."""
    verdicts = Counter(one.verdict for one in found)
    failed, refused = verdicts[Verdict.FAIL], sum(bool(one.refused) for one in found)
    missed = sum(any("original" in control for control in one.refused) for one in found)
    return [
        title,
        len(found),
        f"{failed} ({100 * failed / len(found):.1f} %, at most {100 * upper(failed, len(found)):.1f} %)",
        verdicts[Verdict.INCONCLUSIVE],
        verdicts[Verdict.PASS],
        f"{refused - missed} + {missed}",
    ]


GATE_HEAD = (
    "fleets",
    "how many",
    "fail (upper limit 95 %)",
    "inconclusive",
    "pass",
    "refused: retrained told apart + originals not told apart",
)


def simulated(seeds: int, models: int = 48) -> Iterator[list[object]]:
    """Fleets drawn like a real one."""
    real = Worlds.of(Digits.some(), models, seed=1_000).seen
    likeness = Likeness.of(real)
    print(f"{models} real models; {100 * likeness.shared:.0f} % of the variance is the records'", flush=True)
    for place in PLACES:
        for size in SIZES:
            runs = seeds if place == "retrained" else max(1, seeds // 10)
            found = []
            for seed in range(runs):
                assignment = coins(size, real.assignment.shape[1], seed)
                found.append(gate(likeness.draw(assignment, place, seed), ATTACKS, seed))
            yield gate_row(f"drawn, {place}, {size} models", found)


def trained(fleets: int, models: int = 32) -> Iterator[list[object]]:
    """Fleets of their own seeds, assignments as the gate draws them."""
    digits = Digits.some()
    found: dict[str, list[Gate]] = {"retrain": [], "identity": []}
    for seed in range(fleets):
        worlds = Worlds.of(
            digits, models, seed, assignment=random_assignment(models, len(digits.X), seed=seed, forget=0.125)
        )
        for name, kept in found.items():
            kept.append(gate(worlds.after(unlearners.get(name)()), ATTACKS, seed))
    for name, kept in found.items():
        yield gate_row(f"trained, {name}, {models} models", kept)


def gates(seeds: int, fleets: int) -> str:
    """The table of verdicts."""
    rows = []
    for part in (simulated(seeds), trained(fleets)):
        start = time.perf_counter()
        for one in part:
            rows.append(one)
            print(f"{' | '.join(map(str, one))} ({time.perf_counter() - start:.0f} s)", flush=True)
            start = time.perf_counter()
    return table(GATE_HEAD, rows)


def main() -> None:
    """Make the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="mechanisms,gate")
    parser.add_argument("--audits", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--fleets", type=int, default=5)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    chosen = given.only.split(",")
    parts = {
        "mechanisms": (lambda: mechanisms(given.audits), f"--audits {given.audits}"),
        "gate": (lambda: gates(given.seeds, given.fleets), f"--seeds {given.seeds} --fleets {given.fleets}"),
    }
    for name in chosen:
        make, options = parts[name]
        start = time.perf_counter()
        text = make()
        title = f"`benchmarks/audit_validity.py --only {name} {options}`, {time.perf_counter() - start:.0f} s"
        about = f"; gate: {' and '.join(ATTACKS)}, error {ALPHA:g} over all findings" if name == "gate" else ""
        text = f"{title}{about}.\n\n{text}"
        if given.output is None:
            print(text)
        else:
            put(given.output, f"audit_validity {name}", text)
            print(f"wrote {given.output}: {name}")


if __name__ == "__main__":
    main()
