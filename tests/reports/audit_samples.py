"""Audited documents to render: a method that forgets, one that remembers, one that shuns, one seen too little, one refused."""

from itertools import pairwise
from math import sqrt
from statistics import NormalDist

from by_path import load

from certify.core.verdict import Verdict
from certify.reports.schema import (
    Assumption,
    Audit,
    AuditDesign,
    Band,
    Ceiling,
    CheckEntry,
    Control,
    Counts,
    DistanceFinding,
    Document,
    Finding,
    Guarantee,
    Histogram,
    PolicySummary,
    Ranking,
    RelearningCurve,
    RocCurve,
    Subject,
    Vulnerable,
)

certificates = load("reports/samples")
NORMAL = NormalDist()
RATES = [10.0 ** (k / 8) for k in range(-24, 1)]
PRIVACY = "unlearned models at forgotten records against the same at records they never saw"
RETRAIN = "unlearned models against retrained ones at forgotten records"


def clip(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def gaussian_tpr(shift: float, fpr: float) -> float:
    """The best true-positive rate between N(0, 1) and N(shift, 1)."""
    return 1.0 if fpr >= 1 else NORMAL.cdf(NORMAL.inv_cdf(fpr) + shift)


def gaussian_auc(shift: float) -> float:
    return NORMAL.cdf(shift / sqrt(2))


def design(**changes: object) -> AuditDesign:
    base = AuditDesign(
        source="fleet",
        method="scrub(passes=5, lr=0.01)",
        reference="retrain: 128 models trained without the records",
        models=128,
        records=800,
        forget_share=0.125,
        confidence=0.95,
        alpha=0.05,
        two_sided=True,
        seed=0,
        device="cpu, float32",
        seconds=151.2,
        models_trained=384,
        from_cache=128,
        architecture_digest="c0ffee" * 10 + "abcd",
        parameters=2410,
        forecast_seconds=160.0,
        notes=("Four blocks of 32 models; stopped after the last one, as planned.",),
    )
    return base.model_copy(update=changes)


def controls(*, working: bool = True) -> tuple[Control, ...]:
    return (
        Control(
            id="control-retrained",
            name="retrained",
            expectation="must not be caught",
            p_value=0.41,
            value=0.0104,
            ok=True,
            summary="TPR at FPR 0.01 is 0.0104",
        ),
        Control(
            id="control-original",
            name="original",
            expectation="must be caught",
            p_value=1e-9 if working else 0.37,
            value=0.142 if working else 0.0112,
            ok=working,
            summary="TPR at FPR 0.01 is 0.142" if working else "TPR at FPR 0.01 is 0.0112: the attack sees nothing",
        ),
    )


def tpr_finding(verdict: Verdict | None, value: float, lower: float, upper: float, **more: object) -> Finding:
    base = Finding(
        id="u-lira-privacy",
        attack="U-LiRA",
        title="right alarms at few false ones",
        game=PRIVACY,
        slice="all",
        statistic="TPR at FPR 0.01",
        value=value,
        lower=lower,
        upper=upper,
        confidence=0.95,
        verdict=verdict,
        limit=0.05,
        p_value=2.1e-7 if verdict is Verdict.FAIL else 0.31,
        adjusted_p=8.4e-7 if verdict is Verdict.FAIL else 0.93,
        null_mean=0.0104,
        null_lower=0.0062,
        null_upper=0.0163,
        corrected=value - 0.0104,
        minimum_detectable=0.031,
        power=0.9,
        units=128,
        method="bootstrap over models (BCa), threshold set on the other models",
        source="Hayes et al. 2024; Carlini et al. 2022",
    )
    return base.model_copy(update=more)


def findings(verdict: Verdict, shift: float, **leading: object) -> tuple[Finding, ...]:
    """A leading finding, an epsilon bound, an AUC from both sides, a worst-case slice, and one for information."""
    value = gaussian_tpr(shift, 0.01)
    auc, half = gaussian_auc(shift), 0.022
    low, high = clip(value * 0.8), clip(value * 1.25)
    over = shift < 0 and verdict is Verdict.FAIL
    kind = ("over-forgetting" if shift < 0 else "under-forgetting") if verdict is Verdict.FAIL else None
    first = tpr_finding(Verdict.PASS if over else verdict, value, low, high, direction=None if over else kind)
    return (
        first.model_copy(update=leading),
        tpr_finding(
            verdict, auc, auc - half, auc + half, direction=kind, id="auc-retrain", attack="RMIA", title="told apart from retraining",
            game=RETRAIN, statistic="AUC", limit=0.55, limit_lower=0.45, null_mean=0.501, null_lower=0.487,
            null_upper=0.515, corrected=auc - 0.501, minimum_detectable=0.542, note="two-sided: 0.5 is the aim",
        ),
        tpr_finding(
            Verdict.PASS if over else verdict, clip(value * 2), clip(value * 1.3), clip(value * 2.9), id="worst-memorised", title="hardest records",
            slice="most memorised tenth", direction=None if over else kind,
            limit=0.06, minimum_detectable=0.12, needed_models=leading.get("needed_models"),
        ),
        tpr_finding(
            Verdict.FAIL if verdict is Verdict.FAIL else Verdict.PASS, max(shift, 0) * 1.9, max(shift, 0) * 1.9, float("inf"), id="epsilon",
            attack="U-LiRA", title="epsilon lower bound", statistic="epsilon lower bound at delta 1e-5", limit=1.0,
            null_mean=0.0, null_lower=0.0, null_upper=0.21, corrected=None, minimum_detectable=1.4, ceiling=3.53,
            method="exact unconditional test, one threshold from held-out models", direction=None,
        ) if not over else first.model_copy(update={"id": "epsilon", "title": "right alarms, again", "verdict": None}),
        tpr_finding(
            None, 0.53, 0.52, 0.54, id="loss", attack="loss threshold", title="population attack",
            statistic="AUC", limit=None, null_mean=0.502, null_lower=0.495, null_upper=0.509, corrected=0.028,
            minimum_detectable=None, power=None, note="weak by construction: shown beside the others",
        ),
    )  # fmt: skip


def silenced(found: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """What hangs on a control that misbehaved."""
    return tuple(one.model_copy(update={"verdict": None, "note": "refused: a control misbehaved"}) for one in found)


def roc(shift: float, attack: str = "U-LiRA", slice_: str = "all") -> RocCurve:
    tpr = [gaussian_tpr(shift, rate) for rate in RATES]
    spread = [0.6 * sqrt(rate * (1 - rate) / 128) + 0.002 for rate in RATES]
    band = list(zip(tpr, spread, strict=True))
    return RocCurve(
        attack=attack,
        game=PRIVACY,
        slice=slice_,
        fpr=tuple(RATES),
        tpr=tuple(tpr),
        lower=tuple(clip(t - 2 * s * (0.4 + t)) for t, s in band),
        upper=tuple(clip(t + 2 * s * (0.4 + t)) for t, s in band),
        confidence=0.95,
        band="simultaneous, equal local levels",
        null_fpr=tuple(RATES),
        null_tpr=tuple(RATES),
        null_lower=tuple(clip(rate - s) for rate, s in zip(RATES, spread, strict=True)),
        null_upper=tuple(clip(rate + s) for rate, s in zip(RATES, spread, strict=True)),
    )


def histogram(shift: float) -> Histogram:
    edges = [k / 2 for k in range(-8, 17)]

    def counts(mean: float, std: float, total: int) -> tuple[int, ...]:
        law = NormalDist(mean, std)
        return tuple(round(total * (law.cdf(high) - law.cdf(low))) for low, high in pairwise(edges))

    return Histogram(
        title="phi at forgotten records",
        axis="phi = log p - log(1 - p)",
        edges=tuple(edges),
        series=(
            Counts(label="unlearned", counts=counts(2 + shift, 1.4, 12800)),
            Counts(label="retrained", counts=counts(2, 1.5, 12800)),
            Counts(label="original", counts=counts(4.5, 1.1, 12800)),
        ),
    )


def ranking(shift: float, rejected: int) -> Ranking:
    direction = "over-forgetting" if shift < 0 else "under-forgetting"
    sign = -1 if shift < 0 else 1
    values = [0.5 + sign * 0.48 * 0.93**k for k in range(12)]
    rows = tuple(
        Vulnerable(
            rank=k + 1,
            row=(7919 * (k + 3)) % 800,
            value=value,
            lower=clip(value - 0.03 - 0.004 * k),
            upper=clip(value + 0.03 + 0.004 * k),
            p_value=10.0 ** (k - 12),
            adjusted_p=min(1.0, 10.0 ** (k - 9.5)),
            direction=direction if k < 8 else None,
        )
        for k, value in enumerate(values)
    )
    return Ranking(
        attack="U-LiRA",
        statistic="AUC",
        tested=800,
        rejected=rejected,
        level=0.05,
        correction="Benjamini-Hochberg",
        confidence=0.95,
        records=rows,
        null_rejected=0,
    )


def distances(ratio: float) -> tuple[DistanceFinding, ...]:
    def one(name: str, part: str, unit: float, times: float) -> DistanceFinding:
        null = tuple(unit * (1 + 0.18 * NORMAL.inv_cdf((k + 0.5) / 66)) for k in range(66))
        return DistanceFinding(
            name=name,
            part=part,
            kind="outputs" if "JS" in name or "activation" in name else "parameters",
            value=unit * times,
            null_values=null,
            p_value=1 / 67 if times > 1.4 else 0.4,
            adjusted_p=0.09 if times > 1.4 else 1.0,
            ratio=times,
        )

    layers = ("whole", "layer1.weight", "layer1.bias", "layer2.weight")
    return (
        *(one("L2", part, 3.1, ratio * (1 + 0.1 * k)) for k, part in enumerate(layers)),
        one("cosine", "whole", 0.72, 1 + (ratio - 1) / 3),
        one("activation distance", "forgotten records", 0.081, ratio * 1.2),
        one("JS divergence", "forgotten records", 0.0102, ratio * 1.3),
    )


def relearning(gain: float) -> tuple[RelearningCurve, ...]:
    passes = tuple(float(k) for k in range(11))

    def band(start: float, end: float) -> Band:
        mean = [end + (start - end) * 0.7**k for k in range(11)]
        return Band(mean=tuple(mean), lower=tuple(m - 0.02 for m in mean), upper=tuple(m + 0.02 for m in mean))

    return (
        RelearningCurve(
            kind="the retained records alone",
            metric="accuracy on the forgotten records",
            passes=passes,
            unlearned=band(0.87, 0.87 + gain),
            retrained=band(0.87, 0.88),
            confidence=0.95,
            original=band(0.99, 0.985),
        ),
        RelearningCurve(
            kind="the forgotten records",
            metric="accuracy on the forgotten records",
            passes=passes,
            unlearned=band(0.87, 0.98),
            retrained=band(0.87, 0.97 - gain / 2),
            confidence=0.95,
        ),
    )


def audit(verdict: Verdict, shift: float, *, working: bool = True, **leading: object) -> Audit:
    return Audit(
        claim="The unlearned models cannot be told from models retrained without the records.",
        design=design(),
        controls=controls(working=working),
        findings=findings(verdict, shift, **leading) if working else silenced(findings(verdict, shift)),
        strongest=None if not working else "auc-retrain" if shift < 0 and verdict is Verdict.FAIL else "u-lira-privacy",
        not_tested=(
            "the two-version attack: whoever kept the original model can compare it with this one",
            "label-only attacks and model inversion",
            "parameter-distance null under another batch order",
        ),
        roc=(roc(shift), roc(shift * 1.7, slice_="most memorised tenth"), roc(shift * 0.6, attack="RMIA")),
        histograms=(histogram(shift),),
        ranking=ranking(shift, 0 if abs(shift) < 0.2 else 231),
        distances=distances(1.0 + abs(shift)),
        relearning=relearning(max(shift, 0) * 0.1),
        ceilings=(
            Ceiling(statistic="epsilon lower bound, one threshold", units=128, value=3.53, confidence=0.95),
            Ceiling(statistic="epsilon lower bound, 512 models", units=512, value=4.93, confidence=0.95),
        ),
    )


def _checks(found: Audit) -> tuple[CheckEntry, ...]:
    """As the gate makes them: one a deciding finding, one a control, each with its id."""
    entries = [certificates.entry("request", Verdict.PASS, title="erasure request", summary="100 of 800 records found")]
    entries += [
        certificates.entry(
            control.id, Verdict.PASS if control.ok else Verdict.REFUSED, title=f"control: {control.name}",
            summary=control.summary, remedy=None if control.ok else "train the original longer, or audit with more models",
        )
        for control in found.controls
    ]  # fmt: skip
    entries += [
        certificates.entry(
            item.id, item.verdict, title=item.title, measured=item.value, limit=item.limit,
            summary=f"{item.statistic} {item.value:.3g} against {item.limit:.3g}",
            remedy=None if item.verdict is Verdict.PASS else "retrain, or unlearn with more passes",
        )
        for item in found.findings
        if item.verdict is not None
    ]  # fmt: skip
    return tuple(entries)


def audited(verdict: Verdict, found: Audit, **changes: object) -> Document:
    """A document of a network, empirical where it passes."""
    reason = f"no leak above the policy's limits was found with {found.design.models} models of each world"
    passed = verdict is Verdict.PASS
    update: dict[str, object] = {
        "subject": Subject(
            kind="torch",
            model=certificates.digest("unlearned.safetensors"),
            original=certificates.digest("original.safetensors"),
            parameters=2410,
            stored_as="float32",
        ),
        "policy": PolicySummary(epsilon=1.0, delta=1e-5, noise_std=0.0),
        "checks": _checks(found),
        "guarantee": Guarantee(kind="empirical", reason=reason)
        if passed
        else Guarantee(kind="none", reason=verdict.meaning),
        "assumptions": (
            Assumption(
                id="recipe",
                statement="The fleet was trained as the model under review was.",
                status="declared",
                evidence="[training] in the spec",
            ),
            Assumption(
                id="seeds",
                statement="Every model has a seed of its own.",
                status="verified",
                evidence="384 different streams of seed 0",
            ),
        ),
        "objective": None,
        "bounds": None,
        "curve": (),
        "attacker": None,
        "comparison": None,
        "next_steps": (),
        "one_step": None,
        "audit": found,
    }
    document: Document = certificates.document(verdict, **(update | changes))
    return document


PASS = audited(Verdict.PASS, audit(Verdict.PASS, 0.05))
UNDER = audited(Verdict.FAIL, audit(Verdict.FAIL, 1.0))
OVER = audited(Verdict.FAIL, audit(Verdict.FAIL, -0.6))
INCONCLUSIVE = audited(
    Verdict.INCONCLUSIVE,
    audit(Verdict.INCONCLUSIVE, 0.35, lower=0.012, upper=0.071, needed_models=310),
)
REFUSED = audited(Verdict.REFUSED, audit(Verdict.PASS, 0.05, working=False))
BESIDE = certificates.document(audit=audit(Verdict.PASS, 0.05))
"""A linear model's certificate with an audit beside it."""

ALL = {
    "audit-pass": PASS,
    "audit-under": UNDER,
    "audit-over": OVER,
    "audit-inconclusive": INCONCLUSIVE,
    "audit-refused": REFUSED,
    "audit-beside": BESIDE,
}
