"""Population attacks beside U-LiRA on models that really were unlearned, and the set-level coin-flip audit on the same fleet.

    .venv/bin/python benchmarks/audit_table.py [--models 96] [--seed 0] [--only retrain,scrub] [--output docs/audit_figures.md]

800 digits of scikit-learn, a tenth of the labels drawn anew, perceptrons 64-32-10. Each model draws its own records: half are never seen,
15 % are trained on and forgotten. Originals, retrained models and a second retraining are trained once; each method then unlearns the same
originals. Every other model is a reference, the rest are looked at. Intervals are 95 % over models. Two minutes or so on a quiet core.
With --output the tables replace their sections of the page, else they are printed.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from digits_audit import ALPHA, DELTA, FPR, GAMES, METHODS, RECORDS, Digits, Worlds, gate
from digits_audit import FORGET as SHARE_FORGET
from digits_audit import OUT as SHARE_OUT
from pages import put, table

from certify.attacks.audits.playing import score_of
from certify.attacks.audits.ranking import rank_records
from certify.attacks.audits.rates import LOOSER, tallies, tpr_at
from certify.attacks.estimates import Estimate
from certify.attacks.observations import Cell, Observations, Trials
from certify.attacks.scores.games import GAMES as PLAYED
from certify.attacks.scores.leave_one_out import trials
from certify.attacks.scores.lira import Lira
from certify.attacks.statistics.coin_betting import by_betting
from certify.attacks.statistics.coin_flip import SetLevel, by_top
from certify.attacks.statistics.means import auc_over_models, pick, threshold_at

PROTOTYPE = {
    "retrain": "0.501 / 0.010 / 0.0006",
    "fine-tune": "0.671 / 0.107 / 0.062",
    "random-labels": "0.661 / 0.110 / 0.068",
    "neggrad-plus": "0.689 / 0.120 / 0.074",
    "identity": "0.717 / 0.142 / 0.086",
}
"""U-LiRA AUC, TPR at 1 % and 0.1 %, of the prototype that this table follows: 192 references and 64 targets, its own settings of the methods."""
PROTOTYPE_BOUNDS = {
    "retrain": "0",
    "fine-tune": "12.2",
    "random-labels": "12.5",
    "neggrad-plus": "15.3",
    "identity": "21.0",
}
"""Its median set-level bound with 16 references."""
RATES = (0.01, 0.001)


def shown(estimate: Estimate, digits: int = 3) -> str:
    """Value and interval."""
    return f"{estimate.value:.{digits}f} [{estimate.lower:.{digits}f}, {estimate.upper:.{digits}f}]"


def halves(models: int) -> tuple[np.ndarray, np.ndarray]:
    """References and targets, as the gate splits them."""
    return np.arange(0, models, 2), np.arange(1, models, 2)


def rates(observations: Observations, attack: str) -> tuple[Trials, list[Estimate]]:
    """Trials of the targets in the privacy game, and TPR at each rate with thresholds from the references."""
    score, game = score_of(attack), PLAYED["privacy"]
    references, targets = halves(observations.models)
    calibration = score(observations.pick(references), game, np.arange(len(references)))
    mine = score(observations, game, targets)
    found = []
    for rate in RATES:
        thresholds = np.array([threshold_at(calibration, min(1.0, rate * looser)) for looser in LOOSER])
        found.append(tpr_at(rate, *tallies(mine, thresholds), 1 - ALPHA))
    return mine, found


def row(name: str, observations: Observations, wrong: np.ndarray) -> list[object]:
    """One method."""
    loss, by_loss = rates(observations, "loss")
    lira, by_lira = rates(observations, "u-lira")
    noisy = auc_over_models(pick(lira, wrong[lira.records]))
    ranked = rank_records(observations, PLAYED["retrain"])
    ours, population = gate(observations, ("u-lira",)), gate(observations, ("loss",))
    unseen = np.mean(observations.get("unlearned", "correct")[observations.assignment == Cell.OUT])
    forgotten = np.mean(observations.get("unlearned", "correct")[observations.assignment == Cell.FORGET])
    return [
        name,
        f"{forgotten:.3f} / {unseen:.3f}",
        shown(auc_over_models(loss)),
        " / ".join(f"{one.value:.4f}" for one in by_loss),
        shown(auc_over_models(lira)),
        shown(by_lira[0]),
        shown(by_lira[1], 4),
        shown(noisy),
        "-" if ranked is None else f"{ranked.rejected} of {ranked.tested}",
        said(population.failed_by, population.verdict.value, population.refused),
        said(ours.failed_by, ours.verdict.value, ours.refused),
        PROTOTYPE.get(name, ""),
    ]


def said(failed: list[str], verdict: str, refused: list[str]) -> str:
    """A verdict with what decided it."""
    if refused:
        return f"refused ({', '.join(refused)})"
    what = ", ".join(one.removeprefix("u-lira-").removeprefix("loss-") for one in failed)
    return f"**{verdict}** ({what})" if failed else verdict


HEAD = (
    "method",
    "accuracy forgotten / unseen",
    "loss AUC",
    "loss TPR at 1 % / 0.1 %",
    "U-LiRA AUC",
    "TPR at 1 %",
    "TPR at 0.1 %",
    "AUC on wrong labels",
    "told apart from retraining (BH 5 %)",
    "gate, loss alone",
    "gate, U-LiRA",
    "prototype: AUC / 1 % / 0.1 %",
)


def bets(observations: Observations, references: int, targets: np.ndarray) -> dict[str, list[SetLevel]]:
    """The coins of each target, read by bets on scores of as many references, and by its highest scores."""
    chance = SHARE_FORGET / (SHARE_OUT + SHARE_FORGET)
    found: dict[str, list[SetLevel]] = {"bets": [], "top": []}
    others = np.arange(references)
    for target in targets:
        some = observations.pick(np.append(others, target))
        one = trials(some, PLAYED["coin-flip"], Lira(), targets=[references], short="drop")
        order = np.argsort(one.records)
        bits, scores = np.asarray(one.positive)[order].astype(int), one.scores[order]
        found["bets"].append(by_betting(bits, scores, chance, order=np.arange(len(bits))))
        found["top"].append(by_top(bits, scores, (10, 25, 50)))
    return found


def coin_rows(name: str, observations: Observations, counts: tuple[int, ...]) -> list[list[object]]:
    """Share of targets at which the coins were read, and the median bound, by number of references."""
    targets = np.arange(max(counts), observations.models)
    rows = []
    for references in counts:
        found = bets(observations, references, targets)
        cells: list[object] = [name, references]
        for form in ("bets", "top"):
            bounds = np.array([float(one.epsilon(DELTA, 1 - ALPHA)) for one in found[form]])
            cells += [f"{np.count_nonzero(bounds > 0)} of {len(bounds)}", f"{np.median(bounds):.1f}"]
        rows.append([*cells, PROTOTYPE_BOUNDS.get(name, "") if references == 16 else ""])
    return rows


COIN_HEAD = ("method", "references", "bets: caught", "bets: median", "top: caught", "top: median", "prototype: median")


def measured(work: Callable[[], list[object]]) -> tuple[list[object], float]:
    """A row, and the seconds it took."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def main() -> None:
    """Make the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default=",".join(dict.fromkeys(name.partition(",")[0] for name in METHODS)))
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    asked = given.only.split(",")
    chosen = {name: knobs for name, knobs in METHODS.items() if name.partition(",")[0] in asked}
    begun = time.perf_counter()
    digits = Digits.some()
    worlds = Worlds.of(digits, given.models, given.seed)
    print(f"{given.models} models of 3 worlds in {time.perf_counter() - begun:.0f} s", flush=True)
    counts = tuple(count for count in (16, 32) if count < given.models)
    rows, coins = [], []
    for name, observations in worlds.methods(chosen):
        cells, seconds = measured(lambda name=name, seen=observations: row(name, seen, digits.wrong))
        rows.append(cells)
        coins += coin_rows(name, observations, counts)
        print(f"{name}: {seconds:.0f} s; {' | '.join(map(str, cells[1:]))}", flush=True)
    machine = f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    title = (
        f"`benchmarks/audit_table.py --models {given.models} --seed {given.seed}`: {given.models} models, half of them references; "
        f"{RECORDS} records; {time.perf_counter() - begun:.0f} s ({machine}). "
        f"Gate: games {' and '.join(GAMES)}, epsilon 1, delta {DELTA:g}, TPR at a false-positive rate of {FPR:g}."
    )
    first = f"{title}\n\n{table(HEAD, rows)}"
    second = (
        f"The same command and models: {given.models - max(counts)} of them looked at, at confidence 95 %, delta {DELTA:g}.\n\n"
        f"{table(COIN_HEAD, coins)}"
    )
    if given.output is None:
        print(f"{first}\n\n{second}")
        return
    put(given.output, "audit_table methods", first)
    put(given.output, "audit_table coins", second)
    print(f"wrote {given.output}")


if __name__ == "__main__":
    main()
