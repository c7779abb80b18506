"""The attacks by name: what each needs, tells apart and proves."""

from dataclasses import dataclass
from typing import Literal

from certify.core.arguments import require_type, shown
from certify.core.errors import ConfigurationError
from certify.core.names import did_you_mean

Kind = Literal["convex", "network"]

FOR_LINEAR = ("likelihood-ratio", "reconstruction")
"""Attacks of a linear model where its spec names none."""


@dataclass(frozen=True)
class Attack:
    """What there is to know of an attack before it is run.

    Attributes:
        name: as in ``[audit] attacks``.
        title: for readers.
        kind: "membership" (scores of records, on a fleet), "distance" (models), "set" (one model and coins), "relearning", "instance" (one
            linear model and its noise).
        summary: one sentence.
        needs: what it needs.
        reference: where it comes from.
        signals: of :data:`~certify.attacks.observations.SIGNALS`, those it looks at.
        shadows: whether records are scored by other models of the fleet; without, one threshold serves all records.
        kinds: of models, as an unlearner's: "convex" (linear models, ``kind = "glm"``), "network" (``kind = "torch"``).
        learns: whether it learns from unlearned models which way the method moves a record, so that it sees both directions alike.
        crowd: whether it compares a record with others that the model was never given.
    """

    name: str
    title: str
    kind: str
    summary: str
    needs: str
    reference: str
    signals: tuple[str, ...] = ("phi",)
    shadows: bool = True
    kinds: tuple[Kind, ...] = ("network",)
    learns: bool = False
    crowd: bool = False


_BOTH: tuple[Kind, ...] = ("convex", "network")

