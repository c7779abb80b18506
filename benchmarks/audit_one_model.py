"""What one model, or a few, can prove: one-run bounds, the set-level coin-flip audit, stopping times, means over models.

    .venv/bin/python benchmarks/audit_one_model.py [--runs 20] [--only one-run,accuracy,sound,stopping,means]

``one-run``: m canaries of a mechanism that adds N(0, 1) to each coin times mu; the largest bound over seven numbers of guesses, uncorrected as
tables usually have it, and paid for by Bonferroni. ``accuracy``: the same count of right guesses read as a bound for the set and as one
for a record. ``sound``: 1,200 audits of Gaussian mechanisms whose set-level epsilon is known. ``stopping``: pairs of models until 1/alpha.
``means``: half-widths of intervals for shares of models, and how often they miss when records of a model are flagged together; the
pooled and the plug-in rule are written here, not in the library. Output is Markdown.
"""

import argparse
import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import beta

from certify.attacks.statistics.betting import empirical_bernstein, mean_interval
from certify.attacks.statistics.coin_betting import by_betting
from certify.attacks.statistics.coin_flip import SetLevel, by_guesses, by_sum, by_top, guess_extremes, log_tail
from certify.attacks.statistics.one_run import (
    one_run_epsilon,
    one_run_gdp,
    product_epsilon,
    product_gdp,
    steinke_p,
    top_guesses,
)
from certify.attacks.statistics.sequential import gaussian_pair_wealth, pair_wealth
from certify.core.streams import stream
from certify.privacy import gaussian

DELTA, CONFIDENCE = 1e-5, 0.95
SHARES = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1.0)


def row(*cells: object) -> None:
    """One line of a table."""
    print(
        "| " + " | ".join(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in cells) + " |", flush=True
    )


def head(title: str, *cells: str) -> None:
    """Heading of a table."""
    print(f"\n**{title}**\n")
    row(*cells)
    row(*("---" for _ in cells))


def as_epsilon(mu: float) -> float:
    """Epsilon of mu-GDP."""
    return float(gaussian.epsilon(mu, DELTA)) if mu > 0 else 0.0


def steinke_alone(right: int, made: int, m: int, delta: float, confidence: float) -> float:
    """The bound of Steinke et al. without the recursion beside it."""
    low, high = 0.0, 40.0
    if steinke_p(right, made, m, 0.0, delta) >= 1 - confidence:
        return 0.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if steinke_p(right, made, m, middle, delta) < 1 - confidence else (low, middle)
    return low


ONE_RUN: dict[str, Callable[[int, int, int, float], float]] = {
    "Steinke": lambda v, r, m, level: steinke_alone(v, r, m, DELTA, level),
    "ours": lambda v, r, m, level: one_run_epsilon(v, r, m, DELTA, level),
    "GDP recursion": lambda v, r, m, level: as_epsilon(one_run_gdp(v, r, m, level)),
    "order statistics": lambda v, r, m, level: product_epsilon(v, r, m, DELTA, level),
    "order statistics, GDP": lambda v, r, m, level: as_epsilon(product_gdp(v, r, m, level)),
}


def one_run(runs: int) -> None:
    """Bounds for one record from one run."""
    names = [f"{name}{kind}" for name in ONE_RUN for kind in ("", " (paid)")]
    head(
        f"One run, epsilon at delta 1e-5, median of {runs} runs, best of seven numbers of guesses",
        "mu (epsilon)",
        "m",
        *names,
    )
    honest = 1 - (1 - CONFIDENCE) / len(SHARES)
    for mu in (0.5, 1.0, 2.0, 4.0):
        for m in (1000, 10_000):
            found = []
            for run in range(runs):
                generator = stream(run, f"one run {mu} {m}")
                bits = generator.random(m) < 0.5
                counts = top_guesses(bits, mu * bits + generator.normal(size=m), [int(share * m) for share in SHARES])
                found.append(
                    [
                        max(bound(v, r, m, level) for v, r in counts)
                        for bound in ONE_RUN.values()
                        for level in (CONFIDENCE, honest)
                    ]
                )
            row(f"{mu:g} ({as_epsilon(mu):.3g})", m, *np.median(found, axis=0).tolist())


def accuracy(_: int) -> None:
    """The same guesses, for the set and for a record."""
    head("Right guesses among m, delta 0", "m", "right", "set", "one record")
    for m, right in ((200, 120), (1000, 550), (1000, 600), (1000, 700), (1000, 1000)):
        found = SetLevel(log_tail(np.full(m, 0.5), right), "", m)
        row(m, right, float(found.epsilon()), float(one_run_epsilon(right, m)))


