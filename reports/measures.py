"""The parts of the document that hold what was measured and what follows from it."""

from typing import Literal

from certify.reports.parts import FileDigest, Part


class Guarantee(Part):
    """What is guaranteed about the release: weights plus fresh noise of the policy's std and shape."""

    kind: Literal["exact", "certified", "empirical", "none"]
    reason: str
    epsilon: float | None = None
    """Upper bound at the policy's delta."""
    delta: float | None = None
    mu: float | None = None
    distance: float | None = None


class Bounds(Part):
    """Upper bounds on ||w - w*||, each alone (infinite where it does not apply), and what they are made of."""

    distance: float
    strong_convexity: float
    self_concordant: float
    refined: float
    residual_norm: float
    """Computed norm of the gradient on the retained records."""
    rounding: float
    """Proven bound on the rounding error of that gradient."""
    newton_decrement: float
    """Upper bound on sqrt(r' H^-1 r)."""
    radius: float
    """R nu / sqrt(s); the self-concordant bounds need it below 1."""
    modulus: float
    """Lower bound on the smallest eigenvalue of the Hessian at w, or on the modulus of strong convexity."""
    max_row_norm: float
    duality_gap: float | None = None
    """From the duality gap and a reference point; computed for losses with kinks and objectives with an L1 term alone."""


class ShapedNoise(Part):
    """Upper bounds on the distance in the norm of anisotropic noise, ||w - w*||_M: without unit, a multiple of noise_std."""

    distance: float
    """The smallest of the three."""
    limit: float
    """Largest one that the policy lets pass, rounding included, rounded down."""
    plain: float
    self_concordant: float
    refined: float
    rounding: float
    """Proven bound on the rounding error of the coordinates in which the noise is drawn; added to the distance."""
    ratio: float
    """kappa, proven: the Hessian at w is at least kappa M."""


class CurvePoint(Part):
    """One point of the privacy curve: epsilon is an upper bound at this delta."""

    delta: float
    epsilon: float


class AttackLimit(Part):
    """No attack has a true-positive rate above ``tpr`` at false-positive rate ``fpr``."""

    fpr: float
    tpr: float


class Attacker(Part):
    """What the guarantee means against the best possible attacker."""

    accuracy: float
    """Upper bound on the chance of guessing right, when both worlds are equally likely beforehand."""
    limits: tuple[AttackLimit, ...]


class Comparison(Part):
    """The model under review beside the model before the deletion."""

    moved: float
    original_distance: float
    original_mu: float
    original_epsilon: float
    identical: bool
    published_noise_std: float | None = None
    """Noise the original was published with; None when nobody said."""
    published_mu: float | None = None
    """What the published original reveals about the forgotten records: infinite without noise."""


class OneStepBound(Part):
    """One bound on the distance to the retrained weights after one step from the original. Informative."""

    name: str
    step: Literal["newton", "jackknife"]
    source: str
    quantity: str
    value: float | None
    """None where it does not apply; the reason says why."""
    proven: bool
    """Whether the value is an upper bound for this data. A formula whose assumptions were not met is not."""
    reason: str


class OneStep(Part):
    """One step from the original: bounds computed before it is taken, beside what is measured after it. Decides nothing.

    New in schema 1.1.
    """

    training_residual: float | None
    """Norm of the gradient of the original on all records; 0 only for one trained to the exact minimum."""
    bounds: tuple[OneStepBound, ...]
    skipped: str
    """Why nothing was computed; empty otherwise."""


class Utility(Part):
    """A measurement on test records; no guarantee, no limit."""

    metric: str
    records: int
    unlearned: float
    original: float | None = None
    data: FileDigest | None = None


class Predictions(Part):
    """Predictions on the test records beside the retrained model's: bounds that need no noise."""

    records: int
    same_label: int | None
    score_change: float
    probability_change: float | None


class NextStep(Part):
    """What was measured after so many Newton steps from the model under review."""

    steps: int
    distance: float
    mu: float
    epsilon: float
