"""One model under review, beside retrained models of the very same request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import beta
from scipy.stats import t as student

from certify.attacks.audits.exchangeable import rank_p, unusual
from certify.attacks.audits.findings import Control, Finding, RequestAudit
from certify.attacks.distances.null import REMINDER, Distance
from certify.attacks.registry import ATTACKS
from certify.attacks.scores.student import Moments, Predictive
from certify.attacks.statistics.equivalence import judge
from certify.core.arrays import FloatArray
from certify.core.errors import InputError, TooLittlePowerError
from certify.core.verdict import Verdict

LEAST_RETRAINED = 5
"""Retrained models, at least: their spread is what everything is measured by."""

_BLIND = "the original model is not told apart, or within the limit too: shown, and decides nothing"

_ONE_MODEL = (
    "Clopper-Pearson over records, or the spread of the share over retrained models where that is wider; "
    "p-value: the larger of Student's t over retrained models, mean and spread of phi, two tests, and the exact rank among them"
)


_NAMES = {"l2": "Euclidean", "js": "Jensen-Shannon"}
_PARTS = {"whole": "whole model", "forget": "forgotten records", "retain": "retained records"}
"""For titles: what a distance is, and of what."""


def predicted_p(value: float, null: FloatArray) -> float:
    """Two-sided p-value that ``value`` is one more of ``null``, (J,), taken as normal: ``t = (v - mean) / (sd sqrt(1 + 1/J))``.

    Where ``null`` has no spread there is nothing to measure by, and being the odd one out of J + 1 has the probability 1 / (J + 1).

    >>> predicted_p(3.0, np.array([1.0, 2.0, 3.0, 4.0, 5.0])), predicted_p(1.5, np.ones(19))
    (1.0, 0.05)
    """
    models = len(null)
    spread = float(np.std(null, ddof=1)) * np.sqrt(1 + 1 / models)
    gap = value - float(np.mean(null))
    if spread <= 1e-12 * max(abs(value), float(np.max(np.abs(null)))):
        return 1.0 if abs(gap) <= spread else 1 / (models + 1)
    return float(2 * student.sf(abs(gap) / spread, models - 1))


def require_retrained(models: int) -> None:
    """Refuse a null of too few models.

    Raises:
        TooLittlePowerError: fewer than five.
    """
    if models < LEAST_RETRAINED:
        raise TooLittlePowerError(
            f"{models} retrained models are too few to tell how far honest retraining spreads: {LEAST_RETRAINED} are the least, 40 a good number",
            where="audit.replicates",
            mend="train more, or name more in release.retrained",
        )


def audit_release(
    released: FloatArray,
    retrained: FloatArray,
    original: FloatArray | None,
    *,
    fpr: float,
    limit: float,
    confidence: float,
) -> RequestAudit:
    """How unusual the forgotten records look to the model under review, among retrained models.

    Each record has a Student-t prediction of phi from the retrained models. A record is flagged where the model's phi lies in the upper
    ``fpr`` of it (under-forgetting), or in the lower (over-forgetting). Each retrained model is looked at in the same way, by the
    others: that is the null.

    The p-value looks at the mean over records, in units of each record's spread, and at the mean square, which moves where half of the records
    go up and half go down. It is Student's for the more unusual of the two, twice, or the exact rank among all models where that is larger.

    Args:
        released: phi of the forgotten records, (M,).
        retrained: the same of J retrained models, (J, M).
        original: of the model before the deletion, as the control.
        fpr: share that is flagged by chance.
        limit: largest share that is allowed.
        confidence: of the interval over records, two-sided.

    Raises:
        TooLittlePowerError: fewer than five retrained models.
    """
    require_retrained(len(retrained))
    moments = Moments.of(retrained)
    p, pool = _told_apart(released, retrained)
    nulls = {
        sign: np.array([_share(row, moments.leaving_out(j, retrained), fpr, sign) for j, row in enumerate(retrained)])
        for sign in (1, -1)
    }
    control = None if original is None else _told_apart(original, retrained)[0]
    # what the original itself would pass is no test: it has to be told apart, and to break the limit
    able = control is None or (
        control <= 1 - confidence
        and original is not None
        and any(
            _share_interval(_share(original, moments, fpr, sign), null, len(original), confidence)[0] > limit
            for sign, null in nulls.items()
        )
    )
    findings = []
    for direction, sign in (("under-forgetting", 1), ("over-forgetting", -1)):
        null, value = nulls[sign], _share(released, moments, fpr, sign)
        blind = "" if able else _BLIND
        findings.append(_release_finding(direction, value, null, p, len(released), fpr, limit, confidence, blind))
    controls = () if control is None else (_original("release-lira", control, able=able),)
    exact = rank_p(pool)
    return RequestAudit(
        tuple(replace(one, p_value=max(p, exact)) for one in findings),
        controls,
        pool=pool,
        odd_one_out=max(p, exact) <= 1 / len(pool),
    )


def _share(phi: FloatArray, moments: Moments, fpr: float, sign: int) -> float:
    """Share of records in the tail of their predictions."""
    turned = moments if sign == 1 else replace(moments, mean=-moments.mean)
    return float(np.mean(Predictive.of(turned, "student", 4.0).log_upper(sign * phi) <= np.log(fpr)))


def _told_apart(one: FloatArray, retrained: FloatArray) -> tuple[float, FloatArray]:
    """Student's p-value of the more unusual of mean and mean square of phi, and how unusual all models are, (J + 1,), ``one`` first."""
    mean, square = (unusual(values) for values in _summaries(one, retrained))
    pool = np.maximum(mean, square)
    return min(1.0, 4 * float(student.sf(pool[0], len(retrained) - 1))), pool


