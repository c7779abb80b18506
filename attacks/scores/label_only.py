"""Attacks that see predicted labels alone: the gap, and votes over changed inputs (Choquette-Choo et al. 2021).

The gap is the floor that every report should print: it needs nothing, and no attack should do worse. Votes ask for the label of
the same record many times, augmented or with noise: the further the record lies from the decision boundary, the more
votes are right, and records that a model was trained on lie further away.
"""

from collections.abc import Callable

import numpy as np

from certify.core.arguments import as_number, as_whole, shown
from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import ArgumentError
from certify.core.streams import stream


def gap_scores(predicted: AnyArray, labels: AnyArray) -> FloatArray:
    """1 where the predicted label is right and 0 where not: "member if and only if right".

    Args:
        predicted: labels by each model, (..., N).
        labels: true labels, (N,).

    Raises:
        ArgumentError: shapes that do not fit.
    """
    guesses, truth = np.asarray(predicted), np.asarray(labels)
    if truth.ndim != 1 or guesses.shape[-1:] != truth.shape:
        raise ArgumentError(
            f"predictions have shape {guesses.shape}, labels {truth.shape}",
            where="label-only",
            mend="give one column a record in both",
        )
    return np.asarray(guesses == truth, dtype=np.float64)


def gap_advantage(correct: AnyArray, member: AnyArray) -> FloatArray:
    """TPR - FPR of the gap attack for each model: accuracy on members minus accuracy on non-members, (K,).

    Models are the independent unit: an interval is one over these K numbers.

    Args:
        correct: 1 where right, (K, N) or (N,).
        member: the truth, (K, N); entries that are neither member nor non-member are NaN.

    Raises:
        ArgumentError: shapes that differ, or a model that lacks one of the kinds.
    """
    hits, truth = (np.atleast_2d(np.asarray(values, dtype=np.float64)) for values in (correct, member))
    if hits.shape != truth.shape:
        raise ArgumentError(
            f"shapes {hits.shape} and {truth.shape} differ", where="label-only", mend="give one truth a prediction"
        )
    inside, outside = truth == 1, truth == 0
    if not (inside.any(axis=1).all() and outside.any(axis=1).all()):
        raise ArgumentError(
            "a model has no members or no non-members", where="label-only", mend="score both kinds with each model"
        )
    return np.asarray(
        (hits * inside).sum(axis=1) / inside.sum(axis=1) - (hits * outside).sum(axis=1) / outside.sum(axis=1)
    )


def vote_scores(predicted: AnyArray, labels: AnyArray) -> FloatArray:
    """Share of right labels over views of each record, (..., N) from (A, ..., N).

    Args:
        predicted: labels that each model gives to each of A views, (A, ..., N).
        labels: true labels, (N,).

    Raises:
        ArgumentError: shapes that do not fit, or no view.
    """
    guesses = np.asarray(predicted)
    if guesses.ndim < 2 or not len(guesses):
        raise ArgumentError(
            f"predictions have shape {guesses.shape}",
            where="label-only",
            mend="give one row a view, (views, ..., records)",
        )
    return np.asarray(gap_scores(guesses, labels).mean(axis=0))


def translations(images: AnyArray, pixels: int = 1, *, reflect: bool = True) -> AnyArray:
    """Views of images moved by up to ``pixels`` up, down and sideways along a diamond, and mirrored: (A, N, ..., H, W).

    The first view is the image itself; edges are repeated. ``A = 2 pixels (pixels + 1) + 1``, twice that with mirrors.

    Args:
        images: (N, ..., H, W).
        pixels: how far, at least 0.
        reflect: mirror each view left to right; not for images whose class depends on it, such as digits.

    Raises:
        ArgumentError: no images, or a move as large as they are.
    """
    values, reach = np.asarray(images), as_whole(pixels, "pixels")
    if values.ndim < 3 or not 0 <= reach < min(values.shape[-2:]):
        raise ArgumentError(
            f"images have shape {values.shape}, a move of {reach}", where="label-only", mend="give (N, ..., H, W)"
        )
    edges = [(0, 0)] * (values.ndim - 2) + [(reach, reach)] * 2
    padded, (height, width) = np.pad(values, edges, mode="edge"), values.shape[-2:]
    span = range(-reach, reach + 1)
    moves = sorted(
        ((r, c) for r in span for c in span if abs(r) + abs(c) <= reach), key=lambda m: abs(m[0]) + abs(m[1])
    )
    views = [padded[..., reach + r : reach + r + height, reach + c : reach + c + width] for r, c in moves]
    return np.stack([*views, *(view[..., ::-1] for view in views)] if reflect else views)


def noise_vote(
    predict: Callable[[AnyArray], AnyArray],
    X: AnyArray,
    labels: AnyArray,
    *,
    noise_std: float,
    draws: int = 50,
    seed: int = 0,
) -> FloatArray:
    """Share of right labels when Gaussian noise is added to the inputs, (..., N).

    The same noise is used for every model and, draw by draw, for every call with this seed. For a linear model of two classes
    its expectation is ``Phi(margin / (noise_std ||w||))``: a distance to the boundary, from labels alone.

    Args:
        predict: labels (..., N) of inputs (N, ...), of one model or of K.
        X: inputs, (N, ...).
        labels: true labels, (N,).
        noise_std: standard deviation of the noise, in units of the features.
        draws: queries of each record.
        seed: of the noise.

    Raises:
        ArgumentError: a setting out of range, or predictions of another shape.
    """
    count, std = as_whole(draws, "draws"), as_number(noise_std, "noise_std")
    if count < 1 or not 0 < std < np.inf:
        raise ArgumentError(
            f"{shown(draws)} draws of noise_std {shown(noise_std)}", where="label-only", mend="both must be above 0"
        )
    values, generator = np.asarray(X, dtype=np.float64), stream(seed, "noise-vote")
    total = gap_scores(predict(values + std * generator.normal(size=values.shape)), labels)
    for _ in range(count - 1):
        total = total + gap_scores(predict(values + std * generator.normal(size=values.shape)), labels)
    return np.asarray(total / count)
