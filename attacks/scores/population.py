"""Attacks with one threshold for all records, or one a class: no reference models, the floor that every audit prints."""

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from certify.attacks.scores.phi import to_numpy
from certify.attacks.scores.references import Target
from certify.core.arguments import as_number
from certify.core.arrays import FloatArray
from certify.core.errors import ArgumentError, InputError

_SIGN = {"phi": 1.0, "correct": 1.0, "entropy": -1.0, "modified-entropy": -1.0}
_NAMES = {"phi": "loss", "correct": "gap", "entropy": "entropy", "modified-entropy": "modified-entropy"}


@dataclass(frozen=True)
class Population:
    """A signal itself, turned so that more is more like a member.

    Attributes:
        signal: ``phi`` orders records as their loss and their confidence do; ``correct`` is the gap attack, from labels alone;
            ``entropy`` does not look at the label, and so is blind to confident mistakes; ``modified-entropy`` does.
        p_value: Attack-P (Ye et al. 2022): ``-log p``, p the rank among records that the same model was never given, so that thresholds
            mean the same for all models.
    """

    signal: str = "phi"
    p_value: bool = False

    def __post_init__(self) -> None:
        if self.signal not in _SIGN:
            raise ArgumentError("is unknown", where="signal", mend=f"use one of {', '.join(_SIGN)}")

    @property
    def name(self) -> str:
        """``loss``, ``gap``, ``entropy`` or ``modified-entropy``; ``attack-p`` before it with ``p_value``."""
        return ("attack-p-" if self.p_value else "") + _NAMES[self.signal]

    def least(self, views: int = 1) -> tuple[int, int]:  # noqa: ARG002
        """None."""
        return 0, 0

    def fit(self, inside: FloatArray, outside: FloatArray) -> "Population":  # noqa: ARG002
        """Nothing is learned."""
        return self

    def score(self, target: Target) -> FloatArray:
        """Of each record."""
        scores = _SIGN[self.signal] * target.values
        scores = scores.mean(axis=-1) if scores.ndim == 2 else scores
        if not self.p_value:
            return np.asarray(scores)
        if target.population is None or np.count_nonzero(target.population) < 2:
            raise InputError(
                "fewer than 2 records are known to be unseen by the target",
                where=self.name,
                mend="keep some records out of each model",
            )
        crowd = scores[target.population]
        above = crowd.size - np.searchsorted(np.sort(crowd), scores, side="left")
        # a record of the population is ranked among the others
        own = np.asarray(target.population).astype(np.int64)
        return np.asarray(np.log(crowd.size - own + 1) - np.log(above - own + 1))


def losses(phi: Any) -> FloatArray:
    """Cross-entropy ``log(1 + exp(-phi))`` of each record, without the rounding of ``-log p``.

    >>> losses([0.0, 800.0, -800.0]).round(4).tolist()
    [0.6931, 0.0, 800.0]
    """
    return np.asarray(np.logaddexp(0.0, -to_numpy(phi).astype(np.float64)))


def confidences(phi: Any) -> FloatArray:
    """Probability of the record's own class, ``1 / (1 + exp(-phi))``; 1 from phi = 37 on, so order records by phi.

    >>> confidences([0.0]).tolist()
    [0.5]
    """
    return np.exp(-losses(phi))


def gap_advantage(correct_members: Any, correct_others: Any) -> float:
    """Advantage (true minus false positive rate) of calling a record a member where the model is right: the accuracy gap.

    Raises:
        InputError: one of the two is empty.

    >>> gap_advantage([1, 1, 1, 1], [1, 0, 1, 0])
    0.5
    """
    rates = [_some(side, "gap_advantage").mean() for side in (correct_members, correct_others)]
    return float(rates[0] - rates[1])


def yeom_threshold(target_losses: Any, training_loss: float) -> FloatArray:
    """Yeom et al. 2018, threshold rule: 1 (member) where the loss is at most the mean training loss, which the attacker knows."""
    return (to_numpy(target_losses) <= as_number(training_loss, "training_loss")).astype(np.float64)


def yeom_bounded(target_losses: Any, largest: float) -> FloatArray:
    """Yeom et al. 2018, bounded-loss rule: the chance ``1 - loss / largest`` with which a record is called a member.

    Its advantage is the gap between mean losses divided by ``largest``; with 0-1 losses it is the gap attack.

    Raises:
        InputError: a loss outside [0, largest].
    """
    values, top = _some(target_losses, "yeom_bounded"), as_number(largest, "largest")
    if not (top > 0 and (values >= 0).all() and (values <= top).all()):
        raise InputError(
            "a loss is outside [0, largest]", where="yeom_bounded", mend="give the bound of the loss, clip first"
        )
    return np.asarray(1 - values / top)