def _summaries(one: FloatArray, retrained: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean over records of phi, and log of its mean square, each record in units of its spread, of all models, (J + 1,), ``one`` first.

    The spread is that of all models together: none of them is measured by a yardstick that it had no part in, so that one more
    retrained model is one more of the same.
    """
    everything = np.concatenate([one[None], retrained])
    spread = everything.std(axis=0, ddof=1)
    floor = max(float(np.median(spread)) * 1e-3, np.finfo(np.float64).tiny)
    scores = (everything - everything.mean(axis=0)) / np.maximum(spread, floor)
    return scores.mean(axis=1), np.log(np.maximum((scores**2).mean(axis=1), 1e-300))


def _share_interval(value: float, null: FloatArray, records: int, confidence: float) -> tuple[float, float]:
    """Limits of a share; records of one model depend on each other, and retrained models show how far their shares spread."""
    flagged, error = round(value * records), (1 - confidence) / 2
    half = float(student.isf(error, len(null) - 1) * null.std(ddof=1))
    lower = 0.0 if flagged == 0 else max(0.0, min(float(beta.ppf(error, flagged, records - flagged + 1)), value - half))
    if flagged == records:
        return lower, 1.0
    return lower, min(1.0, max(float(beta.isf(error, flagged + 1, records - flagged)), value + half))


def _release_finding(
    direction: str,
    value: float,
    null: FloatArray,
    p: float,
    records: int,
    fpr: float,
    limit: float,
    confidence: float,
    blind: str,
) -> Finding:
    lower, upper = _share_interval(value, null, records, confidence)
    verdict = judge(lower, upper, -np.inf, limit)
    return Finding(
        id=f"release-lira-{direction.partition('-')[0]}",
        attack="release-lira",
        title=ATTACKS["release-lira"].title,
        game="retrain",
        slice="all",
        statistic=f"share of forgotten records flagged at FPR {fpr:g}",
        value=value,
        lower=lower,
        upper=upper,
        confidence=confidence,
        verdict=verdict if not blind or verdict is Verdict.FAIL else None,
        limit=limit,
        p_value=p,
        null_mean=float(null.mean()),
        null_lower=float(null.min()),
        null_upper=float(null.max()),
        corrected=value - float(null.mean()),
        units=records,
        method=_ONE_MODEL,
        note=blind,
        direction=direction,
        source=ATTACKS["release-lira"].reference,
    )


def _original(attack: str, p: float, *, able: bool) -> Control:
    words = "it is, and beyond the limit" if able else "it is not, or within the limit: this attack passes nothing here"
    return Control(
        id=f"control-original-{attack}",
        attack=attack,
        game="retrain",
        name=f"the original model in the place of the one under review: {attack}",
        must_be_caught=True,
        p_value=p,
        value=None,
        ok=True,  # an attack that is blind here passes nothing; nothing is refused for it
        able=able,
        summary=f"is told apart where the attack can see anything: p = {p:.3g}, {words}",
    )


@dataclass(frozen=True, eq=False)
class Start:
    """Whether the model under review began with the weights that the original began with.

    Retrained models that share them lie far closer together than those that begin anew, and show far smaller differences. Yet an honest
    retraining may begin with weights of its own. So both are held to be honest, and a model fails only where both are refuted: it
    is no further one of the models that share the start, nor of those that begin anew, which lie elsewhere seen from the former.

    Attributes:
        p_value: that it is one more of those that begin anew, by its distance to those that share the start; Student's.
        shared: whether that is refuted, so that the distances shown are those to models that share the start.
        pool: how unusual it and those that begin anew are by that distance, (J + 1,), itself first.
    """

    p_value: float
    shared: bool
    pool: FloatArray

    @classmethod
    def of(cls, released: FloatArray, anew: FloatArray, confidence: float) -> "Start":
        """From distances to the R retrained models that share the start.

        Args:
            released: of the model under review, (R,).
            anew: of J retrained models with starts of their own, (J, R).
            confidence: above which the model is held to have the original's start.
        """
        values = np.append(released.mean(), anew.mean(axis=1))
        p = predicted_p(float(values[0]), values[1:])
        return cls(p, p <= 1 - confidence, unusual(values))

    @property
    def words(self) -> str:
        """For the report."""
        if self.shared:
            return (
                "All models began with the initial weights of [training] (one with weights of its own lies elsewhere)."
            )
        return "The model began with weights of its own, as far as can be told, and is compared with models that did."


def _pool(one: Distance) -> FloatArray:
    """Mean distance of each model to all others, the one under review first, (J + 1,).

    Distances among the retrained ones alone spread less than those to one more model: with 8 of them one honest model in 13 would lie
    outside their 95 %.
    """
    return np.append(one.value, one.null) if one.pool is None else one.pool


def _one_of(values: FloatArray) -> tuple[float, float]:
    """Two-sided p-values that the first is one more of the others: Student's, and the exact rank."""
    return predicted_p(float(values[0]), values[1:]), rank_p(unusual(values))


def audit_distances(
    attack: str,
    found: Sequence[Distance],
    original: Mapping[tuple[str, str], Distance],
    *,
    limit: float,
    confidence: float,
    start: Start | None = None,
    other: Distance | None = None,
) -> RequestAudit:
    """Distances of the model under review to retrained ones, beside those of retrained ones to each other.

    Args:
        attack: "parameter-distance" or "function-distance".
        found: distances, "whole" or a part of the records; the first one decides, the others inform.
        original: the same distances of the model before the deletion, by name and part; empty where it is not given.
        limit: largest ratio to the distance among retrained models.
        confidence: of the ratio's interval.
        start: what was found of the weights that the model under review began with; None where that was not asked.
        other: with ``start``, the first distance to the models that ``found`` does not compare with: to those that begin anew where
            it is to those that share the start, and the other way round. A model fails only where it is one more of neither.
    """
    findings, controls = [], []
    pool, p, second = _pools(found[0], start, other)
    for place, one in enumerate(found):
        twin = original.get((one.name, one.part))
        blind = twin is not None and (
            _one_of(_pool(twin))[0] > 1 - confidence or twin.ratio.lower <= limit  # it would pass itself
        )
        if place == 0 and twin is not None:
            controls.append(_original(attack, _one_of(_pool(twin))[0], able=not blind))
        verdict = _beside_retrained(one, limit)
        decides = place == 0 and (verdict is Verdict.FAIL or not blind)
        words = [] if decides else [f"{_BLIND}."]
        words += [REMINDER] if start is None else [start.words, REMINDER]
        findings.append(
            Finding(
                id=attack if place == 0 else f"{attack}-{one.name}-{one.part}".replace("/", "-"),
                attack=attack,
                title=f"{ATTACKS[attack].title} ({_NAMES.get(one.name, one.name)}, {_PARTS.get(one.part, one.part)})",
                game="retrain",
                slice="all",
                statistic="distance to retrained models over theirs to each other",
                value=one.ratio.value,
                lower=one.ratio.lower,
                upper=one.ratio.upper,
                confidence=one.ratio.confidence,
                verdict=verdict if decides else None,
                limit=limit if place == 0 else None,
                p_value=p if place == 0 else None,
                null_mean=1.0,
                units=one.models[1],
                method=f"{one.ratio.method}; p-value: the larger of Student's t over retrained models and the exact rank among them",
                note=" ".join(words) if place == 0 else "",  # said once, of the distance that decides
                source=ATTACKS[attack].reference,
            )
        )
    return RequestAudit(
        tuple(findings), tuple(controls), tuple(found), pool=pool, second=second, odd_one_out=p <= 1 / len(pool)
    )


def _pools(one: Distance, start: Start | None, other: Distance | None) -> tuple[FloatArray, float, float | None]:
    """How unusual the models that begin anew and the one under review are; its p-value; that of being one of the shared start.

    With ``start`` either kind of retraining is honest: the larger of both p-values. The rank among models that begin anew is by distance to
    each other or to those of the shared start, whichever is more unusual, so that nothing is chosen by what was seen.
    """
    if start is None:
        pool = unusual(_pool(one))
        return pool, max(_one_of(_pool(one))), None
    if other is None:
        raise InputError(
            "needs distances to both kinds of retrained models", where="other", mend="give those to the other kind"
        )
    anew, shared = (_pool(other), _pool(one)) if start.shared else (_pool(one), _pool(other))
    pool = np.maximum(unusual(anew), start.pool)
    second = rank_p(unusual(shared))
    p = max(_one_of(_pool(one))[0], rank_p(pool), second)
    return pool, max(p, start.p_value) if start.shared else p, second


def _beside_retrained(one: Distance, limit: float) -> Verdict:
    """Too far fails. Nearer than retrained models are to each other is no fault, but no retrained model is: a ruined one may be."""
    verdict = judge(one.ratio.lower, one.ratio.upper, -np.inf, limit)
    return Verdict.INCONCLUSIVE if verdict is Verdict.PASS and one.ratio.lower < 1 / limit else verdict
