"""Lower bounds on epsilon from counts and from scores: ours beside the rules in use, on worlds whose epsilon is known.

    .venv/bin/python benchmarks/audit_counts.py [--runs 200] [--only counts,thresholds,null,gaussian]

``counts`` bounds fixed counts. ``thresholds`` draws Laplace pairs, where every threshold in the tails sits exactly at the true epsilon, and lets
each rule choose its threshold; ``null`` the same with two equal worlds, where any bound above 0 is a false alarm. ``gaussian`` draws Gaussian
pairs one standard deviation apart (epsilon 4.377 at delta 1e-5). The rules of others are written here, not in the library, and some of
them are unsound: the share of runs whose bound exceeds the truth is printed beside the mean bound. Output is Markdown.
"""

import argparse
import math
import time
from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import beta

from certify.attacks import epsilon_lower_bound
from certify.attacks.statistics.bayes import epsilon_posterior
from certify.attacks.statistics.counts import Counts
from certify.attacks.statistics.exact import exact_lower_bound
from certify.attacks.statistics.gaussian import gaussian_from_counts, gaussian_from_scores
from certify.attacks.statistics.halves import choose_threshold, counts_of_halves, split_halves
from certify.attacks.statistics.roc import Roc, roc
from certify.privacy import gaussian

DELTA, CONFIDENCE = 1e-5, 0.95
Rule = Callable[[np.ndarray, np.ndarray], float]

COUNTS = ((100, 40, 1), (500, 60, 4), (500, 150, 10), (1000, 100, 5), (1000, 30, 0), (1000, 700, 200))


def row(*cells: object) -> None:
    """One line of a table."""
    print(
        "| " + " | ".join(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells) + " |", flush=True
    )


def head(*cells: str) -> None:
    """Heading of a table."""
    print()
    row(*cells)
    row(*("---" for _ in cells))


def limits(hits: np.ndarray, trials: int, error: float) -> np.ndarray:
    """Clopper-Pearson lower limits."""
    return np.where(hits > 0, beta.ppf(error, np.maximum(hits, 1), trials - hits + 1), 0.0)


def best(hits: np.ndarray, positives: int, alarms: np.ndarray, negatives: int, error: float, delta: float) -> float:
    """The largest bound over thresholds, each rate with this error at each threshold."""
    tpr, tnr = limits(hits, positives, error), limits(negatives - alarms, negatives, error)
    ratio = np.maximum((tpr - delta) / (1 - tnr), (tnr - delta) / (1 - tpr))
    return math.log(max(1.0, float(ratio.max())))


def uncorrected(scores: np.ndarray, members: np.ndarray, delta: float = 0.0) -> float:
    """The rule most in use: as if the best threshold had been fixed beforehand. Unsound."""
    curve = roc(scores, members)
    return best(curve.hits, curve.positives, curve.alarms, curve.negatives, (1 - CONFIDENCE) / 2, delta)


def plug_in(scores: np.ndarray, members: np.ndarray) -> float:
    """log(TPR/FPR), the largest over thresholds, without any interval; where the FPR is 0 it is taken as 1/n. Unsound."""
    curve = roc(scores, members)
    floor = 1 / max(curve.positives, curve.negatives)
    first = curve.tpr[1:] / np.maximum(curve.fpr[1:], floor)
    second = (1 - curve.fpr[:-1]) / np.maximum(1 - curve.tpr[:-1], floor)
    return math.log(max(1.0, float(first.max()), float(second.max())))


def bonferroni(scores: np.ndarray, members: np.ndarray, delta: float = 0.0) -> float:
    """The error divided by the number of thresholds."""
    curve = roc(scores, members)
    error = (1 - CONFIDENCE) / 2 / (len(curve.thresholds) - 1)
    return best(curve.hits, curve.positives, curve.alarms, curve.negatives, error, delta)


def hull(curve: Roc) -> list[int]:
    """Corners of the upper convex hull of a curve."""
    corners: list[int] = []
    for i in range(len(curve.thresholds)):
        while len(corners) > 1:
            a, b = corners[-2:]
            run, rise = curve.fpr[b] - curve.fpr[a], curve.tpr[b] - curve.tpr[a]
            if rise * (curve.fpr[i] - curve.fpr[a]) > run * (curve.tpr[i] - curve.tpr[a]):
                break
            corners.pop()
        corners.append(i)
    return corners


def hull_bonferroni(scores: np.ndarray, members: np.ndarray, delta: float = 0.0) -> float:
    """The error divided by the number of hull corners, which are themselves chosen from the data: no proof."""
    curve = roc(scores, members)
    corners = hull(curve)
    error = (1 - CONFIDENCE) / 2 / max(1, len(corners) - 2)
    return best(curve.hits[corners], curve.positives, curve.alarms[corners], curve.negatives, error, delta)


def split(
    scores: np.ndarray, members: np.ndarray, delta: float = 0.0, seed: int = 0, confidence: float = CONFIDENCE
) -> float:
    """The threshold chosen on one half, Clopper-Pearson limits on the other."""
    counts = counts_of_halves(scores, members, seed, delta, confidence)
    return float(
        epsilon_lower_bound(
            counts.true_positives, counts.positives, counts.false_positives, counts.negatives, delta, confidence
        )
    )


def splits(scores: np.ndarray, members: np.ndarray) -> float:
    """The median over 20 splits, each at half the error: that half of them err has at most the whole error as its chance (Markov)."""
    confidence = 1 - (1 - CONFIDENCE) / 2
    return float(np.median([split(scores, members, 0.0, seed, confidence) for seed in range(20)]))


