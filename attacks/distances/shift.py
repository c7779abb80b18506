"""Whether unlearned weights are shifted along one direction: the gradient of the loss on the forgotten records, say."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from certify.attacks.distances.exchange import exchange
from certify.attacks.distances.null import in_words
from certify.attacks.distances.parameters import Tensors, plain
from certify.attacks.estimates import Estimate
from certify.core.arrays import FloatArray
from certify.core.errors import InputError


@dataclass(frozen=True)
class Shift:
    """Where unlearned models lie from retrained ones along one direction.

    Attributes:
        value: mean of ``<theta_u - theta_r, g> / ||g||`` with Student's interval over models (normal projections).
        p_value: exact, by exchanging labels; two-sided.
        floor: the smallest p-value that this many models can give.
        t_p_value: Student's, K - 1 degrees of freedom for K rows, or Welch's; two-sided.
        test: in words.
    """

    value: Estimate
    p_value: float
    floor: float
    t_p_value: float
    test: str


def directional(
    unlearned: Tensors,
    retrained: Tensors,
    direction: Tensors,
    *,
    paired: bool | None = None,
    draws: int = 999,
    confidence: float = 0.95,
    seed: int = 0,
) -> Shift:
    """Whether unlearned weights are shifted along the gradient of the loss on the forgotten records.

    Against the gradient (negative): the loss on them is still too low, too little was forgotten. Along it (positive): too much was. It sees shifts that are
    far too small for a distance over all weights.

    The direction must not know which models are unlearned: take the gradient at the mean of *all* models of the pool, for rows at the middle of each
    pair, or at retrained models that are not compared here. Taken at the mean of the retrained models alone it is biased towards alarm or
    silence, the more the fewer they are.

    Args:
        unlearned: parameters by name, (U, ...).
        retrained: the same, (R, ...).
        direction: by name, one for all models (...), or one for each pair (U, ...); tensors that it lacks do not count.
        paired: see :func:`~certify.attacks.distances.exchange.exchange`; a direction for each pair needs pairs.
        draws: relabellings drawn.
        confidence: of the interval.
        seed: of the relabellings.

    Raises:
        InputError: shapes that do not fit, a direction that is zero or not finite, fewer than two models in a set that is not paired.
    """
    first, second = len(plain(next(iter(unlearned.values())))), len(plain(next(iter(retrained.values()))))
    found = exchange(first, second, paired=paired, draws=draws, seed=seed)
    one, two = _projected(unlearned, retrained, direction, paired=found.paired)
    if min(first, second) < 2:
        raise InputError("a set has fewer than two models", where="directional", mend="give two or more of each")
    if found.paired:
        differences = one - two
        statistic = np.where(found.labels[:, :first], 1.0, -1.0) @ differences / first
        result = stats.ttest_1samp(differences, 0.0)
        mean = float(differences.mean())
    else:
        pool, chosen = np.concatenate([one, two]), found.labels.astype(np.float64)
        statistic = chosen @ pool / first - (1 - chosen) @ pool / second
        result = stats.ttest_ind(one, two, equal_var=False)
        mean = float(one.mean() - two.mean())
    interval = result.confidence_interval(confidence)
    estimate = Estimate(
        mean, float(interval.low), float(interval.high), confidence, "Student's t over models", min(first, second)
    )
    words = in_words("mean projection on the direction", found)
    return Shift(estimate, found.two_sided(statistic), min(1.0, 2 * found.floor()), float(result.pvalue), words)


def _projected(
    unlearned: Tensors, retrained: Tensors, direction: Tensors, *, paired: bool
) -> tuple[FloatArray, FloatArray]:
    """Projections of every model on the unit direction of its pair."""
    sums: list[FloatArray | float] = [0.0, 0.0, 0.0]
    for name, value in direction.items():
        if name not in unlearned or name not in retrained:
            raise InputError(
                f"{name!r} is in the direction alone", where="directional", mend="name parameters of the models"
            )
        one, two, way = plain(unlearned[name]), plain(retrained[name]), plain(value)
        rows = paired and way.shape == one.shape
        if one.shape[1:] != two.shape[1:] or not (rows or way.shape == one.shape[1:]):
            raise InputError(
                f"{name!r} has shapes {one.shape}, {two.shape} and, in the direction, {way.shape}",
                where="directional",
                mend="give one direction for all models, or one for each pair",
            )
        flat = way.reshape(len(one) if rows else 1, -1)
        sums = [
            total + (part * flat).sum(axis=1)
            for total, part in zip(sums, (one.reshape(len(one), -1), two.reshape(len(two), -1), flat), strict=True)
        ]
    first, second, squared = (np.asarray(total) for total in sums)
    if not (np.isfinite(squared).all() and np.all(squared > 0)):
        raise InputError("the direction is zero or not finite", where="directional", mend="give another one")
    length = np.sqrt(squared)
    return np.asarray(first / length), np.asarray(second / length)