FORMS: dict[str, Callable[[np.ndarray, np.ndarray], SetLevel]] = {
    "guesses, quarter each": lambda b, s: by_guesses(b, guess_extremes(s, len(b) // 4, len(b) // 4)),
    "hypergeometric": lambda b, s: by_top(b, s, [len(b) // 10, len(b) // 4, len(b) // 2]),
    "weighted sum, Hoeffding": lambda b, s: by_sum(b, s - np.median(s), hoeffding=True),
    "weighted sum, Chernoff": lambda b, s: by_sum(b, s - np.median(s)),
    "betting": lambda b, s: by_betting(b, s, order=np.arange(len(b))),  # drawn in this order
}


def sound(runs: int) -> None:
    """Gaussian mechanisms: each of m coordinates moves by rho where its canary was forgotten; mu = rho sqrt(m) for the set."""
    each = max(runs, 400)
    head(
        f"Set-level bounds, {each} audits a row, delta 1e-5",
        "rho",
        "m",
        "epsilon of the set",
        "form",
        "median",
        "above 0",
        "above the truth",
    )
    for rho, m in ((0.0, 200), (0.3, 100), (0.3, 400), (1.0, 50)):
        truth = as_epsilon(rho * math.sqrt(m))
        for name, form in FORMS.items():
            found = []
            for run in range(each):
                generator = stream(run, f"set {rho} {m}")
                bits = generator.random(m) < 0.5
                found.append(float(form(bits, rho * bits + generator.normal(size=m)).epsilon(DELTA, CONFIDENCE)))
            bounds = np.array(found)
            row(rho, m, truth, name, float(np.median(bounds)), float((bounds > 0).mean()), int((bounds > truth).sum()))


def stopping(runs: int) -> None:
    """Pairs until the wealth reaches 20."""
    many = max(runs, 400)
    head(f"Pairs until 1/alpha = 20, mean of {many} runs; no leak: share that ever alarms in 1,000 pairs",
         "shift", "normal, known deviation", "any scores", "4 ln 20/shift^2")  # fmt: skip
    for mu, n in ((0.25, 4000), (0.5, 1200), (1.0, 400), (2.0, 120)):
        stops = np.zeros((many, 2))
        for run in range(many):
            generator = stream(run, f"pairs {mu}")
            first, second = generator.normal(mu, 1, n), generator.normal(size=n)
            for k, wealth in enumerate((gaussian_pair_wealth(first, second, 1.0), pair_wealth(first, second))):
                stops[run, k] = np.argmax(wealth >= math.log(20)) + 1 if wealth.max() >= math.log(20) else n
        row(mu, *(float(value) for value in stops.mean(axis=0)), 4 * math.log(20) / mu**2)
    alarms = np.zeros(2)
    for run in range(many):
        first, second = stream(run, "no leak").normal(size=(2, 1000))
        for k, wealth in enumerate((gaussian_pair_wealth(first, second, 1.0), pair_wealth(first, second))):
            alarms[k] += wealth.max() >= math.log(20)
    row("none", *(f"{share:.3f}" for share in alarms / many), "")


def plug_in(values: np.ndarray) -> float:
    """Width of the hedged interval of Waudby-Smith and Ramdas with their predictable plug-in stakes, on a grid."""
    n, alpha, t = len(values), 1 - CONFIDENCE, np.arange(1, len(values) + 1)
    mean = (0.5 + np.cumsum(values)) / (t + 1)
    variance = np.concatenate([[0.25], ((0.25 + np.cumsum((values - mean) ** 2)) / (t + 1))[:-1]])
    stake, grid = np.sqrt(2 * math.log(2 / alpha) / (n * variance))[:, None], np.linspace(0, 1, 1001)[1:-1]
    difference = values[:, None] - grid
    up = np.log1p(np.minimum(stake, 0.75 / grid) * difference).sum(axis=0)
    down = np.log1p(-np.minimum(stake, 0.75 / (1 - grid)) * difference).sum(axis=0)
    inside = grid[np.maximum(up, down) - math.log(2) < math.log(1 / alpha)]
    return float(inside[-1] - inside[0])


def means(runs: int) -> None:
    """Widths and misses of intervals for a rate over models of 50 records each, half of a model's flags drawn for all at once."""
    many = max(runs, 200)
    head(f"95 % intervals of a rate over K models with 50 records, {many} runs: width (misses)",
         "rate", "K", "betting, ours", "plug-in betting", "empirical Bernstein", "Clopper-Pearson over records")  # fmt: skip
    for rate in (0.01, 0.1, 0.5):
        for K in (32, 128, 512):
            widths, misses = np.zeros(4), np.zeros(3)
            for run in range(many):
                generator = stream(run, f"means {rate} {K}")
                own = generator.random((K, 1)) < 0.5
                flags = np.where(own, generator.random((K, 1)) < rate, generator.random((K, 50)) < rate)
                shares, hits = flags.mean(axis=1), int(flags.sum())
                ours, theirs = mean_interval(shares), empirical_bernstein(shares)
                pooled = (
                    beta.ppf(0.025, hits, K * 50 - hits + 1) if hits else 0.0,
                    beta.ppf(0.975, hits + 1, K * 50 - hits) if hits < K * 50 else 1.0,
                )
                ends = ((ours.lower, ours.upper), (theirs.lower, theirs.upper), pooled)
                misses += [not low <= rate <= high for low, high in ends]
                widths += [ends[0][1] - ends[0][0], plug_in(shares), ends[1][1] - ends[1][0], ends[2][1] - ends[2][0]]
            w, lost = widths / many, misses / many
            row(
                rate,
                K,
                f"{w[0]:.3f} ({lost[0]:.3f})",
                f"{w[1]:.3f}",
                f"{w[2]:.3f} ({lost[1]:.3f})",
                f"{w[3]:.3f} ({lost[2]:.3f})",
            )


PARTS: dict[str, Callable[[int], None]] = {
    "one-run": one_run,
    "accuracy": accuracy,
    "sound": sound,
    "stopping": stopping,
    "means": means,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--only", default=",".join(PARTS))
    chosen = parser.parse_args(arguments)
    for name in chosen.only.split(","):
        PARTS[name](chosen.runs)


if __name__ == "__main__":
    main()