def split_exact(scores: np.ndarray, members: np.ndarray, delta: float = 0.0) -> float:
    """The threshold chosen on one half, the exact test on the other."""
    return float(exact_lower_bound(counts_of_halves(scores, members, 0, delta, CONFIDENCE), delta, CONFIDENCE))


def bands(scores: np.ndarray, members: np.ndarray, delta: float = 0.0) -> float:
    """Equal local levels."""
    return float(roc(scores, members).epsilon_lower_bound(delta, CONFIDENCE))


def dkw(scores: np.ndarray, members: np.ndarray) -> float:
    """Bands of Dvoretzky, Kiefer and Wolfowitz."""
    return float(roc(scores, members).epsilon_lower_bound(0.0, CONFIDENCE, "dkw"))


RULES: dict[str, Rule] = {
    "plug-in, no interval": plug_in,
    "max over thresholds, uncorrected": uncorrected,
    "Bonferroni over all thresholds": bonferroni,
    "Bonferroni over hull corners": hull_bonferroni,
    "50/50 split, Clopper-Pearson": split,
    "20 splits, median at half the error": splits,
    "DKW band": dkw,
    "50/50 split, exact test (ours)": split_exact,
    "equal-level band (ours)": bands,
}


def counts_table() -> None:
    """Fixed counts."""
    head("n a world", "TP", "FP", "two Clopper-Pearson limits", "exact test (ours)", "CPU seconds")
    for n, hits, alarms in COUNTS:
        rectangle = float(epsilon_lower_bound(hits, n, alarms, n, DELTA, CONFIDENCE))
        began = time.process_time()
        exact = float(epsilon_lower_bound(hits, n, alarms, n, DELTA, CONFIDENCE, method="exact"))
        row(n, hits, alarms, rectangle, exact, f"{time.process_time() - began:.2f}")


def pairs_table(truth: Sequence[tuple[float, int]], runs: int, draw: Callable[..., np.ndarray], title: str) -> None:
    """Every rule on pairs of worlds that many apart."""
    head(
        title,
        *(f"{f'eps {epsilon:g}' if epsilon else 'equal worlds'}, n {n}: mean, share too large" for epsilon, n in truth),
    )
    drawn = []
    for epsilon, n in truth:
        generator, members = np.random.default_rng([n, int(10 * epsilon)]), np.repeat([True, False], n)
        drawn.append([(draw(generator, 2 * n) + epsilon * members, members) for _ in range(runs)])
    for name, rule in RULES.items():
        cells = []
        for (epsilon, _), samples in zip(truth, drawn, strict=True):
            few = samples[: max(1, runs // 4)] if name.startswith(("20 splits", "50/50 split, exact")) else samples
            found = np.array([rule(scores, members) for scores, members in few])
            cells.append(f"{found.mean():.3f}, {100 * np.mean(found > epsilon):.1f} %")
        row(name, *cells)


def gaussian_table(runs: int) -> None:
    """Gaussian worlds one standard deviation apart."""
    sizes = (100, 500, 1000, 5000, 50000)
    head(f"mean bound; the truth is {gaussian.epsilon(1.0, DELTA):.3f}", *(f"n {n}" for n in sizes))
    rules: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
        "50/50 split, Clopper-Pearson": lambda s, m: split(s, m, DELTA),
        "50/50 split, exact test (ours)": lambda s, m: split_exact(s, m, DELTA),
        "equal-level band (ours)": lambda s, m: bands(s, m, DELTA),
        "50/50 split, joint Beta, 5 % quantile (credible)": joint_beta,
        "model: Gaussian curve, threshold 1/2 fixed beforehand": lambda s, m: float(
            gaussian_from_counts(roc(s, m).counts_at(0.5), DELTA, CONFIDENCE).epsilon
        ),
        "model: normal scores, noncentral t": lambda s, m: float(gaussian_from_scores(s, m, DELTA, CONFIDENCE).epsilon),
    }
    for name, rule in rules.items():
        cells: list[object] = []
        for n in sizes:
            if "exact" in name and n > 5000:
                cells.append("not run")
                continue
            generator, members = np.random.default_rng(n), np.repeat([True, False], n)
            found = [rule(generator.normal(size=2 * n) + members, members) for _ in range(max(10, runs // 10))]
            cells.append(float(np.mean(found)))
        row(name, *cells)


def joint_beta(scores: np.ndarray, members: np.ndarray) -> float:
    """The 5 % quantile of the joint posterior, at a threshold chosen on the other half."""
    choose, measure = split_halves(scores, members, 0)
    counts: Counts = roc(measure.scores, measure.members).counts_at(choose_threshold(choose, DELTA, CONFIDENCE))
    low, high = 0.0, 30.0
    while high - low > 1e-4:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if epsilon_posterior(counts, middle, DELTA) < 1 - CONFIDENCE else (low, middle)
    return low


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--only", default="counts,thresholds,null,gaussian")
    given = parser.parse_args()
    asked = given.only.split(",")
    if "counts" in asked:
        counts_table()
    if "thresholds" in asked:
        worlds = ((1.0, 500), (2.0, 500), (2.0, 2000))
        pairs_table(worlds, given.runs, lambda g, n: g.laplace(size=n), "Laplace pair, delta 0")
    if "null" in asked:
        worlds = ((0.0, 100), (0.0, 500), (0.0, 2000))
        pairs_table(worlds, given.runs, lambda g, n: g.normal(size=n), "Normal against normal, delta 0")
    if "gaussian" in asked:
        gaussian_table(given.runs)


if __name__ == "__main__":
    main()