def class_thresholds(
    scores: Any, labels: Any, reference_scores: Any, reference_members: Any, reference_labels: Any
) -> FloatArray:
    """Scores minus the threshold of the record's class, so that 0 is the one threshold of all (Song, Mittal 2021).

    A class's threshold is the middle of the gap where the share of right answers, members and others weighted alike, is largest on
    the *reference* (shadow) model; chosen on the target it would be fitted to the truth it is tested on.

    Args:
        scores: of the target, (N,), the higher the more like a member, such as minus the modified entropy.
        labels: classes, (N,).
        reference_scores: of a shadow model's records, (M,).
        reference_members: whether the shadow was given them, (M,) of bool.
        reference_labels: (M,).

    Raises:
        InputError: a class of the target without members and others in the reference, shapes that do not fit.
    """
    found, classes = to_numpy(scores).astype(np.float64), to_numpy(labels)
    known, given, their = (
        to_numpy(reference_scores).astype(np.float64),
        to_numpy(reference_members).astype(bool),
        to_numpy(reference_labels),
    )
    where = "class_thresholds"
    if found.shape != classes.shape or found.ndim != 1 or not known.shape == given.shape == their.shape:
        raise InputError("scores, labels and members differ in shape", where=where, mend="give one of each a record")
    result = np.empty_like(found)
    for label in np.unique(classes):
        own = their == label
        if not given[own].any() or given[own].all():
            raise InputError(
                "a class has no members, or no others, in the reference",
                where=where,
                mend="give a shadow model with both of each class",
            )
        result[classes == label] = found[classes == label] - _best_threshold(known[own], given[own])
    return result


def conformal_threshold(population: Any, alpha: float) -> float:
    """The threshold that a non-member's score exceeds with a chance of at most alpha, whatever the law of scores.

    It is the ``ceil((n + 1)(1 - alpha))``-th smallest of n scores of non-members, exchangeable with the one that is tested; infinite
    where n is below ``1/alpha - 1``: then no threshold keeps the promise.

    Args:
        population: scores of non-members, (n,).
        alpha: the false positive rate.

    >>> conformal_threshold(range(1, 20), 0.05), conformal_threshold(range(1, 19), 0.05)
    (19.0, inf)
    """
    values, level = np.sort(_some(population, "conformal_threshold")), as_number(alpha, "alpha")
    if not 0 < level < 1:
        raise ArgumentError("must be in (0, 1)", where="alpha", mend="give a false positive rate, such as 0.01")
    # (n + 1)(1 - alpha) that is a whole number must not be rounded down by a float: 20 * 0.95 = 19
    rank = ceil(round((len(values) + 1) * (1 - level), 9))
    return float(values[rank - 1]) if rank <= len(values) else float("inf")


def tail_tnr(members: Any, others: Any, *, fnr: float = 0.001) -> float:
    """Share of non-members whose score is below all but a share ``fnr`` of the members': true negatives at a low false negative rate.

    High-loss records that are missing among the members were learned one by one, so this foretells LiRA's success without any
    reference model (Dodd et al. 2025). Needs ``1 / fnr`` members to say anything below the lowest of them.

    Args:
        members: scores of members, the higher the more like one, such as phi, (n,).
        others: scores of non-members, (m,).
        fnr: share of members called non-members.

    >>> tail_tnr([1.0, 2.0, 3.0], [0.0, 0.5, 1.0, 4.0])
    0.5
    """
    inside, outside = np.sort(_some(members, "tail_tnr")), _some(others, "tail_tnr")
    level = as_number(fnr, "fnr")
    if not 0 <= level < 1:
        raise ArgumentError("must be in [0, 1)", where="fnr", mend="give a small share, such as 0.001")
    return float(np.mean(outside < inside[int(level * len(inside))]))


def _best_threshold(scores: FloatArray, members: FloatArray) -> float:
    order = np.argsort(scores, kind="stable")
    ordered, given = scores[order], members[order].astype(bool)
    # calling members all from position i on: members at or after i, others before it
    hits = 1 - np.concatenate([[0], np.cumsum(given)]) / given.sum()
    rest = np.concatenate([[0], np.cumsum(~given)]) / (~given).sum()
    apart = np.concatenate([[True], ordered[1:] > ordered[:-1], [True]])  # a threshold cannot stand between ties
    cut = int(np.where(apart, hits + rest, -1.0).argmax())
    if cut in {0, len(ordered)}:
        return float(ordered[0] if cut == 0 else np.nextafter(ordered[-1], np.inf))
    return float(ordered[cut - 1] + (ordered[cut] - ordered[cut - 1]) / 2)


def _some(values: Any, where: str) -> FloatArray:
    array = to_numpy(values).astype(np.float64).ravel()
    if not array.size or np.isnan(array).any():
        raise InputError("is empty, or holds something that is no number", where=where, mend="give one number a record")
    return array
