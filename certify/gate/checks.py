"""The checks of a linear model, one function each. A check says what was measured, against what, and what would mend it."""

import math

from certify.core.rounding import format_lower, format_plain, format_upper
from certify.core.verdict import Verdict
from certify.gate.inputs import Inputs
from certify.gate.measure import Measurement
from certify.gate.spec import PolicySpec
from certify.gate.standing import Standing
from certify.reports.schema import CheckEntry


def request_check(inputs: Inputs) -> CheckEntry:
    """The forget set is in the data and not in the retain set: the readers have refused everything else."""
    forgotten, total = len(inputs.forgotten), len(inputs.dataset)
    return CheckEntry(
        id="request",
        title="erasure request",
        verdict=Verdict.PASS,
        summary=f"{forgotten:,} of {total:,} records found; {total - forgotten:,} retained",
        measured=forgotten,
        quantity="records",
    )


def convexity_check(inputs: Inputs, measured: Measurement | None, refusal: str | None) -> CheckEntry:
    """The objective is strongly convex, provably."""
    l2 = inputs.objective.l2
    refused = refusal is not None
    shown = measured is not None and not inputs.objective.bent
    modulus = f"; smallest eigenvalue of the Hessian at least {measured.bound.modulus}" if measured and shown else ""
    return CheckEntry(
        id="strong-convexity",
        title="strong convexity",
        verdict=Verdict.REFUSED if refused else Verdict.PASS,
        summary=refusal or f"l2 = {format_plain(l2)}{modulus}",
        measured=l2,
        limit=0.0,
        quantity="l2",
        remedy="train with l2 > 0, penalise the intercept, and declare both in [objective]" if refused else None,
    )


def delta_check(inputs: Inputs, policy: PolicySpec) -> CheckEntry:
    """delta must be below one over the number of retained records: above, publishing a random record would pass."""
    limit = 1 / inputs.problem.records
    ok = policy.delta < limit
    sign = "is below" if ok else "is not below"
    return CheckEntry(
        id="delta",
        title="delta",
        verdict=Verdict.PASS if ok else Verdict.REFUSED,
        summary=f"{format_plain(policy.delta)} {sign} 1/{inputs.problem.records:,} = {format_lower(limit)}",
        measured=policy.delta,
        limit=limit,
        quantity="delta",
        remedy=None
        if ok
        else f"a delta of 1/n allows one person's record to be published; set policy.delta below {format_lower(limit)}",
    )


def distance_check(policy: PolicySpec, measured: Measurement, advice: str | None) -> CheckEntry:
    """The certified distance is within the policy's tolerance."""
    assert policy.tolerance is not None
    distance = float(measured.bound.distance)
    ok = distance <= policy.tolerance
    return CheckEntry(
        id="tolerance",
        title="certified distance",
        verdict=Verdict.PASS if ok else Verdict.FAIL,
        summary=_against("||w - w*|| <=", distance, policy.tolerance, ok=ok),
        measured=distance,
        limit=policy.tolerance,
        quantity="distance to the retrained weights",
        remedy=None if ok else advice,
    )


def privacy_check(policy: PolicySpec, measured: Measurement, advice: str | None) -> CheckEntry:
    """epsilon at the policy's delta is within the policy."""
    ok = measured.epsilon <= policy.epsilon
    tail = f" at delta {format_plain(policy.delta)} (mu {format_upper(measured.mu)})"
    return CheckEntry(
        id="privacy",
        title="(epsilon, delta) certificate",
        verdict=Verdict.PASS if ok else Verdict.FAIL,
        summary=_against("epsilon", measured.epsilon, policy.epsilon, ok=ok) + tail,
        measured=measured.epsilon,
        limit=policy.epsilon,
        quantity="epsilon",
        remedy=None if ok else advice,
    )


def unmeasured_check(check: str, title: str, policy: PolicySpec) -> CheckEntry:
    """A bound that could not be computed, because an assumption before it is not met."""
    return CheckEntry(
        id=check,
        title=title,
        verdict=Verdict.REFUSED,
        summary="not measured: an assumption above is not met",
        limit=policy.tolerance if check == "tolerance" else policy.epsilon,
    )


def ledger_check(cap: float, standing: Standing, noise_shape: str) -> CheckEntry:
    """The total over all releases, this one included, is within the cap."""
    ok = standing.total_mu <= cap
    cheaper = (
        "lower policy.tolerance or raise policy.noise_std" if noise_shape == "isotropic" else "lower policy.epsilon"
    )
    return CheckEntry(
        id="ledger",
        title="total over all releases",
        verdict=Verdict.PASS if ok else Verdict.FAIL,
        summary=_against(f"mu after {standing.releases} earlier releases and this one", standing.total_mu, cap, ok=ok),
        measured=standing.total_mu,
        limit=cap,
        quantity="total mu",
        remedy=None if ok else f"the budget is spent: {cheaper}, so that this release costs less, or do not release",
    )


def unrecognisable_check(cap: float | None) -> CheckEntry:
    """There is a ledger, or a cap over all releases, and the records have no ids to be recognised by."""
    return CheckEntry(
        id="ledger",
        title="total over all releases",
        verdict=Verdict.REFUSED,
        summary="the records have only row numbers, by which the ledger cannot recognise them",
        limit=cap,
        quantity="total mu",
        remedy="give each record a stable id (the array ids, or data.columns.id)",
    )


def tombstone_check(standing: Standing) -> CheckEntry:
    """No record that an earlier release forgot is in the retain set again."""
    ok = standing.returned == 0
    return CheckEntry(
        id="tombstones",
        title="no forgotten record is back",
        verdict=Verdict.PASS if ok else Verdict.FAIL,
        summary=f"{standing.returned:,} records that an earlier release forgot are in the retain set",
        measured=standing.returned,
        limit=0,
        quantity="records",
        remedy=None if ok else "remove them from the data, or name them in the forget set again",
    )


def _against(quantity: str, value: float, limit: float, *, ok: bool) -> str:
    if math.isinf(value):
        return f"{quantity} has no finite bound; the limit is {format_plain(limit)}"
    relation = "within" if ok else "above"
    return f"{quantity} {format_upper(value)} {relation} {format_plain(limit)}"
