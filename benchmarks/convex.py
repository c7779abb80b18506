"""Deletions from a logistic model: certified distance, tightness and time, beside Guo's step and an L-BFGS retrain.

    .venv/bin/python benchmarks/convex.py [--deletions 400]

Fashion-MNIST pullover against coat (Debian's dataset-fashion-mnist), n = 12,000, d = 784, rows of norm 1, l2 = 12. Guo's removal
step (Hessian on the retained records, solve, data-dependent bound with the published constant 1/4 and a 20-step power method)
and the L-BFGS retrain (SciPy, default, gtol 1e-7 and 1e-9) are our own plain implementations. All are timed in turn, in ten rounds of
one run; speeds are ratios within a round; machines differ.
"""

import argparse
import gzip
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from certify.convex.certificate import certify_parameters
from certify.convex.enclosure import max_row_norm
from certify.convex.kept import KeptFactor, residual_of
from certify.convex.objective import Objective
from certify.convex.problem import Problem, bind
from certify.convex.shadow import Shadow
from certify.convex.solve import newton_step
from certify.convex.trail import Trail

DATA = Path("/usr/share/datasets/fashion-mnist")
L2 = 12.0
ROUNDS = 10
RETRAINS = {"default": None, "gtol 1e-7": 1e-7, "gtol 1e-9": 1e-9}


