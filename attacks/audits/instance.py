"""The release of one linear model against the very model retraining gives: the strongest attack there is, in closed form and at work.

With Gaussian noise of standard deviation s the two worlds are ``N(q_u, s^2 I)`` and ``N(q_r, s^2 I)``: unlearned and retrained weights
in the noise's coordinates. By Neyman and Pearson no attack does better than the likelihood ratio, which looks at the noisy weights along
``q_u - q_r`` alone; its trade-off curve is that of ``mu = |q_u - q_r| / s`` (Dong, Roth, Su 2022). Hence

    epsilon that the attack refutes  <=  epsilon(mu) of this release  <=  epsilon of the certificate,

with a stated chance of error in the first step alone. Where that is broken, something is not what it is said to be.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from certify.attacks.audits.findings import Finding, RequestAudit
from certify.attacks.epsilon import epsilon_lower_bound
from certify.attacks.registry import ATTACKS
from certify.attacks.statistics.counts import Counts
from certify.attacks.statistics.exact import exact_lower_bound
from certify.attacks.statistics.gaussian import epsilon_of_mu, gaussian_from_scores
from certify.core.arrays import FloatArray
from certify.core.rounding import down, format_lower, format_plain, format_upper, up
from certify.core.streams import stream
from certify.core.verdict import Verdict
from certify.privacy import gaussian

NAME = "likelihood-ratio"
DRAWS = 5000
"""Noisy releases of each world."""

LEAST = 200
"""Of the largest models."""

DECIDING = 3
"""Findings that can contradict: the closed form, the scores, the counts."""

_NUMBERS_DRAWN = 200_000_000
_CHUNK = 2_000_000
_POWER = 0.8


@dataclass(frozen=True, eq=False)
class Instance:
    """One release and its reference.

    Attributes:
        released: weights under review in the noise's coordinates, (m,).
        retrained: refitted ones, (m,).
        noise_std: s.
        slack: upper bound on the distance of the refitted weights to the exact minimiser, over s.
        delta: of the guarantee.
    """

    released: FloatArray
    retrained: FloatArray
    noise_std: float
    slack: float
    delta: float

    @property
    def mu(self) -> float:
        """``|q_u - q_r| / s``, to which the exact one is as near as ``slack``."""
        return float(np.linalg.norm(self.released - self.retrained)) / self.noise_std

    @property
    def lower(self) -> float:
        """Epsilon that this release has at least, whatever the certificate says."""
        known = self.mu * (1 - 1e-12) - self.slack
        return float(epsilon_of_mu(max(0.0, down(known)), self.delta)) if math.isfinite(known) else 0.0

    @property
    def upper(self) -> float:
        """Epsilon that it has at most."""
        known = up(self.mu * (1 + 1e-12) + self.slack)
        return gaussian.epsilon(known, self.delta) if math.isfinite(known) else math.inf

    @property
    def epsilon(self) -> float:
        """Epsilon at ``mu``."""
        return gaussian.epsilon(self.mu, self.delta)


def draws_of(parameters: int) -> int:
    """Noisy releases of each world that are drawn for a model of so many parameters."""
    return max(LEAST, min(DRAWS, _NUMBERS_DRAWN // (2 * parameters)))


def release_scores(instance: Instance, draws: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """Scores of noisy releases of both worlds by the likelihood ratio, in standard deviations from the middle between them.

    Args:
        instance: the two worlds.
        draws: releases of each.
        seed: of the noise; a simulation, no release.

    Returns:
        Unlearned ones, retrained ones, (draws,) each: ``N(mu/2, 1)`` and ``N(-mu/2, 1)`` where nothing is wrong.
    """
    between = instance.released - instance.retrained
    length = float(np.linalg.norm(between))
    direction = between / length if length > 0 else np.eye(1, len(between))[0]
    middle = 0.5 * (instance.released + instance.retrained)
    found = []
    for world, centre in (("unlearned", instance.released), ("retrained", instance.retrained)):
        generator = stream(seed, f"releases/{world}")
        scores = np.empty(draws)
        step = max(1, _CHUNK // len(centre))
        for start in range(0, draws, step):
            size = min(step, draws - start)
            noisy = centre + instance.noise_std * generator.normal(size=(size, len(centre)))
            scores[start : start + size] = (noisy - middle) @ direction / instance.noise_std
        found.append(scores)
    return found[0], found[1]


def audit_instance(
    instance: Instance, *, certified: float, limit: float, confidence: float, strict: float, seed: int = 0
) -> RequestAudit:
    """Attack one release with the likelihood ratio, and hold what comes of it against the certificate.

    Args:
        instance: the two worlds.
        certified: epsilon of the certificate.
        limit: largest epsilon that may be refuted.
        confidence: of the audit.
        strict: of one of its many findings: of the bounds from draws.
        seed: of the noise.

    Returns:
        Three findings: epsilon of this very release, which fails where it exceeds ``certified`` or ``limit``; the bound from scores,
        which are normal because the noise is; and the exact bound from counts at one threshold, fixed before the draws.
    """
    draws, allowed = draws_of(len(instance.released)), min(certified, limit)
    first, second = release_scores(instance, draws, seed)
    threshold = _threshold(instance.mu, draws, instance.delta, strict)
    counts = Counts(int(np.sum(first > threshold)), draws, int(np.sum(second > threshold)), draws)
    scores, truth = np.concatenate([first, second]), np.repeat([True, False], draws)
    by_scores = float(gaussian_from_scores(scores, truth, instance.delta, strict).epsilon)
    by_counts = float(exact_lower_bound(counts, instance.delta, strict))
    # where the refit leaves room for both, what is shown does not exceed what is proven
    known = instance.epsilon if instance.lower > certified else min(instance.epsilon, certified)
    numbers = _in_order(by_scores, known, certified)
    law = "the likelihood ratio between the release and its refitted reference, both with the policy's noise"
    return RequestAudit(
        (
            _closed(instance, allowed, confidence, numbers),
            _drawn(
                "scores",
                by_scores,
                instance,
                allowed,
                strict,
                draws,
                f"{law}; noncentral t: scores are normal because the noise is",
                numbers,
                detectable=_detectable(allowed, instance.delta, draws, strict),
            ),
            _drawn(
                "counts",
                by_counts,
                instance,
                allowed,
                strict,
                draws,
                f"{law}; exact test of counts at one threshold, nothing assumed",
                f"{counts.true_positives:,} of {draws:,} unlearned and {counts.false_positives:,} of {draws:,} retrained releases beyond it",
            ),
        ),
        (),
    )


def _closed(instance: Instance, allowed: float, confidence: float, note: str) -> Finding:
    """The closed form: no randomness, an interval of rounding alone."""
    return Finding(
        id=f"{NAME}-instance",
        attack=NAME,
        title=f"{ATTACKS[NAME].title}, closed form",
        game="retrain",
        slice="all",
        statistic="epsilon of this release",
        value=instance.epsilon,
        lower=instance.lower,
        upper=instance.upper,
        confidence=confidence,
        verdict=Verdict.FAIL if instance.lower > allowed else Verdict.PASS,
        limit=allowed,
        minimum_detectable=_surely(instance, allowed),
        power=1.0,
        units=1,
        method=f"mu = distance to the refitted weights over noise_std = {_short(instance.mu)}, exact Gaussian curve; the interval is what the refit leaves open",
        note=note,
        source=ATTACKS[NAME].reference,
    )


def _drawn(
    how: str,
    bound: float,
    instance: Instance,
    allowed: float,
    confidence: float,
    draws: int,
    method: str,
    note: str,
    detectable: float | None = None,
) -> Finding:
    return Finding(
        id=f"{NAME}-{how}",
        attack=NAME,
        title=f"{ATTACKS[NAME].title}, {how}",
        game="retrain",
        slice="all",
        statistic="epsilon lower bound",
        value=bound,
        lower=bound,
        upper=math.inf,
        confidence=confidence,
        verdict=Verdict.FAIL if bound > allowed else Verdict.PASS,
        limit=allowed,
        ceiling=instance.upper,
        minimum_detectable=detectable,
        power=None if detectable is None else _POWER,
        units=draws,
        method=method,
        note=note,
        source=ATTACKS[NAME].reference,
    )


def _in_order(audit: float, release: float, certificate: float) -> str:
    """The three numbers with the signs between them that hold, each rounded to its safe side."""
    first, second = ("<=" if one <= other else ">" for one, other in ((audit, release), (release, certificate)))
    return f"audit {format_lower(audit)} {first} this release {_short(release)} {second} certificate {format_upper(certificate)}"


def _threshold(mu: float, draws: int, delta: float, confidence: float) -> float:
    """The threshold at which counts as expected would refute most; from the closed form, before anything is drawn."""
    best, chosen = -1.0, 0.0
    for share in np.linspace(0.0, 3.0, 13):
        hits, alarms = (round(draws * float(ndtr(side * mu / 2 - share))) for side in (1, -1))
        found = float(epsilon_lower_bound(hits, draws, alarms, draws, delta, confidence))
        if found > best:
            best, chosen = found, float(share)
    return chosen


def _surely(instance: Instance, allowed: float) -> float:
    """Epsilon above which the closed form would exceed ``allowed`` whatever the refit left open."""
    if not allowed < 700:
        return math.inf
    return gaussian.epsilon(gaussian.mu(allowed, instance.delta) * (1 + 1e-9) + 2 * instance.slack, instance.delta)


def _detectable(allowed: float, delta: float, draws: int, strict: float) -> float | None:
    """Epsilon of a release that the scores would have shown to exceed ``allowed`` with probability 0.8."""
    if not allowed < 700:
        return None
    mu = gaussian.mu(allowed, delta)
    spread = math.sqrt(2 / draws + mu * mu / (4 * draws))
    return gaussian.epsilon(mu + float(ndtri(strict) + ndtri(_POWER)) * spread, delta)


def _short(value: float) -> str:
    return format_plain(value, 3)
