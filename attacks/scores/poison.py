"""Gaussian poison canaries (Pawelczyk et al. 2025): one model, no shadow models, an exact null distribution.

The auditor adds noise ``xi_i ~ N(0, e^2 I)`` to the inputs of canaries before training, has the canaries deleted, and asks of the
unlearned model: ``s_i = -<xi_i / e, g_i / ||g_i||>``, where ``g_i`` is the gradient of the loss in the input at the *clean* point. A model that still
fits the noised point has a lower loss towards it, so s_i is large; one whose fit was pushed away from it has s_i small, which is a leak as
well. A model that is independent of the noise, as every exactly retrained one is, has ``s_i ~ N(0, 1)`` independently over
canaries, whatever the model and the data: g_i is then a fixed direction. The noise is the auditor's secret (draw ``seed`` afresh).

From one model, the p-value p of ``sum s_i / sqrt(m)`` also refutes (epsilon, delta) guarantees for the whole set of canaries: for
every draw of the noise the retained records are the same, so a guarantee gives P(p <= t) <= e^epsilon t + delta, and
``log((alpha - delta) / p)`` exceeds epsilon with probability at most alpha.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from scipy.stats import norm

from certify.convex.numbers import as_matrix
from certify.convex.objective import Objective
from certify.convex.problem import bind
from certify.core.arguments import as_number, shown
from certify.core.arrays import AnyArray, FloatArray, IntArray
from certify.core.bounds import LowerBound
from certify.core.errors import ArgumentError
from certify.core.rounding import down
from certify.core.streams import stream

if TYPE_CHECKING:
    from certify.models.networks import Bench, State

Alternative = Literal["two-sided", "remembers", "avoids"]


@dataclass(frozen=True, eq=False)
class Canaries:
    """Records that carry the auditor's noise.

    Attributes:
        X: all inputs with the noise added at ``positions``, (n, ...), in the kind of the data.
        positions: which records, (m,).
        noise: standard normal draws, (m, ...); the inputs carry ``noise_std`` times them.
        noise_std: of the noise, in units of the features.
    """

    X: AnyArray
    positions: IntArray
    noise: FloatArray
    noise_std: float


def plant(X: AnyArray, positions: AnyArray, noise_std: float, *, seed: int) -> Canaries:
    """Add noise to some records.

    Clipping the result into a range of pixels afterwards is allowed: the null does not depend on what the model was given.

    Args:
        X: inputs, (n, ...), floating-point numbers; not changed.
        positions: records to plant, (m,), each once; they must all be in the forget set.
        noise_std: standard deviation of the noise, above 0.
        seed: the auditor's secret.

    Raises:
        ArgumentError: whole-number inputs, positions outside or twice, or no noise.
    """
    values, rows = np.array(X), np.asarray(positions)
    if not np.issubdtype(values.dtype, np.floating):
        raise ArgumentError("inputs are no floating-point numbers", where="poison.X", mend="convert them first")
    if (
        rows.ndim != 1
        or not np.issubdtype(rows.dtype, np.integer)
        or not rows.size
        or len(np.unique(rows)) != len(rows)
        or not (rows.min() >= 0 and rows.max() < len(values))
    ):
        raise ArgumentError(
            "positions do not name records once each",
            where="poison.positions",
            mend="give row numbers, at least one",
        )
    if not 0 < as_number(noise_std, "noise_std") < np.inf:
        raise ArgumentError(
            f"noise_std must be above 0, not {shown(noise_std)}", where="noise_std", mend="correct the value"
        )
    noise = stream(seed, "poison").normal(size=(len(rows), *values.shape[1:]))
    values[rows] += (noise_std * noise).astype(values.dtype)
    return Canaries(values, rows.astype(np.int64), noise, float(noise_std))


def linear_input_gradients(objective: Objective, w: AnyArray, X: Any, y: Any) -> FloatArray:
    """Gradient of each record's loss in its features at the clean points, ``l'(x . w) w``, (m, d), without the intercept.

    Args:
        objective: the declared objective; its penalty does not depend on the input.
        w: parameters, (K, p) or (p,).
        X: clean features, (m, d).
        y: targets, (m,).
    """
    parameters = np.atleast_2d(np.asarray(w, dtype=np.float64))
    problem = bind(objective, as_matrix(X), y, len(parameters))
    slope = objective.loss_function.gradient(problem.scores(parameters), problem.targets)
    return np.asarray(slope @ (parameters[:, :-1] if objective.fit_intercept else parameters))


def network_input_gradients(bench: "Bench", state: "State", positions: AnyArray, batch_size: int = 512) -> FloatArray:
    """The same for K networks: (K, m, ...).

    Args:
        bench: with the *clean* inputs, and the labels the models were trained with.
        state: K models.
        positions: of the canaries, (m,).
        batch_size: records at a time; no matter for the result, each gradient is a record's own.
    """
    import torch

    from certify.models.networks.batches import collate

    rows = np.asarray(positions, dtype=np.int64)
    parts = []
    for start in range(0, len(rows), batch_size):
        own = rows[start : start + batch_size]
        batch = collate([own] * state.models, device=bench.device)
        # the batch's loss is a mean: its gradient in one record is that record's own, over the number of records
        parts.append(bench.input_gradient(state, batch).double() * len(own))
    return np.asarray(torch.cat(parts, dim=1).cpu().numpy())


def poison_scores(noise: AnyArray, gradients: AnyArray) -> FloatArray:
    """``s_i = -<xi_i / e, g_i / ||g_i||>``; 0 where the gradient is 0, which says nothing of the canary.

    Args:
        noise: the standard normal draws, (m, ...).
        gradients: at the clean points, (m, ...), or of K models (K, m, ...).

    Returns:
        (m,) or (K, m).

    Raises:
        ArgumentError: shapes that do not fit, or numbers that are not finite.
    """
    xi, g = np.asarray(noise, dtype=np.float64), np.asarray(gradients, dtype=np.float64)
    if g.shape[-xi.ndim :] != xi.shape or g.ndim > xi.ndim + 1 or xi.ndim < 2:
        raise ArgumentError(
            f"gradients have shape {g.shape}, the noise {xi.shape}",
            where="poison",
            mend="give one gradient a canary, of the shape of its input",
        )
    if not np.isfinite(g).all():
        raise ArgumentError("a gradient is not finite", where="poison", mend="check the model")
    xi, g = xi.reshape(len(xi), -1), g.reshape(*g.shape[: g.ndim - xi.ndim + 1], -1)
    largest = np.abs(g).max(axis=-1, keepdims=True)
    g = np.divide(g, largest, out=np.zeros_like(g), where=largest > 0)  # squares of small numbers would underflow
    inner, length = np.sum(xi * g, axis=-1), np.linalg.norm(g, axis=-1)
    return np.asarray(-np.divide(inner, length, out=np.zeros_like(inner), where=length > 0))


@dataclass(frozen=True)
class PoisonTest:
    """One model's canaries together.

    Attributes:
        statistic: ``sum s_i / sqrt(m)``, N(0, 1) under the null.
        p_value: exact.
        canaries: m, those whose gradient is not 0.
        silent: the others, left out; a gradient is 0 or not whatever the noise, so the null stays exact.
        epsilon: refuted for the set of canaries at the delta given, with the confidence given.
    """

    statistic: float
    p_value: float
    canaries: int
    silent: int
    epsilon: LowerBound


def poison_test(
    scores: AnyArray, *, alternative: Alternative = "two-sided", delta: float = 0.0, confidence: float = 0.95
) -> PoisonTest:
    """Test one model against the exact null.

    Args:
        scores: :func:`poison_scores` of one model, (m,).
        alternative: "remembers" (scores too large), "avoids" (too small) or both; to be fixed before the scores are seen.
        delta: of the guarantee that is tested.
        confidence: of the bound on epsilon.

    Raises:
        ArgumentError: an alternative that nobody knows, levels that make no sense, or no canary with a gradient.
    """
    values = np.asarray(scores, dtype=np.float64)
    if alternative not in get_args(Alternative):
        raise ArgumentError(
            f"unknown: {shown(alternative)}", where="alternative", mend="choose two-sided, remembers or avoids"
        )
    if values.ndim != 1 or np.isnan(values).any():
        raise ArgumentError(f"scores have shape {values.shape}", where="poison", mend="test one model at a time")
    alpha, slack = 1 - as_number(confidence, "confidence"), as_number(delta, "delta")
    if not (0 < alpha < 1 and 0 <= slack < 1):
        raise ArgumentError(
            "delta and confidence make no sense", where="poison", mend="0 <= delta < 1, 0 < confidence < 1"
        )
    live = values[values != 0]
    if not len(live):
        raise ArgumentError("every gradient is 0", where="poison", mend="the model says nothing: use other canaries")
    statistic = float(live.sum() / math.sqrt(len(live)))
    log_p = {
        "remembers": float(norm.logsf(statistic)),
        "avoids": float(norm.logcdf(statistic)),
        "two-sided": min(0.0, math.log(2) + float(norm.logsf(abs(statistic)))),
    }[alternative]
    refuted = math.log(alpha - slack) - log_p if alpha > slack else 0.0
    return PoisonTest(
        statistic, math.exp(log_p), len(live), len(values) - len(live), LowerBound(max(0.0, down(refuted)))
    )


def poison_tpr(scores: AnyArray, fpr: AnyArray) -> FloatArray:
    """Share of canaries above the exact threshold ``Phi^-1(1 - fpr)``, for each model: (..., f) from scores (..., m).

    Nothing is estimated about the threshold. Canaries of one model depend on each other: an interval is one over models.

    Raises:
        ArgumentError: a rate outside (0, 1).
    """
    values, rates = np.asarray(scores, dtype=np.float64), np.atleast_1d(np.asarray(fpr, dtype=np.float64))
    if not np.all((rates > 0) & (rates < 1)):
        raise ArgumentError("a false-positive rate lies outside (0, 1)", where="fpr", mend="correct the value")
    return np.stack([(values >= limit).mean(axis=-1) for limit in norm.isf(rates)], axis=-1)


def expected_tpr(shift: float, fpr: float) -> float:
    """True-positive rate of a canary whose score is N(shift, 1): ``Phi(shift - Phi^-1(1 - fpr))``."""
    return float(norm.cdf(as_number(shift, "shift") - norm.isf(as_number(fpr, "fpr"))))
