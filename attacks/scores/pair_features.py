"""Classifiers on the outputs of a model before and after a deletion (Chen et al. 2021), and how much the second version adds.

The attack model is a logistic regression on features of both outputs, fitted to shadow pairs: models of the attacker's own, of
which the attacker knows who was deleted. The published one-model attack is the same classifier on the original's outputs alone.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy.special import expit

from certify.convex.objective import Objective
from certify.convex.problem import bind
from certify.convex.solve import line_search, newton_step
from certify.core.arguments import shown
from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import ArgumentError

Features = Literal[
    "concatenation", "sorted-concatenation", "difference", "sorted-difference", "distance", "original", "unlearned"
]
"""The five of Chen et al., and each version alone as the attacks to compare with."""

_TINY = 1e-12


def features(before: AnyArray, after: AnyArray, kind: Features) -> FloatArray:
    """Features of pairs of outputs.

    Args:
        before: outputs of the original model, (..., C): probabilities, or logits.
        after: outputs of the unlearned model on the same records, (..., C).
        kind: "concatenation" of both, their "difference" (after minus before), its Euclidean length ("distance"); sorted: both in the order in which the
            original model's outputs fall, so that classes do not matter. "original", "unlearned": one version alone, sorted likewise.

    Returns:
        (..., F).

    Raises:
        ArgumentError: shapes that differ, numbers that are not finite, or features that nobody knows.
    """
    before, after = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if kind not in get_args(Features):
        raise ArgumentError(
            f"unknown features {shown(kind)}", where="features", mend=f"choose one of {', '.join(get_args(Features))}"
        )
    if before.shape != after.shape or before.ndim < 2:
        raise ArgumentError(
            f"outputs have shapes {before.shape} and {after.shape}",
            where="two-version",
            mend="give the outputs (..., classes) of both models for the same records",
        )
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        raise ArgumentError("outputs are not finite", where="two-version", mend="check both models")
    if kind not in ("concatenation", "difference", "distance"):
        order = np.argsort(-before, axis=-1, kind="stable")
        before, after = (np.take_along_axis(values, order, axis=-1) for values in (before, after))
    if kind == "original":
        return before
    if kind == "unlearned":
        return after
    if kind.endswith("concatenation"):
        return np.concatenate([before, after], axis=-1)
    if kind == "distance":
        return np.asarray(np.linalg.norm(before - after, axis=-1, keepdims=True))
    return after - before


@dataclass(frozen=True)
class FeatureAttack:
    """A logistic regression on features of pairs, fitted to shadow pairs by our own convex solver.

    Attributes:
        kind: the features.
        l2: total coefficient of the ridge on standardised features.
    """

    kind: Features = "difference"
    l2: float = 1.0

    def fit(self, before: AnyArray, after: AnyArray, member: AnyArray) -> "FittedFeatureAttack":
        """Fit to shadow pairs.

        Args:
            before: outputs of original shadow models, (..., C).
            after: outputs of the same models after the deletion, (..., C).
            member: whether the record was held and then deleted, (...).

        Raises:
            ArgumentError: shapes that differ, or shadow pairs of one kind only.
        """
        found = features(before, after, self.kind)
        design, truth = found.reshape(-1, found.shape[-1]), np.asarray(member).astype(bool).ravel()
        if np.shape(member) != found.shape[:-1] or truth.all() or not truth.any():
            raise ArgumentError(
                "shadow pairs need one truth each, of both kinds",
                where="two-version",
                mend="give some records that were deleted and some that were never there",
            )
        centre, spread = design.mean(axis=0), design.std(axis=0)
        spread = np.where(spread > _TINY * (1 + np.abs(centre)), spread, np.inf)  # a constant feature says nothing
        problem = bind(
            Objective("logistic", self.l2, fit_intercept=True), (design - centre) / spread, truth.astype(float)
        )
        w = np.zeros(problem.shape)
        for _ in range(100):
            gradient = problem.gradient(w)
            if np.linalg.norm(gradient) <= 1e-10 * len(truth):
                break
            following = line_search(problem, w, newton_step(problem, w, gradient), gradient)
            if following is None:
                break
            w = following
        return FittedFeatureAttack(self.kind, w[0, :-1] / spread, float(w[0, -1] - centre @ (w[0, :-1] / spread)))


@dataclass(frozen=True, eq=False)
class FittedFeatureAttack:
    """What :meth:`FeatureAttack.fit` learned: ``log odds = features . weights + intercept``."""

    kind: Features
    weights: FloatArray
    intercept: float

    def score(self, before: AnyArray, after: AnyArray) -> FloatArray:
        """Log odds that a record was deleted, (...), from outputs (..., C) of the target pair."""
        return np.asarray(features(before, after, self.kind) @ self.weights + self.intercept)

    def confidence(self, before: AnyArray, after: AnyArray) -> FloatArray:
        """The same as a probability, at the share of deleted records among the shadow pairs."""
        return np.asarray(expit(self.score(before, after)))


@dataclass(frozen=True, eq=False)
class Degradation:
    """How much the second version adds to what the first gives away (Chen et al. 2021), model by model.

    Attributes:
        share: points for which the confidence in the truth rises, (K,).
        falls: points for which it falls, (K,); the rest stay the same.
        gain: mean rise of the confidence in the truth, (K,).
    """

    share: FloatArray
    falls: FloatArray
    gain: FloatArray


def degradation(single: AnyArray, double: AnyArray, member: AnyArray) -> Degradation:
    """Compare the confidences of a one-model attack and of a two-version attack on the same points.

    Args:
        single: probability of membership by the one-model attack, (K, M), or (M,) for one model.
        double: the same by the two-version attack.
        member: the truth, of the same shape.

    Raises:
        ArgumentError: shapes that differ.
    """
    one, two, truth = (np.atleast_2d(np.asarray(values, dtype=np.float64)) for values in (single, double, member))
    if not one.shape == two.shape == truth.shape or not one.size:
        raise ArgumentError(
            "confidences and truths differ in shape", where="two-version", mend="score the same points by both attacks"
        )
    rise = np.where(truth > 0, two - one, one - two)
    return Degradation((rise > 0).mean(axis=1), (rise < 0).mean(axis=1), rise.mean(axis=1))