def load() -> tuple[np.ndarray, np.ndarray]:
    """Images of pullovers and coats, rows scaled to norm 1; labels 0 and 1."""
    if not DATA.is_dir():
        sys.exit("Fashion-MNIST is not here: install Debian's package dataset-fashion-mnist")
    images = np.frombuffer(gzip.decompress((DATA / "train-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16)
    labels = np.frombuffer(gzip.decompress((DATA / "train-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
    chosen = np.isin(labels, (2, 4))
    X = images.reshape(-1, 784)[chosen] / 255.0
    return X / np.linalg.norm(X, axis=1, keepdims=True), (labels[chosen] == 4).astype(float)


def retained(full: Problem, deleted: list[int]) -> Problem:
    """The same records with weight zero for the deleted ones: no copy of X."""
    weights = np.ones(full.records)
    weights[deleted] = 0.0
    return full.reweighted(weights)


def one_record(full: Problem, row: int) -> Problem:
    """One of the records."""
    return Problem(full.objective, full.X[[row]], full.targets[[row]], np.ones(1), full.outputs)


def optimum(problem: Problem, w: np.ndarray, steps: int = 6) -> np.ndarray:
    """Newton steps to rounding level."""
    for _ in range(steps):
        w = w - newton_step(problem, w, problem.gradient(w))
    return w


def timed(action: Callable[[], object], repeats: int) -> float:
    """Median seconds."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def guo_step(X: np.ndarray, s: np.ndarray, w: np.ndarray, row: int) -> float:
    """One removal as published: Newton step on the retained records and the data-dependent residual bound."""
    keep = np.arange(len(X)) != row
    A, signs = X[keep], s[keep]
    p = expit(signs * (A @ w))
    hessian = (A.T * (p * (1 - p))) @ A + L2 * np.eye(A.shape[1])
    delta = L2 / len(X) * w - s[row] * expit(-s[row] * (X[row] @ w)) * X[row]
    step = np.linalg.solve(hessian, delta)
    v = np.ones(A.shape[1])
    for _ in range(20):
        v = A.T @ (A @ v)
        v /= np.linalg.norm(v)
    return float(0.25 * np.linalg.norm(A @ v) * np.linalg.norm(step) * np.linalg.norm(A @ step))


def lbfgs(X: np.ndarray, s: np.ndarray, gtol: float | None) -> np.ndarray:
    """Retrain from zero, mean convention as its users run it."""

    def objective(w: np.ndarray) -> tuple[float, np.ndarray]:
        margin = s * (X @ w)
        slope = -s * expit(-margin)
        value = np.logaddexp(0, -margin).mean() + L2 / (2 * len(X)) * (w @ w)
        return float(value), X.T @ slope / len(X) + L2 / len(X) * w

    options = {"maxiter": 5000} | ({} if gtol is None else {"gtol": gtol, "ftol": 1e-16})
    return np.asarray(minimize(objective, np.zeros(X.shape[1]), jac=True, method="L-BFGS-B", options=options).x)


def fused(X: np.ndarray, w: np.ndarray) -> np.ndarray:
    """``X' X w`` in chunks of 4 MB: what one pass over the data costs at least."""
    step = 4_000_000 // X[0].nbytes
    return sum((X[k : k + step] @ w) @ X[k : k + step] for k in range(0, len(X), step))


class Stream:
    """Deletions one after the other, a chord step and a certificate each, as a session does them."""

    def __init__(
        self, full: Problem, start: np.ndarray, factor: KeptFactor, row_norm: float, trail: Trail | Shadow | None
    ) -> None:
        self.full = self.problem = full
        self.w, self.factor, self.row_norm, self.trail = start, factor, row_norm, trail
        self.residual, self.deleted, self.followed = full.gradient(start), [], 0

    def delete(self, row: int) -> float:
        """Seconds that one more deletion took."""
        started = time.perf_counter()
        self.deleted.append(row)
        self.problem, left = retained(self.full, self.deleted), one_record(self.full, row)
        # the new residual is the old one, measured by the last certificate, less the deleted record's part
        self.factor = self.factor.changed_by(left, None, self.w, places=[row])
        self.w = self.w - self.factor(self.residual - residual_of(left, self.w))
        self.bound = certify_parameters(
            self.problem,
            self.w,
            propose=self.factor,
            row_norm=self.row_norm,
            kept=self.factor.hessian,
            trail=self.trail,
        )
        self.residual, self.trail = self.bound.residual, self.bound.trail
        taken = time.perf_counter() - started
        self.followed += self.trail is not None and self.trail.steps > 0
        return taken


def main() -> None:
    """Run everything and print one table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--deletions", type=int, default=400)
    deletions = parser.parse_args().deletions
    X, y = load()
    s = np.where(y == 1, 1.0, -1.0)
    full = bind(Objective("logistic", l2=L2), X, y)
    start = optimum(full, np.zeros(full.shape), 12)
    factor, row_norm = KeptFactor.at(full, start), max_row_norm(full)
    order = np.random.default_rng(0).permutation(len(X))

    print("tightness, certified / true distance")
    for count in (1, 10, 60):
        deleted = order[:count].tolist()
        problem = retained(full, deleted)
        w = start - newton_step(problem, start, problem.gradient(start))
        truth = float(np.linalg.norm(w - optimum(problem, w)))
        print(
            f"  one Newton step after {count:>3} deletions: {float(certify_parameters(problem, w).distance) / truth:.4f}  (true {truth:.3e})"
        )

    keep = np.arange(len(X)) != order[0]
    w0, v, single = start[0], np.ones(len(X)), full.X.astype(np.float32)
    halved = w0.astype(np.float32)
    rivals: dict[str, Callable[[], object]] = {
        "(X @ w and X.T @ v)": lambda: (X @ w0, X.T @ v),
        "one pass (both products, chunk by chunk)": lambda: full.over_records(lambda _, block: (block @ w0) @ block),
        "the same pass over a copy in float32": lambda: fused(single, halved),
        "Guo's step": lambda: guo_step(X, s, w0, int(order[0])),
    } | {f"L-BFGS retrain ({name})": lambda gtol=gtol: lbfgs(X[keep], s[keep], gtol) for name, gtol in RETRAINS.items()}
    stream = Stream(full, start, factor, row_norm, Shadow.of(full))
    rows = order[:deletions].tolist()
    # in turn, so that what else the machine does meets all of them
    rounds = [
        ([stream.delete(row) for row in rows[first::ROUNDS]], {name: timed(rival, 1) for name, rival in rivals.items()})
        for first in range(ROUNDS)
    ]
    w, problem = stream.w, stream.problem
    truth = float(np.linalg.norm(w - optimum(problem, w)))
    print(f"  {deletions} one-chord-step deletions: {float(stream.bound.distance) / truth:.4f}  (true {truth:.3e})")
    print(f"  certificates followed in single precision: {stream.followed} of {deletions}")

    seconds = [second for some, _ in rounds for second in some]
    ours, mean = statistics.median(seconds), statistics.mean(seconds)
    alone = timed(
        lambda: certify_parameters(problem, w, propose=stream.factor, row_norm=row_norm, kept=stream.factor.hessian), 15
    )
    base = statistics.median(taken["(X @ w and X.T @ v)"] for _, taken in rounds)
    print(f"time, ratios within this run: medians of {ROUNDS} rounds (smallest to largest)")
    print(f"  update and certificate, one deletion: {ours * 1e3:.1f} ms (mean {mean * 1e3:.1f} ms)")
    print(f"  certificate alone, in double precision / (X @ w and X.T @ v): {alone / base:.2f}")
    for name in rivals:
        ratios = [taken[name] / statistics.median(some) for some, taken in rounds]
        by_mean = statistics.mean(taken[name] for _, taken in rounds) / mean
        print(
            f"  {name} / update and certificate: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}; of means {by_mean:.2f})"
        )
    for name, gtol in RETRAINS.items():
        reached = certify_parameters(retained(full, [int(order[0])]), lbfgs(X[keep], s[keep], gtol)[None, :]).distance
        print(f"  certified distance of the L-BFGS retrain ({name}): {float(reached):.2g}")


if __name__ == "__main__":
    main()
