"""Deletions from a logistic model: certified distance, tightness and time, beside Guo's step and an L-BFGS retrain.

    .venv/bin/python benchmarks/convex.py [--deletions 400]

Fashion-MNIST pullover against coat (Debian's dataset-fashion-mnist), n = 12,000, d = 784, rows of norm 1, l2 = 12. Guo's removal
step (Hessian on the retained records, solve, data-dependent bound with the published constant 1/4 and a 20-step power method)
and the L-BFGS retrain (SciPy, default, gtol 1e-7 and 1e-9) are our own plain implementations. All times are medians of one run, all
speeds ratios within it; machines differ.
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

DATA = Path("/usr/share/datasets/fashion-mnist")
L2 = 12.0


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

    w, residual, seconds, deleted, trail = start, full.gradient(start), [], [], Shadow.of(full)
    for row in order[:deletions].tolist():
        started = time.perf_counter()
        deleted.append(row)
        problem, left = retained(full, deleted), one_record(full, row)
        # the new residual is the old one, measured by the last certificate, less the deleted record's part
        factor = factor.changed_by(left, None, w, places=[row])
        w = w - factor(residual - residual_of(left, w))
        bound = certify_parameters(problem, w, propose=factor, row_norm=row_norm, kept=factor.hessian, trail=trail)
        residual, trail = bound.residual, bound.trail
        seconds.append(time.perf_counter() - started)
    truth = float(np.linalg.norm(w - optimum(problem, w)))
    print(f"  {deletions} one-chord-step deletions: {float(bound.distance) / truth:.4f}  (true {truth:.3e})")

    ours, w0, v = statistics.median(seconds), start[0], np.ones(len(X))
    base = timed(lambda: (X @ w0, X.T @ v), 15)
    certificate = timed(
        lambda: certify_parameters(problem, w, propose=factor, row_norm=row_norm, kept=factor.hessian), 15
    )
    guo = timed(lambda: guo_step(X, s, w0, int(order[0])), 3)
    keep = np.arange(len(X)) != order[0]
    retrains = {"default": None, "gtol 1e-7": 1e-7, "gtol 1e-9": 1e-9}
    print("time, ratios within this run")
    print(f"  update and certificate, one deletion: {ours * 1e3:.1f} ms (mean {statistics.mean(seconds) * 1e3:.1f} ms)")
    print(f"  update and certificate / (X @ w and X.T @ v): {ours / base:.2f}")
    single, halved = full.X.astype(np.float32), w0.astype(np.float32)
    one = timed(lambda: full.over_records(lambda _, block: (block @ w0) @ block), 31)
    short = timed(lambda: fused(single, halved), 31)
    print(f"  one pass (both products, chunk by chunk) / update and certificate: {one / ours:.2f}")
    print(f"  the same pass over a copy in float32 / in float64: {short / one:.2f}")
    print(f"  certificate alone / (X @ w and X.T @ v): {certificate / base:.2f}")
    print(f"  Guo's step / update and certificate: {guo / ours:.1f}")
    for name, gtol in retrains.items():
        taken = timed(lambda gtol=gtol: lbfgs(X[keep], s[keep], gtol), 3)
        reached = certify_parameters(retained(full, [int(order[0])]), lbfgs(X[keep], s[keep], gtol)[None, :]).distance
        print(
            f"  L-BFGS retrain ({name}) / update and certificate: {taken / ours:.1f}  (certified distance reached {reached})"
        )


if __name__ == "__main__":
    main()
