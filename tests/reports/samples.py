"""Documents to render: one for each outcome, and one whose every string is hostile."""

import math

from certify.core.verdict import Verdict
from certify.reports.schema import (
    SCHEMA_VERSION,
    Assumption,
    Attacker,
    AttackLimit,
    Bounds,
    CheckEntry,
    Comparison,
    CurvePoint,
    Document,
    Evidence,
    FileDigest,
    Guarantee,
    NextStep,
    ObjectiveSummary,
    OneStep,
    OneStepBound,
    PolicySummary,
    Reproduction,
    Request,
    Subject,
    Tool,
    Utility,
)

HOSTILE = "<script>alert(1)</script>|`x`\"'\x1b[31m\nnew\u202eline & ]]> " + "long" * 60


def digest(name: str) -> FileDigest:
    return FileDigest(path=name, sha256=f"{sum(name.encode()):064x}", bytes=7)


def entry(identifier: str, verdict: Verdict, **more: object) -> CheckEntry:
    return CheckEntry.model_validate(
        {"id": identifier, "title": f"title of {identifier}", "verdict": verdict, "summary": f"summary of {identifier}"}
        | more
    )


def bounds(**changes: float) -> Bounds:
    values = {
        "distance": 2.6250001e-6,
        "strong_convexity": 2.34e-4,
        "self_concordant": 8.26e-6,
        "refined": 2.6250001e-6,
        "residual_norm": 3.7e-3,
        "rounding": 1.7e-8,
        "newton_decrement": 5.6e-5,
        "radius": 2e-5,
        "modulus": 46.1,
        "max_row_norm": 2.46,
    }
    return Bounds(**(values | changes))


def one_step() -> OneStep:
    """A proven bound, one that is no proof, and one that does not apply."""
    rows = (
        ("measured after the step", "newton", 2.6250001e-6, True, ""),
        ("worst case, published", "newton", 875.4, False, "takes the original for the exact minimiser"),
        ("data-dependent", "jackknife", None, False, "the loss has no Hessian-Lipschitz constant"),
    )
    bounds = tuple(
        OneStepBound(name=n, step=s, source="a paper", quantity="distance", value=v, proven=p, reason=r)
        for n, s, v, p, r in rows
    )
    return OneStep(training_residual=1.67e-8, bounds=bounds, skipped="")


def document(verdict: Verdict = Verdict.PASS, name: str = "unlearned.npz", **changes: object) -> Document:
    """A complete document; ``changes`` replace its parts."""
    passed = verdict is Verdict.PASS
    base = Document(
        schema_version=SCHEMA_VERSION,
        created="2026-11-21T00:00:00Z",
        tool=Tool(name="certify", version="0.1.0", python="3.11.7", libraries={"numpy": "2.4.6"}),
        verdict=verdict,
        exit_code=verdict.exit_code,
        subject=Subject(
            kind="glm", model=digest(name), original=digest("original.npz"), parameters=10, stored_as="float64"
        ),
        request=Request(
            forgotten=50,
            retained=16102,
            total=16152,
            data=digest("train.npz"),
            forget=digest("forget.txt"),
            retained_digest="ab" * 32,
            copies_retained=3,
        ),
        policy=PolicySummary(epsilon=1.0, delta=1e-5, noise_std=0.005, tolerance=1e-4, distance_limit=1e-4),
        checks=(
            entry("request", Verdict.PASS),
            entry("privacy", verdict, measured=0.5, limit=1.0, remedy=None if passed else "take one Newton step"),
        ),
        guarantee=Guarantee(
            kind="certified", reason="measured", epsilon=8.835e-4, delta=1e-5, mu=5.25e-4, distance=2.6e-6
        )
        if passed
        else Guarantee(kind="none", reason=verdict.meaning),
        assumptions=(
            Assumption(id="a", statement="It holds.", status="verified", evidence="measured 1e-7"),
            Assumption(id="b", statement="They say so.", status="declared", evidence="declared"),
        ),
        not_covered=("Backups and logs.",),
        reproduction=Reproduction(command="certify check certify.toml", spec=digest("certify.toml")),
        objective=ObjectiveSummary(
            loss="logistic",
            formula="F(w) = ...",
            l2=16.0,
            fit_intercept=True,
            penalize_intercept=True,
            sample_weights=False,
            features=9,
            outputs=1,
        ),
        bounds=bounds(),
        curve=tuple(CurvePoint(delta=10.0**-k, epsilon=1e-4 * k) for k in range(12, 0, -1)),
        attacker=Attacker(accuracy=0.50003, limits=(AttackLimit(fpr=0.001, tpr=0.00100412),)) if passed else None,
        comparison=Comparison(
            moved=0.0047, original_distance=5e-3, original_mu=1.017, original_epsilon=4.47, identical=not passed
        ),
        utility=(Utility(metric="accuracy", records=4038, unlearned=0.70134, original=0.70134),),
        next_steps=() if passed else (NextStep(steps=1, distance=2.6e-6, mu=5.2e-4, epsilon=8.8e-4),),
        evidence=Evidence(
            file=digest("unlearned.npz.evidence.json"),
            method="newton",
            model_matches=True,
            counts={"gradients": 1},
            seconds=0.001,
        ),
        one_step=one_step(),
    )
    return base.model_copy(update=changes)


def refused() -> Document:
    """Nothing measured: no bounds, no curve, no objective."""
    return document(
        Verdict.REFUSED,
        bounds=None,
        curve=(),
        objective=None,
        comparison=None,
        utility=(),
        next_steps=(),
        evidence=None,
        one_step=None,
    )


def unbounded() -> Document:
    """Every bound infinite."""
    infinite = bounds(
        distance=math.inf, strong_convexity=math.inf, self_concordant=math.inf, refined=math.inf, residual_norm=math.inf
    )
    return document(Verdict.FAIL, bounds=infinite, curve=())


def hostile() -> Document:
    """Every string a user controls, and more, is an attack on some format."""
    return document(
        Verdict.FAIL,
        name=HOSTILE,
        checks=(entry("privacy", Verdict.FAIL, title=HOSTILE, summary=HOSTILE, remedy=HOSTILE),),
        assumptions=(Assumption(id="a", statement=HOSTILE, status="declared", evidence=HOSTILE),),
        reproduction=Reproduction(command=HOSTILE, spec=digest(HOSTILE)),
    )


ALL = {
    "pass": document(),
    "fail": document(Verdict.FAIL),
    "inconclusive": document(Verdict.INCONCLUSIVE),
    "refused": refused(),
    "unbounded": unbounded(),
    "hostile": hostile(),
}
