"""What is claimed, what it means for a person, and what is not covered; :mod:`certify.gate.assumptions` has the conditions."""

import numpy as np

from certify.core.verdict import Verdict
from certify.gate.inputs import Inputs
from certify.gate.measure import Measurement, shift_limit
from certify.gate.spec import PolicySpec
from certify.privacy import gaussian
from certify.reports.schema import Attacker, AttackLimit, Bounds, CurvePoint, Guarantee, ShapedNoise

_CURVE_DELTAS = np.logspace(-12, -1, 45)
_FALSE_POSITIVE_RATES = (0.001, 0.01, 0.1)

_GROUNDS = {
    "isotropic": "measured gradient on the retained records, proven distance to the retrained weights, exact Gaussian curve",
    "curvature": "measured gradient on the retained records, proven distance to the retrained weights in the norm of the noise, exact Gaussian curve",
}

NOT_COVERED = (
    "The file under review itself, without the noise: the guarantee is about the weights after the policy's noise was added, once.",
    "Releases made before the deletion: whoever holds the earlier model can compare it with this one and may learn much about the forgotten records.",
    "Other copies and derivatives of the records: backups, logs, embeddings, other models, features computed with them.",
    "The same facts in other records: records of other people that resemble or repeat those of the forgotten ones were retained and still act.",
    "Choices made while looking at the forgotten records (hyper-parameters, features, scaling), unless they were made again without them.",
    "The honesty of the operator: this shows what these weights are, on this data; it cannot show that no other copy of the data or the model is kept.",
    "Several releases together: each further release adds to what can be learned (the total mu is the root of the sum of squares).",
)


def guarantee(verdict: Verdict, policy: PolicySpec, measured: Measurement | None) -> Guarantee:
    """The guarantee, or none with the reason."""
    if verdict is not Verdict.PASS or measured is None:
        return Guarantee(kind="none", reason=verdict.meaning)
    return Guarantee(
        kind="certified",
        reason=_GROUNDS[policy.noise_shape],
        epsilon=measured.epsilon,
        delta=policy.delta,
        mu=measured.mu,
        distance=float(measured.bound.distance),
    )


def bounds_part(inputs: Inputs, measured: Measurement) -> Bounds:
    """The certificate's numbers, for the document."""
    bound = measured.bound
    return Bounds(
        distance=float(bound.distance),
        strong_convexity=float(bound.strong_convexity),
        self_concordant=float(bound.self_concordant),
        refined=float(bound.refined),
        residual_norm=bound.residual_norm,
        rounding=float(bound.rounding),
        newton_decrement=float(bound.newton_decrement),
        radius=float(bound.radius),
        modulus=float(bound.modulus),
        max_row_norm=float(bound.max_row_norm),
        duality_gap=None if inputs.objective.smooth else float(bound.duality_gap),
    )


def shaped_part(measured: Measurement, policy: PolicySpec) -> ShapedNoise | None:
    """The certificate in the norm of anisotropic noise, for the document."""
    shaped = measured.shaped
    if shaped is None:
        return None
    return ShapedNoise(
        distance=float(shaped.distance),
        limit=shift_limit(policy),
        plain=float(shaped.plain),
        self_concordant=float(shaped.self_concordant),
        refined=float(shaped.refined),
        rounding=float(shaped.rounding),
        ratio=float(shaped.ratio),
    )


def curve(measured: Measurement) -> tuple[CurvePoint, ...]:
    """epsilon(delta) at the measured mu."""
    if not np.isfinite(measured.mu):
        return ()
    return tuple(
        CurvePoint(delta=float(delta), epsilon=gaussian.epsilon(measured.mu, float(delta))) for delta in _CURVE_DELTAS
    )


def attacker(measured: Measurement) -> Attacker:
    """The guarantee as limits on every attack, known and unknown."""
    limits = tuple(AttackLimit(fpr=fpr, tpr=gaussian.attacker_tpr(measured.mu, fpr)) for fpr in _FALSE_POSITIVE_RATES)
    return Attacker(accuracy=gaussian.attacker_accuracy(measured.mu), limits=limits)