_ALL = (
    Attack(
        "u-lira",
        "U-LiRA",
        "membership",
        "Compares, record by record, how confident models are that unlearned it and models that never saw it (likelihood ratio).",
        "shadow models that were trained and unlearned (a train recipe and the method, or scores)",
        "Hayes et al. 2024 (arXiv 2403.01218), after Carlini et al. 2022",
        kinds=_BOTH,
        learns=True,
    ),
    Attack(
        "u-lira-offline",
        "U-LiRA, offline",
        "membership",
        "How unusual the confidence on a record is among models that never saw it; none that unlearned it are needed.",
        "shadow models",
        "Carlini et al. 2022 (arXiv 2112.03570)",
        kinds=_BOTH,
    ),
    Attack(
        "lira",
        "LiRA",
        "membership",
        "Likelihood ratio between models trained with and without the record, by an attacker who does not know of the unlearning.",
        "shadow models, original ones among them",
        "Carlini et al. 2022 (arXiv 2112.03570)",
        kinds=_BOTH,
    ),
    Attack(
        "rmia",
        "RMIA",
        "membership",
        "Whether the model's confidence on a record has risen, against its mean over shadow models, more than on other records.",
        "shadow models",
        "Zarifzadeh et al. 2024 (arXiv 2312.03262)",
        kinds=_BOTH,
        crowd=True,
    ),
    Attack(
        "calibrated-loss",
        "calibrated loss",
        "membership",
        "Confidence on a record less its mean over models that never saw it.",
        "shadow models",
        "Watson et al. 2022 (arXiv 2111.08440)",
        kinds=_BOTH,
    ),
    Attack(
        "attack-r",
        "Attack-R",
        "membership",
        "Rank of the confidence on a record among models that never saw it.",
        "shadow models",
        "Ye et al. 2022 (arXiv 2111.09679)",
        kinds=_BOTH,
    ),
    Attack(
        "two-version",
        "both versions",
        "membership",
        "Likelihood ratio of the confidence before the deletion and of its change: an attacker who holds both models.",
        "shadow models before and after unlearning",
        "Chen et al. 2021 (arXiv 2005.02205)",
        kinds=_BOTH,
        learns=True,
    ),
    Attack(
        "loss",
        "loss threshold",
        "membership",
        "One threshold on the loss for all records: a weak baseline, which can fail a method and never pass it.",
        "nothing but the model",
        "Yeom et al. 2018 (arXiv 1709.01604)",
        shadows=False,
        kinds=_BOTH,
    ),
    Attack(
        "entropy",
        "entropy threshold",
        "membership",
        "One threshold on the entropy of the prediction: a weak baseline, blind to confident mistakes.",
        "nothing but the model",
        "Shokri et al. 2017 (arXiv 1610.05820)",
        ("entropy",),
        shadows=False,
    ),
    Attack(
        "modified-entropy",
        "modified entropy threshold",
        "membership",
        "One threshold on the entropy that takes the label into account: a weak baseline.",
        "nothing but the model",
        "Song and Mittal 2021 (arXiv 2003.10595)",
        ("modified-entropy",),
        shadows=False,
    ),
    Attack(
        "gap",
        "label-only gap",
        "membership",
        "A record counts as known when it is classified rightly: the baseline every attack must beat.",
        "predicted labels alone",
        "Yeom et al. 2018 (arXiv 1709.01604)",
        ("correct",),
        shadows=False,
    ),
    Attack(
        "parameter-distance",
        "parameter distance",
        "distance",
        "Distance of the weights to those of retrained models, beside the distances of these to each other.",
        "retrained models of this very request (trained here, or release.retrained)",
        "docs/audits.md",
        (),
        shadows=False,
    ),
    Attack(
        "function-distance",
        "distance of predictions",
        "distance",
        "Distance of the predictions on forgotten and retained records to those of retrained models (Jensen-Shannon).",
        "retrained models of this very request (trained here, or release.retrained)",
        "docs/audits.md",
        (),
        shadows=False,
    ),
    Attack(
        "release-lira",
        "model under review",
        "distance",
        "How unusual the very model to be released looks on the forgotten records, among retrained models.",
        "retrained models of this very request (trained here, or release.retrained)",
        "docs/audits.md",
        shadows=False,
    ),
    Attack(
        "relearning",
        "relearning",
        "relearning",
        "How soon accuracy on the forgotten records comes back when training goes on with the retained ones; shown, decides nothing.",
        "unlearned and retrained models of this very request, and a train recipe",
        "Siddiqui et al. 2025 (arXiv 2505.22310)",
        ("correct",),
        shadows=False,
    ),
    Attack(
        "likelihood-ratio",
        "likelihood ratio of the release",
        "instance",
        "The strongest attack there is on one linear model: noisy weights against those of the refitted reference, in closed form and drawn.",
        "nothing besides what a certificate needs: the reference is refitted",
        "Neyman, Pearson 1933; Dong et al. 2022 (arXiv 1905.02383)",
        (),
        shadows=False,
        kinds=("convex",),
    ),
    Attack(
        "reconstruction",
        "reconstruction from two versions",
        "instance",
        "How near the records that a pair of linear models gives away lie to the forgotten ones, with and without noise. Informs, decides nothing.",
        "the model before the deletion (release.original)",
        "Bertran et al. 2024 (arXiv 2405.20272)",
        (),
        shadows=False,
        kinds=("convex",),
    ),
    Attack(
        "coin-flip",
        "set-level coin flips",
        "set",
        "Whether the model betrays which of the auditor's canaries were planted and deleted. One model is enough; exact.",
        "canaries planted by coins ([audit] canaries)",
        "docs/audit_statistics.md",
        shadows=False,
    ),
)

ATTACKS: dict[str, Attack] = {attack.name: attack for attack in _ALL}
"""All attacks, by name."""


def names() -> tuple[str, ...]:
    """Names of all attacks."""
    return tuple(ATTACKS)


def get(name: str) -> Attack:
    """The attack called ``name``.

    Raises:
        ConfigurationError: there is none.
    """
    require_type(name, str, "attack", "give a name; attacks.names() has them all")
    if name not in ATTACKS:
        close = did_you_mean(name, ATTACKS)
        mend = close if close.endswith("?") else "`certify list attacks` names them all"
        raise ConfigurationError(f"unknown attack {shown(name)}", where="attack", mend=mend)
    return ATTACKS[name]
